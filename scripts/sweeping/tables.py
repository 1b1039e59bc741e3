"""Tables of a sweep, built from the folders of its trials, so that no row is lost or doubled."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ncp_control import files
from ncp_control.learning.results import KEY, PROVENANCE, Row
from ncp_control.markdown import markdown_table
from ncp_control.returns import half_width
from scripts.reporting import csv_text
from scripts.sweeping.trials import DONE, FAILED, PRUNED, Curve, Trial, told_apart

_INTERVALS = ("half_width", "halfwidth", "_low", "_high")
"""Suffixes of measures that are confidence intervals within one training run."""
_STATES = {"finished": DONE, "failed": FAILED, "pruned": PRUNED}
"""State of the trials that a column counts."""
UNKNOWN = "–"
"""Cell of a table without a value."""


def all_rows(trials: Sequence[Trial]) -> list[Row]:
    """Return the rows of all trials that are done: number, values of settings, and measures."""
    return [
        {"trial": str(trial.number), **_values_of(trial), **row}
        for trial in trials
        if trial.is_done
        for row in trial.rows()
    ]


def rows_of_trials(trials: Sequence[Trial], curve: Curve) -> list[Row]:
    """Return a row for each trial that has ended: values of settings, how it ended, and why."""
    return [
        {
            "trial": str(trial.number),
            **_values_of(trial),
            "state": trial.outcome["state"],
            curve.name: str(score) if math.isfinite(score := trial.best(curve)[1]) else "",
            "reason": trial.outcome["reason"],
        }
        for trial in trials
        if trial.outcome is not None
    ]


def _values_of(trial: Trial) -> Row:
    return {name: str(value) for name, value in trial.values.items()}


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as a table; do nothing if there are no rows."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if rows:
        table = [[row.get(name, "") for name in columns] for row in rows]
        files.write_file(path, csv_text(columns, table))


def summary(rows: Sequence[Row], ended: Sequence[Row], names: Sequence[str]) -> str:
    """Return a table with means over the seeds, one row for each model and combination of values.

    A mean is that of the finished trials, followed by half the width of its 95 % t interval. If no
    trial of a combination finished, its row has no means.

    Args:
        rows: Rows from `all_rows`.
        ended: Rows from `rows_of_trials`.
        names: Settings that distinguish the trials.
    """
    names = [name for name in names if name != "seed"]
    keys = {row["trial"]: tuple(row[name] for name in names) for row in ended}
    states: dict[tuple[str, ...], Counter[str]] = {key: Counter() for key in keys.values()}
    for row in ended:
        states[keys[row["trial"]]][row["state"]] += 1
    groups: dict[tuple[str, ...], dict[str, list[Row]]] = {key: {} for key in states}
    for row in rows:
        groups[keys[row["trial"]]].setdefault(row["model"], []).append(row)
    # The model is mostly the cell, and has a column of its own.
    as_model = [name for name in names if rows and all(row[name] == row["model"] for row in rows)]
    shown = [name for name in names if name not in as_model]
    measures = measures_of(rows, names)
    texts = {name: told_apart(row[name] for row in ended) for name in shown}
    lines = []
    for key, of_model in groups.items():
        values = dict(zip(names, key, strict=True))
        model = values[as_model[0]] if as_model else UNKNOWN
        for name, group in (of_model or {model: []}).items():
            lines.append([name, *(texts[one][values[one]] for one in shown)])
            lines[-1] += [str(states[key][state]) for state in _STATES.values()]
            lines[-1] += [
                mean([float(row[one]) for row in group if row.get(one)]) for one in measures
            ]
    return markdown_table(["model", *shown, *_STATES, *measures], lines)


def measures_of(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """Return the columns of measures, without their intervals: numbers in all rows that have them.

    The rows of simple predictors have no number of parameters.
    """
    left_out = {"trial", "seed", *KEY, *PROVENANCE, *names}
    measures = dict.fromkeys(k for row in rows for k in row if k not in left_out)
    values = {name: [row[name] for row in rows if row.get(name)] for name in measures}
    return [
        name
        for name, present in values.items()
        if not name.endswith(_INTERVALS) and present and all(map(_is_number, present))
    ]


def mean(values: Sequence[float]) -> str:
    """Return the mean of values ± half the width of its 95 % t interval."""
    if not values:
        return UNKNOWN
    text = _plain(statistics.fmean(values), 4)
    return text if len(values) < 2 else f"{text} ± {_plain(half_width(np.array(values)), 2)}"


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
