"""Start a run, or resume one that was stopped."""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from stable_baselines3.common.base_class import BaseAlgorithm

from ncp_control.layers import num_parameters
from ncp_control.learning.divergence import DivergenceError
from ncp_control.learning.launched import is_restarted, launch_name
from ncp_control.learning.reinforcement.checkpoint import load_checkpoint, steps_done
from ncp_control.learning.reinforcement.guard import guarded_learning
from ncp_control.learning.reinforcement.progress import CHECKPOINT, Progress
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import Run, can_go_on, training_files, typed_command
from ncp_control.policy import Policy
from scripts.pictures import write_picture
from scripts.training.curves import draw_curves
from scripts.training.new_circuit import NewCircuit

Settings = TypeVar("Settings")
ADDED = {"parameters"}
"""Settings that a run of an older version may lack; their default holds for it."""


def begun_with(asked: Settings) -> Settings:
    """Return the settings of a job; if `resume` is set, those of the run to be resumed.

    Args:
        asked: The given settings; with `resume`, nothing else may be set.

    Raises:
        FileNotFoundError: If `resume` is not a run folder.
        ValueError: If other settings are given with `resume`, or the run is of another job or has
            ended and left nothing to resume from.
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
    if not (folder / "metrics.csv").is_file():
        _refuse_part(folder)
    if not path.is_file():
        raise FileNotFoundError(
            f"`resume` must be a run folder with a config.json, got {str(folder)!r}."
            " Name one that this job printed, e.g. runs/<run>."
        )
    try:
        config = json.loads(path.read_text())
        values, task = config["settings"], config.get("task")
        began_in = Path(config.get("folder", ""))
        names = {field.name for field in dataclasses.fields(kind)}
        is_of_job = set(values) <= names and names - set(values) <= ADDED
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
    policy = folder / "policy"
    if policy.is_dir() and not can_go_on(folder):
        raise ValueError(
            f"`resume` must be a run that was stopped, got {str(folder)!r}, which has ended. Its"
            f" policy is {policy}."
        )
    try:
        return _from_json(kind, values | {"resume": str(folder)}, began_in)
    except (TypeError, AttributeError, LookupError) as error:
        raise ValueError(
            f"{path} must hold settings of this job, got {error}. Start the training anew."
        ) from error


def _refuse_part(folder: Path) -> None:
    """Raise ValueError if a folder lies in a run, which is the one to name."""
    for run in folder.resolve().parents:
        if all((run / name).is_file() for name in ("config.json", "metrics.csv")):
            raise ValueError(
                f"`resume` must be a run folder, got {str(folder)!r} in one. Name {str(run)!r}."
            )


def _changed(settings: Any) -> list[str]:
    """Return the settings other than `resume` that do not have their default values."""
    unset = type(settings)(resume=settings.resume)
    fields = dataclasses.fields(settings)
    return [f.name for f in fields if getattr(settings, f.name) != getattr(unset, f.name)]


def _innermost(name: str, value: Any, usual: Any) -> tuple[str, str]:
    """Return name and value of a changed setting; for a group, of its first changed setting."""
    if dataclasses.is_dataclass(value) and type(value) is type(usual):
        for field in dataclasses.fields(value):
            inner, before = getattr(value, field.name), getattr(usual, field.name)
            if inner != before:
                return _innermost(f"{name}.{field.name}", inner, before)
    return name, " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _num_following(settings: Any, name: str) -> int:
    """Return how many settings differ from their defaults if only this one is set."""
    values = {"resume": settings.resume, name: getattr(settings, name)}
    try:
        return len(_changed(type(settings)(**values)))
    except ValueError:  # it cannot be set alone
        return 0


def _begun_before(runs: Path) -> Path | None:
    """Return the run that this torchrun started before it restarted its processes.

    A run without a checkpoint is removed; it will start from scratch.
    """
    for path in sorted(runs.glob("*/config.json")):
        with contextlib.suppress(ValueError, OSError, AttributeError):
            if json.loads(path.read_text()).get("launch") != launch_name():
                continue
            if training_files(path.parent):
                return path.parent
            shutil.rmtree(path.parent)
    return None


def _from_json(kind: Any, value: Any, began_in: Path) -> Any:
    """Return the value of a settings field from its JSON by `json.dumps(..., default=str)`.

    A relative path that is not here is that in `began_in`, if it is there.
    """
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return cast(Any, kind)(
            **{name: _from_json(hints[name], value[name], began_in) for name in value}
        )
    options = get_args(kind)
    if type(None) in options:
        (kind,) = (option for option in options if option is not type(None))
        return None if value is None else _from_json(kind, value, began_in)
    if get_origin(kind) is tuple:
        return tuple(_from_json(options[0], entry, began_in) for entry in value)
    if kind is not Path:
        return value
    here, there = Path(value), began_in / value
    return there if there.exists() and not here.exists() else here


def add_row(
    results: ResultsFile,
    settings: Any,
    model: str,
    described: str,
    measured: Mapping[str, float | str],
) -> None:
    """Add the row of a run, with the command by which the run was first started.

    A run that had ended before it was resumed may have its row already. Only a row of the same
    commit of the code counts as that row.

    Args:
        results: The table.
        settings: Settings of a job with `seed` and `resume`.
        model: Name of the trained model.
        described: The settings as one cell.
        measured: Values of the measured columns.
    """
    if settings.resume is None:
        results.append(model, settings.seed, described, measured, typed_command())
        return
    same = {"model": model, "seed": str(settings.seed), "commit": results.commit or ""}
    if not any(same.items() <= row.items() for row in results.rows(described)):
        command = json.loads((settings.resume / "config.json").read_text())["command"]
        results.append(model, settings.seed, described, measured, command)


def relevant_settings(settings: Any, *left_out: str) -> dict[str, Any]:
    """Return the settings of an imitation job that affect its result, for a cell of a results file.

    Settings of the circuit that are None are left out.

    Args:
        settings: Settings of a job with `imitation`.
        *left_out: Names of settings that have cells of their own.
    """
    left_out = (*left_out, "data", "results", "threads", "workers", "runs", "resume", "seed")
    values = {k: v for k, v in dataclasses.asdict(settings).items() if k not in left_out}
    values["imitation"].pop("seed")  # has its own column
    for name in ("epoch_steps", "patience"):  # left out if they are None
        if values["imitation"][name] is None:
            values["imitation"].pop(name)
    if values.get("frames_as") == "raw":
        values.pop("frames_as")
    if values.get("parameters") is not None:
        values.pop("neurons")
    of_the_circuit = {field.name for field in dataclasses.fields(NewCircuit)}
    of_the_circuit |= {"neurons", "parameters"}
    return {k: v for k, v in values.items() if not (v is None and k in of_the_circuit)}


def seen_time(policy: Policy) -> dict[str, bool]:
    """Return what a cell of a results file says of the elapsed time as an input of the circuit."""
    return {"sees_time": True} if getattr(policy.circuit.cell, "sees_time", False) else {}


def words_of_size(policy: Policy) -> str:
    """Return the numbers of parameters and of neurons or units of a policy in words."""
    cell = policy.circuit.cell
    cell = getattr(cell, "cell", cell)  # that beside a memory
    wiring = getattr(cell, "wiring", None)
    units = wiring.num_neurons if wiring is not None else getattr(cell, "hidden_size", None)
    words = f"{num_parameters(policy):,} parameters"
    return words if units is None else f"{words}, {units} neurons"


def label_of(cell: str, policy: Policy) -> str:
    """Return the name of a trained policy in printed tables."""
    return f"{cell}, told the elapsed time" if seen_time(policy) else cell


def resume_model(model: BaseAlgorithm, settings: Any) -> int:
    """Load the checkpoint into a model if its run is resumed; return the number of steps done.

    A checkpoint from before the first step is left out. It holds nothing that a new model lacks,
    but generators that were used to begin episodes, so other episodes would begin.
    """
    if settings.resume is not None:
        path = settings.resume / "checkpoints" / CHECKPOINT
        if steps_done(path):
            load_checkpoint(path, model)
    return model.num_timesteps


@contextlib.contextmanager
def open_run(settings: Any, task: str, name: str, *, step: int) -> Iterator[Run]:
    """Yield a new run, or the one to be resumed.

    If training diverges in the block, the error names the folder of the best policy.

    Args:
        settings: Settings of a job with `runs` and `resume`.
        task: Task, for the name of a new run.
        name: Model, for the name of a new run.
        step: Last step that a resumed run does not repeat.
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
    """Train a model for its remaining steps, with metrics and checkpoints, and save the policy.

    The policy is saved before the learning curves are drawn, so an error in drawing cannot lose it.

    Args:
        model: A new model, or one loaded from a checkpoint.
        steps: Steps of the whole training run.
        run: The run, for metrics, checkpoints and the policy.
        export: Returns the model as a policy.
        row_every: Number of steps between two rows of metrics, if a rollout is shorter.

    Returns:
        The policy.

    Raises:
        DivergenceError: If training reaches numbers that are not finite.
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
