"""Gymnasium wrappers that apply a condition to an environment."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.conditions import PICTURES, SEVERITIES
from envs.conditions.draws import Scene, Wander, at
from envs.conditions.pictures import Effect, Frame
from envs.seeding import SeededWrapper, check_continuous
from ncp_control.framing import once_a_frame
from ncp_control.records import change_frame


class Pictured(SeededWrapper):
    """Apply a condition to the frames that an environment shows.

    Args:
        env: Environment whose observations are uint8 images.
        condition: Name in `PICTURES`.
        severity: From 1 to 5.
        frame_s: Time between two frames [s].
        in_record: Shape of the frame in each observation, if the observations are records of a
            frame and numbers, see `ncp_control.records`.
        stack: Number of frames stacked in each observation, see `View`. Each frame is changed once,
            when it is the newest.

    Raises:
        TypeError: If the observations are not uint8 images.
        ValueError: If the severity is not a whole number from 1 to 5.
    """

    stream = 7

    def __init__(
        self,
        env: gymnasium.Env,
        condition: str,
        severity: float,
        *,
        frame_s: float,
        in_record: tuple[int, int, int] | None = None,
        stack: int = 1,
    ) -> None:
        settings = {"condition": condition, "severity": severity, "frame_s": frame_s}
        super().__init__(env, **settings, in_record=in_record, stack=stack)
        space, num_axes = env.observation_space, 3 if in_record is None else 1
        is_pixels = isinstance(space, spaces.Box) and space.dtype == np.uint8
        if not is_pixels or len(space.shape or ()) != num_axes:
            raise TypeError(
                f"`env` must have uint8 images as observations, got {space!r}."
                " Wrap it before the images are scaled."
            )
        _check_severity(severity)
        self._condition, self._severity, self._frame_s = condition, int(severity), frame_s
        self._number, self._in_record = list(PICTURES).index(condition), in_record
        self._stack = stack
        self._effect: Effect = lambda frame: frame

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Frame, dict[str, Any]]:
        """Start an episode and draw a new effect."""
        observation, info = super().reset(seed=seed, options=options)
        if seed is not None:  # two conditions at once get different draws
            self.random = np.random.default_rng([seed, self.stream, self._number])
        height, width = (self._in_record or observation.shape)[:2]
        scene = Scene(height, width, self._frame_s, self.random)
        effect = PICTURES[self._condition](self._severity, scene)
        self._effect = once_a_frame(effect, self._stack)
        return self._changed(observation), info

    def step(self, action: Any) -> tuple[Frame, Any, bool, bool, dict[str, Any]]:
        """Step the environment and change the frame in the observation."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._changed(observation), reward, terminated, truncated, info

    def _changed(self, observation: np.ndarray) -> np.ndarray:
        return change_frame(observation, self._effect, self._in_record)


class Wind(SeededWrapper):
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

    stream = 8

    def __init__(self, env: gymnasium.Env, severity: float, *, frame_s: float) -> None:
        super().__init__(env, severity=severity, frame_s=frame_s)
        _check_severity(severity)
        self._bounds, self._frame_s = check_continuous(env), frame_s
        extent = float(self._bounds.high.flat[0] - self._bounds.low.flat[0])
        self._deviation = 0.5 * extent * at(int(severity), 0.02, 0.04, 0.07, 0.1, 0.14)
        self._steady, self._gusts = 0.0, None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode and draw a new steady wind."""
        result = super().reset(seed=seed, options=options)
        scene = Scene(0, 0, self._frame_s, self.random)
        self._steady = self._deviation * self.random.standard_normal()
        self._gusts = Wander(scene, self._deviation, 1.5)
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment with the pushed action."""
        assert self._gusts is not None, "an episode begins with `reset`"
        push = self._steady + float(self._gusts.step())
        return self.env.step(_changed(action, self._bounds, lambda x: x + push))


class Gain(SeededWrapper):
    """Multiply the first entry of the action by a factor that is constant in each episode.

    Args:
        env: Environment with continuous actions.
        severity: From 1 to 5. The factor is 1.15, 1.3, 1.5, 1.75 or 2 in half of the episodes, and
            its reciprocal in the other half.

    Raises:
        TypeError: If the actions are not continuous.
        ValueError: If the severity is not a whole number from 1 to 5.
    """

    stream = 9

    def __init__(self, env: gymnasium.Env, severity: float) -> None:
        super().__init__(env, severity=severity)
        _check_severity(severity)
        self._bounds = check_continuous(env)
        self._factors = at(int(severity), 1.15, 1.3, 1.5, 1.75, 2.0)
        self._factor = 1.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode and draw a new factor."""
        result = super().reset(seed=seed, options=options)
        self._factor = self._factors if self.random.random() < 0.5 else 1.0 / self._factors
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment with the multiplied action."""
        return self.env.step(_changed(action, self._bounds, lambda x: x * self._factor))


def _changed(action: Any, bounds: spaces.Box, change: Any) -> NDArray[Any]:
    """Return a copy of an action with its first entry changed and clipped to its bounds."""
    changed = np.array(action, bounds.dtype)
    changed.flat[0] = np.clip(
        change(float(changed.flat[0])), bounds.low.flat[0], bounds.high.flat[0]
    )
    return changed


def _check_severity(severity: float) -> None:
    if severity not in SEVERITIES:
        raise ValueError(f"`severity` must be a whole number from 1 to 5, got {severity!r}.")
