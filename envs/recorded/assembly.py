"""Build a recording from the frames that a log lists: drop unusable ones, cut at gaps.

Logs of machines are rarely complete: a camera starts late, the power goes off. So unusable frames
are left out and counted by reason. A recording is refused only if no frame is left, or if the rest
would be wrong. The readers (`udacity`, `donkeycar`) count faults of lines in a `Tally`; this module
adds the faults of images, and turns the tally into one warning.
"""

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from envs.recorded.images import Framing, ImageFile, find_fault
from envs.recorded.quantities import STEERING, Quantity, describe_quantities
from envs.recorded.recording import FRAMES_WITH_PROGRESS, Recording
from envs.recorded.stretches import CENTER, Cuts, Stretch
from ncp_control.tally import Tally

NO_NUMBER = "steering is no number"
OUT_OF_RANGE = "steering outside [-1, 1]"
CLIPPED = "steering clipped to [-1, 1]"
OVERSHOOT = 0.1
"""Steering outside of [-1, 1] by at most this much comes from calibration and is clipped."""
_LARGEST_SHARE_OUT_OF_RANGE = 0.1
_ROUNDING = 1e-6
_SHORTEST_S = {True: 5e-4, False: 1e-6}
"""Shortest plausible time between two images, and between two rows of numbers alone [s]."""


@dataclass(frozen=True, kw_only=True)
class LoggedFrame:
    """One frame as listed in the log; its image is not checked yet."""

    row: int
    """Position in the log; a missing number is a missing frame."""
    time_s: float
    numbers: Mapping[str, float]
    """Values by name of the quantity, e.g. `{"steering": 0.2, "speed": 4.5}`, without missing ones.
    Steering is the fraction of the maximum steering angle, left positive."""
    path: ImageFile | None = None
    """Location of the image; None in a recording of numbers alone."""
    camera: str = CENTER
    declared: str = ""
    """Name of the episode or session that the data declare; a change starts a new episode."""
    place: str = ""
    """Place in the log, e.g. "line 7"."""
    changes: tuple[str, ...] = ()
    """Changes made to the logged values, such as `CLIPPED`."""
    task: str = ""
    """What is done, in words."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Content of a log, as returned by a reader."""

    folder: Path
    """Folder or file of the recording."""
    format: str
    """Name of the format."""
    frames: Sequence[LoggedFrame]
    """All listed frames without a known fault, each camera in the order of the log."""
    skipped: Tally
    """Counts of lines and records that cannot be used."""
    advice: str
    """Advice of the error message if no frame can be used."""
    quantities: Sequence[Quantity] = ()
    """Quantities described by the format; others are taken from `quantities.KNOWN`."""
    actions: Sequence[str] = (STEERING,)
    """Default actions; names that the log does not have are ignored."""


def assemble_recording(
    listing: Listing, *, framing: Framing, max_gap_s: float, max_missing_frames: int
) -> Recording:
    """Leave out unusable frames, with one warning, and cut the rest into episodes.

    Args:
        listing: Content of the log.
        framing: Crop and size of the frames.
        max_gap_s: Time between two frames above which a new episode starts [s].
        max_missing_frames: Number of consecutive missing frames above which a new episode starts.

    Returns:
        The recording.

    Raises:
        ValueError: If a setting is out of range, an image is listed twice, no image of the center
            camera can be used, no two of them are consecutive, times are too close, or a number is
            on another scale than its quantity.
    """
    cuts = Cuts(max_gap_s=max_gap_s, max_missing_frames=max_missing_frames)
    folder, skipped = listing.folder, listing.skipped
    _check_scale(listing)
    num_listed = len(listing.frames) + skipped.total
    usable = _usable_frames(listing.frames, skipped)
    _check_center(listing, usable, num_listed)
    _check_repetition(folder, usable)
    changed = _count_changes(usable)
    has_images = usable[0].path is not None
    names = dict.fromkeys(name for frame in usable for name in frame.numbers)
    quantities = describe_quantities(names, listing.quantities)
    _check_ranges(folder, usable, quantities)
    usable = [_within_ranges(frame, quantities, changed) for frame in usable]
    cameras = dict.fromkeys(frame.camera for frame in usable)
    episodes = [
        episode
        for camera in cameras
        for episode in _cut_episodes(
            [frame for frame in usable if frame.camera == camera], list(names), cuts
        )
    ]
    intervals_s = [np.diff(e.time_s) for e in episodes if e.camera == CENTER and len(e) > 1]
    things = "images" if has_images else "frames"
    if not intervals_s:
        raise ValueError(
            f"two frames must follow each other within {max_gap_s:g} s, got only single frames in"
            f" '{folder}', {len(usable)} of {num_listed} {things} usable"
            f"{f' ({skipped})' if skipped.total else ''}. {_advice_on_times(usable)}"
        )
    _warn_of_losses(folder, f"{num_listed} {things}", skipped, changed)
    _check_order(folder, usable, things)
    frame_s = float(np.median(np.concatenate(intervals_s)))
    shortest_s = _SHORTEST_S[has_images]
    if frame_s < shortest_s:
        raise ValueError(
            f"the {things} of a log must be at least {1e3 * shortest_s:g} ms apart, got"
            f" {1e3 * frame_s:.3g} ms at the median in '{folder}'. Check the unit of the times."
        )
    recording = Recording(
        folder=folder,
        format=listing.format,
        episodes=tuple(sorted(episodes, key=lambda episode: episode.rows[0])),
        framing=framing if has_images else None,
        quantities=quantities,
        actions=tuple(name for name in listing.actions if name in names),
        cuts=cuts,
        frame_s=frame_s,
        num_listed=num_listed,
        skipped=skipped.counts,
        changed=changed.counts,
    )
    return replace(recording, inputs=recording.default_inputs(recording.actions))


def _advice_on_times(frames: Sequence[LoggedFrame]) -> str:
    """Return the advice of an error about times, if no two frames are consecutive."""
    times_s = [frame.time_s for frame in frames if frame.camera == CENTER]
    steps_s = np.diff(times_s)
    if not len(steps_s):
        return "Record more than one."
    if (steps_s < 0.0).mean() > 0.5:
        return "Their times run backwards: sort the log by time."
    step_s = float(np.median(np.abs(steps_s)))
    if step_s == 0.0:
        return f"Most of them have the same time, {times_s[0]:g} s: check the column of the times."
    return (
        f"From one to the next there are {step_s:g} s: check the unit of the times, or raise the"
        " option max_gap_s of the reader."
    )


def check_folder(folder: Path, holds: str = "the recording") -> None:
    """Raise FileNotFoundError or NotADirectoryError unless `folder` is a folder.

    Args:
        folder: The path to check.
        holds: Content of a correct folder, for the message.
    """
    if folder.is_file():
        is_archive = folder.suffix.lower() in (".zip", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".7z")
        advice = "Unpack it, and give the folder" if is_archive else "Give the folder"
        raise NotADirectoryError(
            f"`folder` must be the folder of a recording, got the file '{folder}'."
            f" {advice} that holds {holds}."
        )
    if not folder.is_dir():
        raise FileNotFoundError(
            f"`folder` must be the folder of a recording, got '{folder}', which does not exist."
            " Check the path."
        )


def left_positive_steering(
    logged: Any, skipped: Tally, place: str, *, is_left_positive: bool = False
) -> tuple[float, tuple[str, ...]] | None:
    """Check logged steering, a fraction of the largest angle in [-1, 1], and make it left positive.

    Args:
        logged: Value in the log; only an int or a float is a number.
        skipped: Counts unusable steering.
        place: Place in the log.
        is_left_positive: Whether it is left positive in the log; most logs are right positive.

    Returns:
        The steering, left positive and in [-1, 1], and the changes made; None if it is unusable.
    """
    value = finite_number(logged)
    if value is None:
        skipped.add(NO_NUMBER, f"{str(logged)[:20]!r} in {place}")
        return None
    if abs(value) > 1.0 + OVERSHOOT:
        skipped.add(OUT_OF_RANGE, f"{value:g} in {place}")
        return None
    changes = (CLIPPED,) if abs(value) > 1.0 + _ROUNDING else ()
    steering = value if is_left_positive else -value
    return min(max(steering, -1.0), 1.0) + 0.0, changes  # + 0.0 turns -0.0 into 0.0


def finite_number(value: Any) -> float | None:
    """Return an int or a float as a finite float; None for anything else, including booleans.

    None is also returned for numbers beyond the range of float32, the type of recordings.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if abs(number) <= float(np.finfo(np.float32).max) else None


def _check_scale(listing: Listing) -> None:
    """Refuse steering in other units, e.g. degrees, of which only small angles would be used."""
    out_of_range = listing.skipped.counts.get(OUT_OF_RANGE, 0)
    judged = out_of_range + sum(frame.camera == CENTER for frame in listing.frames)
    if out_of_range > max(2, _LARGEST_SHARE_OUT_OF_RANGE * judged):
        advice = " Divide by the largest angle of the car."
        if listing.format == "table":
            advice += " Of angles, name the unit in the header, e.g. steering [deg]."
        if listing.format == "udacity":
            advice += (
                " If a CSV file has its columns in another order than the simulator's, name them in"
                " a first line."
            )
        raise ValueError(
            f"`steering` must be a fraction of the largest angle in [-1, 1], got {out_of_range} of"
            f" {judged} frames outside in '{listing.folder}' ({listing.skipped}).{advice}"
        )


def _usable_frames(frames: Sequence[LoggedFrame], skipped: Tally) -> list[LoggedFrame]:
    """Return the frames with a readable image; count the others.

    If no frame has an image, all are usable.
    """
    if all(frame.path is None for frame in frames):
        return list(frames)
    usable = []
    hidden = True if len(frames) < FRAMES_WITH_PROGRESS else None
    for frame in tqdm(frames, desc="checking images", disable=hidden):
        fault = "missing" if frame.path is None else find_fault(frame.path)
        if fault is None:
            usable.append(frame)
        else:
            place = frame.place if frame.path is None else frame.path.name
            skipped.add(f"{frame.camera} image {fault}", place)
    return usable


def _count_changes(frames: Sequence[LoggedFrame]) -> Tally:
    changed = Tally()
    for frame in frames:
        for change in frame.changes:
            changed.add(change, frame.place)
    return changed


def _check_ranges(
    folder: Path, frames: Sequence[LoggedFrame], quantities: Sequence[Quantity]
) -> None:
    """Refuse a quantity in another unit, of which only small values would be used."""
    for one in quantities:
        values = [frame.numbers[one.name] for frame in frames if one.name in frame.numbers]
        low, high = one.range
        strays = [value for value in values if not low <= value <= high]
        if len(strays) > max(2, _LARGEST_SHARE_OUT_OF_RANGE * len(values)):
            raise ValueError(
                f"`{one.name}` must be a {one.unit or 'number'} in [{low:g}, {high:g}], got"
                f" {len(strays)} of {len(values)} frames outside in '{folder}' (first:"
                f" {strays[0]:g}). Divide it in the reader, or tell its unit: `quantities` of"
                f" `register_reader`, or a column named '{one.name} [unit]' in frames.csv."
            )


def _within_ranges(
    frame: LoggedFrame, quantities: Sequence[Quantity], changed: Tally
) -> LoggedFrame:
    """Return a frame without the numbers outside the ranges of their quantities; count them."""
    strays = [
        one
        for one in quantities
        if one.name in frame.numbers and not one.range[0] <= frame.numbers[one.name] <= one.range[1]
    ]
    if not strays:
        return frame
    for one in strays:
        low, high = one.range
        reason = f"{one.name} outside [{low:g}, {high:g}], and left out"
        place = frame.place or f"row {frame.row}"
        changed.add(reason, f"{frame.numbers[one.name]:g} in {place}")
    names = {one.name for one in strays}
    kept = {name: value for name, value in frame.numbers.items() if name not in names}
    return replace(frame, numbers=kept)


def _check_repetition(folder: Path, frames: Sequence[LoggedFrame]) -> None:
    """Refuse an image that is listed twice: it could be in the training and the test part."""
    for path, count in Counter(frame.path for frame in frames).items():
        if path is not None and count > 1:
            raise ValueError(
                f"the log must list each image once, got {path.name!r} {count} times in"
                f" '{folder}'. Delete the repeated lines."
            )


def _check_center(listing: Listing, usable: Sequence[LoggedFrame], num_listed: int) -> None:
    if any(frame.camera == CENTER for frame in usable):
        return
    advice = listing.advice
    first = listing.frames[0].path if listing.frames else None
    if f"{CENTER} image missing" in listing.skipped.counts and first is not None:
        advice = f"Put the images in '{first.parent if isinstance(first, Path) else first.path}'."
    is_seen = any(one.path is not None for one in listing.frames)
    wanted = "image of the center camera" if is_seen else "frame"
    raise ValueError(
        f"`folder` must hold at least one usable {wanted}, got none among the"
        f" {num_listed} listed in '{listing.folder}' ({listing.skipped}). {advice}"
    )


def _warn_of_losses(folder: Path, listed: str, skipped: Tally, changed: Tally) -> None:
    """Warn once of all frames that were left out or changed."""
    sentences = [f"Skipped {skipped.total} of the {listed} listed in '{folder}': {skipped}."]
    if not skipped.total:
        sentences = [f"Used all of the {listed} listed in '{folder}'."]
    if changed.total:
        sentences.append(f"Numbers changed: {changed}.")
    if skipped.total or changed.total:
        warnings.warn(" ".join(sentences), stacklevel=4)


def _check_order(folder: Path, frames: Sequence[LoggedFrame], things: str) -> None:
    """Warn where time does not increase: a clock was set back, or lines are out of order.

    Raises:
        ValueError: If time does not increase at more than a third of the frames: the log is
            shuffled.
    """
    center = [frame for frame in frames if frame.camera == CENTER]
    pairs = [(last, this) for last, this in pairwise(center) if this.declared == last.declared]
    jumps = [this.row for last, this in pairs if this.time_s <= last.time_s]
    back = [this.row for last, this in pairs if this.time_s < last.time_s]
    if len(back) > max(2, len(center) / 3):
        raise ValueError(
            f"the {things} of a log must be in order of time, got {len(back)} of {len(center)} in"
            f" '{folder}' that are earlier than the one before, first at row {back[0]}. Sort"
            " the log by time."
        )
    if len(jumps) > max(2, len(center) / 3):
        raise ValueError(
            f"the {things} of a log must have times of their own, got {len(jumps)} of"
            f" {len(center)} in '{folder}' that are not later than the one before, first at row"
            f" {jumps[0]}. Write the times with more digits."
        )
    if jumps:
        warnings.warn(
            f"Time does not increase at {len(jumps)} of the {len(center)} center {things} in"
            f" '{folder}', first at row {jumps[0]}: an episode begins at each, and what is held"
            " back for a test may be older than what trains. Sort the log if that is wrong.",
            stacklevel=4,
        )


def _cut_episodes(
    frames: Sequence[LoggedFrame], names: Sequence[str], cuts: Cuts
) -> Iterator[Stretch]:
    """Cut the frames of one camera at jumps in time or row, new declared episodes and new tasks."""
    rows = np.array([frame.row for frame in frames], np.int64)
    time_s = np.array([frame.time_s for frame in frames], np.float64)
    is_first = cuts.begins(rows, time_s)
    begun = [(frame.declared, frame.task) for frame in frames]
    is_other = [last != this for last, this in pairwise(begun)]
    is_first[1:] |= np.array(is_other, bool)
    numbers = {
        name: _as_float32([frame.numbers.get(name, math.nan) for frame in frames]) for name in names
    }
    for begin, end in pairwise([*np.flatnonzero(is_first).tolist(), len(frames)]):
        run = frames[begin:end]
        yield Stretch(
            camera=run[0].camera,
            rows=rows[begin:end],
            image_paths=tuple(frame.path for frame in run if frame.path is not None),
            numbers={name: values[begin:end] for name, values in numbers.items()},
            time_s=time_s[begin:end],
            declared=run[0].declared,
            task=run[0].task,
        )


def _as_float32(values: Sequence[float]) -> np.ndarray:
    """Return numbers as float32; numbers beyond its range become NaN, i.e. missing."""
    with np.errstate(over="ignore"):
        numbers = np.array(values, np.float64).astype(np.float32)
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers
