"""Conditions around an environment."""

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
    """Change the frames that an environment shows.

    Args:
        env: World whose observations are uint8 images.
        condition: A name in `PICTURES`.
        severity: From 1 to 5.
        frame_s: Time from a frame to the next [s].
        in_record: Shape of the frame in each observation, if these are records of a frame and
            numbers, see `ncp_control.records`.
        stack: How many frames each observation shows together, see `View`. Each is changed once,
            when it is the newest.

    Raises:
        TypeError: If the observations are not uint8 images.
        ValueError: If the severity is none.
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
        """Start an episode, with an effect drawn anew."""
        observation, info = super().reset(seed=seed, options=options)
        if seed is not None:  # two conditions at once do not draw the same
            self.random = np.random.default_rng([seed, self.stream, self._number])
        height, width = (self._in_record or observation.shape)[:2]
        scene = Scene(height, width, self._frame_s, self.random)
        effect = PICTURES[self._condition](self._severity, scene)
        self._effect = once_a_frame(effect, self._stack)
        return self._changed(observation), info

    def step(self, action: Any) -> tuple[Frame, Any, bool, bool, dict[str, Any]]:
        """Step, and change what is seen."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._changed(observation), reward, terminated, truncated, info

    def _changed(self, observation: np.ndarray) -> np.ndarray:
        return change_frame(observation, self._effect, self._in_record)


class Wind(SeededWrapper):
    """Push the first entry of the action, e.g. steering, by a steady wind and its gusts.

    Args:
        env: World with continuous actions.
        severity: From 1 to 5: wind and gusts have deviations of 1, 2, 3.5, 5 or 7 % of the entry's
            range each.
        frame_s: Time from a frame to the next [s].

    Raises:
        TypeError: If the actions are not continuous.
        ValueError: If the severity is none.
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
        """Start an episode, with another wind."""
        result = super().reset(seed=seed, options=options)
        scene = Scene(0, 0, self._frame_s, self.random)
        self._steady = self._deviation * self.random.standard_normal()
        self._gusts = Wander(scene, self._deviation, 1.5)
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Apply the action, pushed."""
        assert self._gusts is not None, "an episode begins with `reset`"
        push = self._steady + float(self._gusts.step())
        return self.env.step(_changed(action, self._bounds, lambda x: x + push))


class Gain(SeededWrapper):
    """Let the first entry of the action do more, or less, than it says.

    Args:
        env: World with continuous actions.
        severity: From 1 to 5: a factor of 1.15, 1.3, 1.5, 1.75 or 2 in one half of the episodes,
            and its reciprocal in the other.

    Raises:
        TypeError: If the actions are not continuous.
        ValueError: If the severity is none.
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
        """Start an episode, with a factor drawn anew."""
        result = super().reset(seed=seed, options=options)
        self._factor = self._factors if self.random.random() < 0.5 else 1.0 / self._factors
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Apply the action, with its first entry multiplied."""
        return self.env.step(_changed(action, self._bounds, lambda x: x * self._factor))


def _changed(action: Any, bounds: spaces.Box, change: Any) -> NDArray[Any]:
    """Return an action with its first entry changed, within its bounds."""
    changed = np.array(action, bounds.dtype)
    changed.flat[0] = np.clip(
        change(float(changed.flat[0])), bounds.low.flat[0], bounds.high.flat[0]
    )
    return changed


def _check_severity(severity: float) -> None:
    if severity not in SEVERITIES:
        raise ValueError(f"`severity` must be a whole number from 1 to 5, got {severity!r}.")
