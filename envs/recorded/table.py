"""Load a plain table of frames, `frames.csv`, for your own recordings; see docs/recordings.md.

The first line names the columns, in any order:

| column        | content                                                                      |
|---------------|------------------------------------------------------------------------------|
| `time_s`      | time of the frame [s], or ISO 8601                                           |
| `path`        | its image, relative to the table; without this column there are only numbers |
| `video_frame` | its number in a video, from 0; then `path` is the video                      |
| `episode`     | any text; a new value starts a new episode. Optional                         |
| `name`        | a number with this name                                                      |
| `name [unit]` | a number with this name and unit                                             |

`steering` without a unit is a fraction of the largest angle in [-1, 1]; other units are those of
`ncp_control.steering`, and steering is left positive in all of them. `speed` without a unit is in
m/s. Columns are separated by commas, semicolons or tabs. An empty cell or NaN is a missing number.
Lines are in order of time.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
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
    find_separator,
    number_in,
    seconds_of_date,
    split_cells,
    split_title,
)
from envs.recorded.images import Framing, ImageFile
from envs.recorded.quantities import KNOWN, STEERING, Quantity
from envs.recorded.recording import Recording
from envs.recorded.text import read_table_lines
from envs.recorded.video import Video, VideoFrame, import_av
from ncp_control.steering import is_steering_unit
from ncp_control.tally import Tally

TABLE_FILE = "frames.csv"
TIME, PATH, VIDEO_FRAME, EPISODE = "time_s", "path", "video_frame", "episode"
NO_NUMBERS = (TIME, PATH, VIDEO_FRAME, EPISODE)
"""Columns that are not quantities of the recording."""
_NAME = re.compile(r"\w[\w./ -]*")
_IMAGE = re.compile(r".+\.(jpe?g|png|bmp|webp)", re.IGNORECASE)
_MOST_COLUMNS = 1000
_MISSING = ("", "nan")
"""Contents of a cell for a missing number, in lower case."""


def load_table(
    folder: str | Path,
    *,
    image_size: tuple[int, int] = (78, 200),
    crop: tuple[float, float] = (0.0, 0.0),
    max_gap_s: float = 1.0,
    max_missing_frames: int = 3,
) -> Recording:
    """Load a table of frames.

    Args:
        folder: Folder with `frames.csv`.
        image_size: Height and width of an observation [pixels].
        crop: Share of the height cut off at the top and at the bottom.
        max_gap_s: Time between two frames above which a new episode starts [s].
        max_missing_frames: Number of consecutive unusable lines above which a new episode starts.

    Raises:
        FileNotFoundError: If the folder or its table is missing.
        ValueError: If a column is missing or named twice, or no line can be used.
    """
    folder = Path(folder)
    check_folder(folder)
    framing = Framing(image_size=image_size, crop=crop)
    return assemble_recording(
        _list(folder),
        framing=framing,
        max_gap_s=max_gap_s,
        max_missing_frames=max_missing_frames,
    )


def is_table(path: Path) -> bool:
    """True for a folder with a `frames.csv`."""
    return (path / TABLE_FILE).is_file()


def _list(folder: Path) -> Listing:
    lines = read_table_lines(folder / TABLE_FILE)
    separator = find_separator(lines)
    rows = [(number, split_cells(line, separator)) for number, line in enumerate(lines, start=1)]
    rows = [(number, cells) for number, cells in rows if any(cells)]
    columns = _read_titles(folder, rows[0][1] if rows else [])
    if len(rows) > 1:
        _warn_of_images(folder, columns, rows[1][1])
    skipped, frames = Tally(), []
    images = _Images(folder, skipped)
    for row, (number, cells) in enumerate(rows[1:]):
        frame = _read(images, columns, cells, separator, skipped, row, f"line {number}")
        if frame is not None:
            frames.append(frame)
    if not frames and not skipped.total:
        raise ValueError(
            f"`{TABLE_FILE}` must list at least one frame below the names of its columns, got none"
            f" in '{folder}'. Write one line a frame."
        )
    return Listing(
        folder=folder,
        format="table",
        frames=frames,
        skipped=skipped,
        advice="Compare the lines with docs/recordings.md.",
        quantities=[one for one in columns if one.name not in NO_NUMBERS],
    )


def _read_titles(folder: Path, titles: Sequence[str]) -> list[Quantity]:
    """Return name and unit of each column.

    Raises:
        ValueError: If a title is not valid or occurs twice, a required one is missing, or steering
            has a unit that it cannot have.
    """
    found = []
    for title in titles[:_MOST_COLUMNS]:
        name, unit = split_title(title)
        if not _NAME.fullmatch(name):
            name, unit = "", None
        known = KNOWN.get(name, Quantity(name=name))
        if unit is not None and unit != known.unit:
            if name == STEERING and not is_steering_unit(unit):
                raise ValueError(
                    f"`{STEERING}` must have no unit, or one such as deg, rad, 1/m or rad/s, got"
                    f" {unit[:100]!r} in '{folder}'. Without a unit it is a fraction of the largest"
                    " angle in [-1, 1]; left is positive in any unit."
                )
            known = Quantity(name=name, unit=unit, positive=known.positive)
        is_assumed = unit is None and bool(known.unit) and known.is_scaled
        found.append(replace(known, has_assumed_unit=is_assumed))
    names = [one.name for one in found]
    twice = next((name for name in names if name and names.count(name) > 1), None)
    fault = None
    if twice:
        fault = f"{twice!r} twice"
    elif len(titles) > _MOST_COLUMNS:
        fault = f"{len(titles)} of them"
    elif TIME not in names:
        like = next((title for title in titles if title.strip().lower() == TIME), None)
        fault = f"no {TIME} but {like!r}" if like else f"no {TIME} in {', '.join(titles)[:100]!r}"
    elif VIDEO_FRAME in names and PATH not in names:
        fault = f"{VIDEO_FRAME} without a {PATH}, which names the video,"
    elif "" in names:
        number = names.index("")
        fault = f"{titles[number]!r} as the title of column {number + 1}"
    if fault:
        raise ValueError(
            f"`{TABLE_FILE}` must name its columns in the first line, {TIME} and others such as"
            f" path, steering, speed [m/s], each once, got {fault} in '{folder}'."
        )
    return found


def _warn_of_images(folder: Path, columns: Sequence[Quantity], cells: Sequence[str]) -> None:
    """Warn if no column is named `path`, and another one has the name of an image in its cell."""
    if any(one.name == PATH for one in columns):
        return
    names = [one.name for one, cell in zip(columns, cells, strict=False) if _IMAGE.fullmatch(cell)]
    if names:
        warnings.warn(
            f"No image of '{folder / TABLE_FILE}' is read: its column {names[0]!r} has names of"
            f" images. Name it {PATH}.",
            stacklevel=4,
        )


class _Images:
    """Images of a table, as files or as frames of videos.

    Args:
        folder: Folder of the table.
        skipped: Counts unreadable videos and missing frames.
    """

    def __init__(self, folder: Path, skipped: Tally) -> None:
        self._folder, self._skipped = folder, skipped
        self._videos: dict[str, Video | str] = {}
        """Videos by name; for an unreadable video, the reason."""

    def find(self, path: str, cell: float | str, place: str) -> ImageFile | None:
        """Return an image; None, and count it, if the video or its frame does not exist.

        Args:
            path: Path of the image or video, relative to the table.
            cell: Value of the column `video_frame`, a number or a text; "" for an image file.
            place: Place in the table.

        Raises:
            ValueError: If PyAV is needed and not installed.
        """
        if cell == "":
            return self._folder / path
        if path not in self._videos:
            self._videos[path] = self._open(path)
        video, number = self._videos[path], finite_number(cell)
        if isinstance(video, str):
            self._skipped.add("no readable video", f"{video} in {place}")
            return None
        if number is None or not number.is_integer():
            self._skipped.add(f"{VIDEO_FRAME} is no whole number", f"{cell!s:.40} in {place}")
            return None
        if not 0 <= number < len(video):
            self._skipped.add("no such frame in the video", f"{number:g} in {place}")
            return None
        return VideoFrame(video.path, int(number), video)

    def _open(self, path: str) -> Video | str:
        """Return a video, or the reason why it cannot be read."""
        import_av()
        if not (self._folder / path).is_file():
            return f"{path[:100]!r} is missing"
        try:
            return Video(self._folder / path)
        except ValueError as error:
            return str(error)


def _read(
    images: _Images,
    columns: Sequence[Quantity],
    cells: list[str],
    separator: str,
    skipped: Tally,
    row: int,
    place: str,
) -> LoggedFrame | None:
    """Return the frame of a line; None, and count it, if it cannot be used."""
    while len(cells) > len(columns) and not cells[-1]:
        cells.pop()
    if len(cells) != len(columns):
        skipped.add(f"not {len(columns)} columns", place)
        return None
    texts = {one.name: cell for one, cell in zip(columns, cells, strict=True)}
    time = number_in(texts[TIME], separator)
    time_s = seconds_of_date(time) if isinstance(time, str) else finite_number(time)
    if time_s is None:
        skipped.add("no time in seconds or ISO 8601", f"{texts[TIME][:40]!r} in {place}")
        return None
    numbers, changes = {}, []
    for one in columns:
        if one.name in NO_NUMBERS or texts[one.name].lower() in _MISSING:
            continue
        value = finite_number(number_in(texts[one.name], separator))
        if value is None:
            changes.append(f"{one.name} is no number that can be kept, and left out")
        elif one == KNOWN[STEERING]:
            steering = left_positive_steering(value, skipped, place, is_left_positive=True)
            if steering is None:
                return None
            numbers[STEERING] = steering[0]
            changes += steering[1]
        else:
            numbers[one.name] = value
    image = None
    if path := texts.get(PATH, "").replace("\\", "/"):
        image = images.find(path, number_in(texts.get(VIDEO_FRAME, ""), separator), place)
        if image is None:
            return None
    return LoggedFrame(
        row=row,
        time_s=time_s,
        numbers=numbers,
        path=image,
        declared=texts.get(EPISODE, ""),
        place=place,
        changes=tuple(changes),
    )
