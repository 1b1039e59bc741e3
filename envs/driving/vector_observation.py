"""Lane keeping observed by a few numbers instead of frames, for learning without a camera."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.driving.config import LaneKeepingConfig
from envs.driving.lane_keeping import LaneKeepingEnv


class VectorObservation(gymnasium.Wrapper):
    """Replace the frames of `LaneKeepingEnv` by numbers: the car's state and the road ahead.

    ## Observation
    `Box(-inf, inf, (4 + previews,), float32)`

    | entry | meaning | unit |
    |---|---|---|
    | 0 | offset from the centre line, positive to the left | m |
    | 1 | car's heading minus the road's, in [-π, π) | rad |
    | 2 | curvature of the road beside the car, positive to the left | 1/m |
    | 3 | forward speed | m/s |
    | 4 on | centre line `preview_distances_m` ahead: metres to the left of the car's axis | m |

    `info` also has `dt_s`, the control period [s]. Action, reward and end of an episode are those
    of `LaneKeepingEnv`. With `LaneKeepingConfig(camera="none")`, no unused frames are rendered.

    Args:
        env: A `LaneKeepingEnv`, possibly in wrappers that keep its `info`.

    Raises:
        TypeError: If `env` is another environment.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        lane_keeping = env.unwrapped
        if not isinstance(lane_keeping, LaneKeepingEnv):
            raise TypeError(
                f"`env` must be a LaneKeepingEnv, got {type(lane_keeping).__name__}."
                " The numbers come from its info."
            )
        self._dt_s = lane_keeping.config.control_period_s
        size = observation_size(lane_keeping.config)
        self.observation_space = spaces.Box(-np.inf, np.inf, (size,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode; options as for `LaneKeepingEnv.reset`."""
        _, info = self.env.reset(seed=seed, options=options)
        return _numbers(info), info | {"dt_s": self._dt_s}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Drive for one control period."""
        _, reward, terminated, truncated, info = self.env.step(action)
        return _numbers(info), float(reward), terminated, truncated, info | {"dt_s": self._dt_s}


def observation_size(config: LaneKeepingConfig) -> int:
    """Return the number of entries of the observation of `VectorObservation`."""
    return 4 + len(config.preview_distances_m)


def _numbers(info: dict[str, Any]) -> NDArray[np.float32]:
    own = [
        info[key] for key in ("cross_track_m", "heading_error_rad", "curvature_1pm", "speed_mps")
    ]
    return np.concatenate([own, info["preview_m"][:, 1]]).astype(np.float32)
