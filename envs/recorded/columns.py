"""Columns of a table written by a driving simulator and possibly edited by a person.

A header names the columns, in any order and case; without a header they are in the order of the
simulator. Columns are separated by commas, or by semicolons or tabs, as spreadsheet programs write
them in countries with a decimal comma. Each line is read separately, so that a stray quotation mark
or a truncated line affects no other line.
"""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

COLUMNS = ("center", "left", "right", "steering", "throttle", "brake", "speed")
"""Columns of the simulator, in its order."""
NEEDED = ("center", "steering")
"""Columns without which there is nothing to learn."""

_SPELLINGS = {"centre": "center", "steer": "steering"}
_TITLE = re.compile(r"[a-z][\w ()\[\]/-]*|")  # cell of a header: neither number nor file name
_WITH_UNIT = re.compile(r"(\S.*?)\s*\[([^\[\]]*)\]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_WORD = re.compile(r"[a-z]+")


@dataclass(frozen=True)
class Columns:
    """Positions of the columns."""

    places: dict[str, int]
    """Index of each existing column, by its name in `COLUMNS`."""
    width: int
    """Number of columns, including those without a known name."""
    has_header: bool
    """True if the names are from a header."""
    complaint: str | None = None
    """Fault of the header, with which no line can be read; None if there is none."""


SIMULATOR = Columns({name: i for i, name in enumerate(COLUMNS)}, len(COLUMNS), False)
"""The columns of a log without a header."""


def find_separator(lines: Sequence[str]) -> str:
    """Return the character that separates the columns in most lines."""
    votes: Counter[str] = Counter()
    for line in lines:
        # With a decimal comma there may be as many commas as semicolons: the comma comes last.
        best = max(";\t,", key=line.count)
        votes[best] += best in line
    return max(",;\t", key=lambda separator: votes[separator])


def split_title(title: str) -> tuple[str, str | None]:
    """Return name and unit of a column: `speed [m/s]` is speed in m/s; None if there is no unit."""
    match = _WITH_UNIT.fullmatch(title)
    return (match[1], match[2].strip()) if match else (title, None)


def split_cells(line: str, separator: str) -> list[str]:
    """Return the cells of a line, stripped; the whole line as one if it cannot be split."""
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error:
        return [line]


def number_in(text: str, separator: str) -> float | str:
    """Return the number in a cell; the text itself if it is not a number."""
    point = text if separator == "," else text.replace(",", ".")
    return float(point) if _NUMBER.fullmatch(point) else text


def seconds_of_date(text: str) -> float | None:
    """Return the time of an ISO 8601 date since 1970 [s], in UTC without a time zone; else None."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def read_header(cells: Sequence[str], *, is_first: bool) -> Columns | None:
    """Return the columns of a header; None if the line is not a header.

    Args:
        cells: The cells of a line.
        is_first: True for the first line that is not empty. It may be a header even without any
            known column name.
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
    """Return the column that a word names; None if it names none."""
    word = match.group() if match else ""
    word = _SPELLINGS.get(word, word)
    return word if word in COLUMNS else None
