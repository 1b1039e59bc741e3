"""Rows of a recording marked in a file beside it, and the rules for reading such a file.

`rows` are the first and the last position in the log, both included; `time_s` are their times, by
which a file made for another recording is detected:

    {"rows": [250, 280], "time_s": [1644504935.2, 1644504936.7]}
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from envs.recorded.recording import Recording
from envs.recorded.stretches import CENTER, Stretch
from ncp_control.json_files import read_json
from ncp_control.ranges import is_number

T = TypeVar("T")

_MAX_BYTES = 10_000_000
_LARGEST_ERROR_S = 1e-3


@dataclass(frozen=True, kw_only=True)
class MarkedRows:
    """One stretch of rows."""

    rows: tuple[int, int]
    """First and last position in the log."""
    time_s: tuple[float, float]
    """Times of the first and last row [s]."""

    def as_json(self) -> dict[str, Any]:
        """Return the stretch as in a file."""
        return {"rows": self.rows, "time_s": self.time_s}


def file_beside(recording: Path, name: str) -> Path:
    """Return the path of a file about a recording: in its folder, or beside a single file."""
    if recording.is_dir():
        return recording / name
    return recording.with_name(f"{recording.name}.{name}")


def find_rows(recording: Recording, is_marked: Sequence[np.ndarray]) -> tuple[MarkedRows, ...]:
    """Return the stretches of some frames.

    Args:
        recording: The recording.
        is_marked: For each episode of the center camera, True for the frames to mark, shape (N,).
    """
    found = []
    for episode, flags in zip(recording.center_only().episodes, is_marked, strict=True):
        edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
        for begin, end in edges.reshape(-1, 2) - [0, 1]:
            rows = int(episode.rows[begin]), int(episode.rows[end])
            times_s = float(episode.time_s[begin]), float(episode.time_s[end])
            found.append(MarkedRows(rows=rows, time_s=times_s))
    return tuple(found)


def is_within(episode: Stretch, marked: Sequence[MarkedRows]) -> np.ndarray:
    """Return True for the frames of an episode that are in one of the stretches, shape (N,)."""
    is_in = np.zeros(len(episode), bool)
    for one in marked:
        is_in |= (episode.rows >= one.rows[0]) & (episode.rows <= one.rows[1])
    return is_in


def check_times(
    recording: Recording, marked: Sequence[MarkedRows], setting: str, path: Path
) -> None:
    """Check that stretches were marked in this recording.

    Args:
        recording: The recording.
        marked: The stretches of the file.
        setting: Name of the file in messages.
        path: Path of the file, for messages.

    Raises:
        ValueError: If the time of a row differs from that in the file.
    """
    for episode in recording.episodes:
        if episode.camera != CENTER:
            continue
        for one in marked:
            for row, marked_s in zip(one.rows, one.time_s, strict=True):
                i = int(np.searchsorted(episode.rows, row))
                is_there = i < len(episode) and episode.rows[i] == row
                if is_there and abs(episode.time_s[i] - marked_s) > _LARGEST_ERROR_S:
                    raise ValueError(
                        f"`{setting}` must have the marks of '{recording.folder}', got '{path}',"
                        f" where row {row} is at {marked_s:.3f} s and not at"
                        f" {episode.time_s[i]:.3f} s. Delete it, and mark again."
                    )


def read_marked(path: Path, setting: str, made_by: str, read: Callable[[Any], T]) -> T:
    """Read a file that marks rows of a recording.

    Args:
        path: The file.
        setting: Name of the file in messages.
        made_by: The command that writes such files.
        read: Converts the JSON of the file to the result; may raise ValueError, KeyError and
            TypeError.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a file written by this command.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"`{setting}` must be a file that {made_by} wrote, got '{path}', which does not exist."
        )
    try:
        content = read_json(path, max_bytes=_MAX_BYTES)
        if content["format"] != 1:
            raise ValueError(f"its format is {content['format']!r}, and 1 is read")
        return read(content)
    except (ValueError, KeyError, TypeError) as error:
        fault = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"`{setting}` must be a file that {made_by} wrote, got '{path}': {fault}. Delete it, or"
            " make it again."
        ) from error


def read_rows(values: Any) -> MarkedRows:
    """Return a stretch from the JSON of a file.

    Raises:
        ValueError: If rows or times are not valid.
        KeyError: If one of the two is missing.
    """
    rows, times_s = values["rows"], values["time_s"]
    is_whole = [isinstance(row, int) and not isinstance(row, bool) for row in rows]
    if len(rows) != 2 or not all(is_whole) or rows[0] > rows[1]:
        raise ValueError(f"rows are a first and a last whole number, not {rows!r}")
    if len(times_s) != 2 or not all(is_number(one) for one in times_s):
        raise ValueError(f"time_s are two numbers, not {times_s!r}")
    return MarkedRows(rows=(rows[0], rows[1]), time_s=(float(times_s[0]), float(times_s[1])))
