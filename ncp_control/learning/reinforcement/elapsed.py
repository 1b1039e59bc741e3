"""Wrappers that turn observations into dictionaries of frames, numbers and elapsed time."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ncp_control.acting.closed_loop import elapsed_of
from ncp_control.learning.reinforcement.perception import (
    ELAPSED,
    NUMBERS,
    OBSERVATION,
    check_observation_space,
)
from ncp_control.records import frames_in, numbers_in


class ObserveParts(gymnasium.ObservationWrapper):
    """Turn a record into {"observation": frame, "numbers": numbers}.

    Args:
        env: Environment of records, see `ncp_control.records`.
        frame_shape: Shape of the frame in a record.
    """

    def __init__(self, env: gymnasium.Env, frame_shape: tuple[int, int, int]) -> None:
        super().__init__(env)
        self._frame_shape = frame_shape
        numbers = numbers_in(np.zeros(env.observation_space.shape or (), np.uint8), frame_shape)
        self.observation_space = spaces.Dict(
            {
                OBSERVATION: spaces.Box(0, 255, frame_shape, np.uint8),
                NUMBERS: spaces.Box(-np.inf, np.inf, numbers.shape, np.float32),
            }
        )

    def observation(self, observation: Any) -> dict[str, Any]:
        """Return frame and numbers of a record."""
        shape = self._frame_shape
        return {
            OBSERVATION: frames_in(observation, shape),
            NUMBERS: numbers_in(observation, shape),
        }


class ObserveElapsed(gymnasium.Wrapper):
    """Turn an observation into {"observation": …, "dt_s": [elapsed time in s]}.

    Args:
        env: Environment whose observations are numbers, frames, or the output of `ObserveParts`.
            Its `info` must carry `dt_s`, the time since the previous observation [s].

    Raises:
        ValueError: If the observations are of another kind.
        KeyError: On reset or step, if `info` has no `dt_s`.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        check_observation_space(env.observation_space)
        space = env.observation_space
        parts = space.spaces if isinstance(space, spaces.Dict) else {OBSERVATION: space}
        elapsed = spaces.Box(0.0, np.inf, (1,), np.float32)
        self.observation_space = spaces.Dict({**parts, ELAPSED: elapsed})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._timed(observation, info), info

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Apply an action for one step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._timed(observation, info), float(reward), terminated, truncated, info

    @staticmethod
    def _timed(observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        parts = observation if isinstance(observation, dict) else {OBSERVATION: observation}
        return {**parts, ELAPSED: np.array([elapsed_of(info)], dtype=np.float32)}
