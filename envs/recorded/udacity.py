"""Logs of the Udacity driving simulator.

`driving_log.csv` has one line a frame, sometimes under a header: paths of the center, left and
right camera's image, steering, throttle, brake, speed [mph]. The paths are those of the computer
that recorded (often Windows); only their file names count, under `IMG/`. A frame's time is in its
file name: `center_2018_07_16_17_11_43_382.jpg` is year, month, day, hour, minute, second, ms.

Steering is the fraction of the maximum angle, right positive (the image moves to the left at
positive steering); it is negated here. The side cameras look along the road from beside the middle,
so a driver there would steer back: the left one `side_steering_offset` more to the right, the right
one as much more to the left.
"""

import csv
import ntpath
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from envs.recorded.assembly import (
    LoggedImage,
    assemble_recording,
    check_folder,
    left_positive_steering,
)
from envs.recorded.images import Framing
from envs.recorded.recording import CENTER, Recording

LOG_FILE = "driving_log.csv"
COLUMNS = ("center", "left", "right", "steering", "throttle", "brake", "speed")
# Of the simulator's 160 rows: the 60 above the far end of the road, and the 25 of the bonnet.
CROP = (60 / 160, 25 / 160)
_TIME_STAMP = re.compile(r"(\d{4})_(\d\d)_(\d\d)_(\d\d)_(\d\d)_(\d\d)_(\d{3})\.\w+$")
# How much further left each camera steers, in units of the offset; in the order of the columns.
_SIDES = {CENTER: 0.0, "left": -1.0, "right": 1.0}


def load_udacity(
    folder: str | Path,
    *,
    side_steering_offset: float = 0.2,
    image_size: tuple[int, int] = (78, 200),
    crop: tuple[float, float] = CROP,
    max_gap_s: float = 1.0,
    max_missing_frames: int = 3,
) -> Recording:
    """Load a log of the Udacity simulator.

    Args:
        folder: Folder with `driving_log.csv` and `IMG/`.
        side_steering_offset: Steering added towards the middle for the side cameras, in [0, 1].
        image_size: Height and width of an observation [pixels].
        crop: Share of the height cut off at the top and at the bottom.
        max_gap_s: A longer time between two frames begins a new episode [s].
        max_missing_frames: More missing frames in a row begin a new episode.

    Returns:
        The recording; each camera's runs of frames are episodes of their own.

    Raises:
        FileNotFoundError: If the folder or its log is missing.
        ValueError: If the log is empty or damaged, or no image can be read.
    """
    folder = Path(folder)
    check_folder(folder)
    if not 0.0 <= side_steering_offset <= 1.0:
        raise ValueError(
            f"`side_steering_offset` must be in [0, 1], got {side_steering_offset!r}."
            " Use 0.2, the simulator's usual one."
        )
    framing = Framing(image_size=image_size, crop=crop)
    images = [
        image
        for row, (line, cells) in enumerate(_read_lines(folder / LOG_FILE))
        for image in _row_images(folder, row, line, cells, side_steering_offset)
    ]
    return assemble_recording(
        folder,
        "udacity",
        images,
        framing=framing,
        max_gap_s=max_gap_s,
        max_missing_frames=max_missing_frames,
    )


def _read_lines(log: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the cells of every frame."""
    if not log.is_file():
        raise FileNotFoundError(
            f"`folder` must hold a {LOG_FILE}, got '{log.parent}' without one."
            " Give the folder the simulator recorded into."
        )
    is_empty = True
    # Only file names are used, so a path in another encoding does no harm.
    with log.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.reader(file)
        for line, raw in _number(reader, log):
            cells = [cell.strip() for cell in raw]
            if not any(cells) or [cell.lower() for cell in cells] == list(COLUMNS):
                continue
            if len(cells) != len(COLUMNS):
                raise ValueError(
                    f"`{LOG_FILE}` must have {len(COLUMNS)} columns ({', '.join(COLUMNS)}), got"
                    f" {len(cells)} in line {line} of '{log}'."
                    " Correct or delete that line."
                )
            is_empty = False
            yield line, cells
    if is_empty:
        raise ValueError(
            f"`{LOG_FILE}` must list at least one frame, got none in '{log}'. Record a drive first."
        )


def _number(reader: Any, log: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield every row with the number of the line in which it begins."""
    line = 1
    try:
        for raw in reader:
            yield line, raw
            line = reader.line_num + 1
    except csv.Error as error:  # a quotation mark without its second takes in all that follows
        raise ValueError(
            f"`{LOG_FILE}` must have comma-separated values, got none that can be read from line"
            f" {line} of '{log}' on: {error}. Look for a stray quotation mark there."
        ) from error


def _row_images(
    folder: Path, row: int, line: int, cells: list[str], side_steering_offset: float
) -> Iterator[LoggedImage]:
    """Yield the images that one line lists; a side camera's cell may be empty."""
    where = f"line {line} of '{folder / LOG_FILE}'"
    steering = left_positive_steering(cells[COLUMNS.index("steering")], where)
    time_s = _time_s(cells[0], where)
    for column, (camera, side) in enumerate(_SIDES.items()):
        if cells[column]:
            yield LoggedImage(
                camera=camera,
                row=row,
                # Windows' rules split at both kinds of slash.
                path=folder / "IMG" / ntpath.basename(cells[column]),
                steering=min(max(steering + side * side_steering_offset, -1.0), 1.0),
                time_s=time_s,
            )


def _time_s(image: str, where: str) -> float:
    """Return the time in a file name [s]; only differences mean something."""
    match = _TIME_STAMP.search(image)
    try:
        if match is None:
            raise ValueError("no time stamp")
        year, month, day, hour, minute, second, ms = (int(group) for group in match.groups())
        # Without a time zone, so that no daylight saving jumps in.
        time = datetime(year, month, day, hour, minute, second, 1000 * ms)
    except ValueError as error:
        raise ValueError(
            "`center` must end in a time stamp such as center_2018_07_16_17_11_43_382.jpg, got"
            f" {ntpath.basename(image)!r} in {where}. Keep the simulator's file names."
        ) from error
    return (time - datetime(1970, 1, 1)).total_seconds()
