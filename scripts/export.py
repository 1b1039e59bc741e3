"""Export a saved policy for a robot.

    python scripts/export.py policies/pretrained/drive-ncp --to c
    python scripts/export.py drive-ncp --to c --head-weights int8 --out firmware
    python scripts/export.py drive-ncp --to onnx

C: `controller.h` and `controller.c`, which need no C library and no heap, and a test program. If
there is a C compiler, the test runs at once.

ONNX: `controller.onnx`, with observation, state and elapsed time in, action and next state out, and
the contract in its properties. It is compared with the policy in ONNX Runtime before it is written.
"""

import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from ncp_control.command_line import run_job
from ncp_control.deploy.c import HEAD_WEIGHTS, Controller, to_c
from ncp_control.deploy.c.targets import HOST
from ncp_control.deploy.onnx import to_onnx
from ncp_control.deploy.onnx.check import check_model
from ncp_control.kernels.build import BuildError
from ncp_control.learning.run import policy_name
from ncp_control.names import check_name
from ncp_control.policy import Policy, load


@dataclass(frozen=True, kw_only=True)
class Export:
    """Export a saved policy for a robot."""

    policy: tyro.conf.Positional[str]
    """Folder of the policy, or the name of a shipped one, e.g. drive-ncp."""
    to: Literal["c", "onnx"]
    """What to write: c, source for any C99 compiler, or onnx, a model for ONNX Runtime."""
    out: Path | None = None
    """Folder to write into; exported/<name of the policy> by default."""
    name: str = "controller"
    """Name of the files, and prefix of all that C files declare."""
    head_weights: str = "float32"
    """How the weights of a conv head are stored: float32, or, in C, int8 for a quarter of the
    flash."""

    def __post_init__(self) -> None:
        check_name("head_weights", self.head_weights, HEAD_WEIGHTS)


def export(settings: Export) -> None:
    """Write the files, check them, and say how to use them."""
    policy = load(settings.policy)
    folder = settings.out or Path("exported") / policy_name(Path(settings.policy))
    paths, checked, hint = _WRITERS[settings.to](policy, settings, folder)
    if policy.contract is not None:
        print(policy.contract.describe())
    else:
        print("warning: this policy has no contract, so the files tell no units and no signs.")
    for path in paths:
        print(f"{path}  {path.stat().st_size:,} bytes")
    print(checked)
    print(hint)


Written = tuple[list[Path], str, str]
"""The files, how their check ended, and how to use them."""


def _write_c(policy: Policy, settings: Export, folder: Path) -> Written:
    controller = to_c(policy, name=settings.name, head_weights=settings.head_weights)
    checked = _check_c(controller)
    paths = controller.write(folder)
    sources = shlex.join(str(path) for path in paths if path.suffix == ".c")
    program = shlex.quote(str(folder / f"{settings.name}_test"))
    command = f"cc -std=c99 -O2 -ffp-contract=off {sources} -o {program} && {program}"
    return paths, f"self-test here: {checked}", f"self-test by hand:\n  {command}"


def _check_c(controller: Controller) -> str:
    """Run the self-test on this machine and say how it ended.

    Raises:
        ValueError: If it fails.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = HOST.run(HOST.build(controller, Path(folder)))
    except BuildError as error:
        return f"not run: {error}"
    if not result.passed:
        raise ValueError(
            "`policy` must act in C as it does here, got actions that differ by"
            f" {result.largest_difference:g}. Please report this."
        )
    return (
        f"passed, actions within {result.largest_difference:.1g} of double precision;"
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


if __name__ == "__main__":
    run_job(export, Export, "Export a saved policy for a robot.")
