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
)
from scripts.options import one_of
from scripts.training.first_values import FirstValues
from scripts.training.settings import check_circuit, check_head


@dataclass(frozen=True, kw_only=True)
class Drive(FirstValues):
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
    conditions: tuple[str, ...] = ()
    """What the camera meets in training: fog for all severities of fog, fog:1-3, all:1-3, …; see
    `envs.conditions`. Delay, wind and gain cannot be learned from. None leaves the pictures
    clean."""
    condition_share: float = 0.75
    """Share of the windows that have one of them."""
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
        super().__post_init__()
        from envs.conditions import PICTURES, read_conditions
        from envs.driving.config import TRACKS, LaneKeepingConfig
        from scripts.evaluation.driving import check_km

        check_circuit(self.model, self.wiring, setting="model")
        check_head(self.head)
        read_conditions(self.conditions, PICTURES, setting="conditions")
        if not 0.0 < self.condition_share <= 1.0:
            raise ValueError(
                f"`condition_share` must be above 0 and at most 1, got {self.condition_share!r}."
            )
        if not self.conditions and self.condition_share != Drive.condition_share:
            raise ValueError(
                f"`condition_share` must be left out without --conditions, got"
                f" {self.condition_share!r}."
            )
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


@dataclass(frozen=True, kw_only=True)
class Recorded(FirstValues):
    """Learn from recorded driving: an Udacity log, a Donkeycar tub or a ROS 2 bag.

    The first part of the recording trains, the last part tests; nothing is shuffled across.
    """

    log: Path | None = None
    """Folder of the recording: the one with driving_log.csv, manifest.json, record_N.json or a
    ROS 2 bag's metadata.yaml; a file that run.py --record wrote; or what a reader of your own
    recognises."""
    log_options: tuple[str, ...] = ()
    """Options of the recording's reader as name=value, e.g. image_topic=/camera or
    crop=[0.3,0.1]."""
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
    mirror: bool | None = None
    """Whether half of the windows are mirrored. It helps on roads that bend to both sides and harms
    where all bends are alike; if None, each model is trained both ways, and the one with the
    smaller error in the validation part is kept."""
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

    @property
    def mirrors(self) -> tuple[bool, ...]:
        """The ways in which each model is trained: without mirrored windows, with them, or both."""
        return (False, True) if self.mirror is None else (self.mirror,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.log is None and self.resume is None:
            raise ValueError("`log` must be the folder of a recording, got None. Give --log PATH.")
        check_given(self, "models")
        for model in self.models:
            check_circuit(model, self.wiring, setting="models")
        check_head(self.head)
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
