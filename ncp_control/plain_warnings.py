"""Warnings as a user of a job sees them."""

import contextlib
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print each warning as one line, without the place in the code that Python adds."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"warning: {_in_a_line(message)}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


def _in_a_line(message: Warning | str) -> str:
    return " ".join(str(message).split())
