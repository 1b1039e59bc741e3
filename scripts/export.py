"""Export a saved policy for a robot.

    python scripts/export.py policies/pretrained/drive-ncp --to c
    python scripts/export.py drive-ncp --to c --head-weights int8 --out firmware

C: `controller.h` and `controller.c`, which need no C library and no heap, and a test program. If
there is a C compiler, the test runs at once.
"""

import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from ncp_control.deploy.c import HEAD_WEIGHTS, Controller, to_c
from ncp_control.deploy.c.targets import HOST
from ncp_control.kernels.build import BuildError
from ncp_control.learning.run import policy_name
from ncp_control.names import check_name
from ncp_control.policy import load
from scripts.cli import run_job


@dataclass(frozen=True, kw_only=True)
class Export:
    """Export a saved policy for a robot."""

    policy: tyro.conf.Positional[str]
    """Folder of the policy, or the name of a shipped one, e.g. drive-ncp."""
    to: Literal["c"]
    """What to write: c, source for any C99 compiler."""
    out: Path | None = None
    """Folder to write into; exported/<name of the policy> by default."""
    name: str = "controller"
    """Prefix of all that the C files declare, and name of the files."""
    head_weights: str = "float32"
    """How the weights of a conv head are stored: float32, or int8 for a quarter of the flash."""

    def __post_init__(self) -> None:
        check_name("head_weights", self.head_weights, HEAD_WEIGHTS)


def export(settings: Export) -> None:
    """Write the files, check them, and say how to compile them."""
    policy = load(settings.policy)
    controller = to_c(policy, name=settings.name, head_weights=settings.head_weights)
    folder = settings.out or Path("exported") / policy_name(Path(settings.policy))
    checked = _check(controller)
    paths = controller.write(folder)
    if policy.contract is not None:
        print(policy.contract.describe())
    else:
        print("warning: this policy has no contract, so the header tells no units and no signs.")
    for path in paths:
        print(f"{path}  {path.stat().st_size:,} bytes")
    print(f"self-test here: {checked}")
    sources = shlex.join(str(path) for path in paths if path.suffix == ".c")
    program = shlex.quote(str(folder / f"{settings.name}_test"))
    print("self-test by hand:")
    print(f"  cc -std=c99 -O2 -ffp-contract=off {sources} -o {program} && {program}")


def _check(controller: Controller) -> str:
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


if __name__ == "__main__":
    run_job(export, Export, "Export a saved policy for a robot.")
