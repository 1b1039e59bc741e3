"""A run begun anew, or gone on with where it was stopped."""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from stable_baselines3.common.base_class import BaseAlgorithm

from ncp_control.learning.divergence import DivergenceError
from ncp_control.learning.launched import is_restarted, launch_name
from ncp_control.learning.reinforcement.checkpoint import load_checkpoint
from ncp_control.learning.reinforcement.guard import guarded_learning
from ncp_control.learning.reinforcement.progress import CHECKPOINT, Progress
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import Run, training_files, typed_command
from ncp_control.policy import Policy
from scripts.pictures import write_picture
from scripts.training.curves import draw_curves
from scripts.training.new_circuit import NewCircuit

Settings = TypeVar("Settings")


def begun_with(asked: Settings) -> Settings:
    """Return a job's settings: those of the run that it goes on with, if it is to go on with one.

    Args:
        asked: The settings; where `resume` names a run, nothing else may be set.

    Raises:
        FileNotFoundError: If `resume` is not a run.
        ValueError: If more is set, which the run's own settings would replace, or the run is of
            another job.
    """
    kind: Any = type(asked)
    folder: Path | None = cast(Any, asked).resume
    if is_restarted() and (begun := _begun_before(cast(Any, asked).runs)) is not None:
        asked, folder = kind(resume=begun), begun
    if folder is None:
        return asked
    if changed := _changed(asked):
        name = max(changed, key=lambda name: _num_following(asked, name))
        name, value = _innermost(name, getattr(asked, name), getattr(kind(resume=folder), name))
        raise ValueError(
            f"`{name}` must be left out with --resume, got {value}. A run goes on with its own"
            " settings."
        )
    path = folder / "config.json"
    runs = [folder] if (folder / "metrics.csv").is_file() else folder.resolve().parents
    run = next(
        (one for one in runs if (one / "metrics.csv").is_file() and (one / path.name).is_file()),
        None,
    )
    if run not in (None, folder):
        raise ValueError(
            f"`resume` must be a run folder, got {str(folder)!r} in one. Name {str(run)!r}."
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"`resume` must be a run folder with a config.json, got {str(folder)!r}."
            " Name one that this job printed, e.g. runs/<run>."
        )
    try:
        config = json.loads(path.read_text())
        values, task = config["settings"], config.get("task")
        is_of_job = set(values) == {field.name for field in dataclasses.fields(kind)}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path} must be what this job wrote, got something else: {error}."
            " Start the training anew."
        ) from error
    if not is_of_job:
        raise ValueError(
            f"`resume` must be a run of this job and version, got {str(folder)!r}, a run of"
            f" {task!r}. Go on with that job, or start the training anew."
        )
    try:
        return _from_json(kind, values | {"resume": str(folder)})
    except (TypeError, AttributeError, LookupError) as error:
        raise ValueError(
            f"{path} must hold settings of this job, got {error}. Start the training anew."
        ) from error


def _changed(settings: Any) -> list[str]:
    """Return the settings beside `resume` that are not as they are by default."""
    unset = type(settings)(resume=settings.resume)
    fields = dataclasses.fields(settings)
    return [f.name for f in fields if getattr(settings, f.name) != getattr(unset, f.name)]


def _innermost(name: str, value: Any, usual: Any) -> tuple[str, str]:
    """Return name and value of a changed setting, of a group the first one that was changed."""
    if dataclasses.is_dataclass(value) and type(value) is type(usual):
        for field in dataclasses.fields(value):
            inner, before = getattr(value, field.name), getattr(usual, field.name)
            if inner != before:
                return _innermost(f"{name}.{field.name}", inner, before)
    return name, " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _num_following(settings: Any, name: str) -> int:
    """Return how many settings a value changes that is set alone: those that follow from it."""
    told = {"resume": settings.resume, name: getattr(settings, name)}
    try:
        return len(_changed(type(settings)(**told)))
    except ValueError:  # not without another one
        return 0


def _begun_before(runs: Path) -> Path | None:
    """Return the run that this torchrun began before it started its processes again.

    One without a checkpoint is removed, and begun anew.
    """
    for path in sorted(runs.glob("*/config.json")):
        with contextlib.suppress(ValueError, OSError, AttributeError):
            if json.loads(path.read_text()).get("launch") != launch_name():
                continue
            if training_files(path.parent):
                return path.parent
            shutil.rmtree(path.parent)
    return None


def _from_json(kind: Any, value: Any) -> Any:
    """Return a value of a settings' field from what `json.dumps(..., default=str)` made of it."""
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return cast(Any, kind)(**{name: _from_json(hints[name], value[name]) for name in value})
    options = get_args(kind)
    if type(None) in options:
        (kind,) = (option for option in options if option is not type(None))
        return None if value is None else _from_json(kind, value)
    if get_origin(kind) is tuple:
        return tuple(_from_json(options[0], entry) for entry in value)
    return Path(value) if kind is Path else value


def add_row(
    results: ResultsFile,
    settings: Any,
    model: str,
    described: str,
    measured: Mapping[str, float | str],
) -> None:
    """Add a run's row with the command that the run began with, whether or not it was stopped.

    A run that had ended before it was resumed may have its row already. A row of another commit of
    the code is not it.

    Args:
        results: The table.
        settings: A job's settings with `seed` and `resume`.
        model: What was trained.
        described: Its settings as one cell.
        measured: Measured columns.
    """
    if settings.resume is None:
        results.append(model, settings.seed, described, measured, typed_command())
        return
    same = {"model": model, "seed": str(settings.seed), "commit": results.commit or ""}
    if not any(same.items() <= row.items() for row in results.rows(described)):
        command = json.loads((settings.resume / "config.json").read_text())["command"]
        results.append(model, settings.seed, described, measured, command)


def settings_told(settings: Any, *left_out: str) -> dict[str, Any]:
    """Return the settings of an imitation that shape its result, for a cell of a results file.

    Those of the circuit are not told where nothing was asked for.

    Args:
        settings: A job's settings with `imitation`.
        *left_out: Names of those that other cells tell.
    """
    left_out = (*left_out, "data", "results", "threads", "workers", "runs", "resume", "seed")
    told = {k: v for k, v in dataclasses.asdict(settings).items() if k not in left_out}
    told["imitation"].pop("seed")  # has a column of its own
    for name in ("epoch_steps", "patience"):  # not told where nothing was asked for
        if told["imitation"][name] is None:
            told["imitation"].pop(name)
    if told.get("frames_as") == "raw":
        told.pop("frames_as")
    of_the_circuit = {field.name for field in dataclasses.fields(NewCircuit)} | {"neurons"}
    return {k: v for k, v in told.items() if not (v is None and k in of_the_circuit)}


def results_path(settings: Any, table: str) -> Path | None:
    """Return the table that a job's results go to: the file that was named, or `table` in a folder.

    It is None if nothing was named; then the table belongs into the run folder.
    """
    path: Path | None = settings.results
    return path / table if path is not None and path.is_dir() else path


def resume_model(model: BaseAlgorithm, settings: Any) -> int:
    """Set a model to where its run stopped, if it goes on with one; return the steps done."""
    if settings.resume is not None:
        load_checkpoint(settings.resume / "checkpoints" / CHECKPOINT, model)
    return model.num_timesteps


@contextlib.contextmanager
def open_run(settings: Any, task: str, name: str, *, step: int) -> Iterator[Run]:
    """Yield a run made anew, or the one to go on with.

    A training that diverges in the block ends with where its best policy is.

    Args:
        settings: A job's settings with `runs` and `resume`.
        task: Task of a run made anew.
        name: Model of a run made anew.
        step: Last step that a run to go on with need not repeat.
    """
    if settings.resume is None:
        run = Run.create(task, name, settings, root=settings.runs)
    else:
        run = Run.reopen(settings.resume, step=step)
    print(f"run folder: {run.folder}")
    try:
        yield run
    except DivergenceError as error:
        best = run.checkpoints / "best"
        kept = f" The best policy before it is {best}." if best.is_dir() else ""
        raise DivergenceError(f"{error}{kept}") from error


def learn(
    model: BaseAlgorithm,
    steps: int,
    run: Run,
    export: Callable[[Any], Policy],
    *,
    row_every: int = 1,
) -> Policy:
    """Let a model take the steps that its training still lacks, logged and saved as it goes.

    The policy is saved before the curves are drawn, so that no picture can cost it.

    Args:
        model: As it was built with the settings, or set to where its run stopped.
        steps: Steps of the whole training.
        run: Where it is logged and saved.
        export: Makes a policy of the model.
        row_every: Steps from one logged row to the next, if a rollout is shorter.

    Returns:
        The policy.

    Raises:
        DivergenceError: If the training reaches numbers that are not finite.
    """
    steps_left = steps - model.num_timesteps
    if steps_left > 0:
        is_new = model.num_timesteps == 0
        progress = Progress(run, steps, export=export, row_every=row_every)
        with contextlib.closing(progress), guarded_learning(model):
            model.learn(steps_left, callback=progress, reset_num_timesteps=is_new)
    policy = export(model)
    policy.save(run.policy)
    write_picture(run.report / "learning_curves.png", draw_curves(run.rows))
    return policy
