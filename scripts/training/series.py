"""The job `train.py series`: forecast numbers or classify rows of a user's time series.

A series is treated like a recording: rows are observations, targets are actions. So the result is
an ordinary policy, and trainer, stores, exports and audits are those of policies.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from envs.series import TimeSeries, read_series
from envs.series_rows import RowCoder, SeriesRows
from ncp_control.command_line import use_threads
from ncp_control.contract import Contract
from ncp_control.layers import num_parameters
from ncp_control.learning.demonstrations import Demonstrations, DemonstrationWriter
from ncp_control.learning.imitation import imitate, imitation_error, predict_episode
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import Run
from ncp_control.learning.training_state import epochs_done
from ncp_control.policy import Policy
from policies.locomotion import make_policy_for
from scripts.training.contracts import with_origin
from scripts.training.from_expert import fit_scale
from scripts.training.resumption import (
    add_row,
    begun_with,
    label_of,
    open_run,
    relevant_settings,
    seen_time,
    words_of_size,
)
from scripts.training.series_doubts import doubts_of, doubts_of_result, doubts_of_steps
from scripts.training.series_parts import PARTS, cut, cut_at_gaps, digest_of
from scripts.training.series_report import compare, measures_of, unseen_rows, write_report
from scripts.training.series_settings import Series

RECORDED, LAST_RECORDED = "recorded", "last recorded"
"""What the targets of a store are in figures: the latter, if the last known one stands in for an
unknown one."""


def train_series(asked: Series) -> Policy:
    """Split the series, train, and compare with predictors that need no training."""
    settings = begun_with(asked)
    use_threads(settings.threads)
    is_class = settings.task == "classify"
    measures = measures_of(settings.target, has_classes=is_class)
    results = ResultsFile(settings.results, ("parameters", *measures))
    series = read(settings)
    source = {"sha256": digest_of(series), "rows_ahead": settings.rows_ahead}
    check_source(settings, source)
    parts = cut(series, settings)
    warn(cut_at_gaps(parts, settings.max_gap_s, settings.rows_ahead))
    coder = RowCoder.fit(
        parts["train"],
        settings.inputs,
        settings.target,
        settings.rows_ahead,
        has_classes=is_class,
    )
    rows = {name: [coder.rows(one) for one in part] for name, part in parts.items()}
    warn(doubts_of(parts, coder, settings))
    check_rows(rows)
    contract = with_origin(
        Contract(observation=coder.observation, action=coder.action, frame_s=coder.frame_s),
        data=", ".join(path.name for path in settings.data),
    )
    step = -1 if settings.resume is None else epochs_done(settings.resume)
    with open_run(settings, "series", settings.cell, step=step) as run:
        results.place(run.results)
        unseen = {name: unseen_rows(coder, parts[name]) for name in PARTS}
        stores = {
            name: write(
                run.folder / "demonstrations" / name,
                rows[name],
                {
                    **source,
                    "driver": RECORDED if all(map(is_whole, rows[name])) else LAST_RECORDED,
                    "rows_of_unseen_classes": unseen[name].total(),
                },
            )
            for name in PARTS
        }
        warn(doubts_of_steps(stores["train"], settings.imitation))
        policy = learn(contract, stores, settings, run)
        predicted = [
            predict_episode(policy, stores["test"], i)[one.is_labelled]
            for i, one in enumerate(rows["test"])
        ]
        rows = {name: [one.labelled() for one in part] for name, part in rows.items()}
        label = label_of(settings.cell, policy)
        table, measured = compare(label, coder, rows, predicted, unseen["test"])
        row = {"parameters": num_parameters(policy), **measured}
        add_row(results, settings, settings.cell, describe(settings, policy), row)
        write_report(run, coder, table, rows["test"], predicted, unseen["test"])
    print(contract.describe())
    print(f"rows: {', '.join(f'{name} {sum(map(len, rows[name])):,}' for name in PARTS)}")
    print(table)
    print(f"{settings.cell}: {words_of_size(policy)}")
    warn(doubts_of_result(coder, rows, predicted))
    for line in (f"policy: {run.policy}", f"report: {run.report}", f"results: {results.path}"):
        print(line)
    return policy


def is_whole(one: SeriesRows) -> bool:
    """True if all rows have a target."""
    return bool(one.is_labelled.all())


def warn(doubts: Sequence[str]) -> None:
    """Print doubts as warnings, each in its line."""
    for doubt in doubts:
        print(f"warning: {doubt}")


def read(settings: Series) -> list[TimeSeries]:
    """Read the series that the settings name."""
    words = settings.target if settings.task == "classify" else ()
    return read_series(settings.data, time=settings.time, series=settings.series, words=words)


def check_rows(rows: dict[str, list[SeriesRows]]) -> None:
    """Drop series without a target in place, and refuse parts without any.

    Raises:
        ValueError: If no row of a part has a target.
    """
    for name, part in rows.items():
        part[:] = [one for one in part if one.is_labelled.any()]
        if not part:
            raise ValueError(
                f"`target` must be known in some rows of the {name} part, got none. Give more rows,"
                " cut them otherwise (--split, --train-share, --max-gap-s), or choose another"
                " horizon."
            )


def check_source(settings: Series, source: dict[str, Any]) -> None:
    """Raise ValueError if a run that is resumed began with other data."""
    if settings.resume is None:
        return
    found = Demonstrations.find(settings.resume / "demonstrations" / PARTS[0])
    if found is not None and found.source.get("sha256") != source["sha256"]:
        raise ValueError(
            f"`data` must be unchanged since the run began, got other rows in"
            f" {', '.join(map(str, settings.data))}. Start the training anew."
        )


def write(folder: Path, rows: Sequence[SeriesRows], source: dict[str, Any]) -> Demonstrations:
    """Write rows as a store of demonstrations, unless it exists, and open it."""
    found = Demonstrations.find(folder)
    if found is not None:
        return found
    shape, size = rows[0].observations.shape[1:], rows[0].wanted.shape[1]
    with DemonstrationWriter(folder, shape, np.float32, size, source=source) as writer:
        for one in rows:
            writer.append_episode(one.observations, one.wanted, one.dt_s, one.is_labelled)
    return Demonstrations.open(folder)


def learn(
    contract: Contract, stores: dict[str, Demonstrations], settings: Series, run: Run
) -> Policy:
    """Train a policy on the training part, and save the one with the lowest validation error."""
    torch.manual_seed(settings.seed)
    policy = settings.build(
        lambda neurons: make_policy_for(
            contract,
            settings.cell,
            num_neurons=neurons,
            encoder=settings.encoder,
            seed=settings.seed,
            sees_time=stores["train"].is_timed,
            **settings.drawn,
        )
    )
    fit_scale(policy, stores["train"])
    policy.contract = contract
    settings.begin_from(policy, stores["train"], settings.imitation.window, settings.seed)
    policy = imitate(
        policy,
        [stores["train"]],
        dataclasses.replace(settings.imitation, seed=settings.seed),
        run,
        validate=lambda policy: {"score": imitation_error(policy, stores["validation"])},
    )
    policy.contract = contract
    policy.save(run.policy)
    return policy


def describe(settings: Series, policy: Policy) -> str:
    """Return the data and all settings that affect training as one cell of a results file."""
    values = relevant_settings(settings, "data", "cell") | seen_time(policy)
    names = " ".join(path.name for path in settings.data)
    return f"{names} {json.dumps(values, sort_keys=True)}"
