"""Names and choices that all exporters check; imports nothing heavy."""

import re

HEAD_WEIGHTS = ("float32", "int8")
"""Formats in which the weights of a conv head may be stored in C."""
_KEYWORDS = {"auto", "char", "const", "double", "float", "int", "long", "short", "static", "void"}


def check_prefix(name: str) -> None:
    """Check that a name can be the prefix of C functions and of files.

    Raises:
        ValueError: If the name is not valid.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name) or name in _KEYWORDS:
        raise ValueError(
            f"`name` must be small letters, digits and underscores, and no word of C, got {name!r}."
            " It begins the names of files and of C functions, e.g. controller."
        )
