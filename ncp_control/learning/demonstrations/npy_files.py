"""The `.npy` files of a store: written row by row, read memory-mapped."""

import contextlib
import math
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import DTypeLike

REMEDY = "Record or convert the demonstrations again"
"""Advice in messages about damaged stores."""


class NpyFile:
    """A `.npy` file that is written row by row.

    NumPy pads the header to a length that does not depend on the number of rows. The header for
    zero rows can therefore be overwritten at the end.

    Args:
        path: The file.
        row_shape: Shape of a row.
        dtype: Data type of the array.
    """

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self._row_shape, self._dtype = row_shape, np.dtype(dtype)
        self._file: BinaryIO = path.open("wb")
        self._write_header(0)
        self._header_bytes = self._file.tell()

    def write(self, first: int, rows: np.ndarray) -> None:
        """Write rows, beginning at row `first`."""
        start = self._place(first)
        if self._file.tell() != start:  # avoids a seek, which would flush the buffer
            self._file.seek(start)
        self._file.write(np.ascontiguousarray(rows).data)

    def finish(self, num_rows: int) -> None:
        """Keep the first `num_rows` rows, write the final header, and close the file."""
        self._file.truncate(self._place(num_rows))
        self._file.seek(0)
        self._write_header(num_rows)
        self._file.close()

    def abandon(self) -> None:
        """Close the file without finishing it."""
        # Closing flushes the buffer, which fails again if the disk is full.
        with contextlib.suppress(OSError):
            self._file.close()

    def _place(self, row: int) -> int:
        return self._header_bytes + row * math.prod(self._row_shape) * self._dtype.itemsize

    def _write_header(self, num_rows: int) -> None:
        header = {
            "descr": npy_format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (num_rows, *self._row_shape),
        }
        npy_format.write_array_header_1_0(self._file, header)


def map_array(path: Path) -> np.ndarray:
    """Memory-map the array of a file; only the header is read.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a complete `.npy` file.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"`{path.name}` must lie in a store of demonstrations, got none in '{path.parent}'."
            f" {REMEDY}."
        )
    size = path.stat().st_size
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # NumPy raises many kinds of errors for a damaged header
        raise ValueError(
            f"`{path.name}` must be a complete .npy file, got {size} bytes that do not read as one"
            f" in '{path.parent}'. {REMEDY}."
        ) from error
    if size != array.offset + array.nbytes:
        raise ValueError(
            f"`{path.name}` must be a complete .npy file, got {size} bytes where its header stands"
            f" for {array.offset + array.nbytes} in '{path.parent}'. {REMEDY}."
        )
    return array
