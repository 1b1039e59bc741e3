"""The worst crashes of an evaluation in RoadDriving-v0, each as a strip of the frames before it."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from ncp_control.records import frames_in, record_frame
from ncp_control.worlds import World

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STRIP_FRAMES, STRIP_S = 6, 2.0
"""Number of frames of a strip, and time from the first frame to the crash [s]."""
MOST = 10
"""Largest number of crashes that are shown."""


_COLLISIONS = {
    "car": "hit a car",
    "parked": "hit a parked car",
    "person": "hit a person",
}


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A crash, with the frames before it."""

    frames: np.ndarray
    """Frames of the strip, shape (STRIP_FRAMES, height, width, channels)."""
    caption: str
    """Description of the crash."""
    speed_mps: float
    """Speed before the crash [m/s]."""
    place: tuple[str, int, int]
    """Disturbances, number of the track, and position along the track in steps of 10 m."""
    seed: int
    """Seed of the episode."""

    @property
    def rank(self) -> tuple[float, tuple[str, int, int], str]:
        """Sort key of crashes, fastest first; independent of the order in which they were found."""
        return -self.speed_mps, self.place, self.caption


def watch_crashes(world: World, moments: list[Moment], disturbed_by: str = "") -> World:
    """Return an environment whose crashes are appended to a list.

    Crashes in an episode that was reset without a seed are ignored: such an episode only fills the
    time until the parallel ones end.

    Args:
        world: The environment with its disturbances, so that the frames include them.
        moments: The list.
        disturbed_by: The disturbances in words.
    """
    frame_shape = record_frame(world.contract.observation)
    kept = round(STRIP_S / world.frame_s) + 1

    def make(**rendering: Any) -> gymnasium.Env:
        return _Watched(world.make(**rendering), moments, disturbed_by, frame_shape, kept)

    return replace(world, make=make)


def worst_of(moments: Iterable[Moment]) -> list[Moment]:
    """Return the `MOST` fastest crashes, at most one for each `Moment.place`."""
    found: dict[tuple[str, int, int], Moment] = {}
    for moment in sorted(moments, key=lambda moment: moment.rank):
        found.setdefault(moment.place, moment)
    return list(found.values())[:MOST]


def draw_moments(moments: Sequence[Moment]) -> "Figure | None":
    """Draw crashes, one strip in each row; None if there are no crashes."""
    if not moments:
        return None
    from matplotlib.figure import Figure  # slow to import, and workers do not need it

    figure = Figure(figsize=(2.0 * STRIP_FRAMES, 1.05 * len(moments) + 0.2), layout="constrained")
    panels = figure.subplots(len(moments), STRIP_FRAMES, squeeze=False)
    for row, moment in zip(panels, moments, strict=True):
        for axes, frame in zip(row, moment.frames, strict=True):
            axes.set(xticks=[], yticks=[])
            axes.imshow(frame)
        row[0].set_title(moment.caption, fontsize=7, loc="left")
    return figure


class _Watched(gymnasium.Wrapper):
    """Wrapper that keeps the last frames, and saves a `Moment` when the car crashes."""

    def __init__(
        self,
        env: gymnasium.Env,
        crashes: list[Moment],
        disturbed_by: str,
        frame_shape: tuple[int, int, int] | None,
        kept: int,
    ) -> None:
        super().__init__(env)
        self._crashes, self._disturbed_by, self._shape = crashes, disturbed_by, frame_shape
        self._frames: deque[np.ndarray] = deque(maxlen=kept)
        self._info: dict[str, Any] = {}
        self._seed: int | None = None

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode and forget the frames of the last one."""
        observation, self._info = self.env.reset(seed=seed, options=options)
        self._seed = seed
        self._frames.clear()
        self._see(observation)
        return observation, self._info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, and save a `Moment` if it was a crash."""
        before = self._info
        observation, reward, terminated, truncated, info = self.env.step(action)
        if info["crashed"] and self._seed is not None:
            speed_mps, track = float(before["speed_mps"]), int(info["track"])
            what = _COLLISIONS[info["collided_with"]] if info["collided"] else "left the lane"
            by, after = self._disturbed_by, f"{info['time_s']:.1f} s after the start"
            description = f"{what} at {speed_mps:.1f} m/s, track {track}, {after}"
            indices = np.linspace(0, len(self._frames) - 1, STRIP_FRAMES).round().astype(int)
            self._crashes.append(
                Moment(
                    frames=np.stack([self._frames[i] for i in indices]),
                    caption=f"{description}, {by}" if by else description,
                    speed_mps=speed_mps,
                    place=(by, track, int(before["arc_length_m"] // 10.0)),
                    seed=self._seed,
                )
            )
            self._frames.clear()
        self._info = info
        self._see(observation)
        return observation, reward, terminated, truncated, info

    def _see(self, observation: np.ndarray) -> None:
        shape = self._shape
        frame = observation if shape is None else frames_in(observation, shape)
        self._frames.append(np.array(frame))
