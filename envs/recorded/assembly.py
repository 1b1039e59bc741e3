"""From the images a log lists to a recording: drop what cannot be used, cut at the gaps.

A log that no hand wrote is rarely whole: a camera starts late, the power goes off. What cannot be
used is therefore left out and counted by reason, and a recording is refused only if nothing is
left, or if what is left would be wrong. The readers (`udacity`, `donkeycar`) count what is wrong
with a line in a `Tally`; here the images are added, and the tally becomes one warning.
"""

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from envs.recorded.images import Framing, ImageFile, find_fault
from envs.recorded.recording import CENTER, Recording, Stretch
from envs.recorded.tally import Tally

NO_NUMBER = "steering is no number"
OUT_OF_RANGE = "steering outside [-1, 1]"
CLIPPED = "steering clipped to [-1, 1]"
OVERSHOOT = 0.1
"""Steering up to this far outside of [-1, 1] comes from calibration and is clipped."""
_LARGEST_SHARE_OUT_OF_RANGE = 0.1
_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class LoggedImage:
    """One image as the log lists it; whether it can be read is not known yet."""

    row: int
    """Position in the log; a missing number is a missing frame."""
    path: ImageFile
    steering: float
    """Fraction of the maximum steering angle, left positive."""
    time_s: float
    camera: str = CENTER
    session: str = ""
    place: str = ""
    """Where the log lists it, e.g. "line 7"."""
    changes: tuple[str, ...] = ()
    """How what the log says was changed, such as `CLIPPED`."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a reader found in a log."""

    folder: Path
    """Folder or file of the recording."""
    format: str
    """Name of the format."""
    images: Sequence[LoggedImage]
    """Everything that the log lists and can be used so far, each camera in the order of the log."""
    skipped: Tally
    """Lines and records that cannot be used."""
    advice: str
    """What to do if nothing of the log can be used."""


def assemble_recording(
    listing: Listing, *, framing: Framing, max_gap_s: float, max_missing_frames: int
) -> Recording:
    """Leave out what cannot be used, with one warning, and cut the rest into episodes.

    Args:
        listing: What the log lists.
        framing: How an image becomes an observation.
        max_gap_s: A longer time between two frames begins a new episode [s].
        max_missing_frames: More missing frames in a row begin a new episode.

    Returns:
        The recording.

    Raises:
        ValueError: If a setting is out of range, an image is listed twice, no image of the center
            camera can be used, no two of them follow each other, or the steering is on another
            scale than [-1, 1].
    """
    if not max_gap_s > 0.0:
        raise ValueError(f"`max_gap_s` must be positive, got {max_gap_s!r}. Use a second or so.")
    if max_missing_frames < 0:
        raise ValueError(
            f"`max_missing_frames` must not be negative, got {max_missing_frames!r}."
            " Use 0 to cut at every missing frame."
        )
    folder, skipped = listing.folder, listing.skipped
    _check_scale(listing)
    num_listed = len(listing.images) + skipped.total
    usable = _usable_images(listing.images, skipped)
    _check_center(listing, usable, num_listed)
    _check_repetition(folder, usable)
    changed = _count_changes(usable)
    cameras = dict.fromkeys(image.camera for image in usable)
    episodes = [
        episode
        for camera in cameras
        for episode in _cut_episodes(
            [image for image in usable if image.camera == camera], max_gap_s, max_missing_frames
        )
    ]
    intervals_s = [np.diff(e.time_s) for e in episodes if e.camera == CENTER and len(e) > 1]
    if not intervals_s:
        raise ValueError(
            f"`max_gap_s` must let two frames follow each other, got {max_gap_s!r} and only single"
            f" frames in '{folder}', {len(usable)} of {num_listed} images usable"
            f"{f' ({skipped})' if skipped.total else ''}. Raise it, or check the time stamps."
        )
    _warn_of_losses(folder, num_listed, skipped, changed)
    _warn_of_disorder(folder, usable)
    return Recording(
        folder=folder,
        format=listing.format,
        episodes=tuple(sorted(episodes, key=lambda episode: episode.rows[0])),
        framing=framing,
        frame_s=float(np.median(np.concatenate(intervals_s))),
        num_listed=num_listed,
        skipped=skipped.counts,
        changed=changed.counts,
    )


def check_folder(folder: Path) -> None:
    """Raise FileNotFoundError or NotADirectoryError unless `folder` is a folder."""
    if folder.is_file():
        is_archive = folder.suffix.lower() in (".zip", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".7z")
        advice = "Unpack it, and give the folder" if is_archive else "Give the folder"
        raise NotADirectoryError(
            f"`folder` must be the folder of a recording, got the file '{folder}'."
            f" {advice} that holds driving_log.csv, manifest.json or the records of a tub."
        )
    if not folder.is_dir():
        raise FileNotFoundError(
            f"`folder` must be the folder of a recording, got '{folder}', which does not exist."
            " Check the path."
        )


def left_positive_steering(
    logged: Any, skipped: Tally, place: str
) -> tuple[float, tuple[str, ...]] | None:
    """Judge logged steering, a fraction of the largest angle in [-1, 1], right positive.

    Args:
        logged: What the log says; only an int or a float is a number.
        skipped: Where steering that cannot be used is counted.
        place: Place in the log.

    Returns:
        The steering, left positive and in [-1, 1], and how it was changed; None if it cannot be
        used.
    """
    value = finite_number(logged)
    if value is None:
        skipped.add(NO_NUMBER, f"{str(logged)[:20]!r} in {place}")
        return None
    if abs(value) > 1.0 + OVERSHOOT:
        skipped.add(OUT_OF_RANGE, f"{value:g} in {place}")
        return None
    changes = (CLIPPED,) if abs(value) > 1.0 + _ROUNDING else ()
    return min(max(-value, -1.0), 1.0) + 0.0, changes  # + 0.0 turns -0.0 into 0.0


def finite_number(value: Any) -> float | None:
    """Return an int or a float as a finite float, None for anything else, True and False too."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _check_scale(listing: Listing) -> None:
    """Refuse steering in degrees and the like, of which only the small angles would be used."""
    out_of_range = listing.skipped.counts.get(OUT_OF_RANGE, 0)
    judged = out_of_range + sum(image.camera == CENTER for image in listing.images)
    if out_of_range > max(2, _LARGEST_SHARE_OUT_OF_RANGE * judged):
        raise ValueError(
            f"`steering` must be a fraction of the largest angle in [-1, 1], got {out_of_range} of"
            f" {judged} frames outside in '{listing.folder}' ({listing.skipped})."
            " Divide by the largest angle of the car. If a CSV file has its columns in another"
            " order than the simulator's, name them in a first line."
        )


def _usable_images(images: Sequence[LoggedImage], skipped: Tally) -> list[LoggedImage]:
    """Return the images that can be read; count the others."""
    usable = []
    for image in images:
        fault = find_fault(image.path)
        if fault is None:
            usable.append(image)
        else:
            skipped.add(f"{image.camera} image {fault}", image.path.name)
    return usable


def _count_changes(images: Sequence[LoggedImage]) -> Tally:
    changed = Tally()
    for image in images:
        for change in image.changes:
            changed.add(change, image.place)
    return changed


def _check_repetition(folder: Path, images: Sequence[LoggedImage]) -> None:
    """Refuse an image that is listed twice: it could be learned from and tested on."""
    for path, count in Counter(image.path for image in images).items():
        if count > 1:
            raise ValueError(
                f"the log must list each image once, got {path.name!r} {count} times in"
                f" '{folder}'. Delete the repeated lines."
            )


def _check_center(listing: Listing, usable: Sequence[LoggedImage], num_listed: int) -> None:
    if any(image.camera == CENTER for image in usable):
        return
    advice = listing.advice
    if f"{CENTER} image missing" in listing.skipped.counts:
        first = listing.images[0].path
        advice = f"Put the images in '{first.parent if isinstance(first, Path) else first.path}'."
    raise ValueError(
        "`folder` must hold at least one usable image of the center camera, got none among the"
        f" {num_listed} listed in '{listing.folder}' ({listing.skipped}). {advice}"
    )


def _warn_of_losses(folder: Path, num_listed: int, skipped: Tally, changed: Tally) -> None:
    """Say once what was left out and what was changed."""
    told = [f"Skipped {skipped.total} of the {num_listed} images listed in '{folder}': {skipped}."]
    if not skipped.total:
        told = [f"Used all of the {num_listed} images listed in '{folder}'."]
    if changed.total:
        told.append(f"Changed: {changed}.")
    if skipped.total or changed.total:
        warnings.warn(" ".join(told), stacklevel=4)


def _warn_of_disorder(folder: Path, images: Sequence[LoggedImage]) -> None:
    """Say where time does not go on: a clock that was set back, or lines out of order."""
    center = [image for image in images if image.camera == CENTER]
    jumps = [
        this.row
        for last, this in pairwise(center)
        if this.session == last.session and this.time_s <= last.time_s
    ]
    if jumps:
        warnings.warn(
            f"Time does not increase at {len(jumps)} of the {len(center)} center images in"
            f" '{folder}', first at row {jumps[0]}: an episode begins at each, and what is held"
            " back for a test may be older than what trains. Sort the log if it was shuffled.",
            stacklevel=4,
        )


def _cut_episodes(
    images: Sequence[LoggedImage], max_gap_s: float, max_missing_frames: int
) -> Iterator[Stretch]:
    """Cut one camera's images where their time or their order jumps."""
    begin = 0
    for end in range(1, len(images) + 1):
        if end < len(images):
            last, this = images[end - 1], images[end]
            follows = 0.0 < this.time_s - last.time_s <= max_gap_s
            is_near = 0 < this.row - last.row <= max_missing_frames + 1
            if follows and is_near and this.session == last.session:
                continue
        run, begin = images[begin:end], end
        yield Stretch(
            camera=run[0].camera,
            rows=np.array([image.row for image in run], np.int64),
            image_paths=tuple(image.path for image in run),
            steering=np.array([image.steering for image in run], np.float32),
            time_s=np.array([image.time_s for image in run], np.float64),
        )
