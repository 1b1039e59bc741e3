"""Rendering without a display."""

import ctypes.util
import os
from collections.abc import Iterator
from contextlib import contextmanager


def why_not_drawn(error: Exception) -> str:
    """Return why pictures could not be rendered: the text of an error, or its type if it has none.

    Every OpenGL binding has exceptions of its own, some of them without a text.
    """
    return f"rendering failed ({str(error) or type(error).__name__})."


@contextmanager
def headless_opengl() -> Iterator[str | None]:
    """Set MUJOCO_GL to EGL or OSMesa unless it is set, and yield it; None if neither is found.

    SDL, with which pygame draws, is told that there is no display, unless SDL_VIDEODRIVER is set:
    it would look for a desktop, and print an error if there is none.
    """
    found = [name for name in ("EGL", "OSMesa") if ctypes.util.find_library(name)]
    binding = os.environ.get("MUJOCO_GL") or (found[0].lower() if found else None)
    wanted = {"MUJOCO_GL": binding, "SDL_VIDEODRIVER": "dummy"}
    new = {name: value for name, value in wanted.items() if value and not os.environ.get(name)}
    os.environ.update(new)
    try:
        yield binding
    finally:
        for name in new:
            os.environ.pop(name, None)
