"""Tables of results: a CSV file with one row per training run.

A row is written when its training run ends, so an interrupted job resumes with the missing rows. A
training run is identified by model, seed and settings.

One line of the file is one row. A control character in a cell, e.g. a line break in a name, is
stored as `one_line` shows it (␊). A row that is cut off because the machine stopped therefore ends
at its line and cannot affect the next one. Such a damaged row stays in the file, but is skipped and
counted when the table is read.
"""

import codecs
import csv
import errno
import io
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ncp_control import files
from ncp_control.json_files import shorten
from ncp_control.learning.run import describe_environment
from ncp_control.names import one_line

KEY = ("model", "seed", "settings")
"""Columns that identify the training run of a row."""
PROVENANCE = ("command", "commit", "time", "python", "versions", "processor", "cores", "threads")
"""Columns that record how and where a row was produced."""
MAX_BYTES = 100_000_000
"""Maximum size of a table file; a row has about 1 kB."""
_MAX_HEADER_BYTES = 10_000

OF_DEVIATION = "± is the standard deviation over seeds."
"""Caption of a table with cells by `mean_and_deviation`."""

Row = dict[str, str]
"""Cells of a row by column."""


class ResultsFile:
    """Table of results to which rows are appended. The file is created with its first row.

    Args:
        path: The CSV file; neither it nor its folder need exist. None if the user named no file;
            `place` then sets it once the run folder exists.
        measures: Names of the columns of metrics.

    Raises:
        ValueError: If the file exists and does not have these columns, is too large, or is a
            folder.
        OSError: If the file cannot be written. This is checked here, before hours of training.
    """

    def __init__(self, path: Path | str | None, measures: Sequence[str]) -> None:
        self._path = None if path is None else Path(path)
        self.columns = [*KEY, *measures, *PROVENANCE]
        self.commit = describe_environment()["commit"]  # now, since files may change during a run
        if self._path is None:
            return
        check_writable(self._path)
        header = read_header(self._path)
        if header not in ([], self.columns):
            raise ValueError(
                f"{self._path} must have the columns {self.columns}, got"
                f" {shorten(header)}."
                " Name another file: this one is a table of another kind or version."
            )

    @property
    def path(self) -> Path:
        """The CSV file."""
        assert self._path is not None, "`place` comes first"
        return self._path

    def place(self, path: Path) -> None:
        """Set the path of the file if the user named none."""
        self._path = self._path or path

    def rows(self, settings: str | None = None) -> list[Row]:
        """Return all undamaged rows, or only the rows with the given settings."""
        whole, _ = read_table(self.path, self.columns)
        wanted = None if settings is None else one_line(settings)
        return [row for row in whole if wanted in (None, row["settings"])]

    def trainings(self, model: str, settings: str) -> list[Row]:
        """Return one row per seed: the newest if a training run was measured more than once."""
        return newest(row for row in self.rows(settings) if row["model"] == one_line(model))

    def has(self, model: str, seed: int, settings: str) -> bool:
        """Return whether a training run is in the table."""
        key = (one_line(model), str(seed), one_line(settings))
        return any(_key(row) == key for row in self.rows())

    @property
    def num_damaged(self) -> int:
        """Number of damaged lines: cut off, or not written by a `ResultsFile`."""
        return read_table(self.path, self.columns)[1]

    def append(
        self,
        model: str,
        seed: int,
        settings: str,
        measured: Mapping[str, float | str],
        command: str,
    ) -> None:
        """Append a row with its provenance; rows added by other processes are kept.

        Args:
            model: Name of the trained model.
            seed: Seed of the training run.
            settings: Settings of the training run, in one cell.
            measured: Columns of metrics; may also override columns of `PROVENANCE`.
            command: Command that reproduces the row.
        """
        key = dict(zip(KEY, (model, seed, settings), strict=True))
        row = key | provenance(command) | {"commit": self.commit} | dict(measured)
        self._add(
            {name: one_line(cell) if isinstance(cell, str) else cell for name, cell in row.items()}
        )

    def begin(self) -> None:
        """Create the file with its header only, if it does not exist."""
        if not self.path.exists():
            self._add(None)

    def _add(self, row: Mapping[str, Any] | None) -> None:
        """Append a row to the file; if the file is new, write the header first."""
        line = io.StringIO()
        writer = csv.DictWriter(line, self.columns, lineterminator="\n")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.path.exists() or not self.path.stat().st_size:
            writer.writeheader()
        elif not _ends_with_line_break(self.path):
            line.write("\n")
        if row is not None:
            writer.writerow(row)
        files.append_to_file(self.path, line.getvalue())


def newest(rows: Iterable[Row]) -> list[Row]:
    """Return one row per training run: the last if it was measured more than once."""
    return list({_key(row): row for row in rows}.values())


def read_header(path: Path) -> list[str]:
    """Return the names of the columns; an empty list if the file is empty or does not exist.

    Raises:
        ValueError: If the file is not a CSV file in UTF-8, or is larger than `MAX_BYTES`.
    """
    if not path.exists() or not path.stat().st_size:
        return []
    _check_size(path)
    with path.open("rb") as file:
        first = file.readline(_MAX_HEADER_BYTES + 1)
    header = _cells(first.removeprefix(codecs.BOM_UTF8).removesuffix(b"\n"))
    if not header or len(first) > _MAX_HEADER_BYTES or b"\0" in first:
        raise ValueError(
            f"{path} must be a CSV file in UTF-8, got {first[:20]!r} at its start."
            " Name another file."
        )
    return header


def read_table(path: Path, columns: Sequence[str]) -> tuple[list[Row], int]:
    """Return the undamaged rows and the number of damaged lines.

    Args:
        path: The CSV file; if it does not exist, there are no rows.
        columns: Its columns, see `read_header`.

    Raises:
        ValueError: If the file is larger than `MAX_BYTES`.
    """
    if not path.exists():
        return [], 0
    _check_size(path)
    _, *lines = path.read_bytes().split(b"\n")
    found = [_cells(line) for line in lines if line.strip(b"\r")]
    # Two processes that create a file at the same time may both write its header.
    found = [cells for cells in found if cells != list(columns)]
    whole = [
        dict(zip(columns, cells, strict=True)) for cells in found if len(cells) == len(columns)
    ]
    return whole, len(found) - len(whole)


def check_writable(path: Path) -> None:
    """Check that a file can be written or created; the check creates nothing.

    Raises:
        ValueError: If it is a folder.
        OSError: If it cannot be written.
    """
    if path.is_dir():
        raise ValueError(
            f"`results` must be a file, got the folder {str(path)!r}. Name a file in it, e.g."
            " results.csv."
        )
    if path.exists() and not path.is_file():  # opening a pipe would block
        raise OSError(errno.EINVAL, "Not a file on a disk", str(path))
    # The file, or its nearest existing parent folder, must be writable.
    existing = next(part for part in (path, *path.absolute().parents) if part.exists())
    if existing != path and not existing.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "Not a folder", str(existing))
    if not os.access(existing, os.W_OK):
        raise PermissionError(errno.EACCES, "Cannot be written", str(existing))


def provenance(command: str) -> dict[str, Any]:
    """Return the cells of the columns `PROVENANCE`: command, versions, commit and machine."""
    environment = describe_environment()
    versions = environment["versions"].items()
    return {
        "command": command,
        "versions": " ".join(f"{name} {version}" for name, version in versions if version),
        **{name: environment[name] for name in PROVENANCE if name not in ("command", "versions")},
    }


def mean_and_deviation(rows: Sequence[Mapping[str, str]], measure: str, digits: int = 3) -> str:
    """Return `mean ± sd` over rows, or only the value if there is one row."""
    values = [float(row[measure]) for row in rows]
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def _key(row: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(row[name] for name in KEY)


def _cells(line: bytes) -> list[str]:
    """Return the cells of one line; an empty list if it is not valid CSV in UTF-8."""
    try:
        return next(csv.reader([line.removesuffix(b"\r").decode()], strict=True), [])
    except (UnicodeDecodeError, csv.Error):  # e.g. cut off inside quotes
        return []


def _check_size(path: Path) -> None:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(
            f"{path} must be at most {MAX_BYTES / 1e6:.0f} MB to be a table of results, got"
            f" {size / 1e6:.0f} MB. Name another file."
        )


def _ends_with_line_break(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"
