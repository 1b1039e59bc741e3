"""Settings of `train.py imitate`, `distill` and `teacher`; imports nothing heavy."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from ncp_control.keyword_options import read_options
from ncp_control.learning.schedule import check_learning_rates
from ncp_control.learning.settings import DistillationConfig
from ncp_control.ranges import (
    check_at_least,
    check_positive,
    check_seed,
    check_share,
)
from scripts.disturbances import DISTURBANCE_OF
from scripts.options import one_of
from scripts.training.new_circuit import NewCircuit
from scripts.unused_settings import refuse_changed


@dataclass(frozen=True, kw_only=True)
class Learner(NewCircuit):
    """Settings shared by `distill`, `ppo` and `sac`: environment, disturbances, evaluation."""

    world: str | None = None
    """Environment: halfcheetah, walker2d, hopper, LaneKeeping-v0, RoadDriving-v0, gymnasium:<id>,
    or <module>:<function>, your own function that returns a Gymnasium environment. If None: the
    environment of the given policy, or halfcheetah if there is none."""
    world_options: tuple[str, ...] = ()
    """Options of the environment as name=value, e.g. observe=positions (no velocities) for
    halfcheetah and walker2d, observe=numbers for LaneKeeping-v0."""
    sensor_noise_std: float = 0.0
    """Standard deviation of the noise on each entry of the observation, in the entry's unit."""
    drop_probability: float = 0.0
    """Share of frames that are dropped. If above 0, every cell but mlp also gets the elapsed
    time."""
    overwrite_probability: float = 0.0
    """Share of frames in which the environment gets a random action."""
    delay_steps: int = 0
    """Number of frames between choosing an action and its effect."""
    evaluation_episodes: int = 20
    """Number of evaluation episodes after training, with the most likely actions. In
    LaneKeeping-v0, each is about 400 m of a held-out track."""
    results: Path | None = None
    """CSV file to which the result is appended; if None: a new file in the run folder."""
    threads: int = 1
    """Number of PyTorch threads. One is twice as fast as two for circuits of this size."""
    runs: Path = Path("runs")
    """Folder in which the run folder is created."""
    resume: Path | None = None
    """Run folder of a stopped run to resume, with the settings that it was started with."""
    seed: int = 0
    """Seed of weights, wiring, environments and actions."""

    def __post_init__(self) -> None:
        super().__post_init__()
        read_options(self.world_options)
        check_at_least(self, 1, "evaluation_episodes", "threads")
        check_at_least(self, 0, "delay_steps")
        check_seed(self)
        for name in ("drop_probability", "overwrite_probability"):
            check_share(name, getattr(self, name))

    @property
    def is_timed(self) -> bool:
        """Whether the time between observations varies, so that cells need it as an input."""
        return self.drop_probability > 0.0

    @property
    def disturbances(self) -> dict[str, Any]:
        """Disturbances between policy and environment: values by name of the setting."""
        return {name: getattr(self, name) for name in DISTURBANCE_OF}


@dataclass(frozen=True, kw_only=True)
class Distill(Learner):
    """Train a small circuit to imitate a large teacher network (DAgger), in any environment."""

    teacher: Path | None = None
    """Policy folder of the teacher: one printed by `train.py teacher`, any policy that gets the
    full observation, or the name of a shipped policy. If None: the shipped teacher of halfcheetah
    or walker2d."""
    cell: Annotated[str, one_of("cell")] = "ltc"
    """Cell of the circuit, or a baseline network; mlp has no memory."""
    neurons: int = 32
    """Number of neurons of a wired circuit, including its motor neurons; of units, for other cells
    and for each of the two layers of an mlp."""
    encoder: tuple[int, ...] = ()
    """Widths of the dense layers between observation and cell."""
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    """Settings of the training loop. `seed` of the job replaces the seed among them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_circuit(self.cell, self.wiring)
        check_needs_no_frames(self.cell)
        check_at_least(self, 1, "neurons")
        check_widths(self.encoder)


@dataclass(frozen=True, kw_only=True)
class Reinforcement(Learner):
    """Settings shared by the reinforcement-learning jobs, `ppo` and `sac`."""

    cell: Annotated[str, one_of("cell")] = "ltc"
    """Cell of a new circuit, or a baseline network; mlp is two layers of 256 units without memory,
    as in stable-baselines3."""
    neurons: int = 32
    """Number of neurons of a new wired circuit, including its motor neurons; of units, for other
    cells."""
    encoder: tuple[int, ...] = (64,)
    """Widths of the dense layers between the observation and a new circuit. Without an encoder, the
    return of an LTC circuit in HalfCheetah was a third lower."""
    steps: int = 1_000_000
    """Number of environment steps, summed over all environments."""
    num_envs: int = 16
    """Number of parallel environments."""
    workers: int = 1
    """Number of processes that share the environments. The result does not depend on it."""
    episode_s: float | None = None
    """Longest episode [s]; if None: the limit of the environment."""
    sequence_length: int = 32
    """Number of steps of backpropagation through time."""
    batch_size: int = 512
    """Number of steps in a minibatch."""
    learning_rate: float = 3e-4
    """Learning rate of the critic, and of actor and critic of mlp. Falls linearly to a tenth."""
    actor_lr_scale: float | None = None
    """Learning rate of the actor divided by that of the critic. If None: 3 for a new LTC circuit
    (ltc, ncp), else 1."""
    gamma: float = 0.99
    """Discount factor per step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_circuit(self.cell, self.wiring)
        check_at_least(self, 1, "steps", "num_envs", "workers", "sequence_length", "neurons")
        check_at_least(self, 2, "batch_size")
        if self.workers > self.num_envs:
            raise ValueError(
                f"`workers` must be at most the {self.num_envs} worlds of `num_envs`, got"
                f" {self.workers}. Take fewer."
            )
        check_positive(self, "episode_s")
        check_learning_rates(self, "learning_rate", "actor_lr_scale")
        check_widths(self.encoder)
        if not 0.0 <= self.gamma <= 1.0:
            raise ValueError(f"`gamma` must be from 0 to 1, got {self.gamma!r}.")

    @property
    def usual_actor_lr_scale(self) -> float:
        """Value of `actor_lr_scale` that suits a new circuit, by the class of its cell.

        10 suits an LTC circuit without an encoder. With an encoder, the return at 10 was lower in
        all four walking tasks (mean of two seeds).
        """
        from ncp_control.cells import CELLS

        return 3.0 if CELLS.find(self.cell).cls is CELLS["ltc"].cls else 1.0


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Train a large teacher network in any environment, for `distill`."""

    world: str = "halfcheetah"
    """Environment with observations of numbers and continuous actions: halfcheetah, walker2d,
    gymnasium:<id>, or <module>:<function>, your own function that returns a Gymnasium
    environment."""
    world_options: tuple[str, ...] = ()
    """Options of the environment as name=value."""
    algorithm: str | None = None
    """Algorithm: tqc, sac or ppo. If None: sac for halfcheetah, else ppo."""
    steps: int | None = None
    """Number of environment steps, summed over all environments. If None: 1,000,000."""
    first_steps: int | None = None
    """Number of steps with random actions before the first update of tqc or sac. If None:
    10,000."""
    examine_every: int | None = None
    """Number of steps between two validations. If None: 250,000 for walker2d, else 50,000."""
    examination_episodes: int = 4
    """Number of episodes of each validation. The best network is kept."""
    evaluation_episodes: int = 20
    """Number of evaluation episodes after training."""
    threads: int = 1
    """Number of PyTorch threads. One is twice as fast as two for networks of this size."""
    runs: Path = Path("runs")
    """Folder in which the run folder is created."""
    resume: Path | None = None
    """Run folder of a stopped run to resume, with the settings that it was started with."""
    seed: int = 0
    """Seed of weights, environments and actions."""

    def __post_init__(self) -> None:
        read_options(self.world_options)
        check_at_least(self, 1, "examination_episodes", "evaluation_episodes", "threads")
        check_seed(self)


def refuse_unused(settings: Any, *, sees_frames: bool) -> None:
    """Refuse a conv head or cnn where there are no frames, and an encoder where there are frames.

    Args:
        settings: Settings of a job with `head` and `encoder`; an empty encoder means no encoder.
        sees_frames: Whether the observations of the environment have frames.

    Raises:
        ValueError: If one without a use was set.
    """
    if not sees_frames:
        check_needs_no_frames(settings.cell)
        refuse_changed(settings, ("head",), "with a world of numbers", "It takes frames.")
    elif settings.encoder:
        why = "The head takes its place."
        refuse_changed(settings, ("encoder",), "with a world of frames", why)


def check_needs_no_frames(cell: str, *, setting: str = "cell") -> None:
    """Refuse cnn, whose convolutions are those of the head of a policy that sees frames."""
    if cell == "cnn":
        raise ValueError(
            f"`{setting}` must be another where there are no frames, got 'cnn', which needs them."
            " Take mlp for a network without memory."
        )


def check_circuit(cell: str, wiring: str | None, *, setting: str = "cell") -> None:
    """Refuse cells and wirings that are not registered, and a wiring for a cell without one.

    `setting` names the cell in the message.
    """
    from ncp_control.cells import CELLS
    from ncp_control.cells.known import check_takes_wiring

    CELLS.find(cell, setting=setting)
    check_takes_wiring(cell, wiring)


def check_head(name: str) -> None:
    """Refuse conv heads that are not registered."""
    from ncp_control.policy.heads import HEADS

    HEADS.find(name)


def check_sees_one_frame(head: str, world: str) -> None:
    """Refuse a head that needs several frames, for an environment `world` that shows one."""
    from ncp_control.policy.heads import frames_together

    if (count := frames_together(head)) != 1:
        raise ValueError(
            f"`head` must see one frame in {world}, got {head!r}, which sees {count} together."
            " It is for `train.py recorded`."
        )


def check_widths(encoder: tuple[int, ...]) -> None:
    """Refuse layers of an encoder whose width is below 1."""
    if any(width < 1 for width in encoder):
        raise ValueError(f"`encoder` must hold widths of at least 1, got {encoder!r}.")
