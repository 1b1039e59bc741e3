"""Gymnasium wrappers that apply a condition to an environment."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.conditions import PICTURES, SEVERITIES
from envs.conditions.draws import Scene, Wander, at
from envs.conditions.pictures import Effect
from envs.seeding import FrameWrapper, SeededWrapper, check_continuous
from ncp_control.names import check_name


class Pictured(FrameWrapper):
    """Apply a condition to the frames that an environment shows.

    Args:
        env: Environment whose observations are uint8 images.
        severity: From 1 to 5.
        condition: Name in `PICTURES`.
        frame_s: Time between two frames [s].
        in_record: Shape of the frame in each observation, if the observations are records of a
            frame and numbers, see `ncp_control.records`.
        stack: Number of frames stacked in each observation, see `View`. Each frame is changed once.

    Raises:
        TypeError: If the observations are not uint8 images.
        ValueError: If the condition is unknown, or the severity is not a whole number from 1 to 5.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        severity: float,
        *,
        condition: str,
        frame_s: float,
        in_record: tuple[int, int, int] | None = None,
        stack: int = 1,
    ) -> None:
        settings = {"severity": severity, "condition": condition, "frame_s": frame_s}
        super().__init__(env, **settings, in_record=in_record, stack=stack)
        check_name("condition", condition, PICTURES)
        _check_severity(severity)
        self._condition, self._severity, self._frame_s = condition, int(severity), frame_s
        # Two conditions at once get different draws.
        self.stream = (7, list(PICTURES).index(condition))

    def _draw_effect(self) -> Effect:
        height, width = self._frame_shape[:2]
        scene = Scene(height, width, self._frame_s, self.random)
        return PICTURES[self._condition](self._severity, scene)


class Wind(SeededWrapper, gymnasium.ActionWrapper):
    """Push the first entry of the action, e.g. the steering, by a steady wind and gusts.

    Args:
        env: Environment with continuous actions.
        severity: From 1 to 5. Wind and gusts each have a standard deviation of 1, 2, 3.5, 5 or 7 %
            of the entry's range.
        frame_s: Time between two frames [s].

    Raises:
        TypeError: If the actions are not continuous.
        ValueError: If the severity is not a whole number from 1 to 5.
    """

    stream = (8,)

    def __init__(self, env: gymnasium.Env, severity: float, *, frame_s: float) -> None:
        super().__init__(env, severity=severity, frame_s=frame_s)
        _check_severity(severity)
        self._bounds, self._frame_s = check_continuous(env), frame_s
        extent = float(self._bounds.high.flat[0] - self._bounds.low.flat[0])
        self._deviation = 0.5 * extent * at(int(severity), 0.02, 0.04, 0.07, 0.1, 0.14)
        self._steady, self._gusts = 0.0, None

    def _begin(self) -> None:
        scene = Scene(0, 0, self._frame_s, self.random)
        self._steady = self._deviation * self.random.standard_normal()
        self._gusts = Wander(scene, self._deviation, 1.5)

    def action(self, action: Any) -> NDArray[Any]:
        """Return the action with its first entry pushed."""
        assert self._gusts is not None, "an episode begins with `reset`"
        push = self._steady + float(self._gusts.step())
        return _changed(action, self._bounds, lambda x: x + push)


class Gain(SeededWrapper, gymnasium.ActionWrapper):
    """Multiply the first entry of the action by a factor that is constant in each episode.

    Args:
        env: Environment with continuous actions.
        severity: From 1 to 5. The factor is 1.15, 1.3, 1.5, 1.75 or 2 in half of the episodes, and
            its reciprocal in the other half.

    Raises:
        TypeError: If the actions are not continuous.
        ValueError: If the severity is not a whole number from 1 to 5.
    """

    stream = (9,)

    def __init__(self, env: gymnasium.Env, severity: float) -> None:
        super().__init__(env, severity=severity)
        _check_severity(severity)
        self._bounds = check_continuous(env)
        self._largest = at(int(severity), 1.15, 1.3, 1.5, 1.75, 2.0)
        self._factor = 1.0

    def _begin(self) -> None:
        self._factor = self._largest if self.random.random() < 0.5 else 1.0 / self._largest

    def action(self, action: Any) -> NDArray[Any]:
        """Return the action with its first entry multiplied."""
        return _changed(action, self._bounds, lambda x: x * self._factor)


def _changed(action: Any, bounds: spaces.Box, change: Callable[[float], float]) -> NDArray[Any]:
    """Return a copy of an action with its first entry changed and clipped to its bounds."""
    changed = np.array(action, bounds.dtype)
    first = change(float(changed.flat[0]))
    changed.flat[0] = np.clip(first, bounds.low.flat[0], bounds.high.flat[0])
    return changed


def _check_severity(severity: float) -> None:
    if severity not in SEVERITIES:
        raise ValueError(f"`severity` must be a whole number from 1 to 5, got {severity!r}.")
