"""Files of the papers' data sets, as they are handed out: plain, with gzip, in a tar or a zip.

A zip in a zip, as the UCI repository has some, is looked into. Nothing is unpacked to the disk, and
no name in an archive is used as a path.
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
"""Largest file, unpacked, that is read into memory."""
LARGEST = 1e18
"""Largest size of a number: its square is one in single precision."""
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
    """Yield name and content of the wanted files of a data set.

    Args:
        data: Folder or archive of the data set. In a folder plain files come first, those packed
            with gzip under their name without .gz; its archives are opened only if there are none.
        is_wanted: Tells by the name, with its folders in `data` or in the archive.
        what: What is looked for and where it is to be had, for the messages.

    Raises:
        FileNotFoundError: If no file is wanted.
        ValueError: If no data are named, or a file is damaged or too large.
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
    """Return plain files by name, and archives."""
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
    """Read a file, unpacked if it is packed with gzip."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except _DAMAGE as error:
        raise ValueError(
            f"`data` must hold whole files, got {path.name}: {error}. Copy it again."
        ) from error
    return _checked(path.name, content)


def _members(path: Path, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Yield the wanted files of an archive, in its order."""
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
    """Yield the wanted files of a zip, and those of the zips in it."""
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

    Rows may have one cell more than the header, as R writes them: their number, which is left out.

    Args:
        name: The file's name, for the messages.
        content: What is in it; lines may end in any way.
        wanted: Columns.
        header: Names of all columns if the file begins without them.

    Raises:
        ValueError: If it is no such table.
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
    """Return the numbers in a column, float64, with NaN for what is missing.

    Args:
        name: File and column, for the message.
        cells: Cells of the column.
        missing: How a missing value is written; none may be missing if None.

    Raises:
        ValueError: If a cell is no number, or larger than `LARGEST`.
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
    """Return a file of numbers alone, float64, shape (rows, columns); for files of many rows.

    Args:
        name: The file's name, for the message.
        content: What is in it; `nan` is a missing number.
        delimiter: What separates numbers; blanks if None.
        columns: Which columns; all if None.

    Raises:
        ValueError: If it is no such table, or a number is larger than `LARGEST`.
    """
    try:
        numbers = np.loadtxt(
            io.BytesIO(content), delimiter=delimiter, usecols=columns, comments=None, ndmin=2
        )
    except (ValueError, UnicodeDecodeError) as error:
        told = str(error).split(";")[0].rstrip(".")
        raise ValueError(f"{name} must hold a table of numbers: {told}.") from error
    if not numbers.size:
        raise ValueError(f"{name} must hold rows, got none.")
    if not bool((np.isnan(numbers) | (np.abs(numbers) <= LARGEST)).all()):
        raise ValueError(f"{name} must hold numbers of size at most {LARGEST:g}, got larger ones.")
    return numbers


def _number(cell: str) -> float:
    """Return a number, NaN if it is none."""
    try:
        return float(cell)
    except ValueError:
        return np.nan


def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of each column; NaN is what is missing.

    The deviation of a column that does not vary is 1, the mean of one without numbers 0.
    """
    is_known = np.isfinite(values)
    count = np.maximum(is_known.sum(axis=0), 1)
    mean = np.where(is_known, values, 0.0).sum(axis=0) / count
    square = np.where(is_known, values - mean, 0.0) ** 2
    deviation = np.sqrt(square.sum(axis=0) / count)
    is_constant = deviation <= 1e-9 * np.abs(mean)  # but for rounding
    return mean, np.where(is_constant, 1.0, deviation)
