"""What `train.py drive` and `recorded` can be told, without heavy imports."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from ncp_control.learning.settings import ImitationConfig
from ncp_control.ranges import (
    check_at_least,
    check_given,
    check_not_negative,
    check_part,
    check_positive,
    check_seed,
)
from scripts.options import one_of
from scripts.training.kept_frames import KeptFrames
from scripts.training.met_conditions import MetConditions
from scripts.training.new_circuit import NewCircuit
from scripts.training.settings import check_circuit, check_head, check_sees_one_frame


@dataclass(frozen=True, kw_only=True)
class Drive(MetConditions, KeptFrames, NewCircuit):
    """Learn to keep the lane in the simulator: an expert demonstrates, a policy imitates."""

    model: Annotated[str, one_of("cell")] = "ncp"
    """Circuit, e.g. ncp, the paper's 19 neurons, or what it is measured against: lstm, cnn."""
    neurons: int | None = None
    """Neurons of a wired circuit, units of any other; 19 and 64 by default."""
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
    """Where demonstrations are kept and found again by later runs."""
    workers: int = 1
    """Processes that share the tracks of expert and learner; what is learned is the same with any
    number of them."""
    threads: int | None = None
    """Torch threads; if None, all cores, which convolutions use."""
    runs: Path = Path("runs")
    """Where run folders are made."""
    resume: Path | None = None
    """Run folder to go on with; it brings its own settings."""
    seed: int = 0
    """Seed of demonstrations, weights and windows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        from envs.driving.config import TRACKS, LaneKeepingConfig
        from scripts.evaluation.driving import check_km

        check_circuit(self.model, self.wiring, setting="model")
        check_head(self.head)
        check_sees_one_frame(self.head, "LaneKeeping-v0")
        self.check_conditions(self.imitation.asked_epochs)
        self.check_frames()
        check_at_least(self, 1, "tracks", "dagger_tracks", "neurons", "threads", "workers")
        check_positive(self, "seconds_per_track")
        check_not_negative("expert_noise", self.expert_noise)
        check_km("evaluation_km", self.evaluation_km)
        check_seed(self)
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


@dataclass(frozen=True, kw_only=True)
class Recorded(KeptFrames, NewCircuit):
    """Learn from recordings of a person: driving logs, robots' data sets or tables of your own.

    The first part of each recording trains, the last part tests; nothing is shuffled across.
    docs/recordings.md lists the formats.
    """

    log: tuple[Path, ...] = ()
    """Recordings, or folders of recordings. Each is split on its own, and all are learned from
    together."""
    actions: tuple[str, ...] = ()
    """Numbers that are learned, e.g. steering throttle; by default steering, or all actions of a
    recording that has none. Numbers beyond [-1, 1] are scaled."""
    inputs: tuple[str, ...] = ()
    """Numbers that are sensed beside the frames, e.g. speed; none by default. Where there are no
    frames: all numbers but the recording's actions."""
    log_options: tuple[str, ...] = ()
    """Options of the recordings' readers as name=value, e.g. image_topic=/camera or
    crop=[0.3,0.1]."""
    models: Annotated[tuple[str, ...], one_of("cell")] = ("lstm", "cfc", "ncp")
    """Circuits to train, one after the other. Where something below is left to validation, the
    first is trained in every way, and the others in the way that was best for it."""
    neurons: int | None = None
    """Neurons of a wired circuit, units of any other; 19 and 64 by default."""
    head: Annotated[str, one_of("head")] = "light"
    """Conv head: light has 18,072 parameters, paper 79,420. Motion sees two frames and how far the
    picture moved between them; it cannot be exported yet."""
    imitation: ImitationConfig = field(
        default_factory=lambda: ImitationConfig(
            epochs=20,
            epoch_steps=20,
            patience=6,
            window=16,
            batch_size=8,
            turn_weight=0.0,
            weight_average=0.985,
        )
    )
    """Settings of the training; its seed is replaced by the one below."""
    train_share: float = 0.8
    """Share of the recording that trains; the rest tests."""
    validation_share: float = 0.15
    """Share of the training part, at its end, that chooses the checkpoint."""
    use_parts: bool = True
    """Whether parts that data.py split wrote beside a recording take the place of the shares."""
    smoothing_s: float | None = None
    """Width of the Gaussian that averages the steering that trains [s], for a person who taps keys.
    The steering that validates and tests is never touched. None: validation decides whether 0.2."""
    mirror: bool | None = None
    """Whether half of the windows are mirrored: helps on roads that bend to both sides, harms where
    all bends are alike. None: validation decides."""
    shift: bool | None = None
    """Whether windows are moved sideways and steered back. None: validation decides."""
    balance: bool | None = None
    """Whether bends count more than straights, in place of the `turn_weight` above. None:
    validation decides."""
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
        super().__post_init__()
        if not self.log and self.resume is None:
            raise ValueError("`log` must be the folder of a recording, got none. Give --log PATH.")
        check_given(self, "models")
        self.check_frames()
        for model in self.models:
            check_circuit(model, self.wiring, setting="models")
        check_head(self.head)
        check_at_least(self, 1, "neurons", "threads")
        check_part("train_share", self.train_share)
        check_part("validation_share", self.validation_share)
        if self.smoothing_s is not None:
            check_not_negative("smoothing_s", self.smoothing_s)
        if self.balance and self.imitation.turn_weight:
            raise ValueError(
                f"`turn_weight` must be 0 with --balance, got {self.imitation.turn_weight!r}. Both"
                " say how much bends count."
            )
        check_seed(self)
        if self.imitation.dagger_epochs:
            raise ValueError(
                f"`dagger_epochs` must be left out for a recording, got"
                f" {self.imitation.dagger_epochs!r}. There is no expert to ask."
            )
