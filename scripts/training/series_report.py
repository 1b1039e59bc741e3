"""How the policy of `train.py series` does on the test part: table, measures and report."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from envs.series_rows import RowCoder, SeriesRows
from ncp_control import files
from ncp_control.learning.run import Run
from ncp_control.markdown import markdown_table
from scripts.reporting import Report

FORECAST_MEASURES = ("rmse", "mae", "of_persistence")
"""RMSE and mean absolute error in the units of the targets, averaged over the targets; and the RMSE
divided by that of the last known value, computed for each target and then averaged."""
CLASS_MEASURES = ("accuracy", "majority")
"""Share of test rows classified correctly; share of test rows of the class that is most frequent in
the training part."""
SHOWN_ROWS = 500


def compare(
    name: str, coder: RowCoder, rows: dict[str, list[SeriesRows]], answers: Sequence[np.ndarray]
) -> tuple[str, dict[str, float]]:
    """Compare the policy with simple predictors on the test part.

    Args:
        name: Name of the cell.
        coder: Scaling of the targets, and their classes.
        rows: Rows of the series of each part.
        answers: Outputs of the policy for each series of the test part, shape (rows, outputs).

    Returns:
        A Markdown table, and the measures of the policy by name.
    """
    wanted = np.concatenate([one.wanted for one in rows["test"]])
    learned = np.concatenate([one.wanted for one in rows["train"]])
    if coder.classes:
        common = np.bincount(learned[:, 0].astype(int)).argmax()
        accuracy = float(np.mean(np.concatenate(answers).argmax(axis=1) == wanted[:, 0]))
        majority = float(np.mean(wanted == common))
        shares = {f"always {coder.classes[common]!r}": majority, name: accuracy}
        table = markdown_table(
            ["predictor", "accuracy"], [[who, f"{share:.2%}"] for who, share in shares.items()]
        )
        return table, dict(zip(CLASS_MEASURES, (accuracy, majority), strict=True))
    last = np.concatenate([one.last_known for one in rows["test"]])
    predicted = {
        "training mean": np.broadcast_to(learned.mean(axis=0), wanted.shape),
        "last known value": np.where(np.isfinite(last), last, learned.mean(axis=0)),
        "linear in this row": linear(rows),
        name: np.concatenate(answers).clip(-1.0, 1.0),
    }
    errors = {who: coder.unscale(one) - coder.unscale(wanted) for who, one in predicted.items()}
    rmse = {who: np.sqrt((e**2).mean(axis=0)) for who, e in errors.items()}
    table = markdown_table(
        ["predictor", *(f"RMSE of {target}" for target in coder.targets), "mean absolute error"],
        [
            [who, *(f"{v:.4g}" for v in rmse[who]), f"{np.abs(errors[who]).mean():.4g}"]
            for who in predicted
        ],
    )
    own, kept = rmse[name], rmse["last known value"]
    # For each target, since units may differ. Targets that never change are left out.
    changes = kept > 0.0
    ratio = float(np.mean(own[changes] / kept[changes])) if changes.any() else float("inf")
    values = (float(own.mean()), float(np.abs(errors[name]).mean()), ratio)
    return table, dict(zip(FORECAST_MEASURES, values, strict=True))


def linear(rows: dict[str, list[SeriesRows]]) -> np.ndarray:
    """Return predictions for the test part of a linear map of single rows, by least squares."""
    train, test = (
        np.concatenate([one.observations for one in rows[part]]).astype(np.float64)
        for part in ("train", "test")
    )
    wanted = np.concatenate([one.wanted for one in rows["train"]])
    mean, std = train.mean(axis=0), np.maximum(train.std(axis=0), 1e-9)
    train, test = (np.column_stack([(x - mean) / std, np.ones(len(x))]) for x in (train, test))
    return test @ np.linalg.lstsq(train, wanted, rcond=None)[0]


def write_report(
    run: Run, coder: RowCoder, table: str, rows: Sequence[SeriesRows], answers: Sequence[np.ndarray]
) -> None:
    """Write the table, all predictions for the test part, and a figure of its beginning.

    Times are those of the targets, from the beginning of the test part of each series.
    """
    header = [
        "series",
        "time_s",
        *(f"{n} {w}" for n in coder.targets for w in ("true", "predicted")),
    ]
    lines = []
    for one, outputs in zip(rows, answers, strict=True):
        for time_s, wanted, output in zip(one.time_s, one.wanted, outputs, strict=True):
            if coder.classes:
                cells = [coder.classes[int(wanted[0])], coder.classes[int(output.argmax())]]
            else:
                pairs = coder.unscale(np.stack([wanted, output.clip(-1.0, 1.0)]))
                cells = [float(v) for v in pairs.T.flatten()]
            lines.append([one.name, float(time_s), *cells])
    with files.new_folder(run.report) as folder:
        report = Report(folder, run, run.folder.name)
        report.say("Test part:", table)
        report.table("predictions.csv", header, lines)
        report.figure("test", draw(coder, rows, answers), "The longest series of the test part")
        report.write()


def draw(coder: RowCoder, rows: Sequence[SeriesRows], answers: Sequence[np.ndarray]) -> Figure:
    """Plot targets and predictions over time for the longest series, at most `SHOWN_ROWS` rows."""
    longest = int(np.argmax([len(one) for one in rows]))
    series, outputs = rows[longest], answers[longest][:SHOWN_ROWS]
    time_s = series.time_s[:SHOWN_ROWS]
    wanted = series.wanted[:SHOWN_ROWS]
    figure = Figure(figsize=(9.0, 2.2 * len(coder.targets) + 0.6), layout="constrained")
    panels = figure.subplots(len(coder.targets), 1, sharex=True, squeeze=False)[:, 0]
    if coder.classes:
        pairs = np.stack([wanted[:, 0], outputs.argmax(axis=1)], axis=1)[:, :, None]
    else:
        pairs = coder.unscale(np.stack([wanted, outputs.clip(-1.0, 1.0)], axis=1))
    for i, (axes, target) in enumerate(zip(panels, coder.targets, strict=True)):
        axes.plot(time_s, pairs[:, 0, i], label="true", color="0.6", linewidth=2.0)
        axes.plot(time_s, pairs[:, 1, i], label="predicted", linewidth=1.0)
        axes.set_ylabel(target)
        if coder.classes:
            axes.set_yticks(range(len(coder.classes)), coder.classes)
    panels[0].legend(loc="upper right")
    panels[-1].set_xlabel("time [s]")
    return figure
