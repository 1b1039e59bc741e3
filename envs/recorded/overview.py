"""Overview of a recording: number of frames, their times, and their numbers.

Everything is measured on the center camera; frames of side cameras are only counted.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from envs.recorded.images import read_image
from envs.recorded.likeness import compare_actions
from envs.recorded.quantities import Quantity
from envs.recorded.recording import Recording
from envs.recorded.stretches import CENTER, drive_times_s

NUM_BINS = 24
"""Number of bins of a histogram."""
LAST_SHARE = 0.2
"""Share of the frames at the end that is compared with the rest."""
_NUM_SIZED = 60


@dataclass(frozen=True, kw_only=True)
class FrameTimes:
    """Times between consecutive frames, and pauses between episodes."""

    steps_s: np.ndarray
    """All times between two consecutive frames of an episode [s], shape (N,)."""
    pauses_s: np.ndarray
    """Times between the end of an episode and the beginning of the next one [s]; negative if a
    clock was set back or each episode begins at zero."""

    @property
    def median_s(self) -> float:
        """Median time step [s]."""
        return float(np.median(self.steps_s))

    @property
    def p99_s(self) -> float:
        """99th percentile of the time steps [s]."""
        return float(np.quantile(self.steps_s, 0.99))

    @property
    def longest_s(self) -> float:
        """Longest time step inside an episode [s]."""
        return float(self.steps_s.max())


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """The values of one quantity."""

    quantity: Quantity
    role: str
    """`action`, `input`, or "" if it is neither."""
    num_missing: int
    """Number of frames without this number."""
    values: np.ndarray
    """The finite values, shape (N,), float64."""

    @property
    def zeros(self) -> float:
        """Share of the values that are exactly zero; NaN without values."""
        return float(np.mean(self.values == 0.0)) if len(self.values) else float("nan")

    @property
    def summary(self) -> dict[str, float]:
        """Lowest, median, highest, mean and standard deviation; NaN without values."""
        measures = {
            "lowest": np.min,
            "median": np.median,
            "highest": np.max,
            "mean": np.mean,
            "deviation": np.std,
        }
        if not len(self.values):
            return dict.fromkeys(measures, float("nan"))
        return {name: float(measure(self.values)) for name, measure in measures.items()}

    def histogram(self) -> np.ndarray:
        """Return the number of values in each of `NUM_BINS` equal bins from lowest to highest."""
        return np.histogram(self.values, bins=NUM_BINS)[0] if len(self.values) else np.zeros(0)


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Overview of a recording."""

    recording: Recording
    cameras: Mapping[str, int]
    """Number of frames of each camera."""
    num_episodes: int
    """Number of episodes of the center camera."""
    duration_s: float
    """Time from the first to the last frame, without the pauses between episodes [s]."""
    time_s_of_row: Mapping[int, float]
    """Time since the first frame without the pauses [s], by row of the log, including stretches
    that are marked to be left out."""
    steps: FrameTimes
    numbers: tuple[Numbers, ...]
    sizes: Mapping[tuple[int, ...], int]
    """Number of sampled frames of each height and width."""
    doubts: tuple[str, ...]
    """Reasons why the last fifth cannot judge a policy trained on the rest."""


def look_over(recording: Recording, whole: Recording | None = None) -> Overview:
    """Return the overview of a recording.

    Args:
        recording: The loaded recording; frames with missing numbers are counted, not left out.
        whole: The recording including stretches marked to be left out, for `time_s_of_row`.
    """
    episodes = recording.center_only().episodes
    times_s = drive_times_s(episodes, recording.frame_s)
    pairs = pairwise(episodes)
    return Overview(
        recording=recording,
        cameras=dict(
            sum((Counter({one.camera: len(one)}) for one in recording.episodes), Counter())
        ),
        num_episodes=len(episodes),
        duration_s=float(times_s[-1][-1]),
        time_s_of_row=_times_of_rows(whole or recording),
        steps=FrameTimes(
            steps_s=np.concatenate([np.diff(one.time_s) for one in episodes]),
            pauses_s=np.array([b.time_s[0] - a.time_s[-1] for a, b in pairs], np.float64),
        ),
        numbers=tuple(_numbers(recording, one) for one in recording.quantities),
        sizes=_sizes(recording),
        doubts=tuple(_doubts(recording)),
    )


def sampled_frames(recording: Recording, camera: str, count: int) -> list[tuple[int, int]]:
    """Return indices of episode and frame of up to `count` equally spaced frames of a camera."""
    found = [
        (number, i)
        for number, episode in enumerate(recording.episodes)
        if episode.camera == camera
        for i in range(len(episode))
    ]
    chosen = np.unique(np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int))
    return [found[i] for i in chosen]


def _times_of_rows(recording: Recording) -> dict[int, float]:
    episodes = recording.center_only().episodes
    times_s = drive_times_s(episodes, recording.frame_s)
    return {
        int(row): float(time_s)
        for episode, values in zip(episodes, times_s, strict=True)
        for row, time_s in zip(episode.rows, values, strict=True)
    }


def _numbers(recording: Recording, quantity: Quantity) -> Numbers:
    name = quantity.name
    episodes = recording.center_only().episodes
    values = np.concatenate([one.numbers[name] for one in episodes]).astype(np.float64)
    is_there = np.isfinite(values)
    roles = {"action": recording.actions, "input": recording.inputs}
    return Numbers(
        quantity=quantity,
        role=next((role for role, names in roles.items() if name in names), ""),
        num_missing=int((~is_there).sum()),
        values=values[is_there],
    )


def _sizes(recording: Recording) -> dict[tuple[int, ...], int]:
    if recording.framing is None:
        return {}
    sizes: Counter[tuple[int, ...]] = Counter()
    for number, i in sampled_frames(recording, CENTER, _NUM_SIZED):
        image = read_image(recording.episodes[number].image_paths[i])
        if image is not None:
            sizes[image.shape[:2]] += 1
    return dict(sizes.most_common())


def _doubts(recording: Recording) -> list[str]:
    """Compare the actions of the last fifth with those of the rest."""
    if not recording.actions:
        return []
    try:
        first, last = recording.choose(recording.actions, recording.inputs).split(1.0 - LAST_SHARE)
    except ValueError as error:
        return [str(error)]
    return compare_actions(first, last, "last fifth")
