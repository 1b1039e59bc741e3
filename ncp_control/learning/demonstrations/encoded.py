"""Frames of a store that are saved as image files, concatenated in one file.

A frame of 78 × 200 pixels takes 47 kB uncompressed. PNG takes a fraction of that and keeps the
pixels; JPEG takes even less but changes them a little. A frame is decoded when it is read.

| file             | what                                                   | shape      | dtype |
|------------------|--------------------------------------------------------|------------|-------|
| `frames.bin`     | PNG or JPEG files, one behind the other                |            |       |
| `frame_ends.npy` | where in `frames.bin` each of them ends [bytes]        | (N,)       | int64 |
| `behind.npy`     | of records: the bytes behind each frame, its numbers   | (N, bytes) | uint8 |

These files replace `observations.npy`. See `ncp_control.records` for records.
"""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ncp_control.learning.demonstrations.npy_files import REMEDY, NpyFile, map_array
from ncp_control.names import check_name
from ncp_control.ranges import check_count

FRAMES_AS = ("raw", "png", "jpeg")
"""Storage formats of frames: uncompressed, or as image files."""
FILES = ("frames.bin", "frame_ends.npy", "behind.npy")
_CHANNELS = (1, 3)


@dataclass(frozen=True)
class Encoding:
    """Storage format of the encoded frames of a store.

    Raises:
        ValueError: If the name is unknown, or frames of this shape cannot be image files.
    """

    kind: str
    """png or jpeg."""
    frame_shape: tuple[int, ...]
    """Height, width and channels (1, or 3 in the order RGB)."""
    behind_bytes: int = 0
    """Number of bytes that follow the frame in a record."""

    def __post_init__(self) -> None:
        check_name("frames_as", self.kind, FRAMES_AS[1:])
        check_count("behind_bytes", self.behind_bytes, 0)
        shape = self.frame_shape
        for size in shape:
            check_count("frame_shape", size)
        if len(shape) != 3 or shape[2] not in _CHANNELS or max(shape) > 2**15:
            raise ValueError(
                f"`frames_as` must be 'raw' for observations of shape {shape}, got {self.kind!r}."
                " Image files hold frames (height, width, channels) of 1 or 3 channels."
            )

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one observation: a frame, or the bytes of a record."""
        frame_bytes = math.prod(self.frame_shape)
        return (frame_bytes + self.behind_bytes,) if self.behind_bytes else self.frame_shape

    def encode(self, frame: np.ndarray) -> np.ndarray:
        """Return a frame (height, width, channels) uint8 as the bytes of an image file."""
        import cv2  # optional dependency, not needed for raw frames

        if self.frame_shape[2] == 3:
            frame = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        if self.kind == "png":
            return cv2.imencode(".png", frame)[1]
        return cv2.imencode(".jpg", frame, _jpeg_settings())[1]

    def decode(self, data: np.ndarray) -> np.ndarray:
        """Decode the bytes of an image file to a frame (height, width, channels) uint8.

        Raises:
            ValueError: If the bytes are not an image of this shape.
        """
        import cv2

        is_grey = self.frame_shape[2] == 1
        try:
            frame = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE if is_grey else cv2.IMREAD_COLOR)
        except cv2.error:
            frame = None
        if frame is None or frame.shape[:2] != self.frame_shape[:2]:
            found = "no image" if frame is None else f"one of {frame.shape[:2]} pixels"
            raise ValueError(
                f"`frames.bin` must hold a {self.kind} file of {self.frame_shape[:2]} pixels for"
                f" each frame, got {found}. {REMEDY}."
            )
        if is_grey:
            return frame[:, :, None]
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB, dst=frame)

    def as_json(self) -> dict[str, Any]:
        """Return the encoding as stored in `meta.json`."""
        return {"kind": self.kind, "shape": list(self.frame_shape), "behind": self.behind_bytes}

    @classmethod
    def from_json(cls, values: Any) -> "Encoding":
        """Return the encoding from its entry in `meta.json`; ValueError if the entry is invalid."""
        if not isinstance(values, Mapping) or set(values) != {"kind", "shape", "behind"}:
            raise ValueError("`frames` must have kind, shape and behind")
        if not isinstance(values["shape"], list):
            raise ValueError("`shape` of `frames` must be a list")
        return cls(values["kind"], tuple(values["shape"]), values["behind"])


class EncodedFrames:
    """Array-like of observations (N, ...), uint8, which are decoded when they are read.

    Args:
        encoding: Storage format of the frames.
        data: Concatenated image files, shape (bytes,), uint8, memory-mapped.
        ends: Offset in `data` at which each image file ends [bytes], shape (N,), int64.
        behind: Bytes that follow the frames in records, shape (N, bytes), uint8.

    Raises:
        ValueError: If the ends do not increase, or the last one is not the end of the data.
    """

    def __init__(
        self,
        encoding: Encoding,
        data: np.ndarray,
        ends: np.ndarray,
        behind: np.ndarray | None = None,
    ) -> None:
        bounds = np.append(0, ends)
        if (np.diff(bounds) <= 0).any() or bounds[-1] != len(data):
            raise ValueError(
                f"`frame_ends` must increase up to the {len(data)} bytes of `frames.bin`, got"
                f" {int(bounds[-1])} at the end. {REMEDY}."
            )
        self.encoding = encoding
        self._data, self._bounds, self._behind = data, bounds, behind
        self._numbers = np.arange(len(ends))  # created once instead of at each read
        self.dtype = np.dtype(np.uint8)

    @classmethod
    def open(cls, folder: Path, encoding: Encoding, count: int) -> "EncodedFrames":
        """Open the files of a store; frames stay on disk until they are read.

        Args:
            folder: Folder of the store.
            encoding: Storage format of the frames.
            count: Number of frames.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If the files do not fit together.
        """
        data_file, ends_file, behind_file = (folder / name for name in FILES)
        ends, size = np.array(map_array(ends_file)), encoding.behind_bytes
        behind = np.array(map_array(behind_file)) if size else None
        found = [(array.dtype.name, array.shape) for array in (ends, behind) if array is not None]
        asked = [("int64", (count,)), *([("uint8", (count, size))] if size else [])]
        if found != asked:
            raise ValueError(
                f"`{FILES[1]}` and `{FILES[2]}` must have one row for each of the {count} frames"
                f" that meta.json names, got {found} in '{folder}'. {REMEDY}."
            )
        if not data_file.is_file() or not data_file.stat().st_size:
            raise FileNotFoundError(
                f"`{data_file.name}` must lie in a store of encoded frames, got none in '{folder}'."
                f" {REMEDY}."
            )
        return cls(encoding, np.memmap(data_file, np.uint8, mode="r"), ends, behind)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all observations."""
        return (len(self), *self.encoding.observation_shape)

    @property
    def ndim(self) -> int:
        """Number of dimensions of all observations."""
        return len(self.shape)

    def __len__(self) -> int:
        return len(self._numbers)

    def behind(self) -> np.ndarray:
        """Return the bytes that follow the frames in records, shape (N, bytes); decodes nothing."""
        if self._behind is None:
            return np.zeros((len(self), 0), np.uint8)
        return self._behind

    def __getitem__(self, key: Any) -> np.ndarray:
        numbers = self._numbers[key]
        if numbers.ndim == 0:
            return self._read(int(numbers))
        read = np.empty((*numbers.shape, *self.encoding.observation_shape), np.uint8)
        for place in np.ndindex(numbers.shape):
            read[place] = self._read(int(numbers[place]))
        return read

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def _read(self, number: int) -> np.ndarray:
        data = self._data[self._bounds[number] : self._bounds[number + 1]]
        frame = self.encoding.decode(data)
        if self._behind is None:
            return frame
        return np.concatenate([frame.reshape(-1), self._behind[number]])


class EncodedFile:
    """Files of encoded frames, written frame by frame.

    Args:
        folder: Folder of the files.
        encoding: Storage format of the frames.
    """

    def __init__(self, folder: Path, encoding: Encoding) -> None:
        self._encoding, self._folder = encoding, folder
        self._file: BinaryIO = (folder / FILES[0]).open("wb")
        self._ends: list[int] = []
        size = encoding.behind_bytes
        self._behind = NpyFile(folder / FILES[2], (size,), np.uint8) if size else None

    def write(self, first: int, rows: np.ndarray) -> None:
        """Write observations, beginning at index `first`."""
        del self._ends[first:]
        start = self._ends[-1] if self._ends else 0
        if self._file.tell() != start:  # avoids a seek, which would flush the buffer
            self._file.seek(start)
        frame_bytes = math.prod(self._encoding.frame_shape)
        for row in rows:
            frame = row.reshape(-1)[:frame_bytes].reshape(self._encoding.frame_shape)
            data = self._encoding.encode(frame)
            self._file.write(data.data)
            self._ends.append((self._ends[-1] if self._ends else 0) + data.size)
        if self._behind is not None:
            self._behind.write(first, rows.reshape(len(rows), -1)[:, frame_bytes:])

    def finish(self, num_rows: int) -> None:
        """Keep the first `num_rows` observations, and close the files."""
        del self._ends[num_rows:]
        self._file.truncate(self._ends[-1])
        self._file.close()
        ends = np.asarray(self._ends, np.int64)
        np.save(self._folder / FILES[1], ends, allow_pickle=False)
        if self._behind is not None:
            self._behind.finish(num_rows)

    def abandon(self) -> None:
        """Close the files without finishing them."""
        with contextlib.suppress(OSError):
            self._file.close()
        if self._behind is not None:
            self._behind.abandon()


def encoding_for(
    frames_as: str, observation_shape: Sequence[int], frame_shape: Sequence[int] | None
) -> Encoding | None:
    """Return the encoding of observations; None for raw observations.

    Args:
        frames_as: raw, png or jpeg.
        observation_shape: Shape of one observation.
        frame_shape: Shape of the frame in a record; None if the observation is a frame.

    Raises:
        ValueError: If the name is unknown, or observations of this shape cannot be image files.
    """
    check_name("frames_as", frames_as, FRAMES_AS)
    if frames_as == "raw":
        return None
    if frame_shape is None:
        return Encoding(frames_as, tuple(observation_shape))
    behind = math.prod(observation_shape) - math.prod(frame_shape)
    return Encoding(frames_as, tuple(frame_shape), behind)


def _jpeg_settings() -> list[int]:
    """Return OpenCV's settings for JPEG: high quality, without chroma subsampling."""
    import cv2

    full_colour = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return [cv2.IMWRITE_JPEG_QUALITY, 95, *full_colour]
