"""Learn from a person's driving: the first part of a recording trains, the last part tests."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from envs.recorded import Recording, load_recording
from ncp_control.learning.demonstrations import Demonstrations, DemonstrationWriter
from ncp_control.learning.imitation import (
    ImitationConfig,
    imitate,
    imitation_error,
    predict_episode,
)
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import Run, typed_command
from ncp_control.names import check_name
from ncp_control.policy import Policy
from ncp_control.ranges import check_at_least, check_given, check_not_negative, check_part
from policies.augmentation import augment_driving
from policies.driving import MODELS, make_driving_policy
from policies.perception import HEADS
from scripts.evaluation.report import write_recorded_report
from scripts.markdown import markdown_table


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Learn from a person's driving: an Udacity-simulator log or a Donkeycar v2 tub.

    The first part of the recording trains, the last part tests; nothing is shuffled across.
    """

    log: Path
    """Folder of the recording: the one with driving_log.csv or manifest.json."""
    models: tuple[str, ...] = ("ncp", "cnn", "lstm")
    """Models to train, one after the other: ncp, lstm, cnn."""
    head: str = "light"
    """Conv head: light (18,072 parameters) or paper (79,420)."""
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
    runs: Path = Path("runs")
    """Where run folders are made."""
    seed: int = 0
    """Seed of weights and windows."""

    def __post_init__(self) -> None:
        check_given(self, "models")
        for model in self.models:
            check_name("models", model, MODELS)
        check_name("head", self.head, HEADS)
        check_part("train_share", self.train_share)
        check_part("validation_share", self.validation_share)
        check_not_negative("smoothing_s", self.smoothing_s)
        check_at_least(self, 0, "seed")
        if self.imitation.dagger_epochs:
            raise ValueError(
                f"`dagger_epochs` must be left out for a recording, got"
                f" {self.imitation.dagger_epochs!r}. There is no expert to ask."
            )


MEASURES = ("test_mse", "correlation")
"""Columns of the results file: mean squared error of the steering, and its correlation with the
person's (0 for a constant)."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """The three parts of a recording as stores."""

    train: Demonstrations
    validation: Demonstrations
    test: Demonstrations
    frame_s: float


def train_recorded(settings: Recorded) -> None:
    """Train each model on the recording and print its test error beside simple predictors'."""
    results = ResultsFile(settings.results, MEASURES)  # refused before the work, if so
    recording = load_recording(settings.log)
    parts = cut(recording, settings)
    runs = [
        Run.create("recorded", model, settings, root=settings.runs) for model in settings.models
    ]
    results.place(runs[0].results)
    print("run folders:", *[run.folder for run in runs])
    split = write(parts, runs[0].folder / "demonstrations")
    target = split.test.actions.astype(np.float64)  # the mean of equal numbers is that number
    measured: dict[str, tuple[float, float]] = {}

    def keep(name: str, error: float, r: float) -> None:
        measured[name] = error, r
        row: dict[str, float] = dict(zip(MEASURES, (error, r), strict=True))
        results.append(name, settings.seed, describe(recording, settings), row, typed_command())

    for name, constant in {
        "training mean": split.train.actions.mean(axis=0),
        "always straight": 0.0,
        "best constant in hindsight": target.mean(axis=0),
    }.items():
        keep(name, float(np.mean((target - constant) ** 2)), 0.0)
    for model, run in zip(settings.models, runs, strict=True):
        policy = train_model(model, split, settings, run)
        error = imitation_error(policy, split.test)
        keep(model, error, correlation(policy, split.test))
        write_recorded_report(run, policy, split.test, error)
        run.close()
    best_constant, _ = measured["best constant in hindsight"]
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
    print(markdown_table(header, rows))
    print("reports:", *[run.report for run in runs])
    print(f"results: {results.path}")


def describe(recording: Recording, settings: Recorded) -> str:
    """Return the recording and all settings but models and seed as one cell of the results file."""
    left_out = ("log", "models", "results", "runs", "seed")
    told = {k: v for k, v in dataclasses.asdict(settings).items() if k not in left_out}
    told["imitation"].pop("seed")  # has a column of its own
    return f"{recording.folder.resolve().name} {json.dumps(told, sort_keys=True)}"


def correlation(policy: Policy, store: Demonstrations) -> float:
    """Return the correlation of a policy's steering with the person's over a whole recording.

    It is 0 where either stays the same throughout, which is correlated with nothing.
    """
    steered = [predict_episode(policy, store, i) for i in range(store.num_episodes)]
    both = np.concatenate(steered)[:, 0], store.actions[:, 0]
    return 0.0 if 0.0 in map(np.ptp, both) else float(np.corrcoef(*both)[0, 1])


def train_model(model: str, split: Split, settings: Recorded, run: Run) -> Policy:
    """Train one model and save it in its run folder."""
    torch.manual_seed(settings.seed)
    policy = imitate(
        make_driving_policy(model, head=settings.head, frame_s=split.frame_s),
        [split.train],
        dataclasses.replace(settings.imitation, seed=settings.seed),
        run,
        validate=lambda policy: {"score": imitation_error(policy, split.validation)},
        augment=augment_driving,
    )
    policy.save(run.policy)
    return policy


def cut(recording: Recording, settings: Recorded) -> dict[str, Recording]:
    """Cut a recording by time into what trains, what chooses the checkpoint and what tests."""
    learn, test = recording.split(settings.train_share)
    train, validation = learn.split(1.0 - settings.validation_share)
    return {
        "train": train.smoothed(settings.smoothing_s),
        "validation": validation.smoothed(settings.smoothing_s),
        "test": test,
    }


def write(parts: dict[str, Recording], folder: Path) -> Split:
    """Write the parts of a recording as stores."""
    stores = {}
    for name, part in parts.items():
        with DemonstrationWriter(
            folder / name, part.observation_shape, np.uint8, 1, source=part.source
        ) as writer:
            part.write(writer)
        stores[name] = Demonstrations.open(folder / name)
    return Split(**stores, frame_s=parts["train"].frame_s)
