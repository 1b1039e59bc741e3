# pyright: reportMissingImports=false
"""Read Parquet tables, and images in them, by the package `pyarrow`."""

import bisect
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

_MOST_NUMBERS = 2**27
"""Largest number of rows that are read; their numbers take 1 GiB as float64."""
_MOST_BYTES = 2**30
"""Largest claimed size of a column that is read [bytes]."""


def import_parquet() -> Any:
    """Return the module of `pyarrow` for Parquet.

    Raises:
        ValueError: If it is not installed.
    """
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ValueError(
            "`log` in Parquet needs pyarrow, which is not installed. Run"
            ' `pip install "ncp-control[lerobot]"`.'
        ) from error
    return pyarrow.parquet


class ParquetTable:
    """A Parquet file, open only while it is read, since a data set may have thousands of files.

    Args:
        path: The file.

    Raises:
        ValueError: If it cannot be read, or pyarrow is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parquet = import_parquet()
        try:
            with self._open() as file:
                self.schema, self._metadata = file.schema_arrow, file.metadata
            self.num_rows = self._metadata.num_rows
            groups = range(self._metadata.num_row_groups)
            sizes = [self._metadata.row_group(i).num_rows for i in groups]
        except Exception as error:  # pyarrow raises nearly any error on damaged files
            raise ValueError(self._message(error)) from error
        if min([0, *sizes]) < 0 or sum(sizes) != self.num_rows:
            raise ValueError(self._message("its row groups do not add up"))
        self._ends = np.cumsum(sizes).tolist()
        self._cached: tuple[str, int, Any] | None = None

    def _open(self) -> Any:
        return self._parquet.ParquetFile(
            self.path,
            page_checksum_verification=True,
            thrift_string_size_limit=2**27,
            thrift_container_size_limit=2**20,
        )

    def _message(self, error: object) -> str:
        reason = re.sub(r"\s+", " ", str(error) or type(error).__name__)[:100].rstrip(". ")
        return f"`{self.path.name}` must be a Parquet table, got one that cannot be read: {reason}"

    def values(self, name: str) -> list[Any]:
        """Return a column as Python values.

        Raises:
            ValueError: If it is damaged.
        """
        try:
            return self._read(name).to_pylist()
        except Exception as error:  # pyarrow raises nearly any error, as above
            raise ValueError(self._message(error)) from error

    def numbers(self, name: str) -> np.ndarray:
        """Return a column of numbers, or of lists of numbers, as float64 of shape (rows, numbers).

        Of nested lists, the first inner list is taken. Missing values, and rows of another length
        than most, are NaN.

        Raises:
            ValueError: If it is damaged.
        """
        try:
            column = self._read(name).combine_chunks()
            kind = column.type
            if column.null_count == 0 and hasattr(kind, "list_size"):
                flat = column.flatten()
                if flat.null_count == 0 and not hasattr(flat.type, "value_type"):
                    values = flat.to_numpy(zero_copy_only=False).astype(np.float64)
                    return values.reshape(len(column), -1)
            return _as_matrix(column.to_pylist())
        except Exception as error:  # pyarrow raises nearly any error, as above
            raise ValueError(self._message(error)) from error

    def _read(self, name: str) -> Any:
        self._check_size(name)
        with self._open() as file:
            return file.read(columns=[name], use_threads=False)[name]

    def _check_size(self, name: str) -> None:
        """Raise ValueError if a column claims to exceed `_MOST_BYTES` or `_MOST_NUMBERS`."""
        total = 0
        for i in range(self._metadata.num_row_groups):
            group = self._metadata.row_group(i)
            for k in range(group.num_columns):
                chunk = group.column(k)
                if chunk.path_in_schema.split(".")[0] == name.split(".")[0]:
                    total = max(total, chunk.total_uncompressed_size, chunk.num_values)
        if not 0 <= total <= _MOST_BYTES or self.num_rows > _MOST_NUMBERS:
            raise ValueError("it claims to be larger than what is read")

    def value_at(self, name: str, row: int) -> Any:
        """Return one value of a column; its row group stays in memory.

        Raises:
            ValueError: If it is damaged.
        """
        group = bisect.bisect_right(self._ends, row)
        first = self._ends[group - 1] if group else 0
        try:
            if self._cached is None or self._cached[:2] != (name, group):
                with self._open() as file:
                    read = file.read_row_group(group, columns=[name], use_threads=False)
                self._cached = name, group, read[name]
            return self._cached[2][row - first].as_py()
        except Exception as error:  # pyarrow raises nearly any error, as above
            raise ValueError(self._message(error)) from error


def is_number(kind: Any) -> bool:
    """True for a type of numbers, or of (nested) lists of numbers."""
    import pyarrow

    while hasattr(kind, "value_type") and not pyarrow.types.is_dictionary(kind):
        kind = kind.value_type
    types = pyarrow.types
    return types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind)


def is_nested(kind: Any) -> bool:
    """True for a type of nested lists."""
    return hasattr(kind, "value_type") and hasattr(kind.value_type, "value_type")


def is_image(kind: Any) -> bool:
    """True for the type of an image: bytes, or a structure with a field `bytes`."""
    import pyarrow

    types = pyarrow.types
    if types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return types.is_binary(kind) or types.is_large_binary(kind)


def _as_matrix(rows: list[Any]) -> np.ndarray:
    """Return rows of numbers as a matrix; rows of another length than most become NaN."""
    flat = [_first_numbers(row) for row in rows]
    lengths = [len(row) for row in flat if row]
    width = max(set(lengths), key=lengths.count) if lengths else 0
    matrix = np.full((len(flat), width), np.nan)
    for i, row in enumerate(flat):
        if len(row) == width:
            matrix[i] = [np.nan if value is None else float(value) for value in row]
    return matrix


def _first_numbers(row: Any) -> list[Any]:
    """Return the numbers of a row; of nested lists, those of the first inner list."""
    while isinstance(row, list) and row and isinstance(row[0], list):
        row = row[0]
    return row if isinstance(row, list) else [] if row is None else [row]


@dataclass(frozen=True)
class TableImage:
    """An image in a Parquet table."""

    path: Path
    """File of the table."""
    column: str
    """Column of the image."""
    row: int
    """Row of the image."""
    table: ParquetTable = field(repr=False, compare=False)
    """The table that reads the image."""

    @property
    def name(self) -> str:
        """Its location, for messages."""
        return f"row {self.row} of {self.column}"

    def __str__(self) -> str:
        return f"{self.name} in {self.path.name}"

    def read_bytes(self) -> bytes:
        """Return the bytes of the image file.

        Raises:
            ValueError: If it is damaged.
        """
        value = self.table.value_at(self.column, self.row)
        if isinstance(value, dict):
            value = value.get("bytes")
        if not isinstance(value, bytes):
            raise ValueError(f"{self.name} has no bytes")
        return value
