"""Numbers and tables as C source text."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ncp_control.cells.plain_numbers import to_float32

_WIDTH = 100
"""Longest line of a table."""


def number(value: Any) -> str:
    """Return a number as C text: the shortest that reads back as the same bits.

    Raises:
        ValueError: If it is not finite in single precision.
    """
    if isinstance(value, float | np.floating):
        with np.errstate(over="ignore"):
            single = np.float32(value)
        if not np.isfinite(single):
            raise ValueError(
                f"`value` must be finite in single precision to be written in C, got {value!r}."
                " Correct the policy or its monitor.json."
            )
        return f"{single!s}f"
    return str(int(value))


def within_float32(values: np.ndarray) -> np.ndarray:
    """Convert limits to single precision; infinity becomes the largest number."""
    largest = np.finfo(np.float32).max
    return to_float32(np.clip(values, -largest, largest))


def table(
    name: str, values: np.ndarray, kind: str = "float", write: Callable[[Any], str] = number
) -> str:
    """Return a constant array of any number of dimensions, e.g. `static const float w[2][3]`."""
    if values.size == 0:
        values = np.zeros([max(size, 1) for size in values.shape], values.dtype)  # C has no empty
    sizes = "".join(f"[{size}]" for size in values.shape)
    return f"static const {kind} {name}{sizes} = {_nested(values, '', write)};\n"


def _nested(values: np.ndarray, indent: str, write: Callable[[Any], str]) -> str:
    deeper = indent + "    "
    if values.ndim == 1:
        line = f"{{{', '.join(write(value) for value in values)}}}"
        if len(indent) + len(line) < _WIDTH - 10:
            return line
        return f"{{\n{_wrapped([write(value) for value in values], deeper)}\n{indent}}}"
    parts = ",\n".join(deeper + _nested(value, deeper, write) for value in values)
    return f"{{\n{parts}\n{indent}}}"


def _wrapped(words: Sequence[str], indent: str) -> str:
    """Join words by commas, in lines of limited length."""
    lines, line = [], indent
    for i, word in enumerate(words):
        word += "," if i < len(words) - 1 else ""
        if len(line) + len(word) + 1 > _WIDTH and line.strip():
            lines.append(line.rstrip())
            line = indent
        line += word + " "
    return "\n".join([*lines, line.rstrip()])


def struct_table(
    declaration: str,
    name: str,
    rows: Iterable[Sequence[Any]],
    comments: Sequence[str] | None = None,
) -> str:
    """Return a constant array of structs, one per line, with an optional comment after each.

    Args:
        declaration: The struct, e.g. `struct neuron { float leak; }`.
        name: Name of the array.
        rows: The fields of each struct: numbers, or C text.
        comments: Comment after each struct.
    """
    kind = declaration.split("{")[0].strip()
    written = [
        f"    {{{', '.join(f if isinstance(f, str) else number(f) for f in row)}}}," for row in rows
    ]
    if comments is not None:
        written = [f"{row} /* {text} */" for row, text in zip(written, comments, strict=True)]
    lines = "\n".join(written) or "    {0}"
    size = max(1, len(written))
    return f"{declaration};\nstatic const {kind} {name}[{size}] = {{\n{lines}\n}};\n"


def index_type(largest: int) -> str:
    """Return the smallest unsigned C type that holds a number."""
    return next(
        k for k, bits in (("uint8_t", 8), ("uint16_t", 16), ("uint32_t", 32)) if not largest >> bits
    )


def defines(constants: Mapping[str, Any]) -> str:
    """Return constants as C macros; values are numbers or C text."""
    return "".join(
        f"#define {name} {value if isinstance(value, str) else number(value)}\n"
        for name, value in constants.items()
    )
