"""Learn to keep the lane in the simulator: an expert demonstrates, a policy imitates."""

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from envs.driving import LaneKeepingConfig
from envs.driving.config import TRACKS
from envs.driving.metrics import summarize
from ncp_control import files
from ncp_control.cells import CELLS
from ncp_control.learning.closed_loop import PolicyPilot
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.learning.imitation import ImitationConfig, imitate
from ncp_control.learning.run import Run
from ncp_control.learning.training_state import epochs_done
from ncp_control.policy import Policy
from ncp_control.policy.heads import HEADS
from ncp_control.ranges import check_at_least, check_not_negative, check_positive
from ncp_control.wiring_rules import WIRINGS
from ncp_control.worlds import find_world
from policies.augmentation import augment_driving
from policies.driving import make_driving_policy
from scripts.cli import use_threads
from scripts.evaluation.driving import (
    DRIVING_WORLD,
    DriveSettings,
    ExpertPilot,
    check_km,
    drive_km,
    evaluate,
    make_expert,
    record,
)
from scripts.evaluation.report import metrics_table, write_driving_report
from scripts.options import one_of
from scripts.training.contracts import trained_in
from scripts.training.resumption import begun_with, open_run

VALIDATION = DriveSettings(tracks="validation", num_tracks=16, seconds_per_track=12.0)


@dataclass(frozen=True, kw_only=True)
class Drive:
    """Learn to keep the lane in the simulator: an expert demonstrates, a policy imitates."""

    model: Annotated[str, one_of("cell")] = "ncp"
    """Circuit, e.g. ncp, the paper's 19 neurons, or what it is measured against: lstm, cnn."""
    neurons: int | None = None
    """Neurons of a wired circuit, units of any other; 19 and 64 by default."""
    wiring: Annotated[str | None, one_of("wiring")] = None
    """Wiring of a wired circuit; that of the paper by default."""
    head: Annotated[str, one_of("head")] = "light"
    """Conv head: light has 18,072 parameters, paper 79,420."""
    imitation: ImitationConfig = field(
        default_factory=lambda: ImitationConfig(epochs=6, dagger_epochs=None)
    )
    """Settings of the training; its seed is replaced by the one below."""
    tracks: int = 64
    """Training tracks on which the expert demonstrates."""
    dagger_tracks: int = 16
    """Further training tracks that the learner drives before each DAgger epoch."""
    seconds_per_track: float = 17.0
    """Time on each of them [s]."""
    expert_noise: float = 0.2
    """Deviation of the steering error injected while the expert demonstrates."""
    evaluation_km: float = 2.0
    """Kilometres driven on held-out tracks at the end."""
    data: Path = Path("data")
    """Where demonstrations are kept and found again by later runs (47 kB a frame)."""
    threads: int | None = None
    """Torch threads; if None, all cores, which convolutions use."""
    runs: Path = Path("runs")
    """Where run folders are made."""
    resume: Path | None = None
    """Run folder to go on with; it brings its own settings."""
    seed: int = 0
    """Seed of demonstrations, weights and windows."""

    def __post_init__(self) -> None:
        CELLS.find(self.model, setting="model")
        HEADS.find(self.head)
        if self.wiring is not None:
            WIRINGS.find(self.wiring)
        check_at_least(self, 1, "tracks", "dagger_tracks", "neurons", "threads")
        check_positive(self, "seconds_per_track")
        check_not_negative("expert_noise", self.expert_noise)
        check_km("evaluation_km", self.evaluation_km)
        check_at_least(self, 0, "seed")
        frame_s = LaneKeepingConfig().control_period_s
        if self.seconds_per_track < frame_s:
            raise ValueError(
                f"`seconds_per_track` must be at least a frame of {frame_s:.3f} s, got"
                f" {self.seconds_per_track!r}. Raise it."
            )
        num_tracks = self.tracks + (max(self.imitation.asked_epochs, default=-1) + 1) * (
            self.dagger_tracks
        )
        if num_tracks > len(TRACKS["train"]):
            raise ValueError(
                f"`tracks` and the `dagger_tracks` of every epoch must be at most"
                f" {len(TRACKS['train'])} together, got {num_tracks!r}. Lower one of them."
            )


def train_drive(asked: Drive) -> Policy:
    """Record or find demonstrations, imitate, evaluate on held-out tracks, write the report."""
    settings = begun_with(asked)
    use_threads(settings.threads)
    torch.manual_seed(settings.seed)
    policy = make_driving_policy(
        settings.model,
        head=settings.head,
        num_units=settings.neurons,
        wiring=settings.wiring,
        seed=settings.seed,
    )
    step = -1 if settings.resume is None else epochs_done(settings.resume)
    with open_run(settings, "drive", settings.model, step=step) as run:
        policy = imitate_expert(policy, settings, run)
        print(f"policy: {run.policy}")
        traces = evaluate(policy, drive_km(settings.evaluation_km), description="held-out tracks")
        write_driving_report(run, policy, traces)
    print(metrics_table([(settings.model, 0.0, summarize(traces))]))
    print(f"report: {run.report}")
    return policy


def imitate_expert(policy: Policy, settings: Drive, run: Run) -> Policy:
    """Train a policy on the expert's demonstrations and save the best of its checkpoints.

    In a run that was stopped, what the learner drove before an epoch is found again.

    Args:
        policy: The policy, in place; `settings.model` and `settings.head` are not looked at.
        settings: Demonstrations and training.
        run: Where metrics, checkpoints and the policy go.
    """
    world = find_world(DRIVING_WORLD)
    policy.contract = trained_in(world)
    expert = make_pilot(settings)
    demonstrations = find_or_record(settings, expert)

    def folder_of(epoch: int) -> Path:
        return run.folder / "dagger" / f"epoch-{epoch}"

    def aggregate(policy: Policy, epoch: int) -> Demonstrations:
        first_track = settings.tracks + epoch * settings.dagger_tracks
        where = _training_tracks(settings, settings.dagger_tracks, first_track)
        folder, pilot = folder_of(epoch), PolicyPilot(policy)
        return record(folder, where, pilot, expert, description="learner", seed=settings.seed)

    policy = imitate(
        policy,
        [demonstrations],
        dataclasses.replace(settings.imitation, seed=settings.seed),
        run,
        validate=validate,
        augment=augment_driving,
        aggregate=aggregate,
        recall=lambda epoch: Demonstrations.find(folder_of(epoch)),
    )
    policy.contract = trained_in(world, policy)
    policy.save(run.policy)
    return policy


def make_pilot(settings: Drive) -> ExpertPilot:
    """Return the expert that demonstrates, with the noise that the settings ask for."""
    return ExpertPilot(make_expert(), settings.expert_noise, np.random.default_rng(settings.seed))


def validate(policy: Policy) -> dict[str, float]:
    """Measure a policy on the validation tracks.

    Crashes come first in the score; among policies that do not crash the straighter one wins.
    """
    metrics = summarize(evaluate(policy, VALIDATION, description="validation tracks"))
    return {
        "score": metrics.crashes_per_km + metrics.mean_cross_track_m,
        "crashes_per_km": metrics.crashes_per_km,
        "cross_track_m": metrics.mean_cross_track_m,
        "roughness_radps": metrics.roughness_radps,
    }


def find_or_record(settings: Drive, expert: ExpertPilot) -> Demonstrations:
    """Open the demonstrations that these settings ask for, recorded now if they are not there."""
    where = _training_tracks(settings, settings.tracks, 0)
    asked = f"{where} {settings.expert_noise} {settings.seed}"
    folder = settings.data / f"lane-keeping-{hashlib.sha256(asked.encode()).hexdigest()[:10]}"
    files.remove_leftovers(settings.data)  # gigabytes, if a recording was killed
    found = Demonstrations.find(folder)
    if found is not None:
        print(f"demonstrations: {folder}, recorded before")
        return found
    print(f"demonstrations: {folder}")
    return record(folder, where, expert, expert, description="expert", seed=settings.seed)


def _training_tracks(settings: Drive, num_tracks: int, first_track: int) -> DriveSettings:
    return DriveSettings(
        tracks="train",
        num_tracks=num_tracks,
        first_track=first_track,
        seconds_per_track=settings.seconds_per_track,
    )
