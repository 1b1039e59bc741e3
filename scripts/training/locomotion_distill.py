"""Learn to walk from a teacher: a large network shows how, a small circuit learns it (DAgger)."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import gymnasium
import torch

from envs.locomotion import make_locomotion
from ncp_control.cells import Cell, Feedforward
from ncp_control.learning.distillation import DistillationConfig, distill, rounds_done
from ncp_control.learning.run import Run
from ncp_control.names import check_name
from ncp_control.policy import Policy
from policies.locomotion import LocomotionPolicy
from policies.motor_circuits import MOTOR_CELLS, make_motor_cell
from scripts.evaluation.locomotion import (
    WalkSettings,
    check_observation,
    returns_table,
    walk,
    write_returns,
)
from scripts.training.resumption import read_settings

CELL_NAMES = (*MOTOR_CELLS, "mlp")


@dataclass(frozen=True, kw_only=True)
class LocomotionDistill:
    """Learn to walk from a teacher (DAgger)."""

    teacher: Path | None = None
    """Policy folder of the teacher: what `train.py teacher` printed, or any policy on the full
    observation."""
    env: str = "halfcheetah"
    """halfcheetah or walker2d."""
    cell: str = "ltc"
    """Student: ltc, cfc, wired_cfc, lstm, gru, or mlp (two layers of `neurons` units)."""
    observe: str = "full"
    """What the student sees: full, or positions (no velocities). The teacher sees everything."""
    neurons: int = 32
    """Neurons of a wired circuit, motor neurons included; units of the other cells."""
    encoder: tuple[int, ...] = ()
    """Widths of dense layers between observation and cell; none by default."""
    sensor_noise_std: float = 0.0
    """Deviation of the noise on each entry of the student's observation, in its own unit."""
    drop_probability: float = 0.0
    """Share of frames that are dropped; the elapsed time then reaches the circuit."""
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    """Settings of the training; its seed is replaced by the one below."""
    evaluation_episodes: int = 20
    """Episodes at the end."""
    runs: Path = Path("runs")
    """Where run folders are made."""
    resume: Path | None = None
    """Run folder to go on with; it brings its own settings."""
    seed: int = 0
    """Seed of weights, wiring and worlds."""

    def __post_init__(self) -> None:
        check_name("cell", self.cell, CELL_NAMES)
        if self.evaluation_episodes < 1:
            raise ValueError(
                "`evaluation_episodes` must be at least 1, got"
                f" {self.evaluation_episodes!r}. Raise it."
            )


def distill_locomotion(settings: LocomotionDistill) -> Policy:
    """Distill, evaluate teacher and student, and save the student."""
    if settings.resume is not None:
        settings = settings_of(settings.resume)
    teacher = load_teacher(settings)
    worlds = [make_world(settings) for _ in range(settings.distillation.worlds)]
    torch.manual_seed(settings.seed)
    policy = make_student(settings, worlds[0])
    if settings.resume is not None:
        run = Run.reopen(settings.resume, step=rounds_done(settings.resume))
    else:
        name = f"{settings.env}-{settings.observe}-{settings.cell}-distill"
        run = Run.create("locomotion", name, settings, root=settings.runs)
    print(f"run folder: {run.folder}")
    student = distill(
        policy,
        teacher,
        cast(Any, worlds),
        dataclasses.replace(settings.distillation, seed=settings.seed),
        run,
        frame_s=policy.circuit.frame_s,
        fit_scale=policy.fit_scale,
    )
    student.save(run.policy)
    where = WalkSettings(env=settings.env, episodes=settings.evaluation_episodes)
    seen = dataclasses.replace(
        where,
        observe=settings.observe,
        sensor_noise_std=settings.sensor_noise_std,
        drop_probability=settings.drop_probability,
    )
    rows = [("teacher", where, walk(teacher, where)), (settings.cell, seen, walk(student, seen))]
    write_returns(run.report / "returns.csv", rows)
    run.close()
    print(returns_table(rows))
    print(f"policy: {run.policy}")
    return student


def make_world(settings: LocomotionDistill) -> gymnasium.Env:
    """Build a world as the student sees it."""
    return make_locomotion(
        settings.env,
        observe=settings.observe,
        sensor_noise_std=settings.sensor_noise_std,
        drop_probability=settings.drop_probability,
    )


def make_student(settings: LocomotionDistill, world: gymnasium.Env) -> LocomotionPolicy:
    """Build the untrained student for a world."""
    size, joints = (
        cast(Any, space).shape[0] for space in (world.observation_space, world.action_space)
    )
    width = settings.encoder[-1] if settings.encoder else size
    frame_s = float(cast(Any, world.unwrapped).dt)
    cell: Cell
    if settings.cell == "mlp":
        cell = Feedforward(width, settings.neurons, joints, frame_s=frame_s)
    else:
        cell = make_motor_cell(
            settings.cell, width, settings.neurons, joints, frame_s=frame_s, seed=settings.seed
        )
    return LocomotionPolicy(cell, observation_size=size, encoder=settings.encoder, squash="tanh")


def load_teacher(settings: LocomotionDistill) -> Policy:
    """Load the teacher and see that it fits.

    Raises:
        ValueError: If none is named, or it takes another observation.
        FileNotFoundError: If it is not there.
    """
    if settings.teacher is None:
        raise ValueError(
            "`teacher` must be the folder of a policy, got None. Train one with"
            f" scripts/train.py teacher --env {settings.env}."
        )
    teacher = Policy.load(settings.teacher)
    check_observation("teacher", teacher, WalkSettings(env=settings.env))
    return teacher


def settings_of(run_folder: Path) -> LocomotionDistill:
    """Return the settings that a run began with, to go on with it."""
    values = read_settings(run_folder, LocomotionDistill)
    changed = {
        "teacher": Path(values["teacher"]),
        "encoder": tuple(values["encoder"]),
        "distillation": DistillationConfig(**values["distillation"]),
        "runs": Path(values["runs"]),
        "resume": run_folder,
    }
    return LocomotionDistill(**(values | changed))
