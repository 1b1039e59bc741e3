"""Load a LeRobotDataset v2.1 or v3: numbers in Parquet, cameras as videos or images in Parquet.

| version | numbers                          | videos                                          |
|---------|----------------------------------|-------------------------------------------------|
| 2.1     | `data/chunk-*/episode_*.parquet` | `videos/chunk-*/CAMERA/episode_*.mp4`           |
| 3.0     | `data/chunk-*/file-*.parquet`    | `videos/CAMERA/chunk-*/file-*.mp4`; the begin   |
|         |                                  | of each episode in them is in `meta/episodes`   |

The name of a quantity is its column and its name in the column, e.g. `action.elbow` and
`observation.state.elbow`; numbers without a name in `meta/info.json` are numbered. By default, all
of `action` is learned. Times are those of the column `time_s` (float64, written by
`write_lerobot`), or else of `timestamp`, the time since the episode began, or of `frame_index` and
the frame rate where most rows of an episode have the stamp of another one.

The frame of a row is the one that is shown at its `timestamp`. If the times do not give each row a
frame of its own, row i of an episode has frame i where there are as many frames as rows, with a
warning.

If videos are missing, only numbers are read, with a warning. A data set from `write_lerobot` also
has units, ranges, signs and the crop (`meta/ncp_control.json`).

Source: https://github.com/huggingface/lerobot/blob/main/src/lerobot/datasets, versions 2.1 and 3.0.
"""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from envs.recorded.assembly import (
    Listing,
    LoggedFrame,
    assemble_recording,
    check_folder,
    finite_number,
)
from envs.recorded.images import ImageFile
from envs.recorded.lerobot_cameras import Cameras, choose_camera, list_cameras, rows_of_episodes
from envs.recorded.lerobot_tasks import TASK_INDEX, read_tasks
from envs.recorded.own_notes import FILE, read_facts, read_notes, short
from envs.recorded.parquet import ParquetTable, is_nested, is_number
from envs.recorded.quantities import Quantity
from envs.recorded.recording import Recording
from ncp_control.tally import Tally

INFO_FILE = "meta/info.json"
TIME = "time_s"
_INDEX = ("timestamp", "frame_index", "episode_index", "index", TASK_INDEX, TIME)
_LATER = "next."
"""Prefix of columns about the time after a frame, e.g. the reward; they are never inputs."""
_MOST_NUMBERS = 512
"""Largest width of a column of quantities; wider ones are e.g. images as lists."""
_COUNTED = "time from frame_index and fps, as time stamps are repeated or missing"


def load_lerobot(
    folder: str | Path,
    *,
    camera: str | None = None,
    image_size: tuple[int, int] = (78, 200),
    crop: tuple[float, float] | None = None,
    max_gap_s: float = 1.0,
    max_missing_frames: int = 3,
) -> Recording:
    """Load a LeRobotDataset.

    Args:
        folder: Folder of the data set, with `meta` and `data`.
        camera: Name of the camera, e.g. `front` for `observation.images.front`; if None: the first
            one.
        image_size: Height and width of an observation [pixels].
        crop: Shares of the height cut off at the top and at the bottom; if None: the crop stored
            with the data set, or no crop.
        max_gap_s: Time between two frames above which a new episode starts [s].
        max_missing_frames: Number of consecutive missing frames above which a new episode starts.

    Raises:
        FileNotFoundError: If the folder is missing.
        ValueError: If a package is not installed, there is no such camera, or no row can be used.
    """
    folder = Path(folder)
    check_folder(folder)
    own = read_notes(folder / FILE)
    framing = own.framing(image_size, crop, folder)
    info, skipped = read_facts(folder, INFO_FILE), Tally()
    tables = [*_tables(folder, skipped)]
    key = choose_camera(folder, info, tables, camera)
    cameras = None if key is None else Cameras(folder, key, skipped)
    found = _Found(tasks=read_tasks(folder, skipped), skipped=skipped)
    frames: list[LoggedFrame] = []
    first_row = 0
    for table in tables:
        frames += _frames(table, info, own.quantities, cameras, first_row, found)
        first_row += table.num_rows
    _warn(folder, found, frames, cameras)
    recording = assemble_recording(
        Listing(
            folder=folder,
            format="lerobot",
            frames=frames,
            skipped=skipped,
            advice="Download the data set again.",
            quantities=list(found.quantities.values()),
            actions=own.actions
            or [name for name in found.quantities if name.split(".")[0] == "action"],
        ),
        framing=framing,
        max_gap_s=max_gap_s,
        max_missing_frames=max_missing_frames,
    )
    robot, unread = info.get("robot_type"), {*found.unread, *list_cameras(folder, tables)} - {key}
    return replace(
        own.name_episodes(recording),
        driver=own.driver,
        robot=robot if isinstance(robot, str) else "",
        unread=tuple(sorted(unread)),
    )


def is_lerobot(path: Path) -> bool:
    """True for a folder with `meta` and Parquet files in `data`."""
    return (path / "meta").is_dir() and any((path / "data").glob("**/*.parquet"))


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What is found in the tables, in their order."""

    tasks: Mapping[int, str]
    """Words of the tasks by number."""
    skipped: Tally
    """Counts of unusable rows and columns."""
    quantities: dict[str, Quantity] = field(default_factory=dict)
    """Quantities by name."""
    unread: set[str] = field(default_factory=set)
    """Names of columns that are not read."""
    misnamed: dict[str, str] = field(default_factory=dict)
    """Descriptions of the columns with names that do not fit, by column."""


def _warn(
    folder: Path, found: _Found, frames: Sequence[LoggedFrame], cameras: Cameras | None
) -> None:
    """Warn of names that do not fit, and of frames without pictures or with pictures by number."""
    if found.misnamed:
        warnings.warn(
            f"Names in '{INFO_FILE}' of '{folder}' do not fit their numbers, which are numbered:"
            f" {', '.join(found.misnamed.values())[:200]}.",
            stacklevel=4,
        )
    if cameras is None:
        return
    if frames and all(frame.path is None for frame in frames):
        warnings.warn(
            f"No frame of {cameras.key!r} in '{folder}' can be used"
            f" ({cameras.fault or 'none is there'}): its numbers are read alone.",
            stacklevel=4,
        )
    if cameras.by_number:
        warnings.warn(
            f"The times of the frames of {cameras.key!r} in '{folder}' are not those of the rows"
            f" (episodes: {len(cameras.by_number)}; first: {cameras.by_number[0]}). There are as"
            " many frames as rows, so row i has frame i.",
            stacklevel=4,
        )


def _tables(folder: Path, skipped: Tally) -> Iterator[ParquetTable]:
    for path in sorted((folder / "data").glob("**/*.parquet")):
        try:
            yield ParquetTable(path)
        except ValueError as error:
            if "pip install" in str(error):
                raise
            skipped.add("damaged table", f"{path.name}: {short(error)}")


def _frames(
    table: ParquetTable,
    info: Mapping[str, Any],
    own: Mapping[str, Quantity],
    cameras: Cameras | None,
    first_row: int,
    found: _Found,
) -> list[LoggedFrame]:
    """Return the frames of a table, and add to what is found."""
    columns, skipped = _numbers(table, found.skipped), found.skipped
    rows = np.arange(table.num_rows)
    nothing = np.full(len(rows), np.nan)
    episodes = columns.get("episode_index", nothing[:, None])[:, 0]
    time_s, stamps_s, is_counted = _times(columns, info, episodes)
    is_repeated = np.append(False, (np.diff(time_s) == 0.0) & (np.diff(episodes) == 0.0))[
        : len(rows)
    ]
    paths: list[ImageFile | None] = [None] * len(rows)
    if cameras is not None:
        paths = cameras.find(table, episodes, np.where(is_repeated, np.nan, stamps_s))
    tasks = columns.get(TASK_INDEX, nothing[:, None])[:, 0]
    read = {
        column: values
        for column, values in columns.items()
        if column not in _INDEX and not column.startswith(_LATER)
    }
    found.unread.update({*table.schema.names} - {*read} - {*_INDEX})
    named: dict[str, np.ndarray] = {}
    for column, values in read.items():
        for name, series in zip(_names(column, values, info, found), values.T, strict=True):
            quantity = own.get(name, Quantity(name=name))
            found.quantities.setdefault(quantity.name, quantity)
            named[quantity.name] = series
    nested = [one.name for one in table.schema if one.name in columns and is_nested(one.type)]
    chunks = tuple(f"first of several {name} of a row" for name in nested)
    frames = []
    for i in rows.tolist():
        place = f"row {i} of {table.path.name}"
        if not (np.isfinite(time_s[i]) and np.isfinite(episodes[i])):
            skipped.add("no time or no episode", place)
            continue
        if is_repeated[i]:
            skipped.add("time stamp of the row before", place)
            continue
        frames.append(
            LoggedFrame(
                row=first_row + i,
                time_s=float(time_s[i]),
                numbers={n: float(v[i]) for n, v in named.items() if np.isfinite(v[i])},
                path=paths[i],
                declared=str(int(episodes[i])),
                place=place,
                changes=(*chunks, *([_COUNTED] if is_counted[i] else [])),
                task=found.tasks.get(int(tasks[i]), "") if np.isfinite(tasks[i]) else "",
            )
        )
    return frames


def _numbers(table: ParquetTable, skipped: Tally) -> dict[str, np.ndarray]:
    """Return the columns of numbers, each of shape (rows, numbers), float64."""
    found = {}
    for column in table.schema:
        if not is_number(column.type) or column.name.endswith("_is_pad"):
            continue
        try:
            values = table.numbers(column.name)
        except ValueError as error:
            skipped.add("damaged column", f"{column.name}: {short(error)}")
            continue
        if 0 < values.shape[1] <= _MOST_NUMBERS and len(values) == table.num_rows:
            found[column.name] = values
    return found


def _times(
    columns: Mapping[str, np.ndarray], info: Mapping[str, Any], episodes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the times of rows.

    Returns:
        The time of each row [s]; its time since the episode began, as used by videos [s]; and
        whether both were counted, because most rows of the episode have the stamp of another one.
    """
    fps, counted_s = finite_number(info.get("fps")), None
    if "frame_index" in columns and fps is not None and fps > 0.0:
        counted_s = columns["frame_index"] / fps
    stamps_s = columns.get("timestamp", counted_s)
    time_s = columns.get(TIME, stamps_s)
    if time_s is None:
        raise ValueError(
            "`folder` must hold a data set with the column timestamp, or frame_index and fps, got"
            f" only {', '.join(columns)[:200] or 'no numbers'}. Download it again."
        )
    time_s, stamps_s = time_s[:, 0], (time_s if stamps_s is None else stamps_s)[:, 0]
    is_counted = np.zeros(len(time_s), bool)
    if TIME in columns or counted_s is None:
        return time_s, stamps_s, is_counted
    for rows in rows_of_episodes(episodes):
        is_counted[rows] = 2 * len(np.unique(stamps_s[rows])) <= len(rows)
    time_s = np.where(is_counted, counted_s[:, 0], stamps_s)
    return time_s, time_s, is_counted


def _names(column: str, values: np.ndarray, info: Mapping[str, Any], found: _Found) -> list[str]:
    """Return the names of the numbers of a column, from the data set or by their positions."""
    width = values.shape[1]
    features = info.get("features")
    feature = features.get(column) if isinstance(features, dict) else None
    names = feature.get("names") if isinstance(feature, dict) else None
    if isinstance(names, dict):
        names = next(iter(names.values()), None)
    words = [name for name in names if _is_name(name)] if isinstance(names, list) else []
    if len(words) == width == len(set(words)):
        return [f"{column}.{name}" for name in words]
    if isinstance(names, list) and names:
        found.misnamed[column] = f"{column} ({len(set(words))} names for {width} numbers)"
    return [column] if width == 1 else [f"{column}.{i}" for i in range(width)]


def _is_name(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"[^\0\n]{1,200}", name) is not None
