"""Training, validation and test parts of a recording, as written by `data.py split`.

They are in a JSON file beside the recording; no frame is moved:

    {"format": 1, "by": "place", "why": "--by place --place x y",
     "parts": {"train": [{"rows": [0, 812], "time_s": [0.0, 40.6]}], "validation": [], "test": []}}

Rows are written as in `envs.recorded.marked_rows`. Frames outside these rows are in no part.
"""

import json
from collections.abc import Mapping, Sequence
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
from ncp_control import files

FILE = "parts.json"
PARTS = ("train", "validation", "test")
"""Names of the parts: for training, for choosing the checkpoint, and for the final test."""
TRAIN = PARTS[0]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Rows of each part."""

    by: str
    """Criterion of the split: time, session, episode or place."""
    why: str
    """Options of the command."""
    rows: Mapping[str, tuple[MarkedRows, ...]]
    """Stretches of rows by the names in `PARTS`."""


def parts_file(recording: Path) -> Path:
    """Return the file of the parts of a recording."""
    return file_beside(recording, FILE)


def read_parts(path: Path) -> Parts:
    """Read the parts of a recording.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a file of parts.
    """
    return read_marked(path, "parts", "data.py split", _parts)


def write_parts(path: Path, parts: Parts) -> None:
    """Write the parts of a recording."""
    rows: Mapping[str, Sequence[Any]] = {
        name: [one.as_json() for one in marked] for name, marked in parts.rows.items()
    }
    content = {"format": 1, "by": parts.by, "why": parts.why, "parts": rows}
    files.write_file(path, json.dumps(content, indent=1) + "\n")


def part_of(recording: Recording, parts: Parts, name: str, path: Path) -> Recording:
    """Return one part of a recording; it may be empty.

    Only the training part has the side cameras, whose steering is artificial.

    Args:
        recording: The recording.
        parts: Parts of the recording.
        name: One of `PARTS`.
        path: File of the parts, for messages.

    Raises:
        ValueError: If the parts are those of another recording, or there is no such part.
    """
    if name not in PARTS:
        raise ValueError(f"`part` must be one of {', '.join(PARTS)}, got {name!r}.")
    check_times(recording, parts.rows[name], "parts", path)
    source = recording if name == TRAIN else recording.center_only()
    episodes = []
    for episode in source.episodes:
        is_in = is_within(episode, parts.rows[name])
        if is_in.any():
            episodes += episode.select(is_in).cut(recording.cuts)
    return replace(source, episodes=tuple(episodes))


def _parts(content: Any) -> Parts:
    rows = {name: tuple(read_rows(one) for one in content["parts"][name]) for name in PARTS}
    return Parts(by=str(content["by"]), why=str(content["why"]), rows=rows)
