"""Print a table from its file, with the origin of its rows, without training.

Each line is a model with one set of settings. After the table, the commands, commits, days and
processors of the rows are listed for each set of settings.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path

from ncp_control.learning.results import (
    KEY,
    OF_DEVIATION,
    PROVENANCE,
    Row,
    newest,
    read_header,
    read_table,
)
from ncp_control.markdown import markdown_table
from scripts.reproduction.completion import print_left_out

PUBLISHED = Path(__file__).parents[2] / "results"
"""Folder of the published tables."""
FILES = {"wiring": "ablation", "integrators": "ablation"}
"""File name of each table whose file has another name than the table."""


def show(table: str, folder: Path | None) -> None:
    """Print a table.

    Args:
        table: Name of the table.
        folder: Folder of the table's file; if None: the published tables.

    Raises:
        FileNotFoundError: If the folder has no such file.
        ValueError: If the file is not a table of results.
    """
    path = (folder or PUBLISHED) / f"{FILES.get(table, table)}.csv"
    if not path.is_file():
        raise FileNotFoundError(
            f"`results` must hold {path.name} to be shown, got {str(path.parent)!r}. Name the run"
            " folder of this table, or leave it out for the published one."
        )
    columns = read_header(path)
    if columns[: len(KEY)] != list(KEY) or columns[-len(PROVENANCE) :] != list(PROVENANCE):
        raise ValueError(
            f"{path} must be a table of results, got the columns {columns}. Name another folder."
        )
    rows, num_damaged = read_table(path, columns)
    print(describe_table(path, newest(rows), columns[len(KEY) : -len(PROVENANCE)]))
    print_left_out(rows, num_damaged)


def describe_table(path: Path, rows: Sequence[Row], measures: Sequence[str]) -> str:
    """Return mean ± deviation over seeds of each model and settings, and the rows' origin."""
    numbers = {settings: i for i, settings in enumerate(_distinct(rows, "settings"), 1)}
    names = [name for name in measures if _is_number(rows, name)]
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["model"], row["settings"]), []).append(row)
    lines = [
        [model, str(len(group)), *(_mean(group, name) for name in names), f"[{numbers[settings]}]"]
        for (model, settings), group in groups.items()
    ]
    table = markdown_table(["model", "seeds", *names, "settings"], lines)
    sources = [
        _source(number, settings, [row for row in rows if row["settings"] == settings])
        for settings, number in numbers.items()
    ]
    title = f"{path}: {len(rows)} trainings, measured before; nothing was trained now."
    return "\n\n".join([title, table, OF_DEVIATION, *sources])


def _source(number: int, settings: str, rows: Sequence[Row]) -> str:
    """Return the origin of the rows with some settings, as text."""
    days = sorted({row["time"][:10] for row in rows if row["time"]})
    origin = {
        "commit": ", ".join(_shortened(commit) for commit in _distinct(rows, "commit")),
        "measured": " to ".join(dict.fromkeys([*days[:1], *days[-1:]])),
        "processor": ", ".join(_distinct(rows, "processor")),
        "versions": "; ".join(_distinct(rows, "versions")),
    }
    lines = [f"{name}: {value or 'not recorded'}" for name, value in origin.items()]
    return "\n    ".join([f"[{number}] {settings}", *_distinct(rows, "command"), *lines])


def _shortened(commit: str) -> str:
    """Return the first digits of a commit, with the mark for changed files if present."""
    digits, *changed = commit.split("-")
    return "-".join([digits[:9], *changed])


def _distinct(rows: Sequence[Row], column: str) -> list[str]:
    return list(dict.fromkeys(row[column] for row in rows if row[column]))


def _is_number(rows: Sequence[Row], measure: str) -> bool:
    """Return whether a column holds numbers, and not e.g. a curve."""
    cells = _distinct(rows, measure)
    try:
        [float(cell) for cell in cells]
    except ValueError:
        return False
    return bool(cells)


def _mean(rows: Sequence[Row], measure: str) -> str:
    """Return mean ± deviation, with digits chosen by the size of the mean; integers as they are."""
    values = [float(row[measure]) for row in rows if row[measure]]
    if not values:
        return "–"
    if len(set(values)) == 1 and values[0].is_integer():
        return f"{values[0]:.0f}"
    mean = statistics.fmean(values)
    digits = max(0, 5 - len(f"{abs(mean):.0f}"))
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{spread}"
