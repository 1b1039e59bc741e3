"""Train a teacher: a large network that walks with all it can see, for circuits to learn from."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import torch
import tyro

from ncp_control.learning.reinforcement import teacher
from ncp_control.learning.reinforcement.checkpoint import steps_done
from ncp_control.learning.reinforcement.progress import CHECKPOINT, best_of
from ncp_control.learning.run import Run
from ncp_control.policy import Policy
from ncp_control.ranges import check_at_least, check_seed
from policies.from_sb3 import policy_from_sb3
from scripts.evaluation.locomotion import (
    WalkSettings,
    plain_stem,
    returns_table,
    walk,
    world_named,
    write_returns,
)
from scripts.training.contracts import trained_in
from scripts.training.resumption import open_run, read_settings

RECIPES = {"halfcheetah": ("sac", 1_000_000, 50_000), "walker2d": ("ppo", 1_000_000, 250_000)}
"""Algorithm, steps, and steps between two examinations that suit each world."""
OTHER_RECIPE = ("ppo", 1_000_000, 50_000)
"""The same for a world that nobody has tried."""
CHECKPOINT_IN_RUN = Path("checkpoints") / CHECKPOINT
"""Where a run keeps what its training goes on from."""


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Train a large network to walk, for circuits to learn from."""

    env: Annotated[str, tyro.conf.arg(aliases=["--world"])] = "halfcheetah"
    """halfcheetah, walker2d, or another world of numbers and continuous actions by name:
    gymnasium:<id>, or <module>:<function> of your own that returns a Gymnasium environment."""
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
        world_named(self.env)
        check_at_least(self, 1, "examination_episodes", "evaluation_episodes")
        check_seed(self)


def train_teacher(settings: Teacher) -> Policy:
    """Train, keep the best network as a policy folder, and measure it."""
    if settings.resume is not None:
        settings = settings_of(settings)
    algorithm, steps, every = RECIPES.get(settings.env, OTHER_RECIPE)
    config = teacher.TeacherConfig(
        algorithm=settings.algorithm or algorithm,
        steps=steps if settings.steps is None else settings.steps,
        examine_every=every if settings.examine_every is None else settings.examine_every,
        seed=settings.seed,
    )
    torch.set_num_threads(1)  # twice as fast as two for networks of this size
    examined = WalkSettings(env=settings.env, episodes=settings.examination_episodes, seed=1000)
    step = 0 if settings.resume is None else steps_done(settings.resume / CHECKPOINT_IN_RUN)
    name = f"{plain_stem(settings.env)}-{config.algorithm}"
    with open_run(settings, "teacher", name, step=step) as run:
        checkpoint = run.folder / CHECKPOINT_IN_RUN
        examine = _Examiner(run, examined)
        make_one = cast(Any, examined.make_world)
        teacher.train_teacher(make_one, config, examine, checkpoint=checkpoint)
        policy = Policy.load(run.checkpoints / "best")
        policy.save(run.policy)
        where = WalkSettings(env=settings.env, episodes=settings.evaluation_episodes)
        rows = [("teacher", where, walk(policy, where))]
        write_returns(run.report / "returns.csv", rows)
        checkpoint.unlink()  # with SAC's experience it is large, and nothing is left to go on with
    print(returns_table(rows))
    print(f"policy: {run.policy}")
    return policy


class _Examiner:
    """Lets a teacher walk, logs how far it came, and keeps the last and the best as policies."""

    def __init__(self, run: Run, where: WalkSettings) -> None:
        self.run, self.where = run, where
        self.best = best_of(run, "mean_return")
        self.first_step = int(run.rows[-1]["step"]) if run.rows else 0
        self.began = time.perf_counter()

    def __call__(self, model: Any, step: int) -> None:
        policy = policy_from_sb3(model, frame_s=self.where.world.frame_s)
        policy.contract = trained_in(self.where.world)
        mean_return = float(walk(policy, self.where).mean())
        rate = (step - self.first_step) / (time.perf_counter() - self.began)
        self.run.log(step, mean_return=mean_return, steps_per_s=rate)
        print(f"  step {step}  return {mean_return:.0f}  {rate:.0f} steps/s", flush=True)
        self.run.save_checkpoint(policy, "last")
        if math.isfinite(mean_return) and mean_return > self.best:
            self.best = mean_return
            self.run.save_checkpoint(policy, "best")


def settings_of(asked: Teacher) -> Teacher:
    """Return the settings that a run began with, to go on with it."""

    def build(values: dict[str, Any]) -> Teacher:
        return Teacher(**{**values, "runs": Path(values["runs"]), "resume": asked.resume})

    return read_settings(asked, build)
