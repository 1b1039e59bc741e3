# pyright: reportMissingImports=false
"""Read frames of a video file by the package `av` (PyAV, FFmpeg)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

from envs.recorded.images import MAX_PIXELS, MIN_SIDE_PIXELS

_MOST_SKIPPED = 120
"""Largest number of frames that are decoded to reach a later one; beyond it, the video seeks."""


def import_av() -> Any:
    """Return the package `av`.

    Raises:
        ValueError: If it is not installed.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        raise ValueError(
            "`log` with videos needs av (PyAV), which is not installed. Run"
            ' `pip install "ncp-control[lerobot]"`.'
        ) from error
    return av


class Video:
    """A video file. Only the video that was read last is open.

    Args:
        path: The file.

    Raises:
        ValueError: If it cannot be read, or PyAV is not installed.
    """

    _open_one: ClassVar["Video | None"] = None

    def __init__(self, path: Path) -> None:
        self.path, self._av = path, import_av()
        self._container: Any = None
        self._frames: Iterator[Any] | None = None
        self._next = 0
        try:
            with self._av.open(str(path)) as container:
                stream = container.streams.video[0]
                found = [one.pts for one in container.demux(stream) if one.size]
                self._base = float(stream.time_base or 1.0)
        except Exception as error:  # FFmpeg's errors are of many classes
            raise ValueError(f"'{path.name}' cannot be read: {_reason(error)}") from error
        if not found:
            raise ValueError(f"'{path.name}' cannot be read: it has no frame")
        self._is_timed = None not in found and len(set(found)) == len(found)
        self._stamps = sorted(found) if self._is_timed else list(range(len(found)))
        self._numbers = {stamp: i for i, stamp in enumerate(self._stamps)}

    def __len__(self) -> int:
        return len(self._stamps)

    @property
    def time_s(self) -> np.ndarray | None:
        """Time of each frame since the first [s], shape (frames,); None if it is unknown."""
        if not self._is_timed:
            return None
        return (np.array(self._stamps, np.float64) - self._stamps[0]) * self._base

    def read(self, number: int) -> np.ndarray:
        """Return a frame as uint8 RGB (height, width, 3).

        Raises:
            ValueError: If it is damaged.
        """
        try:
            if self._frames is None or not 0 <= number - self._next <= _MOST_SKIPPED:
                self._begin_at(number)
            assert self._frames is not None
            for frame in self._frames:
                at = self._numbers.get(frame.pts, -1) if self._is_timed else self._next
                self._next = at + 1
                if at == number:
                    return self._pixels(frame)
                if at > number:
                    break
        except Exception as error:  # FFmpeg's errors are of many classes, as above
            self.close()
            raise ValueError(f"frame {number} cannot be read: {_reason(error)}") from error
        self.close()
        raise ValueError(f"frame {number} is not in the video")

    def _begin_at(self, number: int) -> None:
        """Open the video such that the next decoded frame is frame `number` or an earlier one."""
        if Video._open_one is not None:
            Video._open_one.close()
        Video._open_one, self._next = self, 0
        self._container = self._av.open(str(self.path))
        stream = self._container.streams.video[0]
        if self._is_timed and number:
            self._container.seek(self._stamps[number], stream=stream)
        self._frames = self._container.decode(stream)

    def _pixels(self, frame: Any) -> np.ndarray:
        if min(frame.width, frame.height) < MIN_SIDE_PIXELS:
            raise ValueError("it is too small")
        if frame.width * frame.height > MAX_PIXELS:
            raise ValueError("it is too large")
        if frame.is_corrupt:
            raise ValueError("it is damaged")
        return frame.to_ndarray(format="rgb24")

    def close(self) -> None:
        """Close the file; it is reopened when a frame is read."""
        if self._container is not None:
            self._container.close()
        self._container = self._frames = None
        if Video._open_one is self:
            Video._open_one = None


@dataclass(frozen=True)
class VideoFrame:
    """A frame of a video."""

    path: Path
    """The video file."""
    number: int
    """Number of the frame in display order."""
    video: Video = field(repr=False, compare=False)
    """The video that reads the frame."""

    @property
    def name(self) -> str:
        """Its location, for messages."""
        return f"frame {self.number} of {self.path.name}"

    def __str__(self) -> str:
        return self.name

    def read_bytes(self) -> bytes:
        """Return the frame as the bytes of a BMP file, without loss.

        Raises:
            ValueError: If it is damaged.
        """
        return cv2.imencode(".bmp", self.video.read(self.number)[:, :, ::-1])[1].tobytes()


def _reason(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error) or type(error).__name__)[:100].rstrip(". ")
