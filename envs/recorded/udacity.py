"""Logs of the Udacity driving simulator.

`driving_log.csv` has one line per frame, sometimes below a header: paths of the images of the
center, left and right camera, steering, throttle, brake, speed [mph, here m/s]; `columns` describes
how they are found. The paths are those of the recording computer (often Windows); only their file
names are used, under `IMG/`. The time of a frame is in its file name:
`center_2018_07_16_17_11_43_382.jpg` is year, month, day, hour, minute, second, ms.

Steering is the fraction of the maximum angle, right positive (the image moves to the left at
positive steering); it is negated here. The side cameras see the road from beside the centre, so a
driver there would steer back: for the left camera by `side_steering_offset` to the right, for the
right camera by as much to the left.
"""

import ntpath
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from envs.recorded.assembly import (
    Listing,
    LoggedFrame,
    assemble_recording,
    check_folder,
    finite_number,
    left_positive_steering,
)
from envs.recorded.columns import (
    COLUMNS,
    SIMULATOR,
    Columns,
    find_separator,
    number_in,
    read_header,
    split_cells,
)
from envs.recorded.images import Framing
from envs.recorded.quantities import STEERING
from envs.recorded.recording import Recording
from envs.recorded.stretches import CENTER
from envs.recorded.text import read_lines
from ncp_control.tally import Tally

LOG_FILE = "driving_log.csv"
MPS_PER_MPH = 0.44704
# Of the simulator's 160 rows: the 60 above the far end of the road, and the 25 of the bonnet.
CROP = (60 / 160, 25 / 160)
_TIME_STAMP = re.compile(
    r"(\d{4})_(\d\d)_(\d\d)_(\d\d)_(\d\d)_(\d\d)_(\d{3})\.\w+\Z", re.ASCII | re.IGNORECASE
)
_NUMBERS = COLUMNS[COLUMNS.index("steering") :]
# Steering correction of each camera, left positive, in units of the offset.
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
        side_steering_offset: Steering towards the centre that is added for the side cameras, in
            [0, 1].
        image_size: Height and width of an observation [pixels].
        crop: Share of the height cut off at the top and at the bottom.
        max_gap_s: Time between two frames above which a new episode starts [s].
        max_missing_frames: Number of consecutive missing frames above which a new episode starts.

    Returns:
        The recording; each camera has its own episodes.

    Raises:
        FileNotFoundError: If the folder or its log is missing.
        NotADirectoryError: If it is a file.
        ValueError: If the log is empty, no frame can be used, or the columns are not in the assumed
            order.
    """
    folder = Path(folder)
    check_folder(folder)
    if not 0.0 <= side_steering_offset <= 1.0:
        raise ValueError(
            f"`side_steering_offset` must be in [0, 1], got {side_steering_offset!r}."
            " Use 0.2, the simulator's usual one."
        )
    framing = Framing(image_size=image_size, crop=crop)
    if not (folder / LOG_FILE).is_file():
        raise FileNotFoundError(
            f"`folder` must hold a {LOG_FILE}, got '{folder}' without one."
            " Give the folder the simulator recorded into."
        )
    return assemble_recording(
        _Log(folder, side_steering_offset).listing(),
        framing=framing,
        max_gap_s=max_gap_s,
        max_missing_frames=max_missing_frames,
    )


class _Log:
    """Reads the lines of a log, one after the other.

    Args:
        folder: Folder of the log.
        side_steering_offset: As for `load_udacity`.
    """

    def __init__(self, folder: Path, side_steering_offset: float) -> None:
        self._folder = folder
        self._side_steering_offset = side_steering_offset
        self._skipped = Tally()
        self._frames: list[LoggedFrame] = []
        self._num_lines = 0
        self._num_too_wide = 0
        self._advice = "Keep the simulator's file names and columns."
        # Number of negative values in each column of a log without a header.
        self._negative: Counter[str] = Counter()

    def listing(self) -> Listing:
        """Return all usable frames of the log."""
        lines = read_lines(self._folder / LOG_FILE)
        separator = find_separator(lines)
        columns, is_first = SIMULATOR, True
        for number, line in enumerate(lines, start=1):
            cells = split_cells(line, separator)
            if not any(cells):
                continue
            header = read_header(cells, is_first=is_first)
            is_first = False
            if header is not None:
                columns = header
                continue
            self._frames += self._read(cells, columns, separator, f"line {number}")
            self._num_lines += 1
        self._check_whole()
        return Listing(
            folder=self._folder,
            format="udacity",
            frames=self._frames,
            skipped=self._skipped,
            advice=self._advice,
        )

    def _check_whole(self) -> None:
        """Refuse a log that would give a wrong recording, or none."""
        log = self._folder / LOG_FILE
        if not self._num_lines:
            raise ValueError(
                f"`{LOG_FILE}` must list at least one frame, got none in '{log}'."
                " Record a drive first."
            )
        num_usable = len({frame.row for frame in self._frames})
        if self._num_too_wide > num_usable:
            raise ValueError(
                f"`{LOG_FILE}` must have as many columns as names, got more in {self._num_too_wide}"
                f" of {self._num_lines} lines of '{log}', {num_usable} can be used"
                f" ({self._skipped}). If its numbers have decimal commas, write decimal points, or"
                " separate the columns by semicolons. If it has further columns, name all of them"
                " in a first line."
            )
        # Throttle, brake and speed of the simulator are never negative, except in damaged lines.
        often = [name for name, n in self._negative.items() if n > max(2, 0.05 * num_usable)]
        if often and not self._negative["steering"]:
            raise ValueError(
                f"`steering` must be column {COLUMNS.index('steering') + 1} of a log without a"
                f" header, got one that is never negative while {' and '.join(sorted(often))} is,"
                f" in '{log}'. Name the columns, in the order in which they stand, in a first line."
            )

    def _read(
        self, cells: list[str], columns: Columns, separator: str, place: str
    ) -> Iterator[LoggedFrame]:
        """Yield the frames of one line; the cell of a side camera may be empty."""
        row = self._num_lines
        while len(cells) > columns.width and not cells[-1]:
            cells.pop()
        fault = self._fault(cells, columns)
        if fault is not None:
            self._skipped.add(fault, place)
            return
        center = cells[columns.places[CENTER]]
        time_s = _time_s(center)
        if time_s is None:
            self._skipped.add("center image without a time stamp", f"{center[-40:]!r} in {place}")
            self._advise_on_order(cells, columns)
            return
        text = cells[columns.places["steering"]]
        steering = left_positive_steering(number_in(text, separator), self._skipped, place)
        if steering is None:
            return
        read = {
            name: finite_number(number_in(cells[columns.places[name]], separator))
            for name in _NUMBERS
            if name in columns.places
        }
        numbers = {name: value for name, value in read.items() if value is not None}
        if not columns.has_header:
            self._negative.update(name for name, value in numbers.items() if value < 0.0)
        if "speed" in numbers:
            numbers["speed"] *= MPS_PER_MPH
        value, changes = steering
        for camera, side in _SIDES.items():
            name = (
                ntpath.basename(cells[columns.places[camera]]) if camera in columns.places else ""
            )
            if name:
                steered = min(max(value + side * self._side_steering_offset, -1.0), 1.0)
                yield LoggedFrame(
                    camera=camera,
                    row=row,
                    path=self._folder / "IMG" / name,
                    numbers={**numbers, STEERING: steered},
                    time_s=time_s,
                    place=place,
                    changes=changes if camera == CENTER else (),
                )

    def _fault(self, cells: list[str], columns: Columns) -> str | None:
        """Return the reason why a line cannot be read; None if it can."""
        if columns.complaint is not None:
            self._advice = "Name the columns center and steering, in any order, in the first line."
            return columns.complaint
        if len(cells) > columns.width:
            self._num_too_wide += 1
            return f"more than {columns.width} columns"
        if len(cells) < columns.width:
            if not columns.has_header:
                self._advice = (
                    f"A log without a header must have the {len(COLUMNS)} columns"
                    f" {', '.join(COLUMNS)}. Name those that it has in a first line."
                )
            return f"fewer than {columns.width} columns"
        for camera in _SIDES:
            cell = cells[columns.places[camera]] if camera in columns.places else ""
            named = ntpath.basename(cell).lower().partition("_")[0]
            if named in _SIDES and named != camera:
                self._advise_on_order(cells, columns)
                return f"column {camera} names a {named} image"
        return None

    def _advise_on_order(self, cells: list[str], columns: Columns) -> None:
        """Set the advice for columns that seem to be in another order."""
        if columns.has_header:
            self._advice = "Check the names of the columns in the header."
        elif any(_time_s(cell) is not None for cell in cells):
            self._advice = (
                f"A log without a header must have the columns {', '.join(COLUMNS)}. Name the"
                " columns, in the order in which they stand, in a first line."
            )


def _time_s(image: str) -> float | None:
    """Return the time in a file name [s]; None if there is none. Only differences are meaningful.

    No time zone is used, so that there are no jumps of daylight saving time.
    """
    match = _TIME_STAMP.search(image)
    if match is None:
        return None
    year, month, day, hour, minute, second, ms = (int(group) for group in match.groups())
    try:
        time = datetime(year, month, day, hour, minute, second, 1000 * ms)
    except ValueError:
        return None
    return (time - datetime(1970, 1, 1)).total_seconds()
