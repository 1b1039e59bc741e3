"""Results that outlive the run: one row a training, appended to a CSV file.

A row is written when its training ends, so a table that was stopped goes on with the rows that are
missing. The rows of one training are told apart by model, seed and settings.
"""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ncp_control.learning.run import describe_environment

KEY = ("model", "seed", "settings")
"""Columns that say which training a row belongs to."""
PROVENANCE = ("command", "commit", "time", "python", "versions", "processor", "cores", "threads")
"""Columns that say where a row comes from."""


class ResultsFile:
    """A table of results that only grows.

    Args:
        path: The CSV file; it need not exist.
        measures: Names of the measured columns.

    Raises:
        ValueError: If the file exists with other columns.
        OSError: If it could not be written, which is found here and not after hours of work.
    """

    def __init__(self, path: Path | str, measures: Sequence[str]) -> None:
        self.path = Path(path)
        self.columns = [*KEY, *measures, *PROVENANCE]
        self.commit = describe_environment()["commit"]  # of the code that will run, as it is now
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.open("a").close()
        if self.path.stat().st_size:
            with self.path.open(newline="") as file:
                header = next(csv.reader(file), [])
            if header != self.columns:
                raise ValueError(
                    f"{self.path} must have the columns {self.columns}, got {header}."
                    " Name another file: this one is a table of another kind or version."
                )

    def rows(self, settings: str | None = None) -> list[dict[str, str]]:
        """Return the rows that are whole, all or those of the given settings."""
        if not self.path.exists():
            return []
        # Line by line: no cell holds a line break, and a row that was cut off inside quotes, as the
        # machine stopped, must not swallow the next one.
        lines = [next(csv.reader([line]), []) for line in self.path.read_text().split("\n")[1:]]
        whole = [dict(zip(self.columns, line, strict=True)) for line in lines if self._fits(line)]
        return [row for row in whole if settings in (None, row["settings"])]

    def _fits(self, line: Sequence[str]) -> bool:
        # Two processes that begin a file together may both write its header.
        return len(line) == len(self.columns) and line != self.columns

    def has(self, model: str, seed: int, settings: str) -> bool:
        """Say whether the training is in the table."""
        key = (model, str(seed), settings)
        return any(tuple(row[name] for name in KEY) == key for row in self.rows())

    def append(
        self,
        model: str,
        seed: int,
        settings: str,
        measured: Mapping[str, float | str],
        command: str,
    ) -> None:
        """Add a row, with where it comes from; rows that others add meanwhile are kept.

        Args:
            model: What was trained.
            seed: Its seed.
            settings: Its settings, in one cell.
            measured: Measured columns, and columns of `PROVENANCE` known better by the training.
            command: The command that makes the row.
        """
        key = dict(zip(KEY, (model, seed, settings), strict=True))
        row = key | provenance(command) | {"commit": self.commit} | dict(measured)
        line = io.StringIO()
        writer = csv.DictWriter(line, self.columns, lineterminator="\n")
        if not self.path.exists() or not self.path.stat().st_size:
            writer.writeheader()
        elif not self.path.read_bytes().endswith(b"\n"):
            line.write("\n")
        writer.writerow(row)
        with self.path.open("a", newline="") as file:
            file.write(line.getvalue())


def provenance(command: str) -> dict[str, Any]:
    """Return versions, commit and machine, as a row of a table tells them."""
    environment = describe_environment()
    versions = environment["versions"].items()
    return {
        "command": command,
        "versions": " ".join(f"{name} {version}" for name, version in versions if version),
        **{name: environment[name] for name in PROVENANCE if name not in ("command", "versions")},
    }


def mean_and_deviation(rows: Sequence[Mapping[str, str]], measure: str, digits: int = 3) -> str:
    """Return `mean ± sd` over rows, or the value alone where there is one row."""
    values = [float(row[measure]) for row in rows]
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean
