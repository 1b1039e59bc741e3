# pyright: reportMissingImports=false
"""Read HDF5 files, their trees of arrays, and images in them, by the package `h5py`."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from envs.recorded.own_notes import short

_JPEG = b"\xff\xd8"


def import_h5py() -> Any:
    """Return the package for HDF5.

    Raises:
        ValueError: If it is not installed.
    """
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ValueError(
            "`log` of Minari needs h5py, which is not installed. Run"
            ' `pip install "ncp-control[minari]"`.'
        ) from error
    return h5py


def open_file(path: Path) -> Any:
    """Open a file for reading.

    Raises:
        ValueError: If it is not an HDF5 file, or h5py is not installed.
    """
    try:
        return import_h5py().File(path, "r")
    except OSError as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: BaseException) -> ValueError:
    """Return the error for a file that cannot be read."""
    return ValueError(
        f"`folder` must hold a whole HDF5 file, got '{path}': {short(error)}. Download the data set"
        " again."
    )


@functools.lru_cache(maxsize=4)
def _shared(path: Path) -> Any:
    """Open a file that stays open while its images are read."""
    return open_file(path)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image in an HDF5 file."""

    path: Path
    """The file."""
    place: str
    """Name of the array in the file."""
    number: int
    """Index of the image in the array."""

    @property
    def name(self) -> str:
        """Its location, for messages."""
        return f"picture {self.number} of {self.place}"

    def __str__(self) -> str:
        return f"{self.name} in {self.path.name}"

    def read_bytes(self) -> bytes:
        """Return the bytes of an image file: the JPEG if it is stored as one, else a PNG.

        Raises:
            ValueError: If it cannot be read.
        """
        try:
            pixels = np.asarray(_shared(self.path)[self.place][self.number])
        except (KeyError, OSError, RuntimeError, ValueError) as error:
            raise ValueError(f"{self} cannot be read: {short(error)}") from error
        if pixels.ndim == 1:
            return pixels.astype(np.uint8).tobytes()
        return cv2.imencode(".png", pixels[..., ::-1] if pixels.ndim == 3 else pixels)[1].tobytes()


def shortest_length(group: Any) -> int:
    """Return the length of the shortest array in a tree."""
    return min((len(array) for _, array in arrays("", group)), default=0)


def arrays(key: str, node: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and array of all arrays in a tree of HDF5."""
    if isinstance(node, Mapping):
        for name in node:
            yield from arrays(f"{key}.{name.removeprefix('_index_')}", node[name])
    else:
        yield key, node


def is_pictures(array: Any) -> bool:
    """Whether an array holds images: pixels, or JPEGs as bytes."""
    if array.ndim in (3, 4) and array.dtype == np.uint8:
        return True
    if array.ndim not in (1, 2) or not (array.dtype == np.uint8 or array.dtype.kind == "O"):
        return False
    first = np.asarray(array[0])
    return first.ndim == 1 and first.astype(np.uint8)[:2].tobytes() == _JPEG
