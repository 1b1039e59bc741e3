"""The worst moments of an evaluation on the road, each as a strip of the frames before it."""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from ncp_control.records import frames_in, record_frame
from ncp_control.worlds import World

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STRIP_FRAMES, STRIP_S = 6, 2.0
"""Frames of a strip, and the time from its first to the crash [s]."""
MOST = 10
"""Moments that are shown."""


_COLLISIONS = {
    "car": "hit a car",
    "parked": "hit a parked car",
    "person": "hit a person",
}


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A crash, and what was seen before it."""

    frames: np.ndarray
    """Frames, shape (time, height, width, channels)."""
    told: str
    """What happened."""
    speed_mps: float
    """Speed before it."""
    place: tuple[str, int, int]
    """What it was disturbed by, track, and place along it in steps of 10 m."""

    @property
    def rank(self) -> tuple[float, tuple[str, int, int], str]:
        """What moments are sorted by: the fastest first, in whatever order they were found."""
        return -self.speed_mps, self.place, self.told


@dataclass
class Moments:
    """Gathers the crashes of all environments of a world, one of each place."""

    found: dict[tuple[str, int, int], Moment] = field(default_factory=dict)

    def watch(self, world: World, disturbed_by: str = "") -> World:
        """Return the world whose crashes are gathered from now on.

        Args:
            world: With its disturbances, so that the frames are those that were seen.
            disturbed_by: These in words.
        """
        frame_shape = record_frame(world.contract.observation)
        kept = round(STRIP_S / world.frame_s) + 1

        def make(**rendering: Any) -> gymnasium.Env:
            return _Watched(world.make(**rendering), self, disturbed_by, frame_shape, kept)

        return replace(world, make=make)

    def add(self, moment: Moment) -> None:
        """Keep a crash, unless there was a faster one at this place."""
        before = self.found.get(moment.place)
        if before is None or moment.rank < before.rank:
            self.found[moment.place] = moment

    def worst(self) -> list[Moment]:
        """Return the fastest crashes."""
        return sorted(self.found.values(), key=lambda moment: moment.rank)[:MOST]

    def draw(self) -> "Figure | None":
        """Draw the worst, a row each; None if there is none."""
        moments = self.worst()
        if not moments:
            return None
        from matplotlib.figure import Figure  # slow to import, and workers do without

        figure = Figure(
            figsize=(2.0 * STRIP_FRAMES, 1.05 * len(moments) + 0.2), layout="constrained"
        )
        panels = figure.subplots(len(moments), STRIP_FRAMES, squeeze=False)
        for row, moment in zip(panels, moments, strict=True):
            shown = np.linspace(0, len(moment.frames) - 1, STRIP_FRAMES).round().astype(int)
            for axes, i in zip(row, shown, strict=True):
                axes.set(xticks=[], yticks=[])
                axes.imshow(moment.frames[i])
            row[0].set_title(moment.told, fontsize=7, loc="left")
        return figure


class _Watched(gymnasium.Wrapper):
    """Remembers the last frames, and hands them over when the car crashes."""

    def __init__(
        self,
        env: gymnasium.Env,
        moments: Moments,
        disturbed_by: str,
        frame_shape: tuple[int, int, int] | None,
        kept: int,
    ) -> None:
        super().__init__(env)
        self._moments, self._disturbed_by, self._shape = moments, disturbed_by, frame_shape
        self._frames: deque[np.ndarray] = deque(maxlen=kept)
        self._info: dict[str, Any] = {}

    def reset(self, **how: Any) -> tuple[Any, dict[str, Any]]:
        """Start an episode; what was seen before is forgotten."""
        observation, self._info = self.env.reset(**how)
        self._frames.clear()
        self._see(observation)
        return observation, self._info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, and look whether that was a crash."""
        before = self._info
        observation, reward, terminated, truncated, info = self.env.step(action)
        if info["crashed"]:
            speed_mps, track = float(before["speed_mps"]), int(info["track"])
            what = _COLLISIONS[info["collided_with"]] if info["collided"] else "left the lane"
            by, after = self._disturbed_by, f"{info['time_s']:.1f} s after the start"
            told = f"{what} at {speed_mps:.1f} m/s, track {track}, {after}"
            self._moments.add(
                Moment(
                    frames=np.stack(self._frames),
                    told=f"{told}, {by}" if by else told,
                    speed_mps=speed_mps,
                    place=(by, track, int(before["arc_length_m"] // 10.0)),
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
