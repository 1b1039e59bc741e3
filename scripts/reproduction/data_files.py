"""Read files of the papers' datasets as downloaded: plain, with gzip, in a tar or in a zip.

A zip inside a zip, as in the UCI repository, is read too. Nothing is unpacked to the disk, and no
name in an archive is used as a path.
"""

import csv
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

MAX_BYTES = 500_000_000
"""Largest size of an unpacked file [bytes]."""
LARGEST = 1e18
"""Largest absolute value of a number: its square still fits in single precision."""
_ARCHIVES = (".tar", ".tar.xz", ".tar.gz", ".tgz", ".tar.bz2", ".zip")
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    NotImplementedError,  # a zip of an unknown kind
    RuntimeError,  # a zip with a password
    lzma.LZMAError,
    zlib.error,
    OSError,
    EOFError,
)


def find_files(
    data: Path | None, is_wanted: Callable[[str], bool], what: str
) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of each wanted file of a dataset.

    Args:
        data: Folder or archive of the dataset. Archives in a folder are opened only if no plain or
            gzip file is wanted; gzip files are named without .gz.
        is_wanted: Returns whether a file is wanted, from its path in `data` or in the archive.
        what: Name and source of the dataset, for the messages.

    Raises:
        FileNotFoundError: If no file is wanted.
        ValueError: If `data` is None, or a file is damaged or too large.
    """
    if data is None:
        raise ValueError(f"`data` must be the folder of {what}, got None.")
    if not data.exists():
        raise FileNotFoundError(f"`data` must hold {what}, got {str(data)!r}, which is not there.")
    plain, archives = _listed(data)
    wanted = [(name, path) for name, path in plain if is_wanted(name)]
    for name, path in wanted:
        yield name, _read(path)
    num_found = len(wanted)
    for path in () if wanted else archives:
        for name, content in _members(path, is_wanted):
            num_found += 1
            yield name, content
    if num_found == 0:
        raise FileNotFoundError(f"`data` must hold {what}, got {str(data)!r}, which has none.")


def _listed(data: Path) -> tuple[list[tuple[str, Path]], list[Path]]:
    """Return plain files with their names, and archives."""
    paths = [data] if data.is_file() else sorted(path for path in data.rglob("*") if path.is_file())
    root = data.parent if data.is_file() else data
    archives = [path for path in paths if path.name.endswith(_ARCHIVES)]
    plain = [
        (path.relative_to(root).as_posix().removesuffix(".gz"), path)
        for path in paths
        if path not in archives
    ]
    return plain, archives


def _read(path: Path) -> bytes:
    """Read a file; unpack it if its name ends in .gz."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except _DAMAGE as error:
        raise ValueError(
            f"`data` must hold whole files, got {path.name}: {error}. Copy it again."
        ) from error
    return _checked(path.name, content)


def _members(path: Path, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Yield the wanted files of an archive, in the archive's order."""
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                yield from _zipped(archive, is_wanted)
            return
        with tarfile.open(path) as archive:
            for member in archive:
                if not member.isfile() or not is_wanted(member.name):
                    continue
                file = archive.extractfile(member)
                assert file is not None
                with file:
                    content = file.read(MAX_BYTES + 1)
                yield member.name, _checked(member.name, content)
    except _DAMAGE as error:
        raise ValueError(
            f"`data` must hold a whole archive, got {path.name}: {error}. Copy it again."
        ) from error


def _zipped(
    archive: zipfile.ZipFile, is_wanted: Callable[[str], bool], *, is_inner: bool = False
) -> Iterator[tuple[str, bytes]]:
    """Yield the wanted files of a zip and of the zips inside it."""
    for member in archive.infolist():
        is_zip = member.filename.endswith(".zip") and not is_inner
        if member.is_dir() or not (is_zip or is_wanted(member.filename)):
            continue
        with archive.open(member) as file:
            content = _checked(member.filename, file.read(MAX_BYTES + 1))
        if is_zip:
            with zipfile.ZipFile(io.BytesIO(content)) as inner:
                yield from _zipped(inner, is_wanted, is_inner=True)
        else:
            yield member.filename, content


def _checked(name: str, content: bytes) -> bytes:
    if len(content) > MAX_BYTES:
        raise ValueError(
            f"`data` must hold files of at most {MAX_BYTES} bytes, got more in {name}."
        )
    return content


def read_columns(
    name: str, content: bytes, wanted: Sequence[str], *, header: Sequence[str] | None = None
) -> dict[str, list[str]]:
    """Return the cells of some columns of a CSV file.

    Rows may begin with one more cell than the header has, the row number that R writes; it is
    skipped.

    Args:
        name: The file's name, for the messages.
        content: Content of the file, with any line endings.
        wanted: Names of the columns to return.
        header: Names of all columns, if the file has no header line.

    Raises:
        ValueError: If the file is not such a table.
    """
    try:
        rows = list(csv.reader(io.StringIO(content.decode(), newline=None), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{name} must be a CSV file in UTF-8, got another: {error}.") from error
    rows = [row for row in rows if row]
    names = list(header) if header is not None else (rows.pop(0) if rows else [])
    lacking = [column for column in wanted if column not in names]
    if lacking:
        raise ValueError(f"{name} must have the columns {lacking}, got {names}.")
    if not rows:
        raise ValueError(f"{name} must hold rows, got none.")
    extra = len(rows[0]) - len(names)
    for number, row in enumerate(rows, 1):
        if extra not in (0, 1) or len(row) != len(names) + extra:
            raise ValueError(
                f"{name} must have {len(names)} cells a row, got {len(row)} in row {number}."
            )
    places = {column: names.index(column) + extra for column in wanted}
    return {column: [row[place].strip() for row in rows] for column, place in places.items()}


def to_numbers(name: str, cells: Sequence[str], *, missing: str | None = None) -> np.ndarray:
    """Return the numbers of a column as float64, with NaN for missing values.

    Args:
        name: File and column, for the message.
        cells: Cells of the column.
        missing: Text of a missing value; if None: no value may be missing.

    Raises:
        ValueError: If a cell is not a number, or larger than `LARGEST`.
    """
    try:
        numbers = np.array(["nan" if cell == missing else cell for cell in cells], dtype=float)
    except ValueError:
        numbers = np.array([_number(cell) for cell in cells])
    is_bad = ~(np.abs(numbers) <= LARGEST) & [cell != missing for cell in cells]
    if is_bad.any():
        row = int(np.flatnonzero(is_bad)[0])
        raise ValueError(
            f"{name} must hold numbers of size at most {LARGEST:g}, got {cells[row]!r} in row"
            f" {row + 1}."
        )
    return numbers


def read_matrix(
    name: str, content: bytes, *, delimiter: str | None = None, columns: range | None = None
) -> np.ndarray:
    """Return a large file of numbers only, as float64 of shape (rows, columns).

    Args:
        name: The file's name, for the message.
        content: Content of the file; `nan` is a missing number.
        delimiter: Separator of the numbers; if None: white space.
        columns: Columns to return; if None: all.

    Raises:
        ValueError: If the file is not such a table, or a number is larger than `LARGEST`.
    """
    try:
        numbers = np.loadtxt(
            io.BytesIO(content), delimiter=delimiter, usecols=columns, comments=None, ndmin=2
        )
    except (ValueError, UnicodeDecodeError) as error:
        reason = str(error).split(";")[0].rstrip(".")
        raise ValueError(f"{name} must hold a table of numbers: {reason}.") from error
    if not numbers.size:
        raise ValueError(f"{name} must hold rows, got none.")
    if not bool((np.isnan(numbers) | (np.abs(numbers) <= LARGEST)).all()):
        raise ValueError(f"{name} must hold numbers of size at most {LARGEST:g}, got larger ones.")
    return numbers


def _number(cell: str) -> float:
    """Return the cell as a number; NaN if it is not a number."""
    try:
        return float(cell)
    except ValueError:
        return np.nan


def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each column, without missing values (NaN).

    The deviation of a constant column is 1. The mean of a column without numbers is 0.
    """
    is_known = np.isfinite(values)
    count = np.maximum(is_known.sum(axis=0), 1)
    mean = np.where(is_known, values, 0.0).sum(axis=0) / count
    square = np.where(is_known, values - mean, 0.0) ** 2
    deviation = np.sqrt(square.sum(axis=0) / count)
    is_constant = deviation <= 1e-9 * np.abs(mean)  # up to rounding
    return mean, np.where(is_constant, 1.0, deviation)
