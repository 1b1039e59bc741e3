"""From the images a log lists to a recording: drop what cannot be read, cut at the gaps."""

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from envs.recorded.images import Framing, is_readable
from envs.recorded.recording import CENTER, Episode, Recording

_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class LoggedImage:
    """One image as the log lists it; whether it can be read is not known yet."""

    row: int
    """Position in the log; a missing number is a missing frame."""
    path: Path
    steering: float
    """Fraction of the maximum steering angle, left positive."""
    time_s: float
    camera: str = CENTER
    session: str = ""


def assemble_recording(
    folder: Path,
    log_format: str,
    images: Sequence[LoggedImage],
    *,
    framing: Framing,
    max_gap_s: float,
    max_missing_frames: int,
) -> Recording:
    """Drop the images that cannot be read, with one warning, and cut the rest into episodes.

    Args:
        folder: Where the recording lies.
        log_format: Name of the format.
        images: Everything the log lists, each camera in the order of the log.
        framing: How an image becomes an observation.
        max_gap_s: A longer time between two frames begins a new episode [s].
        max_missing_frames: More missing frames in a row begin a new episode.

    Returns:
        The recording.

    Raises:
        ValueError: If a setting is out of range, nothing is listed, an image is listed twice, no
            image of the center camera can be read, or no two frames follow each other.
    """
    if not max_gap_s > 0.0:
        raise ValueError(f"`max_gap_s` must be positive, got {max_gap_s!r}. Use a second or so.")
    if max_missing_frames < 0:
        raise ValueError(
            f"`max_missing_frames` must not be negative, got {max_missing_frames!r}."
            " Use 0 to cut at every missing frame."
        )
    readable: list[LoggedImage] = []
    skipped: list[LoggedImage] = []
    for image in images:
        (readable if is_readable(image.path) else skipped).append(image)
    _check_center(images, readable)
    _check_repetition(folder, readable)
    if skipped:
        _warn_of_skipped(folder, images, skipped)
    _warn_of_disorder(folder, readable)
    cameras = dict.fromkeys(image.camera for image in readable)
    episodes = [
        episode
        for camera in cameras
        for episode in _cut_episodes(
            [image for image in readable if image.camera == camera], max_gap_s, max_missing_frames
        )
    ]
    intervals_s = [np.diff(e.time_s) for e in episodes if e.camera == CENTER and len(e) > 1]
    if not intervals_s:
        raise ValueError(
            f"`max_gap_s` must let two frames follow each other, got {max_gap_s!r} and only single"
            f" frames in '{folder}'. Raise it, or check the time stamps."
        )
    return Recording(
        folder=folder,
        format=log_format,
        episodes=tuple(sorted(episodes, key=lambda episode: episode.rows[0])),
        framing=framing,
        frame_s=float(np.median(np.concatenate(intervals_s))),
        num_listed=len(images),
        num_skipped=len(skipped),
    )


def check_folder(folder: Path) -> None:
    """Raise FileNotFoundError unless `folder` is a folder."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"`folder` must be the folder of a recording, got '{folder}', which does not exist."
            " Check the path."
        )


def left_positive_steering(logged: Any, where: str) -> float:
    """Return logged steering (right positive) as a fraction in [-1, 1], left positive.

    Args:
        logged: What the log says; text or a number.
        where: Place in the log, for the error.

    Raises:
        ValueError: If it is not a number in [-1, 1].
    """
    try:
        value = float(logged)
    except (TypeError, ValueError):
        value = math.nan
    if not abs(value) <= 1.0 + _ROUNDING:
        raise ValueError(
            f"`steering` must be a number in [-1, 1], got {logged!r} in {where}."
            " Correct or delete that line."
        )
    return min(max(-value, -1.0), 1.0) + 0.0  # + 0.0 turns -0.0 into 0.0


def _check_repetition(folder: Path, images: Sequence[LoggedImage]) -> None:
    """Refuse an image that is listed twice: it could be learned from and tested on."""
    for path, count in Counter(image.path for image in images).items():
        if count > 1:
            raise ValueError(
                f"the log must list each image once, got {path.name!r} {count} times in"
                f" '{folder}'. Delete the repeated lines."
            )


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


def _check_center(images: Sequence[LoggedImage], readable: Sequence[LoggedImage]) -> None:
    if any(image.camera == CENTER for image in readable):
        return
    centers = [image for image in images if image.camera == CENTER]
    example = f", such as '{centers[0].path}'" if centers else ""
    raise ValueError(
        "`folder` must hold at least one readable image of the center camera, got none of the"
        f" {len(centers)} listed{example}. Put the images beside the log."
    )


def _warn_of_skipped(
    folder: Path, images: Sequence[LoggedImage], skipped: Sequence[LoggedImage]
) -> None:
    missing = sum(not image.path.exists() for image in skipped)
    listed_per_camera = Counter(image.camera for image in images)
    skipped_per_camera = Counter(image.camera for image in skipped)
    counts = [
        f"{skipped_per_camera[camera]} of {listed} {camera}"
        for camera, listed in listed_per_camera.items()
    ]
    warnings.warn(
        f"Skipped {len(skipped)} of the {len(images)} images listed in '{folder}' ({missing}"
        f" missing, {len(skipped) - missing} unreadable): {', '.join(counts)}.",
        stacklevel=4,
    )


def _cut_episodes(
    images: Sequence[LoggedImage], max_gap_s: float, max_missing_frames: int
) -> Iterator[Episode]:
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
        yield Episode(
            camera=run[0].camera,
            rows=np.array([image.row for image in run], np.int64),
            image_paths=tuple(image.path for image in run),
            steering=np.array([image.steering for image in run], np.float32),
            time_s=np.array([image.time_s for image in run], np.float64),
        )
