"""How the policy of `train.py series` does on the test part: table, measures and report."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from envs.series import USUAL_STEPS, TimeSeries
from envs.series_rows import RowCoder, SeriesRows
from ncp_control import files
from ncp_control.audit.timescales import time_unit
from ncp_control.learning.run import Run
from ncp_control.markdown import markdown_table
from scripts.reporting import Report

CLASS_MEASURES = ("accuracy", "majority")
"""Share of test rows classified correctly; share of test rows of the class that is most frequent in
the training part. Rows of classes that the training part has not are test rows, too."""
SHOWN_ROWS, MOST_LABELS = 500, 12
"""Largest number of rows in the figure, and of its classes that are named."""
LEAST_UNITS = 10
"""Least length of the time axis in its unit."""


def measures_of(targets: Sequence[str], *, has_classes: bool) -> tuple[str, ...]:
    """Return the names of the measures of `compare`.

    Of forecasts: RMSE and mean absolute error in the unit of the target, of each target if there
    are several; and the RMSE divided by that of the last known value, averaged over the targets.
    """
    if has_classes:
        return CLASS_MEASURES
    names = ("",) if len(targets) == 1 else (f"{target} " for target in targets)
    return (*(f"{name}{error}" for name in names for error in ("rmse", "mae")), "of_persistence")


def unseen_rows(coder: RowCoder, series: Sequence[TimeSeries]) -> Counter[str]:
    """Return the classes that the training part has not, with their numbers of rows in series."""
    unknown = set(coder.unknown_classes(series))
    told = (str(name) for one in series if unknown for name in one.columns[coder.targets[0]])
    return Counter(name for name in told if name in unknown)


def compare(
    name: str,
    coder: RowCoder,
    rows: dict[str, list[SeriesRows]],
    answers: Sequence[np.ndarray],
    unseen: Mapping[str, int],
) -> tuple[str, dict[str, float]]:
    """Compare the policy with simple predictors on the test part.

    Args:
        name: Name of the cell.
        coder: Scaling of the targets, and their classes.
        rows: Rows of the series of each part.
        answers: Outputs of the policy for each series of the test part, shape (rows, outputs).
        unseen: Numbers of further test rows, by a class that the training part has not.

    Returns:
        A Markdown table, and the measures of the policy by name.
    """
    wanted = np.concatenate([one.wanted for one in rows["test"]])
    if coder.classes:
        common = most_frequent(rows)
        num_right = (np.concatenate(answers).argmax(axis=1) == wanted[:, 0]).sum()
        num_rows = len(wanted) + sum(unseen.values())
        shares = {
            f"always {coder.classes[common]!r}": float((wanted == common).sum() / num_rows),
            name: float(num_right / num_rows),
        }
        table = markdown_table(
            ["predictor", "accuracy"], [[who, f"{share:.2%}"] for who, share in shares.items()]
        )
        if unseen:
            table += (
                f"\n\n{sum(unseen.values()):,} of {num_rows:,} test rows are of classes that the"
                " training part has not, and count as wrong."
            )
        majority, accuracy = shares.values()
        return table, dict(zip(CLASS_MEASURES, (accuracy, majority), strict=True))
    predicted = {
        **without_inputs(rows),
        "linear in this row": linear(rows),
        name: np.concatenate(answers).clip(-1.0, 1.0),
    }
    errors = {who: coder.unscale(one) - coder.unscale(wanted) for who, one in predicted.items()}
    rmse = {who: np.sqrt((e**2).mean(axis=0)) for who, e in errors.items()}
    both = {who: np.stack([rmse[who], np.abs(e).mean(axis=0)], axis=1) for who, e in errors.items()}
    table = markdown_table(
        ["predictor", *(f"{error} of {one}" for one in coder.targets for error in ("RMSE", "MAE"))],
        [[who, *(f"{value:.4g}" for value in values.flat)] for who, values in both.items()],
    )
    own, kept = rmse[name], rmse["last known value"]
    # For each target, since units may differ. Targets that never change are left out.
    changes = kept > 0.0
    ratio = float(np.mean(own[changes] / kept[changes])) if changes.any() else float("inf")
    names = measures_of(coder.targets, has_classes=False)
    return table, dict(zip(names, (*both[name].ravel().tolist(), ratio), strict=True))


def most_frequent(rows: Mapping[str, Sequence[SeriesRows]]) -> int:
    """Return the number of the class that is most frequent in the training part."""
    learned = np.concatenate([one.wanted[:, 0] for one in rows["train"]])
    return int(np.bincount(learned.astype(int)).argmax())


def without_inputs(rows: Mapping[str, Sequence[SeriesRows]]) -> dict[str, np.ndarray]:
    """Return scaled predictions for the test part that look at no input, by name."""
    mean = np.concatenate([one.wanted for one in rows["train"]]).mean(axis=0)
    last = np.concatenate([one.last_known for one in rows["test"]])
    return {
        "training mean": np.broadcast_to(mean, last.shape),
        "last known value": np.where(np.isfinite(last), last, mean),
    }


def linear(rows: Mapping[str, Sequence[SeriesRows]]) -> np.ndarray:
    """Return predictions for the test part of a linear map of single rows, by least squares."""
    train, test = (
        np.concatenate([one.observations for one in rows[part]]).astype(np.float64)
        for part in ("train", "test")
    )
    wanted = np.concatenate([one.wanted for one in rows["train"]])
    mean, std = train.mean(axis=0), np.maximum(train.std(axis=0), 1e-9)
    train, test = (np.column_stack([(x - mean) / std, np.ones(len(x))]) for x in (train, test))
    return test @ np.linalg.lstsq(train, wanted, rcond=None)[0]


def class_table(
    coder: RowCoder,
    rows: Sequence[SeriesRows],
    answers: Sequence[np.ndarray],
    unseen: Mapping[str, int],
) -> str:
    """Return a Markdown table of the classes in the test part: how each one was classified."""
    wanted = np.concatenate([one.wanted[:, 0] for one in rows]).astype(int)
    said = np.concatenate([outputs.argmax(axis=1) for outputs in answers])
    lines = []
    for k in natural_order(coder.classes):
        counts = np.bincount(said[wanted == k], minlength=len(coder.classes))
        if num_rows := int(counts.sum()):
            share, wrong = counts[k] / num_rows, np.where(np.arange(len(counts)) == k, 0, counts)
            taken_for = coder.classes[int(wrong.argmax())] if wrong.any() else "-"
            lines.append([coder.classes[k], f"{num_rows:,}", f"{share:.1%}", taken_for])
    for name, number in unseen.items():
        lines.append([f"{name} (not in the training part)", f"{number:,}", "0.0%", "-"])
    return markdown_table(["class", "test rows", "correct", "mostly mistaken for"], lines)


def write_report(
    run: Run,
    coder: RowCoder,
    table: str,
    rows: Sequence[SeriesRows],
    answers: Sequence[np.ndarray],
    unseen: Mapping[str, int],
) -> None:
    """Write the table, all predictions for the test part, and a figure of its beginning.

    Beside a prediction are file, line and time of its target, so that it can be joined with the
    data. Rows of `unseen` classes are not among the predictions.
    """
    has_times = any(one.times[0] for one in rows)
    header = [
        "file",
        "series",
        "line",
        *(["time"] if has_times else []),
        *(f"{n} {w}" for n in coder.targets for w in ("true", "predicted")),
    ]
    lines = []
    for one, outputs in zip(rows, answers, strict=True):
        cells = zip(one.lines.tolist(), one.times.tolist(), one.wanted, outputs, strict=True)
        for line, time, wanted, output in cells:
            if coder.classes:
                pair = [coder.classes[int(wanted[0])], coder.classes[int(output.argmax())]]
            else:
                both = coder.unscale(np.stack([wanted, output.clip(-1.0, 1.0)]))
                pair = both.T.ravel().tolist()
            lines.append([one.file, one.name, line, *([time] if has_times else []), *pair])
    with files.new_folder(run.report) as folder:
        report = Report(folder, run, run.folder.name)
        report.say("Test part:", table)
        if coder.classes:
            report.say(class_table(coder, rows, answers, unseen))
        report.table("predictions.csv", header, lines)
        report.figure("test", draw(coder, rows, answers), caption(rows))
        report.write()


def caption(rows: Sequence[SeriesRows]) -> str:
    """Describe which rows of the test part `draw` shows."""
    num_rows = max(map(len, rows))
    part = "the test part" if len(rows) == 1 else "the longest series of the test part"
    some = f"The first {SHOWN_ROWS:,} of {num_rows:,} rows of {part}"
    return some if num_rows > SHOWN_ROWS else part.capitalize()


def draw(coder: RowCoder, rows: Sequence[SeriesRows], answers: Sequence[np.ndarray]) -> Figure:
    """Plot targets and predictions over time for the longest series, at most `SHOWN_ROWS` rows."""
    longest = int(np.argmax([len(one) for one in rows]))
    series, outputs = rows[longest], answers[longest][:SHOWN_ROWS]
    time_s, wanted = series.time_s[:SHOWN_ROWS], series.wanted[:SHOWN_ROWS]
    figure = Figure(figsize=(9.0, 2.2 * len(coder.targets) + 0.6), layout="constrained")
    panels = figure.subplots(len(coder.targets), 1, sharex=True, squeeze=False)[:, 0]
    if coder.classes:
        order = natural_order(coder.classes)
        pairs = np.stack([wanted[:, 0].astype(int), outputs.argmax(axis=1)], axis=1)[:, :, None]
        pairs = np.argsort(order)[pairs].astype(float)
    else:
        pairs = coder.unscale(np.stack([wanted, outputs.clip(-1.0, 1.0)], axis=1))
    steps_s = np.diff(time_s)
    usual_s = float(np.median(steps_s)) if len(steps_s) else 0.0
    gaps = np.flatnonzero(steps_s > USUAL_STEPS * usual_s) + 1
    unit = time_unit((time_s[-1] - time_s[0]) / LEAST_UNITS)
    times = np.insert(time_s, gaps, np.nan) / unit.seconds
    pairs = np.insert(pairs, gaps, np.nan, axis=0)  # a line is not drawn across a gap
    for i, (axes, target) in enumerate(zip(panels, coder.targets, strict=True)):
        axes.plot(times, pairs[:, 0, i], label="true", color="0.6", linewidth=2.0)
        axes.plot(times, pairs[:, 1, i], label="predicted", linewidth=1.0)
        axes.set_ylabel(target)
        if coder.classes:
            shown = range(0, len(order), -(-len(order) // MOST_LABELS))
            axes.set_yticks(shown, [coder.classes[order[place]] for place in shown])
    panels[0].legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
    panels[-1].set_xlabel(f"time since the first row of the series [{unit.name}]")
    return figure


def natural_order(names: Sequence[str]) -> list[int]:
    """Return the indices that sort names with numbers in them as a person would: a2 before a10."""
    return sorted(range(len(names)), key=lambda i: _natural(names[i]))


def _natural(name: str) -> list[tuple[float, str]]:
    """Return what a name is sorted by: its numbers, and the texts between them."""
    try:
        return [(float(name), "")]
    except ValueError:
        parts = re.split(r"(\d+)", name)
        return [(float(part), "") if part.isdecimal() else (math.inf, part) for part in parts]
