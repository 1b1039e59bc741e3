"""The job `train.py recorded`: learn a person's driving from recordings.

The first model is trained in every way that the settings leave open (`scripts.training.ways`), the
others in the way with the smallest validation error. They are compared with simple predictors
(`scripts.training.simple_predictors`).

A validation or test part that cannot judge the result, because the person drove straight there or
unlike in the training part, is named before training and in the report; `envs.recorded.likeness`
has the rules.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from envs.recorded import Recording
from envs.recorded.parts import PARTS
from ncp_control import files
from ncp_control.cells import Feedforward
from ncp_control.command_line import use_threads
from ncp_control.contract import Contract
from ncp_control.json_files import read_json
from ncp_control.layers import num_parameters
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.learning.imitation import (
    error_of,
    imitate,
    imitation_error,
    predict_all,
)
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import Run, typed_command
from ncp_control.learning.training_state import epochs_done
from ncp_control.policy import Policy
from ncp_control.policy.heads import frames_together
from ncp_control.records import entries_of, frames_part, record_frame
from policies.augmentation import FrameAugmentation, steering_signs
from policies.driving import NEURONS, UNITS, make_driving_policy
from policies.locomotion import make_policy_for
from scripts.evaluation.recorded import errors_table
from scripts.evaluation.report import write_recorded_report
from scripts.training.from_expert import fit_scale
from scripts.training.recorded_settings import Recorded
from scripts.training.recordings import (
    SplitStores,
    contract_of_recordings,
    load,
    name_of,
    seeing_together,
    tell,
    words_of_split,
    write,
)
from scripts.training.resumption import (
    add_row,
    begun_with,
    label_of,
    relevant_settings,
    seen_time,
    words_of_size,
)
from scripts.training.settings import check_needs_no_frames
from scripts.training.simple_predictors import comparison, correlation_of, simple_errors
from scripts.training.ways import (
    LARGEST_SHIFT,
    Way,
    balancing_weight,
    smoothed,
    ways_of,
    with_ways_that_fit,
)

MEASURES: tuple[str, ...] = ("test_mse", "correlation")
"""Errors in the results file: mean squared error over all actions, and correlation of the first
action with that of the person (0 for a constant)."""
COLUMNS = ("parameters", *MEASURES)
"""Measured columns of the results file; simple predictors have no number of parameters."""
RUNS = "runs.json"
"""File in each run folder with the names of all run folders of the job, in the order of the
models."""
CUT_SETTINGS = ("train_share", "validation_share")
"""Settings that affect the errors of the simple predictors."""


def train_recorded(asked: Recorded) -> None:
    """Train each model on the recordings, and compare its test error with simple predictors."""
    settings = begun_with(asked)
    use_threads(settings.threads)
    results = ResultsFile(settings.results, COLUMNS)  # fails before the work, not after it
    recordings, parts, doubts = load(settings)
    contract = seeing_together(contract_of_recordings(recordings), frames_together(settings.head))
    if frames_part(contract.observation) is None:
        for model in settings.models:
            check_needs_no_frames(model, setting="models")
    settings = with_ways_that_fit(settings, contract)
    tell(recordings, doubts, settings)
    runs = open_runs(settings)
    first = runs[0][0]
    results.place(first.results)
    print("run folders:", *[run.folder for trials in runs for run in trials])
    split = write(parts, first.folder / "demonstrations", settings.frames_as)
    counts = [f"{len(getattr(split, name).actions):,} {name}" for name in PARTS]
    print("frames:", ", ".join(counts))
    simple = simple_errors(split.train, split.validation, split.test)
    measured, sizes = dict(simple), []
    stores, ways, chosen_runs = split.for_contract(contract), ways_of(settings), []
    for model, trials in zip(settings.models, runs, strict=True):
        learned = [
            train_model(model, stores, settings, run, contract, way=way)
            for way, run in zip(ways, trials, strict=True)
        ]
        chosen = choose(model, learned, ways, stores.validation)
        policy, run, ways = learned[chosen], trials[chosen], ways[chosen : chosen + 1]
        predicted = predict_all(policy, stores.test)
        error = error_of(policy, predicted, stores.test)
        errors_of_model = error, correlation_of(predicted, stores.test.actions)
        measured[label_of(model, policy)] = errors_of_model
        add_simple(results, simple, recordings, settings)
        sizes.append(f"{model}: {words_of_size(policy)}")
        row = {"parameters": num_parameters(policy)} | dict(
            zip(MEASURES, errors_of_model, strict=True)
        )
        described = describe(recordings, settings, ways[0], policy)
        add_row(results, settings, model, described, row)
        errors = errors_table("policy", policy, predicted, stores.test, contract.action)
        write_recorded_report(run, policy, stores.test, errors, doubts)
        chosen_runs.append(run)
    print(comparison(measured, contract.action))
    print(*sizes, sep="\n")
    print("policies:", *[run.policy for run in chosen_runs])
    print("reports:", *[run.report for run in chosen_runs])
    print(f"results: {results.path}")


def choose(
    model: str, learned: list[Policy], ways: Sequence[Way], validation: Demonstrations
) -> int:
    """Return the index of the policy with the least validation error, and print all errors."""
    if len(learned) == 1:
        return 0
    errors = [imitation_error(policy, validation) for policy in learned]
    chosen = int(np.argmin(errors))
    text = ", ".join(f"{error:.5f} {way}" for way, error in zip(ways, errors, strict=True))
    print(f"{model}: kept {ways[chosen]}; mean squared error in the validation part {text}")
    return chosen


def open_runs(settings: Recorded) -> list[list[Run]]:
    """Return the runs of each model: new ones, or those of the job to be resumed.

    The first model has a run for each way, the others one each. Each run has the names of all runs
    in its runs.json.

    Raises:
        ValueError: If the job to be resumed was stopped before runs.json was written.
    """
    first, *others = settings.models
    num_trials = len(ways_of(settings))
    models = [first] * num_trials + others
    folders: list[Path | None] = [None] * len(models)
    root = settings.runs if settings.resume is None else settings.resume.parent
    if settings.resume is not None:
        try:
            names = read_json(settings.resume / RUNS, max_bytes=1_000_000)
            folders = [root / name for name in names]
        except (FileNotFoundError, TypeError, ValueError):
            folders = []
        if len(folders) != len(models):
            raise ValueError(
                f"`resume` must be a run of which all models had begun, got"
                f" {str(settings.resume)!r} without a whole {RUNS}. Start the training anew."
            )
    new = dataclasses.replace(settings, resume=None)
    runs = [
        # A run without results was removed when its job was stopped.
        Run.reopen(folder, step=epochs_done(folder))
        if folder is not None and folder.is_dir()
        else Run.create("recorded", model, new, root=root)
        for model, folder in zip(models, folders, strict=True)
    ]
    names = json.dumps([run.folder.name for run in runs])
    for run in runs:
        files.write_file(run.folder / RUNS, names)
    return [runs[:num_trials], *([run] for run in runs[num_trials:])]


def add_simple(
    table: ResultsFile,
    simple: dict[str, tuple[float, float]],
    recordings: Sequence[Recording],
    settings: Recorded,
) -> None:
    """Add the simple predictors to a table, unless it has them for the same recordings and split.

    Args:
        table: The table.
        simple: Mean squared error and correlation of each predictor.
        recordings: The recordings.
        settings: Settings of the job.
    """
    cut_by = {name: getattr(settings, name) for name in CUT_SETTINGS}
    if words := words_of_split(recordings, settings):
        cut_by = {"parts": words}
    described = f"{name_of(recordings)} {json.dumps(cut_by, sort_keys=True)}"
    known = {(row["model"], row["settings"], row["test_mse"]) for row in table.rows()}
    for name, values in simple.items():
        if (name, described, str(values[0])) not in known:
            row = {"parameters": "", **dict(zip(MEASURES, values, strict=True))}
            table.append(name, 0, described, row, typed_command())  # they depend on no seed


def describe(recordings: Sequence[Recording], settings: Recorded, way: Way, policy: Policy) -> str:
    """Return recordings and all settings but models and seed as one cell of the results file.

    Args:
        recordings: The recordings.
        settings: Settings of the job.
        way: The way in which the kept policy was trained.
        policy: That policy.
    """
    values = relevant_settings(settings, "log", "models") | seen_time(policy)
    values = {k: v for k, v in values.items() if v or k not in ("actions", "inputs")}
    del values["use_parts"]
    if words := words_of_split(recordings, settings):
        values = {k: v for k, v in values.items() if k not in CUT_SETTINGS} | {"parts": words}
    for name, value in dataclasses.asdict(way).items():
        values[name] = f"{value}, chosen on validation" if values[name] is None else value
    return f"{name_of(recordings)} {json.dumps(values, sort_keys=True)}"


def train_model(
    model: str, split: SplitStores, settings: Recorded, run: Run, contract: Contract, *, way: Way
) -> Policy:
    """Train one model in one way and save it in its run folder."""
    torch.manual_seed(settings.seed)
    untrained = make_untrained(model, split, settings, contract)
    if not isinstance(untrained.circuit.cell, Feedforward):  # which remembers nothing
        settings.begin_from(untrained, split.train, settings.imitation.window, settings.seed)
    steered = tuple(steering_signs(contract.action))
    asked = dataclasses.replace(settings.imitation, seed=settings.seed)
    if way.balance:
        alpha = balancing_weight(split.train, steered)
        asked = dataclasses.replace(asked, turn_weight=alpha, turn_entries=steered)
    policy = imitate(
        untrained,
        [smoothed(split.train, way.smoothing_s, split.frame_s, steered)],
        asked,
        run,
        validate=lambda policy: {"score": imitation_error(policy, split.validation)},
        augment=augmentation(contract, way),
    )
    policy.contract = contract
    policy.save(run.policy)
    return policy


def make_untrained(
    model: str, split: SplitStores, settings: Recorded, contract: Contract
) -> Policy:
    """Build an untrained policy for frames, numbers or both."""
    asked: dict[str, Any] = {**settings.drawn, "seed": settings.seed}
    asked["sees_time"] = split.train.is_timed
    frames = frames_part(contract.observation)

    def make(neurons: int | None) -> Policy:
        if frames is None:
            size = NEURONS.get(model, UNITS) if neurons is None else neurons
            return make_policy_for(contract, model, num_neurons=size, **asked)
        return make_driving_policy(
            model,
            head=settings.head,
            frame_s=contract.frame_s,
            num_units=neurons,
            num_actions=len(contract.action),
            numbers=len(entries_of(contract.observation)),
            frame_shape=frames.shape,
            **asked,
        )

    policy = settings.build(make)
    fit_scale(policy, split.train)
    policy.contract = contract
    return policy


def augmentation(contract: Contract, way: Way) -> FrameAugmentation | None:
    """Return the augmentation of training windows; None if there are no frames."""
    if frames_part(contract.observation) is None:
        return None
    steered = steering_signs(contract.action)
    return FrameAugmentation(
        is_relit=True,
        mirrored=tuple(steered) if way.mirror else (),
        steered=steered,
        largest_move=LARGEST_SHIFT if way.shift else 0.0,
        record_frame=record_frame(contract.observation),
    )
