"""Learn from a person's driving: the first part of a recording trains, the last part tests.

A part that cannot judge what was learned, because the person drove straight there or unlike in the
training part, is named before the training and in the report; `envs.recorded.likeness` has the
rules.
"""

import dataclasses
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import torch

from envs.recorded import Recording, load_recording
from envs.recorded.likeness import compare_steering
from ncp_control import files
from ncp_control.cells import CELLS
from ncp_control.contract import ActionContract, Contract, FramesContract, View
from ncp_control.json_files import read_json
from ncp_control.learning.demonstrations import Demonstrations, DemonstrationWriter
from ncp_control.learning.imitation import (
    ImitationConfig,
    imitate,
    imitation_error,
    predict_episode,
)
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import Run, typed_command
from ncp_control.learning.training_state import epochs_done
from ncp_control.policy import Policy
from ncp_control.policy.heads import HEADS
from ncp_control.ranges import check_at_least, check_given, check_not_negative, check_part
from ncp_control.wiring_rules import WIRINGS
from policies.augmentation import augment_driving
from policies.driving import make_driving_policy
from scripts.cli import use_threads
from scripts.evaluation.report import write_recorded_report
from scripts.markdown import markdown_table
from scripts.options import one_of
from scripts.training.contracts import with_bounds, with_origin
from scripts.training.resumption import add_row, begun_with


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Learn from a person's driving: an Udacity-simulator log or a Donkeycar tub.

    The first part of the recording trains, the last part tests; nothing is shuffled across.
    """

    log: Path | None = None
    """Folder of the recording: the one with driving_log.csv, manifest.json or record_N.json, or
    what a reader of your own recognises."""
    models: Annotated[tuple[str, ...], one_of("cell")] = ("ncp", "cnn", "lstm")
    """Circuits to train, one after the other."""
    neurons: int | None = None
    """Neurons of a wired circuit, units of any other; 19 and 64 by default."""
    wiring: Annotated[str | None, one_of("wiring")] = None
    """Wiring of a wired circuit; that of the paper by default."""
    head: Annotated[str, one_of("head")] = "light"
    """Conv head: light has 18,072 parameters, paper 79,420."""
    imitation: ImitationConfig = field(
        default_factory=lambda: ImitationConfig(
            epochs=24,
            batch_size=4,
            head_learning_rate=7e-4,
            turn_weight=0.0,
            weight_average=0.985,
        )
    )
    """Settings of the training; its seed is replaced by the one below."""
    train_share: float = 0.8
    """Share of the recording that trains; the rest tests."""
    validation_share: float = 0.15
    """Share of the training part, at its end, that chooses the checkpoint."""
    smoothing_s: float = 0.35
    """Width of the Gaussian that averages the steering that trains [s]; 0 for a steady hand.
    The steering that tests is never touched."""
    results: Path | None = None
    """CSV file to which the test errors are added, e.g. results/recorded.csv; a new one in the
    first run folder by default."""
    threads: int | None = None
    """Torch threads; if None, all cores, which convolutions use."""
    runs: Path = Path("runs")
    """Where run folders are made."""
    resume: Path | None = None
    """Run folder of one of the models, to go on with all of them; it brings its own settings."""
    seed: int = 0
    """Seed of weights and windows."""

    def __post_init__(self) -> None:
        if self.log is None and self.resume is None:
            raise ValueError("`log` must be the folder of a recording, got None. Give --log PATH.")
        check_given(self, "models")
        for model in self.models:
            CELLS.find(model, setting="models")
        HEADS.find(self.head)
        if self.wiring is not None:
            WIRINGS.find(self.wiring)
        check_at_least(self, 1, "neurons", "threads")
        check_part("train_share", self.train_share)
        check_part("validation_share", self.validation_share)
        check_not_negative("smoothing_s", self.smoothing_s)
        check_at_least(self, 0, "seed")
        if self.imitation.dagger_epochs:
            raise ValueError(
                f"`dagger_epochs` must be left out for a recording, got"
                f" {self.imitation.dagger_epochs!r}. There is no expert to ask."
            )


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
    recording = load_recording(cast(Path, settings.log))
    parts = cut(recording, settings)
    doubts = find_doubts(recording, settings)
    for doubt in doubts:
        print(f"warning: {doubt}", file=sys.stderr)
    runs = open_runs(settings)
    results.place(runs[0].results)
    print("run folders:", *[run.folder for run in runs])
    split = write(parts, runs[0].folder / "demonstrations")
    constants = constant_errors(split)
    measured = {name: (error, 0.0) for name, error in constants.items()}
    contract = contract_of(recording)
    for model, run in zip(settings.models, runs, strict=True):
        policy = train_model(model, split, settings, run, contract)
        error = imitation_error(policy, split.test)
        measured[model] = error, correlation(policy, split.test)
        add_constants(results, constants, recording, settings)
        row = dict(zip(MEASURES, measured[model], strict=True))
        add_row(results, settings, model, describe(recording, settings), row)
        write_recorded_report(run, policy, split.test, error, doubts)
        run.close()
    print(comparison(measured))
    print("reports:", *[run.report for run in runs])
    print(f"results: {results.path}")


def open_runs(settings: Recorded) -> list[Run]:
    """Return a run for each model: those of the job that is gone on with, and new ones.

    Each has the names of all in its runs.json.

    Raises:
        ValueError: If a job to go on with was stopped before the names were written.
    """
    folders: list[Path | None] = [None] * len(settings.models)
    root = settings.runs if settings.resume is None else settings.resume.parent
    if settings.resume is not None:
        try:
            names = read_json(settings.resume / RUNS, max_bytes=1_000_000)
            folders = [root / name for name in names]
        except (FileNotFoundError, TypeError, ValueError):
            folders = []
        if len(folders) != len(settings.models):
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
        for model, folder in zip(settings.models, folders, strict=True)
    ]
    names = json.dumps([run.folder.name for run in runs])
    for run in runs:
        files.write_file(run.folder / RUNS, names)
    return runs


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


def describe(recording: Recording, settings: Recorded) -> str:
    """Return the recording and all settings but models and seed as one cell of the results file."""
    left_out = ("log", "models", "results", "threads", "runs", "resume", "seed")
    told = {k: v for k, v in dataclasses.asdict(settings).items() if k not in left_out}
    for name in ("neurons", "wiring"):  # not told where nothing was asked for
        if told[name] is None:
            told.pop(name)
    told["imitation"].pop("seed")  # has a column of its own
    return f"{_name(recording)} {json.dumps(told, sort_keys=True)}"


def correlation(policy: Policy, store: Demonstrations) -> float:
    """Return the correlation of a policy's steering with the person's over a whole recording.

    It is 0 where either stays the same throughout, which is correlated with nothing.
    """
    steered = [predict_episode(policy, store, i) for i in range(store.num_episodes)]
    both = np.concatenate(steered)[:, 0], store.actions[:, 0]
    return 0.0 if 0.0 in map(np.ptp, both) else float(np.corrcoef(*both)[0, 1])


def contract_of(recording: Recording) -> Contract:
    """Return the contract of a policy that learns from a recording: its frames and its steering."""
    top, bottom = recording.framing.crop
    view = View(crop_top=top, crop_bottom=bottom)
    steering = ActionContract(
        name="steering", unit="fraction of the car's largest angle", positive="left"
    )
    contract = Contract(
        observation=FramesContract(shape=recording.observation_shape, view=view),
        action=(steering,),
        frame_s=recording.frame_s,
    )
    return with_origin(contract, data=_name(recording))


def train_model(
    model: str, split: Split, settings: Recorded, run: Run, contract: Contract
) -> Policy:
    """Train one model and save it in its run folder."""
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
    policy = imitate(
        untrained,
        [split.train],
        dataclasses.replace(settings.imitation, seed=settings.seed),
        run,
        validate=lambda policy: {"score": imitation_error(policy, split.validation)},
        augment=augment_driving,
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
