"""The job `train.py teacher`: a large network on full observations, for circuits to imitate."""

import dataclasses
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from ncp_control.command_line import use_threads
from ncp_control.keyword_options import read_options
from ncp_control.learning.reinforcement import teacher
from ncp_control.learning.reinforcement.checkpoint import steps_done
from ncp_control.learning.reinforcement.progress import CHECKPOINT, best_of
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import Run
from ncp_control.policy import Policy
from ncp_control.worlds import short_name_of
from policies.from_sb3 import policy_from_sb3
from scripts.evaluation.worlds import (
    WorldSettings,
    check_continuous,
    mean_and_std,
    plain_stem,
    returns_in,
    returns_table,
    write_returns,
)
from scripts.training.contracts import trained_in
from scripts.training.resumption import add_row, begun_with, open_run
from scripts.training.settings import Teacher
from scripts.unused_settings import refuse_changed

RECIPES = {"halfcheetah": ("sac", 1_000_000, 50_000), "walker2d": ("ppo", 1_000_000, 250_000)}
"""Algorithm, steps, and steps between two validations, by environment."""
OTHER_RECIPE = ("ppo", 1_000_000, 50_000)
"""The same for other environments, where it is untested."""
CHECKPOINT_IN_RUN = Path("checkpoints") / CHECKPOINT
"""Path of the training state in a run folder."""


def train_teacher(asked: Teacher) -> Policy:
    """Train, save the best network as the run's policy, and evaluate it."""
    settings = begun_with(asked)
    use_threads(settings.threads)
    algorithm, steps, every = RECIPES.get(short_name_of(settings.world), OTHER_RECIPE)
    recipe: dict[str, Any] = {"steps": steps, "examine_every": every, "algorithm": algorithm}
    for name in (*recipe, "first_steps"):
        if getattr(settings, name) is not None:
            recipe[name] = getattr(settings, name)
    config = teacher.TeacherConfig(**recipe, seed=settings.seed)
    if config.algorithm == "ppo":
        why = "It has no steps with random actions."
        refuse_changed(settings, ("first_steps",), "with ppo", why)
    options = read_options(settings.world_options)
    where = WorldSettings(
        env=settings.world, options=options, episodes=settings.evaluation_episodes
    )
    check_continuous(settings.world, where.world)
    examined = replace(where, episodes=settings.examination_episodes, seed=1000)
    make_one = cast(Any, examined.make_world)
    make_one().close()  # refuses an unsuitable environment before the run folder is created
    results = ResultsFile(None, ("mean_return", "std_return"))
    step = 0 if settings.resume is None else steps_done(settings.resume / CHECKPOINT_IN_RUN)
    name = f"{plain_stem(settings.world)}-{config.algorithm}"
    with open_run(settings, "teacher", name, step=step) as run:
        checkpoint = run.folder / CHECKPOINT_IN_RUN
        examine = _Examiner(run, examined)
        teacher.train_teacher(make_one, config, examine, checkpoint=checkpoint)
        policy = Policy.load(run.checkpoints / "best")
        policy.save(run.policy)
        held_out = where.held_out()
        rows = [("teacher", held_out, returns_in(policy, held_out))]
        results.place(run.results)
        measured = mean_and_std(rows[0][2])
        add_row(results, settings, config.algorithm, describe(settings, config), measured)
        write_returns(run.report / "returns.csv", rows)
        run.forget_training()  # with the experience of SAC it is large
    print(returns_table(rows))
    print(f"policy: {run.policy}\nresults: {results.path}")
    return policy


def describe(settings: Teacher, config: teacher.TeacherConfig) -> str:
    """Return the environment and all settings but the seed as one cell of a results file.

    Args:
        settings: Settings of the job.
        config: Settings of training, with the defaults for the environment.
    """
    left_out = ("world", "threads", "runs", "resume", "seed")
    asked = {**dataclasses.asdict(settings), **dataclasses.asdict(config)}
    values = {k: v for k, v in asked.items() if k not in left_out}
    return f"{settings.world} {json.dumps(values, sort_keys=True)}"


class _Examiner:
    """Validates a teacher, logs its mean return, and saves the last and the best as policies."""

    def __init__(self, run: Run, where: WorldSettings) -> None:
        self.run, self.where = run, where
        self.best = best_of(run, "mean_return")
        self.first_step = int(run.rows[-1]["step"]) if run.rows else 0
        self.began = time.perf_counter()

    def __call__(self, model: Any, step: int) -> None:
        policy = policy_from_sb3(model, frame_s=self.where.world.frame_s)
        policy.contract = trained_in(self.where.world)
        mean_return = float(returns_in(policy, self.where).mean())
        rate = (step - self.first_step) / (time.perf_counter() - self.began)
        self.run.log(step, mean_return=mean_return, steps_per_s=rate)
        print(f"  step {step}  return {mean_return:.0f}  {rate:.0f} steps/s", flush=True)
        self.run.save_checkpoint(policy, "last")
        if math.isfinite(mean_return) and mean_return > self.best:
            self.best = mean_return
            self.run.save_checkpoint(policy, "best")
