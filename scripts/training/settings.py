"""What `train.py imitate`, `distill` and `teacher` can be told, without heavy imports."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from ncp_control.keyword_options import read_options
from ncp_control.learning.schedule import check_learning_rates
from ncp_control.learning.settings import DistillationConfig, ImitationConfig
from ncp_control.ranges import (
    check_at_least,
    check_not_negative,
    check_positive,
    check_seed,
    check_share,
)
from scripts.disturbances import DISTURBANCE_OF
from scripts.options import one_of
from scripts.training.kept_frames import KeptFrames
from scripts.training.met_conditions import MetConditions
from scripts.training.new_circuit import NewCircuit


@dataclass(frozen=True, kw_only=True)
class Learner(NewCircuit):
    """Settings that every training in a world by name shares."""

    world: str | None = None
    """halfcheetah, walker2d, hopper, LaneKeeping-v0, RoadDriving-v0, gymnasium:<id>, or
    <module>:<function> of your own that returns a Gymnasium environment. If None, the world of the
    policy that is given, or else halfcheetah."""
    world_options: tuple[str, ...] = ()
    """Options of the world as name=value, e.g. observe=positions (no velocities) for halfcheetah
    and walker2d, observe=numbers for LaneKeeping-v0."""
    sensor_noise_std: float = 0.0
    """Deviation of the noise on each entry of the observation, in its own unit."""
    drop_probability: float = 0.0
    """Share of frames that are dropped; the elapsed time then reaches every cell but mlp."""
    overwrite_probability: float = 0.0
    """Share of frames in which the world gets a random action."""
    delay_steps: int = 0
    """Frames between choosing an action and its effect."""
    evaluation_episodes: int = 20
    """Episodes at the end, with the most likely actions; in LaneKeeping-v0 each is about 400 m of a
    held-out track."""
    results: Path | None = None
    """CSV file to which the result is added, or a folder of such tables, e.g. results; a new file
    in the run folder by default."""
    threads: int = 1
    """Torch threads; one is twice as fast as two for circuits of this size."""
    runs: Path = Path("runs")
    """Where run folders are made."""
    resume: Path | None = None
    """Run folder to go on with; it brings its own settings."""
    seed: int = 0
    """Seed of weights, wiring, worlds and actions."""

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
        """Whether the time between observations varies, so that a cell has to be told."""
        return self.drop_probability > 0.0

    @property
    def disturbances(self) -> dict[str, Any]:
        """What is put between the policy and the world, by name."""
        return {name: getattr(self, name) for name in DISTURBANCE_OF}


@dataclass(frozen=True, kw_only=True)
class Distill(Learner):
    """Learn from a teacher in any world: a small circuit does what a large network shows."""

    teacher: Path | None = None
    """Policy folder of the teacher, what `train.py teacher` printed or any policy on the full
    observation, or the name of a shipped one; that of halfcheetah or walker2d by default."""
    cell: Annotated[str, one_of("cell")] = "ltc"
    """Circuit, or what it is measured against; mlp has no memory."""
    neurons: int = 32
    """Neurons of a wired circuit, motor neurons included; units of the other cells, and of each of
    the two layers of an mlp."""
    encoder: tuple[int, ...] = ()
    """Widths of dense layers between observation and cell."""
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    """Settings of the training; its seed is replaced by the one above."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_circuit(self.cell, self.wiring)
        check_at_least(self, 1, "neurons")
        check_widths(self.encoder)


@dataclass(frozen=True, kw_only=True)
class Reinforcement(Learner):
    """Settings that every training by reinforcement shares."""

    cell: Annotated[str, one_of("cell")] = "ltc"
    """New circuit, or what it is measured against; mlp is two layers of 256 without a memory, as in
    stable-baselines3."""
    neurons: int = 32
    """Neurons of a new wired circuit, motor neurons included; units of the other cells."""
    encoder: tuple[int, ...] = (64,)
    """Widths of dense layers between the observation and a new circuit. Without one, an LTC
    circuit earned a third less in HalfCheetah."""
    steps: int = 1_000_000
    """Steps of all worlds together."""
    num_envs: int = 16
    """Worlds side by side."""
    workers: int = 1
    """Processes that step the worlds, each a share of them. What is learned is the same with any
    number of them."""
    episode_s: float | None = None
    """Longest episode [s]; the world's own if None."""
    sequence_length: int = 32
    """Steps through which a circuit's gradients flow."""
    batch_size: int = 512
    """Steps of a minibatch."""
    learning_rate: float = 3e-4
    """Of the critic, and of everything in mlp; falls linearly to a tenth."""
    actor_lr_scale: float | None = None
    """Learning rate of the actor over the critic's. If None, 3 for a new ltc circuit, else 1."""
    gamma: float = 0.99
    """Discount a step."""

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


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Train a large network in any world, for circuits to learn from."""

    world: str = "halfcheetah"
    """halfcheetah, walker2d, or another world of numbers and continuous actions by name:
    gymnasium:<id>, or <module>:<function> of your own that returns a Gymnasium environment."""
    world_options: tuple[str, ...] = ()
    """Options of the world as name=value."""
    algorithm: str | None = None
    """tqc, sac or ppo; what suits the world if None."""
    steps: int | None = None
    """Steps of all worlds together; what suits the world if None."""
    examine_every: int | None = None
    """Steps between two examinations; what suits the world if None."""
    examination_episodes: int = 4
    """Episodes of each examination; the best network is kept."""
    evaluation_episodes: int = 20
    """Episodes at the end."""
    threads: int = 1
    """Torch threads; one is twice as fast as two for networks of this size."""
    runs: Path = Path("runs")
    """Where run folders are made."""
    resume: Path | None = None
    """Run folder to go on with; it brings its own settings."""
    seed: int = 0
    """Seed of weights, worlds and actions."""

    def __post_init__(self) -> None:
        read_options(self.world_options)
        check_at_least(self, 1, "examination_episodes", "evaluation_episodes", "threads")
        check_seed(self)


@dataclass(frozen=True, kw_only=True)
class Imitate(MetConditions, KeptFrames, NewCircuit):
    """Learn to do what an expert does, in any world: it demonstrates, then it is asked (DAgger)."""

    world: str | None = None
    """halfcheetah, walker2d, hopper, LaneKeeping-v0, RoadDriving-v0, gymnasium:<id>, or
    <module>:<function> of your own."""
    world_options: tuple[str, ...] = ()
    """Options of the world, e.g. crop_bottom=0.125 height=42 width=48 stack=2."""
    expert: str | None = None
    """Who is asked: <module>:<function>, called with environment, observation and info, or the
    folder of a policy that sees the world without disturbances; the world's own if None."""
    policy: Path | None = None
    """Saved policy of this world that goes on learning, with the numbers that it sees scaled as
    before; a new one if None."""
    cell: Annotated[str, one_of("cell")] = "ltc"
    """Circuit, or what it is measured against."""
    neurons: int = 24
    """Neurons of a wired circuit, motor neurons included; units of the other cells."""
    head: Annotated[str, one_of("head")] = "light"
    """Head for frames."""
    encoder: tuple[int, ...] = ()
    """Widths of dense layers between numbers and cell."""
    imitation: ImitationConfig = field(
        default_factory=lambda: ImitationConfig(
            epochs=8,
            window=16,
            batch_size=8,
            dagger_epochs=(2, 3, 4, 5, 6),
            turn_weight=0.0,
            weight_average=0.99,
        )
    )
    """Settings of the training; its seed is replaced by the one below."""
    episodes: int = 24
    """Episodes that the expert demonstrates."""
    dagger_episodes: int = 6
    """Further episodes that the learner acts in before each DAgger epoch."""
    dagger_repeat: float = 0.0
    """Largest share of them that repeat episodes in which the learner crashed, or which the world
    ended, before earlier DAgger epochs; until it no longer fails there."""
    expert_noise: tuple[float, ...] = (0.2,)
    """Deviation of the slow error on what the expert does, or the share of its choices that are
    random instead: one number, or one for each entry of the action."""
    mirror: bool = False
    """Mirror half of the windows of frames; actions whose positive side is left or right turn
    round."""
    relight: bool = False
    """Cast shadows and gleams over frames."""
    validation_episodes: int = 6
    """Episodes in which each epoch's policy is measured, to choose the best."""
    evaluation_episodes: int = 20
    """Episodes in worlds of other seeds at the end."""
    data: Path | None = None
    """Folder where what the expert demonstrates is kept and found again by later runs with the same
    world, expert, errors, episodes and seed, as long as your module that has them, or one that was
    imported by --import, is not edited; in the run folder if None."""
    results: Path | None = None
    """CSV file to which the result is added; a new one in the run folder by default."""
    workers: int = 1
    """Processes that share the episodes of expert and learner; what is learned is the same with any
    number of them."""
    threads: int | None = None
    """Torch threads; if None, all cores, which convolutions use."""
    runs: Path = Path("runs")
    """Where run folders are made."""
    resume: Path | None = None
    """Run folder to go on with; it brings its own settings."""
    seed: int = 0
    """Seed of worlds, weights and windows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_conditions(self.imitation.asked_epochs)
        self.check_frames()
        if self.world is None and self.resume is None:
            raise ValueError("`world` must be given, got None. Name one with --world.")
        check_circuit(self.cell, self.wiring)
        check_head(self.head)
        read_options(self.world_options)
        check_at_least(self, 1, "neurons", "episodes", "dagger_episodes", "threads", "workers")
        check_at_least(self, 1, "validation_episodes", "evaluation_episodes")
        check_share("dagger_repeat", self.dagger_repeat)
        if self.dagger_repeat and len(self.imitation.asked_epochs) < 2:
            raise ValueError(
                "`dagger_repeat` must be left out where the learner acts before fewer than two"
                f" epochs, got {self.dagger_repeat!r}. Name more, e.g. with"
                " --imitation.dagger-epochs 1 2."
            )
        check_seed(self)
        if self.policy is not None:
            of_a_new_one = ("cell", "neurons", "wiring", "head", "encoder")
            of_a_new_one += ("reads", "tau_s", "synapses")
            refuse_changed(self, of_a_new_one, "--policy")
        for std in self.expert_noise:
            check_not_negative("expert_noise", std)


def refuse_changed(
    settings: Any,
    names: Sequence[str],
    where: str,
    why: str = "It is a setting of a new circuit.",
) -> None:
    """Refuse settings that would be ignored.

    Args:
        settings: A job's settings.
        names: Which of them.
        where: The option that makes them useless.
        why: What the sentence adds.
    """
    for known in dataclasses.fields(settings):
        value = getattr(settings, known.name)
        if known.name in names and value != known.default:
            told = value if isinstance(value, Path) else repr(value)
            raise ValueError(f"`{known.name}` must be left out with {where}, got {told}. {why}")


def refuse_unused(settings: Any, *, sees_frames: bool) -> None:
    """Refuse the head of a new circuit that sees numbers, and the encoder of one that sees frames.

    Args:
        settings: A job's settings with `head` and `encoder`; an empty encoder is no encoder.
        sees_frames: Whether the world shows frames.
    """
    if not sees_frames:
        refuse_changed(settings, ("head",), "a world of numbers", "It takes frames.")
    elif settings.encoder:
        refuse_changed(settings, ("encoder",), "a world of frames", "The head takes its place.")


def check_circuit(cell: str, wiring: str | None, *, setting: str = "cell") -> None:
    """Refuse cells and wirings that nobody has registered; `setting` is what a cell is called."""
    from ncp_control.cells import CELLS
    from ncp_control.wiring_rules import WIRINGS

    CELLS.find(cell, setting=setting)
    if wiring is not None:
        WIRINGS.find(wiring)


def check_head(name: str) -> None:
    """Refuse conv heads that nobody has registered."""
    from ncp_control.policy.heads import HEADS

    HEADS.find(name)


def check_sees_one_frame(head: str, world: str) -> None:
    """Refuse a head that sees several frames together, for a world that shows one."""
    from ncp_control.policy.heads import frames_together

    if (count := frames_together(head)) != 1:
        raise ValueError(
            f"`head` must see one frame in {world}, got {head!r}, which sees {count} together."
            " It is for `train.py recorded`."
        )


def check_widths(encoder: tuple[int, ...]) -> None:
    """Refuse layers without a neuron."""
    if any(width < 1 for width in encoder):
        raise ValueError(f"`encoder` must hold widths of at least 1, got {encoder!r}.")
