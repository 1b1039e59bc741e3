"""Elapsed time as part of an observation, for circuits that learn from irregular frames."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ncp_control.learning.closed_loop import elapsed_of
from ncp_control.learning.reinforcement.perception import check_observation_space


class ObserveElapsed(gymnasium.Wrapper):
    """Turn an observation into {"observation": …, "dt_s": [elapsed time in s]}.

    Args:
        env: Environment of numbers or frames whose `info` carries `dt_s`, the time since the
            previous observation [s].

    Raises:
        ValueError: If it shows something else.
        KeyError: On reset or step, if `info` has no `dt_s`.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        check_observation_space(env.observation_space)
        self.observation_space = spaces.Dict(
            observation=env.observation_space,
            dt_s=spaces.Box(0.0, np.inf, (1,), np.float32),
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._timed(observation, info), info

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Act for one frame."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._timed(observation, info), float(reward), terminated, truncated, info

    @staticmethod
    def _timed(observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        return {
            "observation": observation,
            "dt_s": np.array([elapsed_of(info)], dtype=np.float32),
        }
