"""Work of `ncp export` and `scripts/export.py`: write a policy's files and check them."""

import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ncp_control.commands.export import Export
from ncp_control.commands.int8_loss import loss_by_int8
from ncp_control.deploy.c import CSource, to_c
from ncp_control.deploy.c.targets import HOST
from ncp_control.deploy.onnx import to_onnx
from ncp_control.deploy.onnx.check import check_model
from ncp_control.kernels.build import BuildError
from ncp_control.learning.run import policy_name
from ncp_control.loop.profile import InputProfile
from ncp_control.policy import Policy, load, policy_folder
from ncp_control.policy.folder import MONITOR_FILE


def export(settings: Export) -> None:
    """Write the files, check them, and print how to use them.

    Raises:
        ValueError: If the policy cannot be exported, or the exported files act differently.
        SystemExit: With status 1 if there is a C compiler, and it cannot compile the exported C.
    """
    policy = load(settings.policy)
    folder = settings.out or Path("exported") / policy_name(Path(settings.policy))
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"`out` must be a folder, got the file '{folder}'. Choose another one.")
    paths, checked, hint = _WRITERS[settings.to](policy, settings, folder)
    if policy.contract is not None:
        print(policy.contract.describe())
    else:
        print("warning: this policy has no contract, so the files state no units and no signs.")
    for path in paths:
        print(f"{path}  {path.stat().st_size:,} bytes")
    print(checked)
    print(hint)


Written = tuple[list[Path], str, str]
"""Paths of the files, result of their check, and how to use them."""


def _write_c(policy: Policy, settings: Export, folder: Path) -> Written:
    source = policy_folder(settings.policy)
    profile = None if policy.contract is None else InputProfile.load(source)
    controller = to_c(
        policy, name=settings.name, head_weights=settings.head_weights, profile=profile
    )
    is_int8 = settings.head_weights == "int8"
    checked = f"self-test here: {_check_c(controller, is_int8=is_int8)}"
    if is_int8:
        checked += f"\n{loss_by_int8(policy, source)}"
    if profile is None and policy.contract is not None:
        checked += (
            f"\nnote: there is no {MONITOR_FILE} beside the policy, so the code cannot tell inputs"
            " that are far from training. scripts/monitor.py calibrate makes one in a clone of"
            " ncp-control."
        )
    header = folder / f"{controller.name}.h"
    if _is_of_another_export(header, controller):
        checked += f"\nwarning: '{header}' was of another export; it and its programs are replaced."
    paths = controller.write(folder)
    acts, tests = (_by_hand(folder, settings.name, part) for part in ("pipe", "test"))
    backend = shlex.quote(f"program:{acts.program}")
    hint = (
        f"to act in a process of its own, compile it, and run a policy with --backend {backend}:\n"
        f"  {acts.compile}\nself-test by hand:\n  {tests.compile} && {tests.program}"
    )
    return paths, checked, hint


def _is_of_another_export(path: Path, controller: CSource) -> bool:
    """True if there is a header at `path` that is not the one of this export."""
    if not path.is_file():
        return False
    return path.read_text(encoding="utf-8", errors="replace") != controller.header


class _ByHand(NamedTuple):
    """Shell commands that compile a program and start it."""

    compile: str
    program: str


def _by_hand(folder: Path, name: str, part: str) -> _ByHand:
    sources = shlex.join(str(folder / f"{name}{end}.c") for end in ("", f"_{part}"))
    path = str(folder / f"{name}_{part}")
    program = shlex.quote(path if "/" in path else f"./{path}")
    command = f"cc -std=c99 -O2 -ffp-contract=off {sources} -o {program}"
    return _ByHand(command, program)


def _check_c(controller: CSource, *, is_int8: bool) -> str:
    """Run the self-test on this machine and describe the result.

    Raises:
        ValueError: If the test fails.
        SystemExit: With status 1 if there is a compiler, and it cannot compile the code.
    """
    if HOST.missing is not None:
        return f"not run: {HOST.missing}"
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = HOST.run(HOST.build(controller, Path(folder)))
    except BuildError as error:
        raise SystemExit(
            f"failed: {error}. Nothing was written. Please report this, or name another compiler in"
            " $CC."
        ) from error
    if not result.passed:
        raise ValueError(
            "`policy` must act in C as it does here, got actions that differ by"
            f" {result.largest_difference:g}. Please report this."
        )
    weights = " with these int8 weights" if is_int8 else ""
    return (
        f"passed, actions within {result.largest_difference:.1g} of double precision{weights};"
        f" state {result.state_bytes} bytes, workspace {result.workspace_bytes} bytes"
    )


def _write_onnx(policy: Policy, settings: Export, folder: Path) -> Written:
    if settings.head_weights != "float32":
        raise ValueError(
            f"`head_weights` must be 'float32' in ONNX, got {settings.head_weights!r}. Leave it"
            " out, or export to C."
        )
    try:
        model = to_onnx(policy, name=settings.name)
        difference = check_model(policy, model.content)
    except ModuleNotFoundError as error:
        raise ValueError(f"`to` must not be 'onnx' here: {error}") from error
    (path,) = model.write(folder)
    checked = (
        f"check in ONNX Runtime: passed, within {difference:.1g} of double precision;"
        f" {model.num_nodes} operations a step"
    )
    use = f"OnnxController({str(path)!r}).act(observation, dt_s)"
    return (
        [path],
        checked,
        f"in Python:\n  from ncp_control.deploy.onnx import OnnxController\n  {use}",
    )


_WRITERS: dict[str, Callable[[Policy, Export, Path], Written]] = {
    "c": _write_c,
    "onnx": _write_onnx,
}
