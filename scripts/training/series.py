"""The job `train.py series`: forecast numbers or classify rows of a user's time series.

A series is treated like a recording: rows are observations, targets are actions. So the result is
an ordinary policy, and trainer, stores, exports and audits are those of policies.
"""

import dataclasses
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from envs.series import TimeSeries, read_series
from envs.series_rows import RowCoder, SeriesRows
from ncp_control import files
from ncp_control.command_line import use_threads
from ncp_control.contract import Contract
from ncp_control.learning.demonstrations import Demonstrations, DemonstrationWriter
from ncp_control.learning.imitation import imitate, imitation_error, predict_episode
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import Run
from ncp_control.learning.training_state import epochs_done
from ncp_control.markdown import markdown_table
from ncp_control.policy import Policy, VectorPolicy
from policies.locomotion import make_policy_for
from scripts.reporting import Report
from scripts.training.contracts import with_bounds, with_origin
from scripts.training.resumption import add_row, begun_with, open_run, relevant_settings
from scripts.training.series_settings import Series

FORECAST_MEASURES = ("rmse", "mae", "of_persistence")
"""RMSE and mean absolute error in the units of the targets, averaged over the targets; and the RMSE
divided by that of the last known value, computed for each target and then averaged."""
CLASS_MEASURES = ("accuracy", "majority")
"""Share of test rows classified correctly; share of test rows of the class that is most frequent in
the training part."""
PARTS = ("train", "validation", "test")
SHOWN_ROWS = 500
Parts = dict[str, list[TimeSeries]]


def train_series(asked: Series) -> Policy:
    """Split the series, train, and compare with predictors that need no training."""
    settings = begun_with(asked)
    use_threads(settings.threads)
    is_class = settings.task == "classify"
    results = ResultsFile(settings.results, CLASS_MEASURES if is_class else FORECAST_MEASURES)
    parts = cut(read(settings), settings)
    coder = RowCoder.fit(
        parts["train"],
        settings.inputs,
        settings.target,
        settings.rows_ahead,
        has_classes=is_class,
    )
    rows = {name: [coder.rows(one) for one in part] for name, part in parts.items()}
    unseen = unseen_columns(parts["train"][0], coder, settings)
    if unseen:
        print(
            f"warning: not seen, since they hold no numbers: {', '.join(unseen)}. Name a column of"
            " times with --time; write words as numbers to have them seen"
        )
    if clocks := clock_columns(parts["train"], coder, settings):
        print(
            f"warning: inputs that rise in every row, as a clock does: {', '.join(clocks)}. Name a"
            " column of times with --time; with --inputs, name the columns to be seen"
        )
    unknown = coder.unknown_classes(parts["validation"] + parts["test"])
    if unknown:
        names = ", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else "")
        print(f"warning: rows of classes that the training part has not are left out: {names}")
    check_rows(rows)
    contract = with_origin(
        Contract(observation=coder.observation, action=coder.action, frame_s=coder.frame_s),
        data=", ".join(path.name for path in settings.data),
    )
    step = -1 if settings.resume is None else epochs_done(settings.resume)
    with open_run(settings, "series", settings.cell, step=step) as run:
        results.place(run.results)
        stores = {name: write(run.folder / "demonstrations" / name, rows[name]) for name in PARTS}
        policy = learn(contract, stores, settings, run)
        predicted = [predict_episode(policy, stores["test"], i) for i in range(len(rows["test"]))]
        table, measured = compare(settings.cell, coder, rows, predicted)
        add_row(results, settings, settings.cell, describe(settings), measured)
        write_report(run, coder, table, rows["test"], predicted)
    print(contract.describe())
    print(f"rows: {', '.join(f'{name} {sum(map(len, rows[name])):,}' for name in PARTS)}")
    print(table)
    for line in (f"policy: {run.policy}", f"report: {run.report}", f"results: {results.path}"):
        print(line)
    return policy


def read(settings: Series) -> list[TimeSeries]:
    """Read the series that the settings name."""
    words = settings.target if settings.task == "classify" else ()
    return read_series(settings.data, time=settings.time, series=settings.series, words=words)


def cut(series: Sequence[TimeSeries], settings: Series) -> Parts:
    """Split every series in time, or assign whole series to the parts in their given order."""
    ends = (settings.train_share, settings.train_share + settings.validation_share, 1.0)
    parts: Parts = {name: [] for name in PARTS}
    if settings.split == "series":
        if len(series) < len(PARTS):
            raise ValueError(
                f"`split` must be 'time' for fewer than {len(PARTS)} series, got {len(series)}."
                " Name the column that tells them apart with --series."
            )
        # At least one series for each part.
        first = min(max(round(ends[0] * len(series)), 1), len(series) - 2)
        second = min(max(round(ends[1] * len(series)), first + 1), len(series) - 1)
        bounds = (0, first, second, len(series))
        for name, (begin, end) in zip(PARTS, pairwise(bounds), strict=True):
            parts[name] += series[begin:end]
        return parts
    for one in series:
        bounds = [0, *(round(end * len(one)) for end in ends)]
        for name, (begin, end) in zip(PARTS, pairwise(bounds), strict=True):
            parts[name].append(one[begin:end])
    return parts


def unseen_columns(one: TimeSeries, coder: RowCoder, settings: Series) -> list[str]:
    """Return the columns that are not used although the settings name no inputs."""
    used = {*coder.inputs, *coder.targets}
    return [] if settings.inputs else [name for name in one.columns if name not in used]


def clock_columns(series: Sequence[TimeSeries], coder: RowCoder, settings: Series) -> list[str]:
    """Return the inputs that rise in every row; none if the settings name inputs or the time.

    A policy that sees a clock learns when something was recorded; the test part is always later.
    """
    if settings.inputs or settings.time is not None:
        return []
    long = [one.columns for one in series if len(one) > 2]
    return [
        name
        for name in coder.inputs
        if long and all((np.diff(columns[name]) > 0.0).all() for columns in long)
    ]


def check_rows(rows: dict[str, list[SeriesRows]]) -> None:
    """Drop series without rows in place, and refuse parts without rows.

    Raises:
        ValueError: If no row of a part has a target.
    """
    for name, part in rows.items():
        part[:] = [one for one in part if len(one)]
        if not part:
            raise ValueError(
                f"`target` must be known in some rows of the {name} part, got none. Give more rows,"
                " cut them otherwise (--split, --train-share), or choose another horizon."
            )


def write(folder: Path, rows: Sequence[SeriesRows]) -> Demonstrations:
    """Write rows as a store of demonstrations, unless it exists, and open it."""
    found = Demonstrations.find(folder)
    if found is not None:
        return found
    shape, size = rows[0].observations.shape[1:], rows[0].wanted.shape[1]
    with DemonstrationWriter(folder, shape, np.float32, size) as writer:
        for one in rows:
            writer.append_episode(one.observations, one.wanted, one.dt_s)
    return Demonstrations.open(folder)


def learn(
    contract: Contract, stores: dict[str, Demonstrations], settings: Series, run: Run
) -> Policy:
    """Train a policy on the training part, and save the one with the lowest validation error."""
    torch.manual_seed(settings.seed)
    policy = make_policy_for(
        contract,
        settings.cell,
        num_neurons=settings.neurons,
        encoder=settings.encoder,
        seed=settings.seed,
        **settings.drawn,
    )
    assert isinstance(policy, VectorPolicy)
    policy.fit_scale(torch.from_numpy(np.array(stores["train"].observations)))
    policy.contract = contract
    settings.begin_from(policy, stores["train"], settings.imitation.window, settings.seed)
    policy = imitate(
        policy,
        [stores["train"]],
        dataclasses.replace(settings.imitation, seed=settings.seed),
        run,
        validate=lambda policy: {"score": imitation_error(policy, stores["validation"])},
    )
    policy.contract = with_bounds(contract, policy)
    policy.save(run.policy)
    return policy


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


def describe(settings: Series) -> str:
    """Return the data and all settings that affect training as one cell of a results file."""
    values = relevant_settings(settings, "data", "cell")
    names = " ".join(path.name for path in settings.data)
    return f"{names} {json.dumps(values, sort_keys=True)}"


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
