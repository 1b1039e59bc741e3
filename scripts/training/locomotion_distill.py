"""Learn to walk from a teacher: a large network shows how, a small circuit learns it (DAgger)."""

import dataclasses
from typing import Any, cast

import gymnasium
import torch

from ncp_control.learning import distillation
from ncp_control.learning.distillation_checkpoint import rounds_done
from ncp_control.learning.run import Run
from ncp_control.policy import Policy, VectorPolicy
from policies.locomotion import make_walking_policy
from scripts.evaluation.locomotion import (
    WalkSettings,
    check_observation,
    mean_and_std,
    returns_table,
    walk,
    write_returns,
)
from scripts.training.contracts import trained_in
from scripts.training.locomotion_settings import Locomotion
from scripts.training.resumption import open_run

MEASURES = ("mean_return", "std_return", "teacher_return", "parameters")
"""Columns of the results file that this way of learning measures."""


def distill(settings: Locomotion) -> tuple[Policy, dict[str, float | str], Run]:
    """Distill the teacher, save the student in its run folder, and measure both.

    Args:
        settings: What to learn; `resume` names a run to go on with.

    Returns:
        The student, its row of the results file (`MEASURES` by name), and its run.
    """
    teacher = load_teacher(settings)
    worlds = [settings.where.make_world() for _ in range(settings.distillation.worlds)]
    torch.manual_seed(settings.seed)
    policy = make_student(settings, worlds[0])
    policy.contract = trained_in(settings.where.world)
    step = -1 if settings.resume is None else rounds_done(settings.resume)
    with open_run(settings, "locomotion", settings.run_name, step=step) as run:
        student = distillation.distill(
            policy,
            teacher,
            cast(Any, worlds),
            dataclasses.replace(settings.distillation, seed=settings.seed),
            run,
            frame_s=policy.circuit.frame_s,
            fit_scale=policy.fit_scale,
        )
        student.contract = trained_in(settings.where.world, student)
        student.save(run.policy)
        whole = WalkSettings(env=settings.env, episodes=settings.evaluation_episodes)
        returns, taught = walk(student, settings.where), walk(teacher, whole)
        rows = [("teacher", whole, taught), (settings.cell, settings.where, returns)]
        write_returns(run.report / "returns.csv", rows)
    print(returns_table(rows))
    print(f"policy: {run.policy}")
    measured = {
        **mean_and_std(returns),
        "teacher_return": round(float(taught.mean()), 1),
        "parameters": sum(parameter.numel() for parameter in student.parameters()),
        "threads": torch.get_num_threads(),
    }
    return student, measured, run


def make_student(settings: Locomotion, world: gymnasium.Env) -> VectorPolicy:
    """Build the untrained student for a world."""
    size, joints = (
        cast(Any, space).shape[0] for space in (world.observation_space, world.action_space)
    )
    return make_walking_policy(
        settings.cell,
        observation_size=size,
        num_joints=joints,
        num_neurons=settings.neurons,
        frame_s=settings.where.world.frame_s,
        encoder=settings.encoder_widths,
        seed=settings.seed,
        sees_time=settings.is_timed,
    )


def load_teacher(settings: Locomotion) -> Policy:
    """Load the teacher and see that it fits.

    Raises:
        ValueError: If it takes another observation.
        FileNotFoundError: If it is not there.
    """
    folder = settings.teacher_folder
    if not folder.is_dir():
        raise FileNotFoundError(
            f"`teacher` must be the folder of a policy, got {str(folder)!r}. Train one with"
            f" scripts/train.py teacher --env {settings.env}."
        )
    teacher = Policy.load(folder)
    check_observation("teacher", teacher, WalkSettings(env=settings.env))
    return teacher
