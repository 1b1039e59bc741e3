"""Registry of readers: the formats of recordings, and how each is recognised."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.recorded.assembly import Listing, LoggedFrame, assemble_recording, check_folder
from envs.recorded.bag import is_bag
from envs.recorded.comma import LOG_FOLDER, is_comma, load_comma
from envs.recorded.donkeycar import MANIFEST_FILE, META_FILE, is_tub, load_donkeycar
from envs.recorded.drives import load_drive
from envs.recorded.images import Framing
from envs.recorded.left_out import leave_out, marks_file, read_marks
from envs.recorded.lerobot import is_lerobot, load_lerobot
from envs.recorded.minari import is_minari, load_minari
from envs.recorded.quantities import Quantity
from envs.recorded.recording import Recording
from envs.recorded.ros2 import load_bag
from envs.recorded.table import TABLE_FILE, is_table, load_table
from envs.recorded.udacity import LOG_FILE, load_udacity
from envs.recorded.udacity_challenge import LOG_FILE as ANGLES_FILE
from envs.recorded.udacity_challenge import is_challenge, load_challenge
from ncp_control.loop.playback import is_recording
from ncp_control.registry import Registry
from ncp_control.tally import Tally


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One format of recordings."""

    recognises: Callable[[Path], bool]
    """Function that returns True for the path (file or folder) of a recording of this format."""
    load: Callable[..., Recording]
    """Function that loads the recording; takes path and framing settings of `load_recording`."""
    files: tuple[str, ...] = ()
    """Names of files that a user may give instead of their folder."""
    sign: str = ""
    """Content of a recording of this format, e.g. "a driving_log.csv (Udacity simulator)"."""


_NO_OPTIONS = ("path", "folder")
"""Arguments of a loader that are not options of a job."""
LEFT_OUT = "left_out"
"""Option of every reader: the file with the marks to leave out, or false to leave out nothing."""
READERS: Registry[Reader] = Registry("reader")
"""Formats by name; the one that was registered last is tried first."""


def register_reader(
    name: str,
    *,
    recognises: Callable[[Path], bool],
    read: Callable[[Path], Iterable[LoggedFrame]],
    crop: tuple[float, float] = (0.0, 0.0),
    quantities: Sequence[Quantity] = (),
) -> None:
    """Register a format of recordings, so that `--log` accepts it.

    As for the built-in formats, unreadable images are left out, and gaps in `row` or in time start
    a new episode.

    Args:
        name: Name of the format.
        recognises: Returns True for the path of such a recording. Called for every path that a user
            gives, file or folder, even if it does not exist.
        read: Returns the frames, each with its numbers by name and its time. Steering is a fraction
            of the largest angle, left positive.
        crop: Default shares of the height cut off at the top and at the bottom.
        quantities: Units, ranges and signs of numbers other than steering, throttle, brake [0, 1]
            and speed [m/s].

    Raises:
        ValueError: If the name is taken.
    """

    def load(
        path: Path,
        *,
        max_gap_s: float,
        max_missing_frames: int,
        image_size: tuple[int, int] = (78, 200),
        crop: tuple[float, float] = crop,
    ) -> Recording:
        listing = Listing(
            folder=path,
            format=name,
            frames=list(read(path)),
            quantities=quantities,
            skipped=Tally(),
            advice=f"Check what the reader {name!r} finds there.",
        )
        return assemble_recording(
            listing,
            framing=Framing(image_size=image_size, crop=crop),
            max_gap_s=max_gap_s,
            max_missing_frames=max_missing_frames,
        )

    READERS.register(name, Reader(recognises=recognises, load=load), source=read)


def load_recording(
    folder: str | Path,
    *,
    side_steering_offset: float = 0.2,
    image_size: tuple[int, int] | None = None,
    crop: tuple[float, float] | None = None,
    max_gap_s: float = 1.0,
    max_missing_frames: int = 3,
    options: Mapping[str, Any] | None = None,
) -> Recording:
    """Load a recording of any known format.

    Args:
        folder: Folder of the recording, or the file in it that lists the frames, such as
            `driving_log.csv`; the file of a recorded drive; any path that your own reader
            recognises.
        side_steering_offset: See `load_udacity`; other formats have no side cameras.
        image_size: Height and width of an observation [pixels]; None for the default of the format:
            as recorded for a recorded drive, else (78, 200).
        crop: Shares of the height cut off at the top and at the bottom; None for the default of the
            format.
        max_gap_s: Time between two frames above which a new episode starts [s].
        max_missing_frames: Number of consecutive missing frames above which a new episode starts.
        options: Further settings of the loader of the format by name, e.g. `image_topic` of
            `load_bag`. `left_out` is the file of the stretches to leave out, by default the one
            beside the recording, if it exists; False leaves out nothing.

    Returns:
        The recording.

    Raises:
        FileNotFoundError: If the folder does not exist.
        NotADirectoryError: If it is a file of another kind.
        ValueError: If no reader recognises it, it has no such option, or no frame can be used.
    """
    path = Path(folder)
    if path.is_file() and any(path.name in reader.files for reader in READERS.values()):
        path = path.parent
    reader = find_reader(path)
    if reader is None:
        signs = [reader.sign or f"what the reader {n} recognises" for n, reader in READERS.items()]
        holds = f"{', '.join(signs[:-1])} or {signs[-1]}"
        check_folder(path, holds)
        raise ValueError(
            f"`folder` must hold {holds}, got '{path}' with none of"
            f" them. {_advice(path)} A log of another kind is read by a reader of your own, named"
            " with --import: examples/own_log.py."
        )
    framing: dict[str, Any] = {"image_size": image_size, "crop": crop}
    framing = {name: value for name, value in framing.items() if value is not None}
    own = options_of(reader)
    if "side_steering_offset" in own:
        framing["side_steering_offset"] = side_steering_offset
    options = dict(options or {})
    left_out = options.pop(LEFT_OUT, None)
    for name in options:
        if name not in own:
            raise ValueError(
                f"`log_options` must be options of the reader of '{path}', got {name!r}. It takes"
                f" {', '.join(own)}."
            )
    cuts = {"max_gap_s": max_gap_s, "max_missing_frames": max_missing_frames}
    recording = reader.load(path, **{**cuts, **framing, **options})
    return without_marked(recording, recording.folder, left_out)


def without_marked(recording: Recording, path: Path, left_out: Any) -> Recording:
    """Return a recording without its marked stretches; `left_out` as in `load_recording`."""
    beside = marks_file(path)
    if left_out is False or (left_out is None and not beside.is_file()):
        return recording
    if left_out is not None and not isinstance(left_out, str | Path):
        raise ValueError(
            f"`left_out` must be a file of marks, or false to leave out nothing, got {left_out!r}."
        )
    marks = beside if left_out is None else Path(left_out)
    return leave_out(recording, read_marks(marks), marks)


def options_of(reader: Reader) -> list[str]:
    """Return the names of the options that a reader takes."""
    names = inspect.signature(reader.load).parameters
    return [*(name for name in names if name not in _NO_OPTIONS), LEFT_OUT]


def find_reader(path: Path) -> Reader | None:
    """Return the reader that recognises a path; None if there is none."""
    readers = reversed(list(READERS.values()))
    return next((reader for reader in readers if reader.recognises(path)), None)


def _advice(folder: Path) -> str:
    """Return the advice of an error: a direct subfolder that holds a recording, if there is one."""
    for below in sorted(path for path in folder.iterdir() if path.is_dir()):
        if find_reader(below) is not None:
            return f"Give a folder that does, e.g. '{below}'."
    return "Give the folder that holds one of them."


def _has_log(path: Path) -> bool:
    return (path / LOG_FILE).is_file()


for _name, _reader in {
    "udacity": Reader(
        recognises=_has_log,
        load=load_udacity,
        files=(LOG_FILE,),
        sign=f"a {LOG_FILE} (Udacity simulator)",
    ),
    "donkeycar": Reader(
        recognises=is_tub,
        load=load_donkeycar,
        files=(MANIFEST_FILE, META_FILE),
        sign=f"a {MANIFEST_FILE} (Donkeycar tub v2), record_N.json (tub v1)",
    ),
    "mcap": Reader(recognises=is_recording, load=load_drive, sign="a drive of run.py --record"),
    "ros2": Reader(recognises=is_bag, load=load_bag, sign="a ROS 2 bag"),
    "table": Reader(
        recognises=is_table,
        load=load_table,
        files=(TABLE_FILE,),
        sign=f"a {TABLE_FILE} (any table)",
    ),
    "lerobot": Reader(
        recognises=is_lerobot, load=load_lerobot, sign="a LeRobotDataset (meta, data)"
    ),
    "minari": Reader(
        recognises=is_minari, load=load_minari, sign="a Minari data set (data/main_data.hdf5)"
    ),
    "comma2k19": Reader(
        recognises=is_comma, load=load_comma, sign=f"a {LOG_FOLDER} (segment of comma2k19)"
    ),
    "udacity_challenge": Reader(
        recognises=is_challenge,
        load=load_challenge,
        files=(ANGLES_FILE,),
        sign=f"a {ANGLES_FILE} (Udacity challenge 2)",
    ),
}.items():
    READERS.register(_name, _reader)
