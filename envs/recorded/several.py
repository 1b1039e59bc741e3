"""Load several recordings: find them in folders, and give all the same actions and inputs."""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from envs.recorded.drives import DRIVE
from envs.recorded.images import CroppedError, read_image
from envs.recorded.readers import LEFT_OUT, find_reader, load_recording, options_of
from envs.recorded.recording import Recording
from ncp_control.contract import differ_in_rate
from ncp_control.contract_parts import first_misfit
from ncp_control.records import array_of, entries_of

T = TypeVar("T")

_LARGEST_STRETCH = 1.05
"""Largest ratio of two shapes (width by height) of images that count as the same."""


def find_recordings(path: Path) -> list[Path]:
    """Return the recordings of a path: the path itself, or the recordings in the folder by name.

    If nothing is recognised, return the path itself, so that `load_recording` refuses it.
    """
    if find_reader(path) is not None or not path.is_dir():
        return [path]
    below = [one for one in sorted(path.iterdir()) if find_reader(one) is not None]
    return below or [path]


def load_recordings(
    paths: Sequence[Path],
    *,
    actions: Sequence[str] = (),
    inputs: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> list[Recording]:
    """Load recordings of any formats with the same actions and inputs.

    An unusable recording is left out with a warning, unless it is the only one, and so is one of a
    folder that differs from the first, e.g. in a unit. Another warning tells of different frame
    rates or shapes of images.

    Args:
        paths: Recordings, or folders of recordings.
        actions: Quantities to learn; see `Recording.choose`. The first recording decides for all.
        inputs: Quantities in the observation.
        options: Options of the readers by name; each reader gets those that it has.

    Raises:
        FileNotFoundError: If a path does not exist.
        ValueError: If a path is given twice, no reader has one of the options, no recording is
            usable, or one that is given by its own path differs from the first.
    """
    found = [one for path in paths for one in find_recordings(path)]
    if len({one.resolve() for one in found}) < len(found):
        raise ValueError(
            f"`log` must name each recording once, got {', '.join(map(str, paths))}. What is"
            " learned from must not be tested on."
        )
    if len(found) > 1 and isinstance((options or {}).get(LEFT_OUT), str):
        raise ValueError(
            f"`left_out` must name the marks of one recording, got {len(found)} recordings. Mark"
            " each of them with a file beside it."
        )
    chosen: list[Recording] = []

    def load(path: Path, own: Mapping[str, Any]) -> Recording:
        with _named(CroppedError, path in paths):
            recording = load_recording(path, options=own)
        if not chosen:
            chosen.append(recording.choose(actions, inputs))
            return chosen[0]
        with _named(ValueError, path in paths, f"`log` must fit the first of them, got '{path}': "):
            alike = recording.choose(chosen[0].actions, chosen[0].inputs)
        with _named(ValueError, path in paths):
            _check_likeness(chosen[0], alike)
        return alike

    loaded = load_each(found, options or {}, load)
    _warn_of_rates(loaded)
    _warn_of_shapes(loaded)
    return loaded


class UnlikeError(ValueError):
    """Error: a recording given by its own path does not match the first recording."""


@contextmanager
def _named(kind: type[ValueError], is_named: bool, opening: str = "") -> Iterator[None]:
    """Turn an error of a recording that is given by its own path into an `UnlikeError`."""
    try:
        yield
    except kind as error:
        if not is_named:
            raise
        raise UnlikeError(f"{opening}{error}") from error


def load_each(
    found: Sequence[Path], options: Mapping[str, Any], load: Callable[[Path, Mapping[str, Any]], T]
) -> list[T]:
    """Load recordings one after the other, with a warning for each unusable one.

    Args:
        found: Paths of the recordings.
        options: Options of the readers by name.
        load: Loads a recording from its path and the options that its reader has.

    Raises:
        FileNotFoundError: If a path does not exist.
        ValueError: If no reader has one of the options, or no recording is usable.
    """
    readers = {one: find_reader(one) for one in found}
    taken = {one: options_of(reader) for one, reader in readers.items() if reader is not None}
    known = dict.fromkeys(option for names in taken.values() for option in names)
    for name in options:
        if taken and name not in known:
            raise ValueError(
                f"`log_options` must be options of the readers of these recordings, got {name!r}."
                f" They take {', '.join(known) or 'none'}."
            )

    def load_own(path: Path) -> T:
        own = {name: value for name, value in options.items() if name in taken.get(path, ())}
        return load(path, own)

    loaded: list[T] = []
    for path in found:
        if not path.exists():
            load_recording(path)  # raises an error that names the missing path
        one = use_if_possible(path, load_own, is_only=len(found) == 1)
        loaded += [] if one is None else [one]
    if not loaded:
        raise ValueError(
            f"`log` must name a recording that can be used, got {len(found)} of which none can."
            " The warnings say why."
        )
    return loaded


def use_if_possible(path: Path, use: Callable[[Path], T], *, is_only: bool) -> T | None:
    """Return the result of `use`; None, with a warning, if it fails.

    Args:
        path: The recording.
        use: Function of the path.
        is_only: Whether there is no other recording, so that errors are raised.
    """
    try:
        return use(path)
    except (ValueError, FileNotFoundError, NotADirectoryError) as error:
        if is_only or isinstance(error, UnlikeError):
            raise
        warnings.warn(f"Nothing of '{path}' is used: {error}", stacklevel=3)
        return None


def _warn_of_rates(recordings: Sequence[Recording]) -> None:
    if differ_in_rate(one.frame_s for one in recordings):
        rates = ", ".join(f"'{one.folder.name}' {1.0 / one.frame_s:.3g} Hz" for one in recordings)
        warnings.warn(
            f"The recordings have different frame rates: {rates}. The policy's contract tells one"
            " rate, the median over all frames. Train from recordings of one rate if that is not"
            " the rate of the machine.",
            stacklevel=3,
        )


def _warn_of_shapes(recordings: Sequence[Recording]) -> None:
    shapes: dict[Path, tuple[int, int]] = {}
    for one in recordings:
        if one.framing is None or one.format == DRIVE or one.framing.is_cropped:
            continue  # frames of a drive were scaled before they were recorded
        image = read_image(one.center_only().episodes[0].image_paths[0])
        if image is None:
            continue
        height, width = image.shape[:2]
        shares = [width / height / (w / h) for h, w in shapes.values()]
        if all(not 1.0 / _LARGEST_STRETCH < share < _LARGEST_STRETCH for share in shares):
            shapes[one.folder] = (height, width)
    if len(shapes) > 1:
        listed = ", ".join(f"'{path}' {h} x {w}" for path, (h, w) in shapes.items())
        warnings.warn(
            f"The recordings have images of different shapes: {listed}, height x width. As frames"
            " of one size they are stretched differently. Train from cameras of one shape, or crop"
            " the images alike first.",
            stacklevel=3,
        )


def _check_likeness(first: Recording, other: Recording) -> None:
    """Raise ValueError unless one policy can learn from both; warn if their crops differ.

    The crop of frames that were cropped when they were recorded must be that of the others.
    """
    shapes = [array_of(one.observation) for one in (first, other)]
    entries = [entries_of(one.observation) for one in (first, other)]
    if shapes[0] != shapes[1]:
        fault = f"observations of {shapes[0][0]}, got {shapes[1][0]}"
    else:
        fault = first_misfit(entries[0], entries[1], ("name", "unit"))
        fault = fault or first_misfit(first.action, other.action, ("name", "unit", "positive"))
    if fault is not None:
        raise ValueError(
            f"`log` must be recordings of one kind, with '{first.folder.name}' of {fault} in"
            f" '{other.folder.name}'. Bring both to the same, or train from one of them."
        )
    crops = [None if one.framing is None else list(one.framing.crop) for one in (first, other)]
    if crops[0] == crops[1]:
        return
    for one, crop in zip((first, other), crops, strict=True):
        if one.framing is not None and one.framing.is_cropped:
            raise ValueError(
                f"`log` must be recordings that are cropped alike, got {crops[0]} for"
                f" '{first.folder.name}' and {crops[1]} for '{other.folder.name}'. Crop all as"
                f" '{one.folder.name}' was when it was recorded, by --log-options"
                f" 'crop={json.dumps(crop, separators=(',', ':'))}'."
            )
    warnings.warn(
        f"'{first.folder.name}' and '{other.folder.name}' are cropped differently, by"
        f" {crops[0]} and {crops[1]}. The policy's contract tells the first. Crop all alike by"
        " --log-options 'crop=[0.3,0.1]'.",
        stacklevel=4,
    )
