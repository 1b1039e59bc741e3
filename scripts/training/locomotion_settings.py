"""What a training to walk is told: where, with which circuit, and how it learns."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from ncp_control.cells import CELLS
from ncp_control.learning.distillation import DistillationConfig
from ncp_control.learning.run import policy_name
from ncp_control.learning.schedule import check_learning_rates
from ncp_control.names import check_name
from ncp_control.ranges import check_at_least, check_seed
from scripts.evaluation.locomotion import (
    DISTURBANCES,
    WalkSettings,
    plain_stem,
    world_named,
)
from scripts.training.resumption import read_settings

ACTOR_LR_SCALES = {"ltc": 3.0}
"""Learning rate of the actor over the critic's where it is not 1. At 10 times, which suits an LTC
circuit without an encoder, one behind an encoder earned less in all four tasks, on the mean of two
seeds."""
PPO_ENCODER = (64,)
"""Widths of the encoder of a cell that learns by reinforcement: without one, an LTC circuit earned
a third less in HalfCheetah."""
SHIPPED = Path(__file__).parents[2] / "policies" / "pretrained"


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """Settings of a training by reinforcement."""

    steps: int = 1_000_000
    """Steps of all environments together."""
    critic: str | None = None
    """mlp: two layers of 256; gru: 64 units before them, for observations that hide something.
    By default gru for a cell that sees positions only."""
    num_envs: int = 16
    """Environments side by side."""
    rollout_steps: int = 256
    """Steps of each environment between two updates."""
    sequence_length: int = 32
    """Steps through which a circuit's gradients flow."""
    batch_size: int = 512
    """Steps of a minibatch."""
    epochs: int = 10
    """Passes over each rollout."""
    learning_rate: float = 3e-4
    """Of the critic, and of everything in mlp; falls linearly to a tenth."""
    actor_lr_scale: float | None = None
    """Learning rate of the actor over the critic's; what suits the cell by default."""
    gamma: float = 0.99
    """Discount a step."""

    def __post_init__(self) -> None:
        if self.critic is not None:
            check_name("critic", self.critic, ("mlp", "gru"))
        counts = ("steps", "num_envs", "rollout_steps", "sequence_length", "epochs")
        check_at_least(self, 1, *counts)
        check_at_least(self, 2, "batch_size")
        check_learning_rates(self, "learning_rate", "actor_lr_scale")
        if not 0.0 <= self.gamma <= 1.0:
            raise ValueError(f"`gamma` must be from 0 to 1, got {self.gamma!r}. Correct it.")


@dataclass(frozen=True, kw_only=True)
class Locomotion:
    """Learn to walk: by reinforcement, or from a teacher."""

    env: Annotated[str, tyro.conf.arg(aliases=["--world"])] = "halfcheetah"
    """halfcheetah, walker2d, or another world of numbers and continuous actions by name:
    gymnasium:<id>, or <module>:<function> of your own that returns a Gymnasium environment."""
    how: str = "ppo"
    """ppo: by reinforcement alone; distill: from a teacher (DAgger)."""
    cell: str = "ltc"
    """ltc, cfc, wired_cfc, lstm, gru, or mlp, which has no memory."""
    observe: str = "full"
    """full, or positions: no velocities. A teacher sees everything."""
    neurons: int = 32
    """Neurons of a wired circuit, motor neurons included; units of the other cells. A distilled mlp
    has two layers of as many, one that learns by reinforcement two of 256."""
    encoder: tuple[int, ...] | None = None
    """Widths of dense layers between observation and cell; by default one of 64 for a cell that
    learns by reinforcement, and none for one that has a teacher."""
    sensor_noise_std: float = 0.0
    """Deviation of the noise on each entry of the observation, in its own unit."""
    drop_probability: float = 0.0
    """Share of frames that are dropped; the elapsed time then reaches every cell but mlp."""
    overwrite_probability: float = 0.0
    """Share of frames in which the body gets a random action."""
    delay_steps: int = 0
    """Frames between choosing an action and its effect."""
    teacher: Path | None = None
    """With distill: policy folder of the teacher, what `train.py teacher` printed or any policy on
    the full observation; the shipped one by default."""
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    """With distill: settings of the training; its seed is replaced by the one below."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    """With ppo: settings of the training."""
    evaluation_episodes: int = 20
    """Episodes at the end, with the most likely actions."""
    results: Path | None = None
    """CSV file to which the result is added, or a folder: then reinforcement.csv or
    distillation.csv there. A new one in the run folder by default."""
    runs: Path = Path("runs")
    """Where run folders are made."""
    resume: Path | None = None
    """Run folder to go on with; it brings its own settings."""
    seed: int = 0
    """Seed of weights, wiring, worlds and actions."""

    def __post_init__(self) -> None:
        check_name("how", self.how, ("ppo", "distill"))
        check_name("cell", self.cell, CELLS)
        world_named(self.env, self.observe)
        self._refuse_what_is_ignored()
        check_at_least(self, 1, "evaluation_episodes", "neurons")
        check_seed(self)
        for width in self.encoder or ():
            if width < 1:
                raise ValueError(
                    f"`encoder` must hold widths of at least 1, got {self.encoder!r}. Raise them."
                )

    def _refuse_what_is_ignored(self) -> None:
        of_the_other_way = {
            "ppo": {"teacher": None, "distillation": DistillationConfig()},
            "distill": {"ppo": PPOConfig()},
        }
        ignored = {f"--how {self.how}": of_the_other_way[self.how]}
        if self.how == "ppo" and self.cell == "mlp":
            of_no_use = ("critic", "actor_lr_scale", "sequence_length")
            unset = {name: getattr(PPOConfig(), name) for name in of_no_use}
            ignored["--how ppo --cell mlp"] = {
                "encoder": None,
                "neurons": Locomotion.neurons,
                "ppo": dataclasses.replace(self.ppo, **unset),
            }
        for where, defaults in ignored.items():
            for name, default in defaults.items():
                if getattr(self, name) != default:
                    raise ValueError(
                        f"`{name}` must be left out with {where}, got {getattr(self, name)!r}."
                        " Nothing would come of it."
                    )

    @property
    def encoder_widths(self) -> tuple[int, ...]:
        """Widths of the encoder, as they were set or by default."""
        if self.encoder is not None:
            return self.encoder
        return PPO_ENCODER if self.how == "ppo" and self.cell != "mlp" else ()

    @property
    def is_timed(self) -> bool:
        """Whether the time between observations varies, so that a cell has to be told."""
        return self.drop_probability > 0.0

    @property
    def critic(self) -> str:
        """What the critic is made of, as it was set or by default."""
        is_blind = self.observe == "positions" and self.cell != "mlp"
        return self.ppo.critic or ("gru" if is_blind else "mlp")

    @property
    def actor_lr_scale(self) -> float:
        """Learning rate of the actor over the critic's, as it was set or by default."""
        return self.ppo.actor_lr_scale or ACTOR_LR_SCALES.get(self.cell, 1.0)

    @property
    def where(self) -> WalkSettings:
        """World that is learned in, and in which the result is measured."""
        disturbances = {name: getattr(self, name) for name in DISTURBANCES}
        return WalkSettings(
            env=self.env,
            observe=self.observe,
            episodes=self.evaluation_episodes,
            **disturbances,
        )

    @property
    def teacher_folder(self) -> Path:
        """Folder of the teacher that was named, or of the shipped one."""
        return self.teacher or SHIPPED / f"{self.env}-teacher"

    @property
    def run_name(self) -> str:
        """Middle part of the name of the run folder."""
        return f"{plain_stem(self.env)}-{self.observe}-{self.cell}-{self.how}"


def describe(settings: Locomotion) -> str:
    """Return all but cell and seed as one cell of the results file: world, observation, rest."""
    names = ("neurons", *DISTURBANCES)
    rest: dict[str, Any] = {name: getattr(settings, name) for name in names}
    rest["encoder"] = settings.encoder_widths
    rest["evaluation_episodes"] = settings.evaluation_episodes
    if settings.how == "ppo":
        rest |= dataclasses.asdict(settings.ppo)
        rest |= {name: getattr(settings, name) for name in ("critic", "actor_lr_scale")}
    else:
        rest |= dataclasses.asdict(settings.distillation)
        rest["teacher"] = policy_name(settings.teacher_folder)
        rest.pop("seed")  # has a column of its own
    return f"{settings.env} {settings.observe} {json.dumps(rest, sort_keys=True)}"


def settings_of(asked: Locomotion) -> Locomotion:
    """Return the settings that a run began with, to go on with it."""

    def build(values: dict[str, Any]) -> Locomotion:
        changed = {
            "teacher": values["teacher"] and Path(values["teacher"]),
            "encoder": None if values["encoder"] is None else tuple(values["encoder"]),
            "distillation": DistillationConfig(**values["distillation"]),
            "ppo": PPOConfig(**values["ppo"]),
            "results": values["results"] and Path(values["results"]),
            "runs": Path(values["runs"]),
            "resume": asked.resume,
        }
        return Locomotion(**{**values, **changed})

    return read_settings(asked, build)
