"""Sensors of a walking robot: positions without velocities, and noise."""

from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from envs.seeding import SeededWrapper
from ncp_control.ranges import check_not_negative


class PositionsOnly(gymnasium.ObservationWrapper, RecordConstructorArgs):
    """Hide all velocities, using the environment's own `observation_structure`.

    Args:
        env: A Gymnasium MuJoCo environment of version 5, whose `observation_structure` gives the
            number of positions (first) and velocities (after them) in an observation.

    Raises:
        ValueError: If the environment has no such table, or observes anything else as well.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.ObservationWrapper.__init__(self, env)
        table = getattr(env.unwrapped, "observation_structure", None) or {}
        space = env.observation_space
        num_positions = table.get("qpos", 0)
        is_whole = isinstance(space, spaces.Box) and space.shape == (
            num_positions + table.get("qvel", 0),
        )
        if not num_positions or not is_whole:
            raise ValueError(
                "`env` must list its positions and velocities, and observe nothing else, in"
                f" `observation_structure`, got {table!r}. Use HalfCheetah-v5, Walker2d-v5 or"
                " Hopper-v5."
            )
        box = cast(spaces.Box, space)
        self.num_positions = int(num_positions)
        self.observation_space = spaces.Box(
            box.low[: self.num_positions],
            box.high[: self.num_positions],
            dtype=cast(Any, box.dtype),
        )

    def observation(self, observation: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the positions, shape (positions,)."""
        return observation[: self.num_positions].copy()


class SensorNoise(SeededWrapper, gymnasium.ObservationWrapper):
    """Add Gaussian noise to every entry of the observation.

    Args:
        env: Environment whose observations are vectors.
        std: Standard deviation of the noise, >= 0. The number is the same for all entries, each in
            the entry's own unit (m, rad, m/s, rad/s).

    Raises:
        ValueError: If `std` is negative or not finite.
        TypeError: If the observations are not vectors.
    """

    stream = (2,)

    def __init__(self, env: gymnasium.Env, std: float) -> None:
        super().__init__(env, std=std)
        if not isinstance(env.observation_space, spaces.Box):
            raise TypeError(
                f"`env` must observe vectors, got {env.observation_space!r}."
                " Choose an environment whose observations are numbers."
            )
        check_not_negative("sensor_noise_std", std)
        self.std = float(std)

    def observation(self, observation: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the observation with noise added."""
        return observation + self.std * self.random.standard_normal(observation.shape)
