"""Stretches of a recording that are marked to be left out; no data are deleted.

The marks are in a JSON file beside the recording, or in a file given by the user:

    {"format": 1,
     "marks": [{"why": "--out-of 12.5-14.0",
                "stretches": [{"rows": [250, 280], "time_s": [1644504935.2, 1644504936.7]}]}]}

Each entry of `marks` comes from one command, and `--undo` removes the last one; rows are written as
in `envs.recorded.marked_rows`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from envs.recorded.marked_rows import (
    MarkedRows,
    check_times,
    file_beside,
    is_within,
    read_marked,
    read_rows,
)
from envs.recorded.recording import Recording
from envs.recorded.stretches import CENTER
from ncp_control import files

FILE = "left_out.json"
REASON = "marked to be left out"


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Stretches marked by one command."""

    why: str
    """Options of the command."""
    stretches: tuple[MarkedRows, ...]
    """The marked stretches."""


def marks_file(recording: Path) -> Path:
    """Return the default file of the marks of a recording."""
    return file_beside(recording, FILE)


def read_marks(path: Path) -> list[Mark]:
    """Read the marks of a file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not hold marks.
    """
    return read_marked(
        path, "left_out", "data.py clean", lambda content: [_mark(one) for one in content["marks"]]
    )


class NothingLeft(ValueError):
    """Error: the marks would leave no frame of a recording."""


def write_marks(path: Path, marks: Sequence[Mark]) -> None:
    """Write marks to a file; remove the file if there are no marks."""
    if not marks:
        path.unlink(missing_ok=True)
        return
    entries = [
        {
            "why": mark.why,
            "stretches": [one.as_json() for one in mark.stretches],
        }
        for mark in marks
    ]
    files.write_file(path, json.dumps({"format": 1, "marks": entries}, indent=1) + "\n")


def leave_out(recording: Recording, marks: Sequence[Mark], path: Path) -> Recording:
    """Return the recording without the marked frames of all cameras.

    Args:
        recording: The recording.
        marks: The marks.
        path: File of the marks, for messages.

    Raises:
        ValueError: If the marks are those of another recording.
        NothingLeft: If no two consecutive frames of the center camera would be left.
    """
    stretches = [one for mark in marks for one in mark.stretches]
    check_times(recording, stretches, "left_out", path)
    episodes, num_out = [], 0
    for episode in recording.episodes:
        is_kept = ~is_within(episode, stretches)
        num_out += int((~is_kept).sum())
        if is_kept.all():
            episodes.append(episode)
        elif is_kept.any():
            episodes += episode.select(is_kept).cut(recording.cuts)
    if not any(len(one) > 1 for one in episodes if one.camera == CENTER):
        raise NothingLeft(
            f"`left_out` must leave some frames, got marks on all of '{recording.folder}' in"
            f" '{path}'. Take some back by data.py clean --undo."
        )
    if not num_out:
        return recording
    skipped = {**recording.skipped, REASON: num_out}
    return replace(recording, episodes=tuple(episodes), skipped=skipped)


def _mark(mark: Any) -> Mark:
    return Mark(why=str(mark["why"]), stretches=tuple(read_rows(one) for one in mark["stretches"]))
