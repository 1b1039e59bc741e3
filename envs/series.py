"""Time series in CSV files: a header, then one row for each time; times and gaps may be irregular.

A file may hold several series, told apart by a column, or one series. Cells may be missing. Rows
and cells that cannot be used are left out, counted and reported in one warning.
"""

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from envs.recorded.columns import find_separator, seconds_of_date, split_cells
from envs.recorded.text import read_table_lines
from ncp_control.tally import Tally

MISSING = frozenset({"", "?", "-", "na", "n/a", "nan", "none", "null"})
"""Cells, in lower case, that stand for a missing number."""
LARGEST = 1e18
"""Largest absolute value of a number, so that its square is finite in single precision."""
USUAL_STEPS = 10.0
"""Number of usual time steps above which the time between two rows is a gap, by default."""
_COMPACT_DATE = re.compile("(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])")
"""ISO 8601 date without hyphens, which could also be a number."""
LATEST_S = 1e11
"""Largest time since 1970 [s], in the year 5138; larger numbers are milliseconds or less."""
_GROUPED = re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?")
"""Number whose thousands are separated by commas."""
OTHER_TABLES = (".feather", ".json", ".parquet", ".xls", ".xlsx")
"""Endings of tables that are not read."""
MAX_BYTES = 2_000_000_000
"""Largest file that is read into memory."""


@dataclass(frozen=True, kw_only=True)
class TimeSeries:
    """One time series: arrays with one entry for each row, ordered by time."""

    name: str
    """Name of the file, or the value in the column that tells series apart."""
    time_s: np.ndarray
    """Time since the first row [s], increasing, float64."""
    file: str
    """Name of the file."""
    lines: np.ndarray
    """Number of each row's line in the file; the first line is 1."""
    times: np.ndarray
    """Time of each row as it is written in the file, str; empty without a column of times."""
    columns: dict[str, np.ndarray]
    """Cells by column name: float64 with NaN where missing, or str in columns of words."""

    def __len__(self) -> int:
        return len(self.time_s)

    def __getitem__(self, rows: slice) -> "TimeSeries":
        """Return a slice of the rows."""
        return replace(
            self,
            time_s=self.time_s[rows],
            lines=self.lines[rows],
            times=self.times[rows],
            columns={name: values[rows] for name, values in self.columns.items()},
        )

    def pieces(self, max_gap_s: float) -> list["TimeSeries"]:
        """Return the pieces between gaps, which keep their name and time.

        Args:
            max_gap_s: Time between two rows [s] above which a new piece begins.
        """
        breaks = np.flatnonzero(np.diff(self.time_s) > max_gap_s) + 1
        bounds = [0, *breaks.tolist(), len(self)]
        return [self[begin:end] for begin, end in pairwise(bounds)]


def read_series(
    files: Sequence[Path],
    *,
    time: str | None = None,
    series: str | None = None,
    words: Sequence[str] = (),
) -> list[TimeSeries]:
    """Read time series from CSV files.

    Args:
        files: CSV files with the same columns, or folders whose CSV files are all read.
        time: Column of the time, in seconds or as ISO 8601. If None, rows are 1 s apart.
        series: Column that tells the series of a file apart. If None, each file is one series.
        words: Columns that hold words even if they look like numbers, e.g. names of classes.
            Columns in which most cells are not numbers are words as well. Among words, only empty
            cells and `nan` are missing: `none` may be the name of a class.

    Returns:
        The series, in the order in which they appear in the files.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file is not a table, lacks one of the columns, or most of its times do not
            increase; or if no row of any file can be used.
    """
    paths = [path for file in files for path in _csv_files(file)]
    tally = Tally()
    raw = [one for path in paths for one in _read_file(path, time, series, words, tally)]
    if not raw:
        raise ValueError(
            f"`data` must hold rows that can be used, got none in {', '.join(map(str, paths))}"
            f" ({str(tally) or 'no rows at all'}). Check its columns."
        )
    first = set(raw[0].cells)
    for one in raw:
        if set(one.cells) != first:
            raise ValueError(
                f"`data` must have the same columns in all files, got"
                f" {sorted(first ^ set(one.cells))} in some of them. Use the same columns in all."
            )
    worded = {name for name in raw[0].cells if name in words or _holds_words(raw, name)}
    for column in sorted(worded - set(words)):
        _count_grouped(raw, column, tally)
    found = [_series(one, worded, tally) for one in raw]
    if tally.total:
        warnings.warn(f"Skipped: {tally}.", UserWarning, stacklevel=2)
    return found


@dataclass(frozen=True)
class _Raw:
    """Cells of one series as text, before numbers are read."""

    name: str
    path: Path
    times: tuple[float, ...]
    lines: tuple[int, ...]
    time_cells: tuple[str, ...]
    cells: dict[str, tuple[str, ...]]
    separator: str


def _csv_files(path: Path) -> list[Path]:
    """Return a file, or the CSV files of a folder, sorted by name."""
    if path.is_dir():
        inside = sorted(path.glob("*.csv"))
        if not inside:
            raise ValueError(f"`data` must hold CSV files, got none in {str(path)!r}.")
        return inside
    if not path.is_file():
        raise FileNotFoundError(f"`data` must be CSV files, got {str(path)!r}, which is not there.")
    if path.suffix.casefold() in OTHER_TABLES:
        raise ValueError(
            f"`data` must be CSV files, got {str(path)!r}. Convert it, e.g. with the method to_csv"
            " of pandas."
        )
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(
            f"`data` must be files of at most {MAX_BYTES / 1e9:g} GB, got {str(path)!r}."
            " Cut it into several."
        )
    return [path]


def _read_file(
    path: Path, time: str | None, series: str | None, words: Sequence[str], tally: Tally
) -> list[_Raw]:
    """Return the series of a file; rows that cannot be used are counted in `tally`."""
    lines = read_table_lines(path)
    separator = find_separator(lines[:100])
    names, begin = _read_header(lines, path, separator, [*filter(None, (time, series, *words))])
    groups: dict[str, list[tuple[float, int, str, list[str]]]] = {}
    num_early = num_times = num_dates = num_unread = 0
    for number, line in enumerate(lines[begin:], begin + 1):
        if not line:
            continue
        cells, place = split_cells(line, separator), f"{path.name}, line {number}"
        if len(cells) != len(names):
            tally.add(f"rows without {len(names)} cells", place)
            continue
        name = path.stem if series is None else cells[names.index(series)]
        rows = groups.setdefault(name, [])
        time_text = "" if time is None else cells[names.index(time)]
        when = float(len(rows)) if time is None else _seconds(time_text, separator)
        if not math.isfinite(when):
            num_unread += 1
            unread = time_text
            tally.add("rows without a time", place)
            continue
        if when > LATEST_S and _is_number(time_text, separator):
            raise ValueError(
                f"`time` must be seconds or ISO 8601, got {time_text} in {place}. Divide"
                " milliseconds by 1000, or write a date as 2024-01-31 13:00."
            )
        num_times += 1
        num_dates += bool(_COMPACT_DATE.fullmatch(time_text))
        if rows and when <= rows[-1][0]:
            num_early += 1
            tally.add("rows that are not later than the one before", place)
        else:
            rows.append((when, number, time_text, cells))
    if num_unread > num_times:
        raise ValueError(
            f"`time` must be seconds or ISO 8601, got {unread!r} in {path}. Write 2024-01-31 13:00"
            " for 31.01.2024 13:00 or 01/31/2024 1 PM."
        )
    _check_order(path, num_early, sum(map(len, groups.values())))
    if num_dates == num_times > 1:
        raise ValueError(
            f"`time` must be seconds or ISO 8601 with its signs, got dates without them in {path}."
            " Write 2024-01-30 for 20240130."
        )
    raw = []
    for name, rows in groups.items():
        if rows:
            times, numbers, time_cells, cells = zip(*rows, strict=True)
            columns = dict(zip(names, zip(*cells, strict=True), strict=True))
            kept = {name: of for name, of in columns.items() if name not in ("", time, series)}
            raw.append(_Raw(name, path, times, numbers, time_cells, kept, separator))
    return raw


def _check_order(path: Path, num_early: int, num_later: int) -> None:
    """Raise ValueError if most times do not increase."""
    if num_early > num_later:
        raise ValueError(
            f"`time` must grow along a series, got {num_early} rows that are not later than the one"
            f" before in {path}. Sort the file, or name the column that tells its series apart."
        )


def _read_header(
    lines: Sequence[str], path: Path, separator: str, wanted: Sequence[str]
) -> tuple[list[str], int]:
    """Return the names of the columns, and the index of the line after the header.

    Raises:
        ValueError: If there is no header of different names, or it lacks one of `wanted`.
    """
    head = next((i for i, line in enumerate(lines) if line), None)
    names = [] if head is None else split_cells(lines[head], separator)
    if head is None or not names or any("\0" in name or "\ufffd" in name for name in names):
        raise ValueError(f"`data` must be CSV files, got {path}, which is empty or no text.")
    for name in wanted:
        if name not in names:
            raise ValueError(f"`data` must have the column {name!r}, got {names} in {path}.")
    if len(set(names)) < len(names) or any(_is_number(name, separator) for name in names):
        raise ValueError(
            f"`data` must begin with a header of different names, got {', '.join(names)[:100]!r}"
            f" in {path}. Name each column once."
        )
    first = next((split_cells(line, separator) for line in lines[head + 1 :] if line), [])
    if len(first) == len(names) + 1:
        names = ["", *names]  # tables written by R: the column of row names has no heading
    return names, head + 1


def _holds_words(raw: Sequence[_Raw], column: str) -> bool:
    """True if most non-missing cells of a column are not numbers."""
    are_numbers = [
        _is_number(cell, one.separator)
        for one in raw
        for cell in one.cells[column]
        if not _is_missing(cell)
    ]
    return 2 * sum(are_numbers) < len(are_numbers)


def _count_grouped(raw: Sequence[_Raw], column: str, tally: Tally) -> None:
    """Count cells such as "1,000" in a column that is taken for words because of them."""
    for one in raw:
        for cell in one.cells[column]:
            if _GROUPED.fullmatch(cell):
                what = f"cells of {column!r} with commas among the digits (write 1000 for 1,000)"
                tally.add(what, f"{one.path.name}, {cell!r}")


def _series(raw: _Raw, worded: set[str], tally: Tally) -> TimeSeries:
    """Convert a series to numbers; cells that are not numbers are counted and become NaN."""
    columns = {}
    for column, cells in raw.cells.items():
        if column in worded:
            known = ["" if cell.casefold() == "nan" else cell for cell in cells]
            columns[column] = np.array(known, dtype=str)
            continue
        numbers = np.array([_number(cell, raw.separator) for cell in cells])
        for row in np.flatnonzero(~np.isfinite(numbers)):
            if not _is_missing(cells[row]):
                what = f"cells of {column!r} that are no number"
                tally.add(what, f"{raw.path.name}, {cells[row]!r}")
        columns[column] = numbers
    time_s = np.array(raw.times)
    return TimeSeries(
        name=raw.name,
        time_s=time_s - time_s[0],
        file=str(raw.path),
        lines=np.array(raw.lines),
        times=np.array(raw.time_cells, dtype=str),
        columns=columns,
    )


def _is_missing(cell: str) -> bool:
    return cell.casefold() in MISSING


def _is_number(cell: str, separator: str) -> bool:
    return math.isfinite(_number(cell, separator))


def _number(cell: str, separator: str) -> float:
    """Return a cell as a number; NaN if it is not a number, not finite, or too large.

    A comma is read as a decimal comma unless commas separate the columns. If they do, "1,234" is
    ambiguous and not read as a number.
    """
    try:
        value = float(cell if separator == "," else cell.replace(",", "."))
    except ValueError:
        return math.nan
    return value if abs(value) <= LARGEST else math.nan


def _seconds(cell: str, separator: str) -> float:
    """Return a time [s] read from a number or ISO 8601; NaN if the cell is neither."""
    value = _number(cell, separator)
    if math.isfinite(value):
        return value
    moment_s = seconds_of_date(cell)
    return math.nan if moment_s is None else moment_s
