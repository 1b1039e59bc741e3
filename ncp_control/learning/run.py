"""Run folder: settings, metrics, checkpoints and results of a training run.

runs/<task>-<model>-<date>-<n>/
    config.json       settings, versions, commit, machine
    runs.json         the runs of a job that trains several models
    metrics.csv       one row per epoch
    events.out.*      the same metrics for TensorBoard
    checkpoints/      last/ and best/, each a policy folder, and training.*, used to resume
    policy/           the trained policy
    report/           plots, tables, video
    results.csv       result rows of the job, if no other table was named

All files except the events are written atomically and are on the disk when the call returns
(`ncp_control.files`). A row costs some milliseconds, an epoch takes seconds. A power failure may
lose the last events, but metrics.csv holds the same numbers.
"""

import csv
import dataclasses
import datetime
import hashlib
import importlib.metadata
import io
import itertools
import json
import os
import platform
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncp_control import files
from ncp_control.imports import imported_modules
from ncp_control.learning.launched import launch_name
from ncp_control.names import one_line

if TYPE_CHECKING:
    from ncp_control.policy import Policy

_WITHOUT_LEARNING = ("config.json", "runs.json", "demonstrations", "dagger")
"""Names that a run folder may contain, beside events, before training has begun."""
_watched: ContextVar[list["Run"] | None] = ContextVar("_watched", default=None)


def policy_name(folder: Path) -> str:
    """Return the name of a saved policy: its folder's name, or its run's if that is `policy`."""
    folder = folder.resolve()
    return one_line(folder.parent.name if folder.name == "policy" else folder.name)


class Run:
    """A training run and its folder.

    Args:
        folder: Folder of the run, created by `Run.create`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows: list[dict[str, float]] = []
        self._is_new = False
        self._new_parents: list[Path] = []
        # A new file each time the run is opened; TensorBoard reads them in order of their names.
        seconds, rest = divmod(time.time_ns(), 10**9)
        stamp = f"{seconds:010d}.{rest:09d}.{socket.gethostname()}.{os.getpid()}"
        self._events = folder / f"events.out.tfevents.{stamp}"
        if (runs := _watched.get()) is not None:
            runs.append(self)

    @classmethod
    def create(
        cls,
        task: str,
        model: str,
        settings: Any,
        *,
        root: Path | str = "runs",
        tested: "Mapping[str, Policy] | None" = None,
    ) -> "Run":
        """Create a new run folder with its config.json.

        Half-written files that killed processes left in the runs of `root` are removed.

        Args:
            task: Name of the task, e.g. "drive".
            model: Name of the model, e.g. "ncp".
            settings: Dataclass with all settings of the job.
            root: Folder of all runs.
            tested: Policies that the job tests, by name; config.json gets the SHA-256 hashes of
                their weights.

        Raises:
            OSError: If the folder cannot be created.
        """
        root = Path(root)
        for path in root.glob("*/config.json"):
            _remove_leftovers(path.parent)
        config = {
            "task": task,
            "model": model,
            "command": typed_command(),
            "folder": str(Path.cwd()),
            "imports": imported_modules(),
            "launch": launch_name(),
            "settings": dataclasses.asdict(settings),
            "environment": describe_environment(),
        }
        if tested:
            from ncp_control.policy.folder import weights_sha256  # imports torch

            config["weights_sha256"] = {name: weights_sha256(one) for name, one in tested.items()}
        text = json.dumps(config, indent=1, default=str) + "\n"
        stem = f"{task}-{model}-{datetime.date.today():%Y%m%d}"
        parents = [path for path in (root, *root.parents) if not path.exists()]
        new = files.NewFolder(root / stem)
        try:
            with files.naming_errors(root / stem):
                files.write_file(new.folder / "config.json", text)
            run = cls(new.publish_as_first(f"{stem}-{n}" for n in itertools.count(1)))
        finally:
            new.discard()
        run._is_new, run._new_parents = True, parents
        return run

    @classmethod
    def reopen(cls, folder: Path | str, *, step: int) -> "Run":
        """Open the folder of a stopped run to resume it; rows after `step` are dropped.

        Raises:
            FileNotFoundError: If `folder` is not a run folder.
            ValueError: If its metrics.csv is damaged.
        """
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(
                f"`folder` must be a run folder, got {str(folder)!r}. Name one that holds"
                " config.json, e.g. runs/<run>."
            )
        files.remove_leftovers(folder.parent)
        _remove_leftovers(folder)
        run = cls(folder)
        if (folder / "metrics.csv").is_file():
            rows = _read_rows(folder / "metrics.csv")
            run._rows = [row for row in rows if row["step"] <= step]
        return run

    @property
    def checkpoints(self) -> Path:
        """Folder of the last and the best policy and of the training checkpoint."""
        return self.folder / "checkpoints"

    @property
    def report(self) -> Path:
        """Folder of plots, tables and videos."""
        return self.folder / "report"

    @property
    def results(self) -> Path:
        """Table of results, used if the user named no other."""
        return self.folder / "results.csv"

    @property
    def trials(self) -> Path:
        """Folder of the trainings of a sweep."""
        return self.folder / "trials"

    @property
    def policy(self) -> Path:
        """Folder of the trained policy."""
        return self.folder / "policy"

    @property
    def rows(self) -> tuple[dict[str, float], ...]:
        """Rows of metrics.csv so far, each with its `step`."""
        return tuple(self._rows)

    def log(self, step: int, **metrics: float) -> None:
        """Append a row to metrics.csv and TensorBoard's events."""
        self._rows.append({"step": step, **metrics})
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        table = io.StringIO()
        writer = csv.DictWriter(table, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        files.write_file(self.folder / "metrics.csv", table.getvalue())
        _append_events(self._events, step, metrics)

    def save_checkpoint(self, policy: "Policy", name: str) -> None:
        """Save the policy to `checkpoints/<name>`."""
        policy.save(self.checkpoints / name)

    def kept(self) -> str:
        """Return a text that lists which parts of the run are on the disk."""
        saved = [f"checkpoints/{path.name}" for path in sorted(self.checkpoints.glob("[!.]*"))]
        folders = (self.policy, self.report, self.trials)
        saved += [path.name for path in folders if path.is_dir()]
        for kind in ("*.mcap", "*.html"):
            saved += sorted(path.name for path in self.folder.glob(kind))
        tables = sorted(path.name for path in self.folder.glob("*.csv"))
        saved += [name for name in tables if name != "metrics.csv"]
        if self._rows:
            saved.append(f"metrics.csv up to step {self._rows[-1]['step']}")
        return f"{self.folder} holds {', '.join(saved) or 'config.json'}"

    @property
    def is_begun(self) -> bool:
        """Whether the job can resume here: there is a checkpoint or a trial, but no policy yet."""
        return can_go_on(self.folder) and not self.policy.is_dir()

    def forget_training(self) -> None:
        """Remove the training checkpoint, once training is over."""
        for path in training_files(self.folder):
            path.unlink()

    def remove_if_unused(self) -> bool:
        """Remove the folder if it is new and holds no results; return whether it was removed.

        Folders that were made for it are removed with it, unless they hold something else.
        """
        if (
            not self._is_new
            or not self.folder.is_dir()
            or any(
                path.is_file()
                for top in self.folder.iterdir()
                if _is_result(top)
                for path in (top, *top.rglob("*"))
            )
        ):
            return False
        shutil.rmtree(self.folder)
        with suppress(OSError):
            for parent in self._new_parents:
                parent.rmdir()
        return True


def can_go_on(folder: Path) -> bool:
    """Whether a run folder holds something to resume from: a checkpoint, or a sweep's trials."""
    return bool(training_files(folder)) or (folder / "trials").is_dir()


def training_files(folder: Path) -> list[Path]:
    """Return the training checkpoints of a run folder, from which training can resume."""
    return sorted((folder / "checkpoints").glob("training.*"))


@contextmanager
def watch_runs() -> Iterator[list[Run]]:
    """Yield a list that collects every run created or reopened within the `with` block."""
    runs: list[Run] = []
    token = _watched.set(runs)
    try:
        yield runs
    finally:
        _watched.reset(token)


def typed_command() -> str:
    """Return the command line of this process, quoted for a shell."""
    program, *words = sys.argv
    is_command = Path(program).name == "ncp"  # installed command; all others are Python files
    return shlex.join([*(["ncp"] if is_command else ["python", program]), *words])


def describe_environment() -> dict[str, Any]:
    """Return versions, commit and processor, on which the numbers in a table depend."""
    import torch

    packages = ("ncp-control", "torch", "numpy", "mujoco", "gymnasium")
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit_of(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def _is_result(path: Path) -> bool:
    return path.name not in _WITHOUT_LEARNING and not path.name.startswith(("events.", "."))


def _remove_leftovers(run_folder: Path) -> None:
    """Remove half-written files that killed processes left in a run folder."""
    for folder, _, _ in os.walk(run_folder):
        files.remove_leftovers(folder)


def _read_rows(metrics_csv: Path) -> list[dict[str, Any]]:
    """Read the rows of a metrics.csv, with `step` as an integer."""
    try:
        with metrics_csv.open(newline="") as file:
            rows = [
                {name: float(value) for name, value in row.items() if value}
                for row in csv.DictReader(file)
            ]
        return [row | {"step": int(row["step"])} for row in rows]
    except (ValueError, KeyError, TypeError, OverflowError, csv.Error) as error:
        raise ValueError(
            f"{metrics_csv} must hold a number or nothing in each cell, and a step in each row,"
            f" got {str(error)[:200]}. Start the training anew."
        ) from error


def _append_events(path: Path, step: int, metrics: Mapping[str, float]) -> None:
    """Append scalars to TensorBoard's event file.

    This writes in the calling thread, so that errors are raised here: TensorBoard's own writer
    fails in a background thread. If TensorBoard is not installed, no events are written;
    metrics.csv has the same numbers.

    Format: https://github.com/tensorflow/tensorboard, `summary/writer/record_writer.py`.
    """
    try:  # imported here since it is slow to import and not always needed
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ModuleNotFoundError:
        return

    # These two classes are created at run time, so type checkers do not know them.
    event_type, summary_type = vars(event_pb2)["Event"], vars(summary_pb2)["Summary"]
    now_s = time.time()
    values = [summary_type.Value(tag=name, simple_value=value) for name, value in metrics.items()]
    events = [event_type(wall_time=now_s, step=step, summary=summary_type(value=values))]
    with files.naming_errors(path), path.open("ab") as file:
        if not file.tell():
            events.insert(0, event_type(wall_time=now_s, file_version="brain.Event:2"))
        for event in events:
            RecordWriter(file).write(event.SerializeToString())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit_of(folder: Path = Path(__file__).parent) -> str | None:
    """Return the git commit of the clone that tracks `folder`; None if there is none.

    A wheel installed in an environment within a clone of the user's is not tracked by it.

    If tracked files other than tables and docs have uncommitted changes, `-dirty-` and a digest of
    the changes are appended, so that results of different changes can be distinguished.
    """
    git = ["git", "-C", str(folder)]
    left_out = [f":(top,exclude,glob){one}" for one in ("results/**", "docs/**", "**/*.md")]
    diff = ["diff", "--no-ext-diff", "--no-color", "HEAD", "--", ":(top)", *left_out]
    try:
        _, head, changes = (
            subprocess.run([*git, *words], capture_output=True, check=True).stdout.strip()
            for words in (["ls-files", "--error-unmatch", "."], ["rev-parse", "HEAD"], diff)
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    digest = hashlib.sha256(changes).hexdigest()[:8]
    return head.decode() + (f"-dirty-{digest}" if changes else "")


def _processor() -> str:
    """Return the model name of the processor, if the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
