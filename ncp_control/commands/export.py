"""Settings of `ncp export` and of `scripts/export.py`: export a saved policy as C or ONNX."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from ncp_control.command_line import find
from ncp_control.deploy.naming import HeadWeights


@dataclass(frozen=True, kw_only=True)
class Export:
    """Export a saved policy for a robot."""

    policy: tyro.conf.Positional[str]
    """Folder of the policy, or the name of a shipped one, e.g. drive-ncp."""
    to: Literal["c", "onnx"]
    """Format to write: c, source for any C99 compiler, or onnx, a model for ONNX Runtime."""
    out: Path | None = None
    """Folder to write into; if None: exported/<name of the policy>."""
    name: str = "controller"
    """Name of the files, and prefix of all declarations in C files."""
    head_weights: HeadWeights = "float32"
    """Storage of a convolutional head's weights: float32, or, in C, int8 for a quarter of the flash
    memory."""


def export(settings: Export) -> None:
    """Write the files, check them, and print how to use them."""
    find("ncp_control.commands.exporting:export")(settings)
