"""Settings of `ncp export` and of `scripts/export.py`: a saved policy as C or ONNX."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from ncp_control.command_line import find
from ncp_control.deploy.naming import HEAD_WEIGHTS
from ncp_control.names import check_name


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
    find("ncp_control.commands.exporting:export")(settings)
