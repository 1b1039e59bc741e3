"""Walking by reinforcement: PPO with liquid circuits as the actor against an LSTM and an MLP.

Four tasks: HalfCheetah-v5 and Walker2d-v5, with the full observation and with positions only, where
velocities have to be estimated from memory. All cells have the same environments and settings, and
the same small encoder, without which an LTC circuit learns more slowly. With positions only, the
critic of every recurrent actor has a memory too (64 GRU units). The MLP is the default PPO of
stable-baselines3 with two layers of 256 units.

The trainings are those of `scripts/train.py ppo`, whose rows can be added to this table
(`--results`). The learning curves (mean return of the last 32 episodes) are drawn to a figure.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ncp_control.cells import CELLS
from ncp_control.command_line import use_threads
from ncp_control.learning.results import OF_DEVIATION, ResultsFile, mean_and_deviation
from ncp_control.learning.run import training_files
from ncp_control.markdown import markdown_table
from scripts.palette import BLUE, GREEN, GREY, PURPLE, SKY, VERMILION
from scripts.pictures import write_picture
from scripts.reproduction.completion import Job, Measured, Reproduce, complete
from scripts.training.places import where_to_learn
from scripts.training.ppo import describe, reinforce
from scripts.training.ppo_settings import PPO
from scripts.training.reinforcement import CURVE_POINTS, MEASURES, Task

TASKS = {
    f"{env}-{observe}": (env, observe)
    for env in ("halfcheetah", "walker2d")
    for observe in ("full", "positions")
}
"""Environment and observation by the name of the task."""
DEFAULT_MODELS = ("ltc", "cfc", "lstm", "mlp")
STEPS = 1_000_000
COLOURS = {
    "ltc": BLUE,
    "cfc": SKY,
    "wired_cfc": PURPLE,
    "lstm": VERMILION,
    "gru": GREEN,
    "mlp": GREY,
}
"""Colours of the actors, from the colour-blind safe palette of Okabe & Ito."""


def reproduce_reinforcement(settings: Reproduce) -> None:
    """Run the missing trainings, print a table for each task, and draw the learning curves."""
    use_threads(1)  # twice as fast as two for networks of this size
    models = settings.chosen("models", CELLS, DEFAULT_MODELS)
    tasks = settings.chosen("tasks", TASKS)
    steps = settings.steps or STEPS
    results = settings.results_file(MEASURES)
    jobs = [
        Job(model, seed, described(learner(task, model, steps)))
        for seed in range(settings.seeds or 3)
        for task in tasks
        for model in models
    ]
    complete(results, jobs, partial(learn, steps, settings.runs), settings)
    for task, rows_of in found(results, tasks, models, steps).items():
        print(f"\n{task}, {steps:,} steps")
        columns = ["actor", "seeds", "mean return of 20 episodes", "parameters", "steps/s"]
        lines = [
            [
                model,
                str(len(rows)),
                mean_and_deviation(rows, "mean_return", 0),
                rows[0]["parameters"],
                mean_and_deviation(rows, "steps_per_s", 0),
            ]
            for model, rows in rows_of.items()
        ]
        print(markdown_table(columns, lines))
        print(f"\n{OF_DEVIATION}")
    name = "reinforcement" if steps == STEPS else f"reinforcement-{steps}-steps"
    picture = results.path.parent / f"{name}.png"
    # Draw all trainings in the file, not only the requested ones.
    actors = tuple(dict.fromkeys((*COLOURS, *models)))
    write_picture(picture, draw_curves(found(results, tuple(TASKS), actors, steps), steps))
    print(f"figure: {picture}")


def found(
    results: ResultsFile, tasks: Sequence[str], models: Sequence[str], steps: int
) -> dict[str, dict[str, list[dict[str, str]]]]:
    """Return the rows with `steps` steps by task and model, for tasks that have any."""
    groups = {
        task: {
            model: results.trainings(model, described(learner(task, model, steps)))
            for model in models
        }
        for task in tasks
    }
    return {task: rows_of for task, rows_of in groups.items() if any(rows_of.values())}


def learner(task: str, model: str, steps: int, seed: int = 0, runs: Path = Path("runs")) -> PPO:
    """Return the settings of a training; `described` does not depend on `seed` and `runs`."""
    env, observe = TASKS[task]
    options = () if observe == "full" else (f"observe={observe}",)
    return PPO(world=env, world_options=options, cell=model, steps=steps, seed=seed, runs=runs)


def described(settings: PPO) -> str:
    """Return the settings as one cell of the results file."""
    return describe(settings, where_to_learn(settings))


def learn(steps: int, runs: Path, job: Job, is_silent: bool) -> Measured:
    """Train one actor with one seed and measure it; a stopped training is resumed."""
    assert job.checkpoint is not None
    env, observe, _ = job.settings.split(" ", 2)
    own = runs / job.checkpoint.stem  # for this training only
    settings = learner(f"{env}-{observe}", job.model, steps, job.seed, own)
    for begun in filter(training_files, own.glob("[!.]*")):
        settings = dataclasses.replace(settings, resume=begun)
    _, measured, run = reinforce(Task.of(settings))
    run.forget_training()  # another table trains from scratch
    return measured


def draw_curves(groups: dict[str, dict[str, list[dict[str, str]]]], steps: int) -> Figure:
    """Draw one panel per task: the mean over seeds, and a band from the worst seed to the best."""
    figure = Figure(figsize=(1.0 + 3.6 * len(groups), 3.4), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for axes, (task, rows_of) in zip(panels, groups.items(), strict=True):
        for model, rows in rows_of.items():
            # A training that is too short to finish an episode has no curve.
            _draw_band(axes, model, [row["curve"] for row in rows if row["curve"]], steps)
        axes.set(title=task, xlabel="steps [million]")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("return of an episode")
    if panels[0].lines:
        panels[0].legend(frameon=False)
    return figure


def _draw_band(axes: Axes, name: str, curves: list[str], steps: int) -> None:
    if not curves:
        return
    values = np.array([[float(value) for value in curve.split()] for curve in curves])
    at = np.linspace(0, steps, CURVE_POINTS + 1)[1:] / 1e6
    (line,) = axes.plot(at, values.mean(axis=0), color=COLOURS.get(name), label=name)
    colour = line.get_color()
    axes.fill_between(at, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, lw=0)
