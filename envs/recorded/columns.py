"""Columns of a table that a driving simulator wrote and a person may have edited.

A header names the columns, in any order and case; without one the simulator's order holds. Columns
are separated by commas, or by semicolons or tabs as a spreadsheet program writes them in countries
with a decimal comma. Every line is read by itself, so that a stray quotation mark or half a line
damages no other.
"""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

COLUMNS = ("center", "left", "right", "steering", "throttle", "brake", "speed")
"""The simulator's columns, in its order."""
NEEDED = ("center", "steering")
"""Columns without which there is nothing to learn."""

_SPELLINGS = {"centre": "center", "steer": "steering"}
_TITLE = re.compile(r"[a-z][\w ()\[\]/-]*|")  # a cell of a header: no number, no file name
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_WORD = re.compile(r"[a-z]+")


@dataclass(frozen=True)
class Columns:
    """Where each column stands."""

    places: dict[str, int]
    """Index of each column that is there, by its name in `COLUMNS`."""
    width: int
    """Number of columns, those without a known name too."""
    has_header: bool
    """True if a header named them."""
    complaint: str | None = None
    """What is wrong with the header, so that no line can be read; None if nothing is."""


SIMULATOR = Columns({name: i for i, name in enumerate(COLUMNS)}, len(COLUMNS), False)
"""The columns of a log without a header."""


def find_separator(lines: Sequence[str]) -> str:
    """Return what separates the columns in most of the lines."""
    votes: Counter[str] = Counter()
    for line in lines:
        # With a decimal comma there may be as many commas as semicolons: the comma comes last.
        best = max(";\t,", key=line.count)
        votes[best] += best in line
    return max(",;\t", key=lambda separator: votes[separator])


def split_cells(line: str, separator: str) -> list[str]:
    """Return the cells of a line, stripped; the whole line as one if it cannot be split."""
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error:
        return [line]


def number_in(text: str, separator: str) -> float | str:
    """Return the number that a cell holds, the text itself if it is none."""
    point = text if separator == "," else text.replace(",", ".")
    return float(point) if _NUMBER.fullmatch(point) else text


def read_header(cells: Sequence[str], *, is_first: bool) -> Columns | None:
    """Return the columns that a header names; None if the line is no header.

    Args:
        cells: The cells of a line.
        is_first: True for the first line that is not empty. It is a header also if it names no
            column that is known.
    """
    titles = [cell.casefold() for cell in cells]
    if len(titles) < len(NEEDED) or not all(map(_TITLE.fullmatch, titles)):
        return None
    words = [_known(_WORD.match(title)) for title in titles]
    if not any(words) and not is_first:
        return None
    places, complaint = {}, None
    for name in COLUMNS:
        exact = [i for i, title in enumerate(titles) if title == name]
        found = exact or [i for i, word in enumerate(words) if word == name]
        if len(found) > 1:
            complaint = f"{len(found)} columns are named {name}"
        elif found:
            places[name] = found[0]
        elif name in NEEDED:
            complaint = f"no column is named {name}"
    if complaint is not None:
        complaint += f" in the header {', '.join(cells)[:100]!r}"
    return Columns(places, len(cells), True, complaint)


def _known(match: re.Match[str] | None) -> str | None:
    """Return the column that a word names."""
    word = match.group() if match else ""
    word = _SPELLINGS.get(word, word)
    return word if word in COLUMNS else None
