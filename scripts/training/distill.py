"""The job `train.py distill`: a small circuit imitates a large teacher network (DAgger)."""

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any, cast

import gymnasium
import torch

from ncp_control.cells.first_values import NUM_PROBES, PROBE_FRAMES
from ncp_control.command_line import use_threads
from ncp_control.layers import num_parameters
from ncp_control.learning import distillation
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import policy_name
from ncp_control.learning.training_state import epochs_done
from ncp_control.policy import Policy, VectorPolicy, shipped_policies
from ncp_control.worlds import short_name_of
from policies.locomotion import make_vector_policy
from scripts.evaluation.places import check_fit
from scripts.evaluation.worlds import (
    WorldSettings,
    check_continuous,
    mean_and_std,
    returns_in,
    returns_table,
    write_returns,
)
from scripts.training.contracts import trained_in
from scripts.training.places import run_name, where_to_learn
from scripts.training.resumption import add_row, begun_with, open_run
from scripts.training.settings import Distill

MEASURES = ("mean_return", "std_return", "teacher_return", "parameters")
"""Measured columns of the results file."""


def train_distill(asked: Distill) -> Policy:
    """Distill the teacher, save the student, evaluate both, and add a row to the results."""
    settings = begun_with(asked)
    use_threads(settings.threads)
    results = ResultsFile(settings.results, MEASURES)
    teacher = load_teacher(settings)
    where = where_to_learn(settings, teacher)
    check_continuous(where.env, where.world)
    steps, longest = settings.distillation.steps_per_round, where.world.max_steps
    if steps < longest:
        warnings.warn(
            f"`steps_per_round` should be at least the {longest} steps that an episode may have,"
            f" got {steps}: every round begins new episodes, so that the student never learns, and"
            f" is never measured in, what comes after {steps} steps",
            stacklevel=2,
        )
    everything = {name: value for name, value in where.options.items() if name != "observe"}
    whole = WorldSettings(env=where.env, options=everything, episodes=where.episodes)
    check_fit("teacher", teacher, whole.world, whole.in_words)
    worlds = [where.make_world() for _ in range(settings.distillation.worlds)]
    torch.manual_seed(settings.seed)
    policy = make_student(settings, where, worlds[0])
    settings.begin(policy.circuit.cell, probes(policy), settings.seed)
    contract = policy.contract = trained_in(where.world)
    step = -1 if settings.resume is None else epochs_done(settings.resume)
    with open_run(settings, "distill", run_name(where, settings.cell), step=step) as run:
        student = distillation.distill(
            policy,
            teacher,
            cast(Any, worlds),
            dataclasses.replace(settings.distillation, seed=settings.seed),
            run,
            frame_s=policy.circuit.frame_s,
            fit_scale=policy.fit_scale,
        )
        student.contract = contract
        student.save(run.policy)
        here, there = where.held_out(), whole.held_out()
        returns, taught = returns_in(student, here), returns_in(teacher, there)
        rows = [("teacher", there, taught), (settings.cell, here, returns)]
        write_returns(run.report / "returns.csv", rows)
        results.place(run.results)
    measured = {
        **mean_and_std(returns),
        "teacher_return": float(taught.mean()),
        "parameters": num_parameters(student),
    }
    add_row(results, settings, settings.cell, describe(settings, where), measured)
    print(returns_table(rows))
    print(f"policy: {run.policy}\nresults: {results.path}")
    return student


def make_student(settings: Distill, where: WorldSettings, world: gymnasium.Env) -> VectorPolicy:
    """Build the untrained student for an environment."""
    size, joints = (
        cast(Any, space).shape[0] for space in (world.observation_space, world.action_space)
    )
    return make_vector_policy(
        settings.cell,
        observation_size=size,
        num_joints=joints,
        num_neurons=settings.neurons,
        frame_s=where.world.frame_s,
        encoder=settings.encoder,
        seed=settings.seed,
        sees_time=settings.is_timed,
        **settings.drawn,
    )


def probes(policy: VectorPolicy) -> torch.Tensor:
    """Return inputs of the circuit for normally distributed scaled observations.

    The shape is (`NUM_PROBES`, `PROBE_FRAMES`, features).
    """
    generator = torch.Generator().manual_seed(0)
    shape = NUM_PROBES, PROBE_FRAMES, policy.observation_size
    with torch.no_grad():
        return policy.encoder(torch.randn(shape, generator=generator))


def load_teacher(settings: Distill) -> Policy:
    """Load the teacher.

    Raises:
        FileNotFoundError: If its folder does not exist.
        ValueError: If none is given, and the environment has no shipped one.
    """
    folder = teacher_folder(settings)
    if not folder.is_dir():
        world = settings.world or "halfcheetah"
        raise FileNotFoundError(
            f"`teacher` must be the folder of a policy, got {str(folder)!r}. Train one with"
            f" scripts/train.py teacher --world {world}."
        )
    return Policy.load(folder)


def teacher_folder(settings: Distill) -> Path:
    """Return the folder of the given teacher, or of the shipped one of the environment.

    Raises:
        ValueError: If none is given, and the environment has no shipped one.
    """
    shipped, named = shipped_policies(), settings.teacher
    if named is not None:
        return named if named.is_dir() else shipped.get(str(named), named)
    world = settings.world or "halfcheetah"
    name = f"{short_name_of(world)}-teacher"
    if name not in shipped:
        raise ValueError(
            f"`teacher` must be given in the world {world!r}, which has no shipped one, got None."
            f" Train one with scripts/train.py teacher --world {world}."
        )
    return shipped[name]


def describe(settings: Distill, where: WorldSettings) -> str:
    """Return environment, observation and settings (without cell and seed) as one table cell."""
    rest = {"neurons": settings.neurons, "encoder": settings.encoder, **settings.disturbances}
    rest["evaluation_episodes"] = settings.evaluation_episodes
    rest |= dataclasses.asdict(settings.distillation)
    rest["teacher"] = policy_name(teacher_folder(settings))
    rest.pop("seed")  # has its own column
    rest |= {name: value for name, value in settings.drawn.items() if value is not None}
    rest |= settings.first_values
    return f"{' '.join(where.words)} {json.dumps(rest, sort_keys=True)}"
