"""Learn from a person's driving: the first part of a recording trains, the last part tests.

A part that cannot judge what was learned, because the person drove straight there or unlike in the
training part, is named before the training and in the report; `envs.recorded.likeness` has the
rules.
"""

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch

from envs.recorded import Recording, load_recording
from envs.recorded.likeness import compare_steering
from ncp_control import files
from ncp_control.cells import Feedforward
from ncp_control.command_line import use_threads
from ncp_control.contract import ActionContract, Contract, FramesContract, View
from ncp_control.json_files import read_json
from ncp_control.learning.demonstrations import Demonstrations, DemonstrationWriter
from ncp_control.learning.imitation import (
    imitate,
    imitation_error,
    predict_episode,
)
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import Run, typed_command
from ncp_control.learning.training_state import epochs_done
from ncp_control.markdown import markdown_table
from ncp_control.policy import Policy
from ncp_control.worlds import read_options
from policies.augmentation import augment_driving, mirrored_entries
from policies.driving import make_driving_policy
from scripts.evaluation.report import write_recorded_report
from scripts.training.contracts import with_bounds, with_origin
from scripts.training.driving_settings import Recorded
from scripts.training.resumption import add_row, begun_with, settings_told

MEASURES: tuple[str, ...] = ("test_mse", "correlation")
"""Columns of the results file: mean squared error of the steering, and its correlation with the
person's (0 for a constant)."""
BEST_CONSTANT = "best constant in hindsight"
RUNS = "runs.json"
"""File in which each run of a job names all of them, in the order of the models."""
CUT_SETTINGS = ("train_share", "validation_share", "smoothing_s")
"""Settings that the errors of constant predictors depend on."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """The three parts of a recording as stores."""

    train: Demonstrations
    validation: Demonstrations
    test: Demonstrations
    frame_s: float


def train_recorded(asked: Recorded) -> None:
    """Train each model on the recording and print its test error beside simple predictors'."""
    settings = begun_with(asked)
    use_threads(settings.threads)
    results = ResultsFile(settings.results, MEASURES)  # refused before the work, if so
    recording = load_recording(
        cast(Path, settings.log), options=read_options(settings.log_options, "log_options")
    )
    parts = cut(recording, settings)
    doubts = find_doubts(recording, settings)
    for doubt in doubts:
        print(f"warning: {doubt}", file=sys.stderr)
    runs = open_runs(settings)
    first = runs[0][0]
    results.place(first.results)
    print("run folders:", *[run.folder for trials in runs for run in trials])
    split = write(parts, first.folder / "demonstrations")
    constants = constant_errors(split)
    measured = {name: (error, 0.0) for name, error in constants.items()}
    contract = contract_of(recording)
    chosen_runs = []
    for model, trials in zip(settings.models, runs, strict=True):
        learned = [
            train_model(model, split, settings, run, contract, mirror=mirror)
            for mirror, run in zip(settings.mirrors, trials, strict=True)
        ]
        chosen = choose(model, learned, split.validation, settings)
        policy, mirror, run = learned[chosen], settings.mirrors[chosen], trials[chosen]
        error = imitation_error(policy, split.test)
        measured[model] = error, correlation(policy, split.test)
        add_constants(results, constants, recording, settings)
        row = dict(zip(MEASURES, measured[model], strict=True))
        add_row(results, settings, model, describe(recording, settings, mirror), row)
        write_recorded_report(run, policy, split.test, error, doubts)
        chosen_runs.append(run)
        for run in trials:
            run.close()
    print(comparison(measured))
    print("policies:", *[run.policy for run in chosen_runs])
    print("reports:", *[run.report for run in chosen_runs])
    print(f"results: {results.path}")


def choose(
    model: str, learned: list[Policy], validation: Demonstrations, settings: Recorded
) -> int:
    """Return which of a model's policies errs least in the validation part, and print why."""
    if len(learned) == 1:
        return 0
    errors = [imitation_error(policy, validation) for policy in learned]
    chosen = int(np.argmin(errors))
    told = ", ".join(
        f"{error:.5f} {'with' if mirror else 'without'}"
        for mirror, error in zip(settings.mirrors, errors, strict=True)
    )
    kept = "mirrored" if settings.mirrors[chosen] else "not mirrored"
    print(f"{model}: {kept}; mean squared error in the validation part {told} mirrored windows")
    return chosen


def open_runs(settings: Recorded) -> list[list[Run]]:
    """Return the runs of each model: those of the job that is gone on with, and new ones.

    A model has a run for each of `settings.mirrors`. Each run has the names of all in its
    runs.json.

    Raises:
        ValueError: If a job to go on with was stopped before the names were written.
    """
    num_trials = len(settings.mirrors)
    models = [model for model in settings.models for _ in range(num_trials)]
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
        # One in which nothing was learned was removed when its job was stopped.
        Run.reopen(folder, step=epochs_done(folder))
        if folder is not None and folder.is_dir()
        else Run.create("recorded", model, new, root=root)
        for model, folder in zip(models, folders, strict=True)
    ]
    names = json.dumps([run.folder.name for run in runs])
    for run in runs:
        files.write_file(run.folder / RUNS, names)
    return [runs[i : i + num_trials] for i in range(0, len(runs), num_trials)]


def find_doubts(recording: Recording, settings: Recorded) -> list[str]:
    """Return why the parts that judge may be bad judges of what the training part teaches."""
    train, validation, test = split_in_time(recording, settings)
    named = {"validation part, which chooses the checkpoint,": validation, "test part": test}
    doubts = [
        doubt for name, part in named.items() for doubt in compare_steering(train, part, name)
    ]
    return list(dict.fromkeys(doubts))


def constant_errors(split: Split) -> dict[str, float]:
    """Return the test errors of predictors that always say the same."""
    target = split.test.actions.astype(np.float64)  # the mean of equal numbers is that number
    constants = {
        "training mean": split.train.actions.mean(axis=0),
        "always straight": 0.0,
        BEST_CONSTANT: target.mean(axis=0),
    }
    return {name: float(np.mean((target - constant) ** 2)) for name, constant in constants.items()}


def add_constants(
    table: ResultsFile, constants: dict[str, float], recording: Recording, settings: Recorded
) -> None:
    """Add the constant predictors to a table, unless it has them for this recording and cut."""
    cut_by = {name: getattr(settings, name) for name in CUT_SETTINGS}
    described = f"{_name(recording)} {json.dumps(cut_by, sort_keys=True)}"
    known = {(row["model"], row["settings"], row["test_mse"]) for row in table.rows()}
    for name, error in constants.items():
        if (name, described, str(error)) not in known:
            row = dict(zip(MEASURES, (error, 0.0), strict=True))
            table.append(name, 0, described, row, typed_command())  # no seed has a say in them


def comparison(measured: dict[str, tuple[float, float]]) -> str:
    """Return the test errors and correlations as a table."""
    best_constant, _ = measured[BEST_CONSTANT]
    rows = [
        [
            name,
            f"{error:.5f}",
            f"{error / best_constant - 1:+.0%}" if best_constant else "–",
            f"{r:.2f}",
        ]
        for name, (error, r) in measured.items()
    ]
    header = ["predictor", "test MSE [action²]", "against the best constant", "correlation"]
    return markdown_table(header, rows)


def _name(recording: Recording) -> str:
    return recording.folder.resolve().name


def describe(recording: Recording, settings: Recorded, mirror: bool) -> str:
    """Return the recording and all settings but models and seed as one cell of the results file.

    Args:
        recording: What was learned from.
        settings: What was asked for.
        mirror: Whether the windows were mirrored in the training that was kept.
    """
    told = settings_told(settings, "log", "models")
    for name in ("neurons", "wiring", "tau_s", "synapses"):  # not told where nothing was asked for
        if told[name] is None:
            told.pop(name)
    told["mirror"] = f"{mirror}, chosen on validation" if settings.mirror is None else mirror
    return f"{_name(recording)} {json.dumps(told, sort_keys=True)}"


def correlation(policy: Policy, store: Demonstrations) -> float:
    """Return the correlation of a policy's steering with the person's over a whole recording.

    It is 0 where either stays the same throughout, which is correlated with nothing.
    """
    steered = [predict_episode(policy, store, i) for i in range(store.num_episodes)]
    both = np.concatenate(steered)[:, 0], store.actions[:, 0]
    return 0.0 if 0.0 in map(np.ptp, both) else float(np.corrcoef(*both)[0, 1])


def contract_of(recording: Recording) -> Contract:
    """Return the contract of a policy that learns from a recording: its frames and its steering.

    A recorded drive says its own.
    """
    if recording.contract is not None:
        return with_origin(recording.contract, data=_name(recording))
    top, bottom = recording.framing.crop
    view = View(crop_top=top, crop_bottom=bottom)
    steering = ActionContract(name="steering", unit=recording.steering_unit, positive="left")
    contract = Contract(
        observation=FramesContract(shape=recording.observation_shape, view=view),
        action=(steering,),
        frame_s=recording.frame_s,
    )
    return with_origin(contract, data=_name(recording))


def train_model(
    model: str, split: Split, settings: Recorded, run: Run, contract: Contract, *, mirror: bool
) -> Policy:
    """Train one model, with mirrored windows or without, and save it in its run folder."""
    torch.manual_seed(settings.seed)
    untrained = make_driving_policy(
        model,
        head=settings.head,
        frame_s=split.frame_s,
        num_units=settings.neurons,
        wiring=settings.wiring,
        seed=settings.seed,
    )
    untrained.contract = contract
    if not isinstance(untrained.circuit.cell, Feedforward):  # which remembers nothing
        settings.begin_from(untrained, split.train, settings.imitation.window, settings.seed)
    policy = imitate(
        untrained,
        [split.train],
        dataclasses.replace(settings.imitation, seed=settings.seed),
        run,
        validate=lambda policy: {"score": imitation_error(policy, split.validation)},
        augment=dataclasses.replace(
            augment_driving, mirrored=mirrored_entries(contract.action) if mirror else ()
        ),
    )
    policy.contract = with_bounds(contract, policy)
    policy.save(run.policy)
    return policy


def split_in_time(
    recording: Recording, settings: Recorded
) -> tuple[Recording, Recording, Recording]:
    """Return what trains, what chooses the checkpoint and what tests, as the person drove it."""
    learn, test = recording.split(settings.train_share)
    train, validation = learn.split(1.0 - settings.validation_share)
    return train, validation, test


def cut(recording: Recording, settings: Recorded) -> dict[str, Recording]:
    """Cut a recording by time, and smooth the steering that is learned."""
    train, validation, test = split_in_time(recording, settings)
    return {
        "train": train.smoothed(settings.smoothing_s),
        "validation": validation.smoothed(settings.smoothing_s),
        "test": test,
    }


def write(parts: dict[str, Recording], folder: Path) -> Split:
    """Write the parts of a recording as stores, those that are not there already."""
    stores = {}
    for name, part in parts.items():
        if Demonstrations.find(folder / name) is None:
            with DemonstrationWriter(
                folder / name, part.observation_shape, np.uint8, 1, source=part.source
            ) as writer:
                part.write(writer)
        stores[name] = Demonstrations.open(folder / name)
    return Split(**stores, frame_s=parts["train"].frame_s)
