"""Warnings as a user of a job sees them."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print each warning as one line, without the place in the code that Python adds."""
    before = warnings.formatwarning

    def in_a_line(message: Warning | str, *_: Any, **__: Any) -> str:
        return " ".join(f"warning: {message}".split()) + "\n"

    warnings.formatwarning = in_a_line
    try:
        yield
    finally:
        warnings.formatwarning = before
