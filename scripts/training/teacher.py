"""Train a teacher: a large network that walks with all it can see, for circuits to learn from."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from ncp_control.learning.reinforcement import teacher
from ncp_control.learning.reinforcement.checkpoint import steps_done
from ncp_control.learning.reinforcement.progress import CHECKPOINT
from ncp_control.learning.run import Run
from ncp_control.names import check_name
from ncp_control.policy import Policy
from ncp_control.ranges import check_at_least
from policies.from_sb3 import policy_from_sb3
from scripts.evaluation.locomotion import WalkSettings, returns_table, walk, write_returns
from scripts.training.resumption import read_settings

RECIPES = {"halfcheetah": ("sac", 1_000_000, 50_000), "walker2d": ("ppo", 1_000_000, 250_000)}
"""Algorithm, steps, and steps between two examinations that suit each world."""


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Train a large network to walk, for circuits to learn from."""

    env: str = "halfcheetah"
    """halfcheetah or walker2d."""
    algorithm: str | None = None
    """tqc, sac or ppo; what suits the world by default."""
    steps: int | None = None
    """Steps of all worlds together; what suits the world by default."""
    examine_every: int | None = None
    """Steps between two examinations; what suits the world by default."""
    examination_episodes: int = 4
    """Episodes of each examination; the best network is kept."""
    evaluation_episodes: int = 20
    """Episodes at the end."""
    runs: Path = Path("runs")
    """Where run folders are made."""
    resume: Path | None = None
    """Run folder to go on with; it brings its own settings."""
    seed: int = 0
    """Seed of weights, worlds and actions."""

    def __post_init__(self) -> None:
        check_name("env", self.env, RECIPES)
        check_at_least(self, 1, "examination_episodes", "evaluation_episodes")
        check_at_least(self, 0, "seed")


def train_teacher(settings: Teacher) -> Policy:
    """Train, keep the best network as a policy folder, and measure it."""
    if settings.resume is not None:
        settings = settings_of(settings)
    algorithm, steps, every = RECIPES[settings.env]
    config = teacher.TeacherConfig(
        algorithm=settings.algorithm or algorithm,
        steps=steps if settings.steps is None else settings.steps,
        examine_every=every if settings.examine_every is None else settings.examine_every,
        seed=settings.seed,
    )
    torch.set_num_threads(1)  # twice as fast as two for networks of this size
    run = _open_run(settings, f"{settings.env}-{config.algorithm}")
    print(f"run folder: {run.folder}")
    examined = WalkSettings(env=settings.env, episodes=settings.examination_episodes, seed=1000)
    world: Any = examined.make_world()
    frame_s = float(world.unwrapped.dt)
    world.close()
    best = max((row["mean_return"] for row in run.rows), default=-math.inf)
    first_step, began = int(run.rows[-1]["step"]) if run.rows else 0, time.perf_counter()

    def examine(model: Any, step: int) -> None:
        nonlocal best
        policy = policy_from_sb3(model, frame_s=frame_s)
        mean_return = float(walk(policy, examined).mean())
        rate = (step - first_step) / (time.perf_counter() - began)
        run.log(step, mean_return=mean_return, steps_per_s=rate)
        print(f"  step {step}  return {mean_return:.0f}  {rate:.0f} steps/s", flush=True)
        run.save_checkpoint(policy, "last")
        if mean_return > best:
            best = mean_return
            run.save_checkpoint(policy, "best")

    checkpoint = run.checkpoints / CHECKPOINT
    teacher.train_teacher(cast(Any, examined.make_world), config, examine, checkpoint=checkpoint)
    policy = Policy.load(run.checkpoints / "best")
    policy.save(run.policy)
    where = WalkSettings(env=settings.env, episodes=settings.evaluation_episodes)
    rows = [("teacher", where, walk(policy, where))]
    write_returns(run.report / "returns.csv", rows)
    checkpoint.unlink()  # with SAC's experience it is large, and nothing is left to go on with
    run.close()
    print(returns_table(rows))
    print(f"policy: {run.policy}")
    return policy


def settings_of(asked: Teacher) -> Teacher:
    """Return the settings that a run began with, to go on with it."""
    values = read_settings(asked)
    return Teacher(**{**values, "runs": Path(values["runs"]), "resume": asked.resume})


def _open_run(settings: Teacher, name: str) -> Run:
    """Begin a run, or go on with the one that is named."""
    if settings.resume is None:
        return Run.create("teacher", name, settings, root=settings.runs)
    return Run.reopen(
        settings.resume, step=steps_done(settings.resume / "checkpoints" / CHECKPOINT)
    )
