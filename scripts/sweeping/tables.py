"""Tables of a sweep, built from the folders of its trials, so that no row is lost or doubled."""

import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ncp_control import files
from ncp_control.learning.results import KEY, PROVENANCE, Row
from ncp_control.markdown import markdown_table
from ncp_control.returns import half_width
from scripts.reporting import csv_text
from scripts.sweeping.trials import Trial, told_apart

_INTERVALS = ("half_width", "halfwidth", "_low", "_high")
"""Suffixes of measures that are confidence intervals within one training run."""


def all_rows(trials: Sequence[Trial]) -> list[Row]:
    """Return the rows of all trials that are done: number, values of settings, and measures."""
    return [
        {"trial": str(trial.number), **{k: str(v) for k, v in trial.values.items()}, **row}
        for trial in trials
        if trial.is_done
        for row in trial.rows()
    ]


def write_results(path: Path, rows: Sequence[Row]) -> None:
    """Write the table of all rows; do nothing if there are no rows."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if rows:
        table = [[row.get(name, "") for name in columns] for row in rows]
        files.write_file(path, csv_text(columns, table))


def summary(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Return a table with means over the seeds, one row for each model and combination of values.

    A mean is followed by half the width of its 95 % t interval.

    Args:
        rows: Rows from `all_rows`.
        names: Settings that distinguish the trials.
    """
    names = [
        name
        for name in names
        # The model is mostly the cell, and has a column of its own.
        if name != "seed" and any(row.get(name) != row["model"] for row in rows)
    ]
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["model"], *(row.get(name, "") for name in names)), []).append(row)
    left_out = {"trial", "seed", *KEY, *PROVENANCE, *names}
    measures = list(dict.fromkeys(k for row in rows for k in row if k not in left_out))
    measures = [
        name
        for name in measures
        if not name.endswith(_INTERVALS) and all(_is_number(row.get(name, "")) for row in rows)
    ]
    texts = [told_apart(values) for values in zip(*groups, strict=True)]
    lines = [
        [
            *(of_value[value] for of_value, value in zip(texts, key, strict=True)),
            str(len(group)),
            *(_mean([float(row[name]) for row in group]) for name in measures),
        ]
        for key, group in groups.items()
    ]
    return markdown_table(["model", *names, "trainings", *measures], lines)


def _mean(values: Sequence[float]) -> str:
    mean = _plain(statistics.fmean(values), 4)
    return mean if len(values) < 2 else f"{mean} ± {_plain(half_width(np.array(values)), 2)}"


def _plain(value: float, digits: int) -> str:
    """Return a number with so many significant digits; a large one without a power of ten."""
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in text else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
