"""A run folder: everything needed to know what was done, and to go on from it.

runs/<task>-<model>-<date>-<n>/
    config.json       settings, versions, commit, machine
    metrics.csv       one row an epoch
    events.out.*      the same for TensorBoard
    checkpoints/      last/ and best/, each a policy folder
    policy/           the result
    report/           plots, tables, video
    results.csv       the rows that the job would add to a table, unless a table was named
"""

import csv
import dataclasses
import datetime
import importlib.metadata
import io
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from ncp_control import files
from ncp_control.names import one_line
from ncp_control.policy import Policy


def policy_name(folder: Path) -> str:
    """Return what a saved policy is called in one line: its folder's name, or that of its run."""
    folder = folder.resolve()
    return one_line(folder.parent.name if folder.name == "policy" else folder.name)


class Run:
    """One training run and its folder.

    Args:
        folder: The run's folder, created by `Run.create`.
    """

    def __init__(self, folder: Path) -> None:
        # TensorBoard takes a moment to import, and not every user of this package trains.
        from torch.utils.tensorboard.writer import SummaryWriter

        self.folder = folder
        self._rows: list[dict[str, float]] = []
        self._events = SummaryWriter(str(folder))

    @classmethod
    def create(cls, task: str, model: str, settings: Any, *, root: Path | str = "runs") -> "Run":
        """Make a new run folder and write its config.json.

        Args:
            task: What is learned, e.g. "drive".
            model: What learns it, e.g. "ncp".
            settings: A dataclass with every setting of the job.
            root: Folder of all runs.
        """
        root = Path(root)
        stem = f"{task}-{model}-{datetime.date.today():%Y%m%d}"
        folder = _first_free(root, stem)
        config = {
            "task": task,
            "model": model,
            "command": typed_command(),
            "settings": dataclasses.asdict(settings),
            "environment": describe_environment(),
        }
        files.write_file(folder / "config.json", json.dumps(config, indent=1, default=str) + "\n")
        return cls(folder)

    @classmethod
    def reopen(cls, folder: Path | str, *, step: int) -> "Run":
        """Go on with a run that was stopped; rows after `step` are forgotten.

        Raises:
            FileNotFoundError: If the folder is not a run.
        """
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(
                f"`folder` must be a run folder, got {str(folder)!r}. Name one that holds"
                " config.json, e.g. runs/<run>."
            )
        run = cls(folder)
        if (folder / "metrics.csv").is_file():
            with (folder / "metrics.csv").open(newline="") as file:
                rows = [
                    {name: float(value) for name, value in row.items() if value}
                    for row in csv.DictReader(file)
                ]
            run._rows = [row | {"step": int(row["step"])} for row in rows if row["step"] <= step]
        return run

    @property
    def checkpoints(self) -> Path:
        """Folder of the last and the best policy."""
        return self.folder / "checkpoints"

    @property
    def report(self) -> Path:
        """Folder of plots, tables and videos."""
        return self.folder / "report"

    @property
    def results(self) -> Path:
        """Table of what was measured, where the user named no other."""
        return self.folder / "results.csv"

    @property
    def policy(self) -> Path:
        """Folder of the result."""
        return self.folder / "policy"

    @property
    def rows(self) -> tuple[dict[str, float], ...]:
        """Rows of metrics.csv so far, each with its `step`."""
        return tuple(self._rows)

    def log(self, step: int, **metrics: float) -> None:
        """Append a row to metrics.csv and TensorBoard."""
        self._rows.append({"step": step, **metrics})
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        table = io.StringIO()
        writer = csv.DictWriter(table, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        files.write_file(self.folder / "metrics.csv", table.getvalue())
        for name, value in metrics.items():
            self._events.add_scalar(name, value, step)
        self._events.flush()

    def save_checkpoint(self, policy: Policy, name: str) -> None:
        """Write the policy as it is now to `checkpoints/<name>`."""
        policy.save(self.checkpoints / name)

    def close(self) -> None:
        """Flush and close the TensorBoard events."""
        self._events.close()


def typed_command() -> str:
    """Return the command line of this process, as a results file tells it."""
    return " ".join(["python", *sys.argv])


def describe_environment() -> dict[str, Any]:
    """Return versions, commit and processor: what a number in a table depends on."""
    packages = ("ncp-control", "torch", "numpy", "mujoco", "gymnasium")
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def _first_free(root: Path, stem: str) -> Path:
    """Create and return the first folder `<stem>-<n>` that nobody else has."""
    root.mkdir(parents=True, exist_ok=True)
    n = 1
    while True:
        folder = root / f"{stem}-{n}"
        try:
            folder.mkdir()
        except FileExistsError:
            n += 1
        else:
            return folder


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the commit of the clone this module lies in, if it is one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _processor() -> str:
    """Return the processor's model name as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
