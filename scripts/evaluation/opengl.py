"""Rendering without a display."""

import ctypes.util
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def headless_opengl() -> Iterator[str | None]:
    """Set MUJOCO_GL to EGL or OSMesa unless it is set, and yield it; None if neither is found."""
    before = os.environ.get("MUJOCO_GL")
    found = [name for name in ("EGL", "OSMesa") if ctypes.util.find_library(name)]
    binding = before or (found[0].lower() if found else None)
    if binding is not None:
        os.environ["MUJOCO_GL"] = binding
    try:
        yield binding
    finally:
        if before is None:
            os.environ.pop("MUJOCO_GL", None)
