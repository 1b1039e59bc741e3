"""The registry of readers: which formats of recordings there are, and how each is recognised."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.recorded.assembly import Listing, LoggedImage, assemble_recording, check_folder
from envs.recorded.bag import is_bag
from envs.recorded.donkeycar import MANIFEST_FILE, META_FILE, is_tub, load_donkeycar
from envs.recorded.drives import load_drive
from envs.recorded.images import Framing
from envs.recorded.recording import Recording
from envs.recorded.ros2 import load_bag
from envs.recorded.tally import Tally
from envs.recorded.udacity import LOG_FILE, load_udacity
from ncp_control.loop.playback import is_recording
from ncp_control.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One format of recordings."""

    recognises: Callable[[Path], bool]
    """True for a path, of a file or of a folder, that holds a recording of this format."""
    load: Callable[..., Recording]
    """Loads it; takes the path and the framing settings of `load_recording`."""


_NO_OPTIONS = ("path", "folder", "max_gap_s", "max_missing_frames")
"""Settings of a loader that are no options of a job."""
READERS: Registry[Reader] = Registry("reader")
"""Formats by name; the one that was registered last is asked first."""


def register_reader(
    name: str,
    *,
    recognises: Callable[[Path], bool],
    read: Callable[[Path], Iterable[LoggedImage]],
    crop: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Make a format of recordings known, so that `--log` takes them.

    Images that cannot be read are left out, gaps in `row` or in time begin a new episode, as for
    our own formats.

    Args:
        name: Name of the format.
        recognises: True for the path of such a recording. It is asked about every path that a user
            gives, of a file or of a folder, whether or not it exists.
        read: Lists the images, each with its steering, left positive, and its time.
        crop: Share of the height cut off at the top and at the bottom if a user asks for nothing.

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
            images=list(read(path)),
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
        folder: Folder of the recording, or its `driving_log.csv`, `manifest.json` or `meta.json`;
            the file of a recorded drive; for a reader of your own, what it recognises.
        side_steering_offset: See `load_udacity`; other formats have no side cameras.
        image_size: Height and width of an observation [pixels]; None for the format's own: those
            of a recorded drive, or (78, 200).
        crop: Share of the height cut off at the top and at the bottom; None for the format's own.
        max_gap_s: A longer time between two frames begins a new episode [s].
        max_missing_frames: More missing frames in a row begin a new episode.
        options: Further settings of the format's own loader, e.g. `image_topic` of `load_bag`,
            by name.

    Returns:
        The recording.

    Raises:
        FileNotFoundError: If the folder does not exist.
        NotADirectoryError: If it is another file.
        ValueError: If no reader recognises it, it has no such option, or nothing of it can be used.
    """
    path = Path(folder)
    if path.name in (LOG_FILE, MANIFEST_FILE, META_FILE) and path.is_file():
        path = path.parent
    reader = _find_reader(path)
    if reader is None:
        check_folder(path)
        own = sorted(READERS.keys() - {"udacity", "donkeycar", "mcap", "ros2"})
        or_own = f" or what the reader {' or '.join(own)} recognises" if own else ""
        raise ValueError(
            f"`folder` must hold a {LOG_FILE} (Udacity simulator), a {MANIFEST_FILE} (Donkeycar tub"
            f" v2), record_N.json (tub v1) or a ROS 2 bag{or_own}, got '{path}' with none of them."
            f" {_advice(path)}"
        )
    framing: dict[str, Any] = {"image_size": image_size, "crop": crop}
    framing = {name: value for name, value in framing.items() if value is not None}
    if reader is READERS["udacity"]:
        framing["side_steering_offset"] = side_steering_offset
    options = dict(options or {})
    own = [name for name in inspect.signature(reader.load).parameters if name not in _NO_OPTIONS]
    for name in options:
        if name not in own:
            raise ValueError(
                f"`log_options` must be options of the reader of '{path}', got {name!r}. It takes"
                f" {', '.join(own) or 'none'}."
            )
    return reader.load(
        path,
        max_gap_s=max_gap_s,
        max_missing_frames=max_missing_frames,
        **{**framing, **options},
    )


def _find_reader(path: Path) -> Reader | None:
    readers = reversed(list(READERS.values()))
    return next((reader for reader in readers if reader.recognises(path)), None)


def _advice(folder: Path) -> str:
    """Name a folder just below that holds a recording, if there is one."""
    for below in sorted(path for path in folder.iterdir() if path.is_dir()):
        if _find_reader(below) is not None:
            return f"Give a folder that does, e.g. '{below}'."
    return "Give the folder that holds one of them."


def _has_log(path: Path) -> bool:
    return (path / LOG_FILE).is_file()


READERS.register("donkeycar", Reader(recognises=is_tub, load=load_donkeycar))
READERS.register("udacity", Reader(recognises=_has_log, load=load_udacity))
READERS.register("mcap", Reader(recognises=is_recording, load=load_drive))
READERS.register("ros2", Reader(recognises=is_bag, load=load_bag))
