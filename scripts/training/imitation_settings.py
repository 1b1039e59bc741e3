"""Settings of `train.py imitate` and `drive`; imports nothing heavy."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from ncp_control.keyword_options import read_options
from ncp_control.learning.settings import ImitationConfig
from ncp_control.ranges import (
    check_at_least,
    check_not_negative,
    check_positive,
    check_seed,
    check_share,
)
from scripts.options import one_of
from scripts.training.kept_frames import KeptFrames
from scripts.training.met_conditions import MetConditions
from scripts.training.new_circuit import NewCircuit
from scripts.training.settings import (
    check_circuit,
    check_head,
    check_sees_one_frame,
    check_widths,
)
from scripts.training.sized import Sized
from scripts.unused_settings import refuse_changed

OF_A_NEW_CIRCUIT = (
    *("cell", "neurons", "parameters", "wiring", "head", "encoder"),
    *("reads", "tau_s", "synapses"),
)
"""Settings of `Imitate` without a use where a saved policy is trained further."""
USUAL_EPOCHS = range(2, 7)
"""Default DAgger epochs of `Imitate`, as far as there are such."""


@dataclass(frozen=True, kw_only=True)
class FromExpert(MetConditions, KeptFrames, NewCircuit):
    """Settings shared by `imitate` and `drive`: demonstrations, training, run."""

    head: Annotated[str, one_of("head")] = "light"
    """Conv head of a new policy, for frames: light has 18,072 parameters, paper 79,420."""
    imitation: ImitationConfig = field(default_factory=ImitationConfig)
    """Settings of the training loop. `seed` below replaces the seed among them."""
    expert_noise: tuple[float, ...] = (0.2,)
    """Standard deviation of the slowly varying error added to the actions of the expert while it
    demonstrates; for discrete actions, the share of random ones. One number, or one for each entry
    of the action."""
    data: Path | None = None
    """Folder that keeps demonstrations. Later runs with the same environment, expert, errors,
    episodes and seed reuse them, unless you edit the module of your environment or expert, or a
    module imported by --import. If None: the run folder."""
    results: Path | None = None
    """CSV file to which the result is appended; if None: a new file in the run folder."""
    workers: int = 1
    """Number of processes that share the episodes. The result does not depend on it."""
    threads: int | None = None
    """Number of PyTorch threads; if None: all cores, since convolutions use them."""
    runs: Path = Path("runs")
    """Folder in which the run folder is created."""
    resume: Path | None = None
    """Run folder of a stopped run to resume, with the settings that it was started with."""
    seed: int = 0
    """Seed of environments, weights and windows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_head(self.head)
        self.check_conditions(self.imitation.asked_epochs)
        self.check_frames()
        if not self.expert_noise:
            raise ValueError("`expert_noise` must hold at least one number, got none.")
        for std in self.expert_noise:
            check_not_negative("expert_noise", std)
        if self.data is not None and self.data.exists() and not self.data.is_dir():
            raise ValueError(
                f"`data` must be a folder, got the file {str(self.data)!r}. Name another."
            )
        check_at_least(self, 1, "threads", "workers")
        check_seed(self)


@dataclass(frozen=True, kw_only=True)
class Drive(FromExpert):
    """Train a policy to keep the lane in the simulator, by imitation of an expert."""

    model: Annotated[str, one_of("cell")] = "ncp"
    """Cell of the circuit, e.g. ncp (the paper's 19 neurons), or a baseline network: lstm, cnn."""
    neurons: int | None = None
    """Number of neurons of a wired circuit, of units of any other. If None: 19 and 64."""
    imitation: ImitationConfig = field(
        default_factory=lambda: ImitationConfig(epochs=6, dagger_epochs=None)
    )
    """Settings of the training loop. `seed` below replaces the seed among them."""
    tracks: int = 64
    """Number of training tracks on which the expert demonstrates."""
    dagger_tracks: int = 16
    """Number of further training tracks on which the learner drives before each DAgger epoch."""
    seconds_per_track: float = 17.0
    """Driving time on each training track [s]."""
    evaluation_km: float = 2.0
    """Distance driven on held-out tracks after training [km]."""
    data: Path | None = Path("data")
    """Folder that keeps demonstrations. Later runs with the same settings reuse them. If None: the
    run folder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        from envs.driving.config import TRACKS, LaneKeepingConfig
        from scripts.evaluation.driving import check_km

        check_circuit(self.model, self.wiring, setting="model")
        check_sees_one_frame(self.head, "LaneKeeping-v0")
        check_at_least(self, 1, "tracks", "dagger_tracks", "neurons")
        check_positive(self, "seconds_per_track")
        check_km("evaluation_km", self.evaluation_km)
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
class Imitate(Sized, FromExpert):
    """Imitate an expert in any environment: first from demonstrations, then by DAgger."""

    world: str | None = None
    """Environment: halfcheetah, walker2d, hopper, LaneKeeping-v0, RoadDriving-v0, gymnasium:<id>,
    or <module>:<function>, your own function that returns a Gymnasium environment."""
    world_options: tuple[str, ...] = ()
    """Options of the environment as name=value, e.g. crop_bottom=0.125 height=42 width=48
    stack=2."""
    expert: str | None = None
    """Expert: <module>:<function>, called with environment, observation and info, or the folder or
    shipped name of a policy, which gets observations without disturbances. If None: the expert
    that comes with the environment."""
    policy: Path | None = None
    """Saved policy of this environment to train further; the scaling of its numeric inputs is kept.
    If None: a new policy."""
    cell: Annotated[str, one_of("cell")] = "ltc"
    """Cell of the circuit, or a baseline network."""
    neurons: int = 24
    """Number of neurons of a wired circuit, motor neurons included; of units, for other cells."""
    encoder: tuple[int, ...] = ()
    """Widths of the dense layers between observation and cell, if the observation has no frames."""
    imitation: ImitationConfig = field(
        default_factory=lambda: ImitationConfig(
            epochs=8,
            window=16,
            batch_size=8,
            dagger_epochs=None,
            turn_weight=0.0,
            weight_average=0.99,
        )
    )
    """Settings of the training loop. `seed` below replaces the seed among them."""
    episodes: int = 24
    """Number of episodes that the expert demonstrates."""
    dagger_episodes: int = 6
    """Number of further episodes in which the learner acts before each DAgger epoch."""
    dagger_repeat: float = 0.0
    """Largest share of `dagger_episodes` that repeat earlier failures: DAgger episodes in which the
    learner crashed or which the environment terminated. An episode is repeated until the learner
    no longer fails in it."""
    mirror: bool = False
    """Mirror half of the windows of frames, and flip the sign of actions whose positive side is
    left or right."""
    relight: bool = False
    """Add random shadows and bright spots to frames."""
    validation_episodes: int = 6
    """Number of validation episodes after each epoch, by which the best policy is chosen."""
    evaluation_episodes: int = 20
    """Number of evaluation episodes after training, with other seeds."""

    def __post_init__(self) -> None:
        if self.imitation.dagger_epochs is None:
            usual = tuple(epoch for epoch in USUAL_EPOCHS if epoch < self.imitation.epochs)
            adapted = replace(self.imitation, dagger_epochs=usual)
            object.__setattr__(self, "imitation", adapted)
        super().__post_init__()
        if self.world is None and self.resume is None:
            raise ValueError("`world` must be given, got None. Name one with --world.")
        check_circuit(self.cell, self.wiring)
        read_options(self.world_options)
        check_widths(self.encoder)
        check_at_least(self, 1, "neurons", "episodes", "dagger_episodes")
        self.check_size()
        check_at_least(self, 1, "validation_episodes", "evaluation_episodes")
        check_share("dagger_repeat", self.dagger_repeat)
        if self.dagger_repeat and len(self.imitation.asked_epochs) < 2:
            raise ValueError(
                "`dagger_repeat` must be left out where the learner acts before fewer than two"
                f" epochs, got {self.dagger_repeat!r}. Name more, e.g. with"
                " --imitation.dagger-epochs 1 2."
            )
        if self.policy is not None:
            why = "It is a setting of a new circuit."
            refuse_changed(self, OF_A_NEW_CIRCUIT, "with --policy", why)
