"""A run begun anew, or gone on with where it was stopped."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from ncp_control.learning.reinforcement.checkpoint import load_checkpoint
from ncp_control.learning.reinforcement.progress import CHECKPOINT, Progress
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import Run, typed_command
from scripts.pictures import write_picture
from scripts.training.curves import draw_curves


def read_settings(asked: Any) -> dict[str, Any]:
    """Read the settings that a run began with, as JSON values by field.

    Args:
        asked: A job's settings, of which only `resume` is set: the run.

    Raises:
        FileNotFoundError: If the folder is not a run.
        ValueError: If more is set, which the run's own settings would replace, or the run is of
            another job.
    """
    run_folder: Path = asked.resume
    unset = type(asked)()
    for field in dataclasses.fields(asked):
        value = getattr(asked, field.name)
        if field.name != "resume" and value != getattr(unset, field.name):
            raise ValueError(
                f"`{field.name}` must be left out with --resume, got {value}. A run goes on with"
                " its own settings."
            )
    path = run_folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"`resume` must be a run folder with a config.json, got {str(run_folder)!r}."
            " Name one that this job printed, e.g. runs/<run>."
        )
    try:
        values = json.loads(path.read_text())["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} must be what this job wrote, got something else: {error}."
            " Start the training anew."
        ) from error
    if set(values) != {field.name for field in dataclasses.fields(asked)}:
        raise ValueError(
            f"`resume` must be a run of this job and version, got {str(run_folder)!r}."
            " Start the training anew."
        )
    return values


def add_row(
    results: ResultsFile,
    settings: Any,
    model: str,
    described: str,
    measured: Mapping[str, float | str],
) -> None:
    """Add a run's row with the command that the run began with, whether or not it was stopped.

    A run that had ended before it was resumed may have its row already; it gets no other.

    Args:
        results: The table.
        settings: A job's settings with `seed` and `resume`.
        model: What was trained.
        described: Its settings as one cell.
        measured: Measured columns.
    """
    if settings.resume is None:
        results.append(model, settings.seed, described, measured, typed_command())
    elif not results.has(model, settings.seed, described):
        command = json.loads((settings.resume / "config.json").read_text())["command"]
        results.append(model, settings.seed, described, measured, command)


def learn(model: OnPolicyAlgorithm, settings: Any, steps: int, task: str, name: str) -> Run:
    """Let a model take the steps that its training still lacks, logged and saved as it goes.

    Args:
        model: Untrained, built with the settings.
        settings: A job's settings with `runs` and `resume`.
        steps: Steps of the whole training.
        task: Task of a run made anew.
        name: Model of a run made anew.

    Returns:
        The run, still open.
    """
    if settings.resume is None:
        run = Run.create(task, name, settings, root=settings.runs)
    else:
        load_checkpoint(settings.resume / "checkpoints" / CHECKPOINT, model)
        run = Run.reopen(settings.resume, step=model.num_timesteps)
    print(f"run folder: {run.folder}")
    steps_left = steps - model.num_timesteps
    if steps_left > 0:
        progress = Progress(run, steps)
        model.learn(steps_left, callback=progress, reset_num_timesteps=settings.resume is None)
    run.report.mkdir(exist_ok=True)
    write_picture(run.report / "learning_curves.png", draw_curves(run.rows))
    return run
