"""Stretches of a recording without gaps, and the rules for cutting a recording into them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from envs.recorded.images import ImageFile
from ncp_control.ranges import check_above_zero, check_count

CENTER = "center"


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """Rules for cutting a recording into episodes."""

    max_gap_s: float = 1.0
    """Time between two frames above which a new episode starts [s]."""
    max_missing_frames: int = 3
    """Number of consecutive missing frames above which a new episode starts."""

    def __post_init__(self) -> None:
        check_above_zero("max_gap_s", self.max_gap_s)
        check_count("max_missing_frames", self.max_missing_frames, least=0)

    def begins(self, rows: np.ndarray, time_s: np.ndarray) -> np.ndarray:
        """Return True for the frames that begin an episode, shape (N,); the first one does."""
        steps, steps_s = np.diff(rows), np.diff(time_s)
        follows = (0.0 < steps_s) & (steps_s <= self.max_gap_s)
        is_near = (0 < steps) & (steps <= self.max_missing_frames + 1)
        return np.append(True, ~(follows & is_near))


@dataclass(frozen=True, kw_only=True, eq=False)
class Stretch:
    """Frames of one camera without gaps: one episode of a recording."""

    camera: str
    """`center`, `left` or `right`."""
    rows: np.ndarray
    """Positions in the log, shape (N,), int64, increasing."""
    image_paths: tuple[ImageFile, ...]
    """Location of the image of each frame; empty in a recording of numbers alone."""
    numbers: Mapping[str, np.ndarray]
    """Values of the quantities by name, each of shape (N,), float32; NaN where missing."""
    time_s: np.ndarray
    """Time stamps [s], shape (N,), float64, increasing."""
    declared: str = ""
    """Name of the episode or session that the data declare, of which this may be a part; "" if they
    declare none."""
    task: str = ""
    """What is done, in words; "" if the recording does not say it."""
    before: Mapping[str, float] = field(default_factory=dict)
    """Values of the quantities in the frame before the first one, NaN where missing; empty if
    there is no such frame."""

    def __len__(self) -> int:
        return len(self.rows)

    def dt_s(self, frame_s: float) -> np.ndarray:
        """Return the time since the previous frame [s], float32; `frame_s` for the first."""
        return np.diff(self.time_s, prepend=self.time_s[0] - frame_s).astype(np.float32)

    def select(self, is_kept: np.ndarray) -> "Stretch":
        """Return the stretch with only the frames where `is_kept`, shape (N,), is True."""
        return self._take(np.flatnonzero(is_kept))

    def cut(self, cuts: Cuts) -> "list[Stretch]":
        """Return the episodes into which the stretch is cut, e.g. after frames were removed."""
        begins = np.flatnonzero(cuts.begins(self.rows, self.time_s))
        ends = [*begins[1:], len(self)]
        first, *rest = [self._take(np.arange(*ends)) for ends in zip(begins, ends, strict=True)]
        return [first, *(replace(one, before={}) for one in rest)]

    def _take(self, kept: np.ndarray) -> "Stretch":
        before = self.before
        if len(kept) and kept[0]:
            before = {name: float(values[kept[0] - 1]) for name, values in self.numbers.items()}
        return replace(
            self,
            before=before,
            rows=self.rows[kept],
            image_paths=tuple(self.image_paths[i] for i in kept) if self.image_paths else (),
            numbers={name: values[kept] for name, values in self.numbers.items()},
            time_s=self.time_s[kept],
        )


def drive_times_s(episodes: Sequence[Stretch], frame_s: float) -> list[np.ndarray]:
    """Return the time of each frame since the first one, without the pauses between episodes [s].

    A pause counts as one frame interval, so times always increase, even if a clock was set back or
    every episode begins at zero.

    Args:
        episodes: Episodes of one camera, in the order in which they begin.
        frame_s: Nominal frame interval [s].
    """
    times_s, begin_s = [], 0.0
    for episode in episodes:
        times_s.append(begin_s + episode.time_s - episode.time_s[0])
        begin_s = float(times_s[-1][-1]) + frame_s
    return times_s
