"""Disturbances between a walking policy and its body: lost frames, random and delayed actions.

Each is drawn or counted per frame of the body, so that a policy that misses frames gets
disturbances at the same rate as one that sees all frames.
"""

from collections import deque
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from envs.seeding import SeededWrapper, check_action, check_continuous
from ncp_control.acting.closed_loop import elapsed_of
from ncp_control.ranges import check_not_negative, check_share


class DroppedFrames(SeededWrapper):
    """Lose observations: the action is held until the next observation arrives.

    A step takes n >= 1 frames with probability (1 − p) pⁿ⁻¹. The reward is the sum over the frames;
    `info["dt_s"]` is the time since the previous observation [s]. The first and the last
    observation of an episode are never lost.

    Args:
        env: Environment whose `info` has `dt_s`.
        probability: Probability p of losing a frame, in [0, 1).

    Raises:
        ValueError: If the probability is out of range.
        KeyError: In `step`, if `info` has no `dt_s`.
    """

    stream = (3,)

    def __init__(self, env: gymnasium.Env, probability: float) -> None:
        super().__init__(env, probability=probability)
        check_share("drop_probability", probability)
        self.probability = float(probability)

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """Hold an action until an observation arrives or the episode is over."""
        total_reward, dt_s = 0.0, 0.0
        while True:
            observation, reward, terminated, truncated, info = self.env.step(action)
            total_reward += float(reward)
            dt_s += elapsed_of(info)
            is_over = terminated or truncated
            if is_over or self.random.random() >= self.probability:
                return observation, total_reward, terminated, truncated, info | {"dt_s": dt_s}


class OverwrittenActions(SeededWrapper, gymnasium.ActionWrapper):
    """Replace some actions by random ones, like a slipping wheel or a pushing hand.

    Args:
        env: Environment with bounded continuous actions.
        probability: Share of the frames with a uniformly random action, in [0, 1).

    Raises:
        ValueError: If the probability is out of range.
        TypeError: If the actions are not continuous.
    """

    stream = (4,)

    def __init__(self, env: gymnasium.Env, probability: float) -> None:
        super().__init__(env, probability=probability)
        check_share("overwrite_probability", probability)
        self.probability = float(probability)
        self._bounds: Any = check_continuous(env)

    def action(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the action, or a random one.

        Raises:
            ValueError: If the action is not valid, even if it would be replaced.
        """
        action = check_action(action, self._bounds)
        if self.random.random() < self.probability:
            low, high = self._bounds.low, self._bounds.high
            action = self.random.uniform(low, high).astype(self._bounds.dtype)
        return action


class DelayedActions(gymnasium.Wrapper, RecordConstructorArgs):
    """Delay actions by some frames; until the first one arrives, actions are zero.

    Args:
        env: Environment with continuous actions.
        delay_steps: Number of frames between choosing an action and its effect, >= 0.

    Raises:
        ValueError: If the delay is negative or not a whole number.
        TypeError: If the actions are not continuous.
    """

    def __init__(self, env: gymnasium.Env, delay_steps: float) -> None:
        RecordConstructorArgs.__init__(self, delay_steps=delay_steps)
        gymnasium.Wrapper.__init__(self, env)
        self._bounds = check_continuous(env)
        check_not_negative("delay_steps", delay_steps)
        if delay_steps != int(delay_steps):
            raise ValueError(
                f"`delay_steps` must be a whole number, got {delay_steps!r}. Count frames."
            )
        self.delay_steps = int(delay_steps)
        self._waiting: deque[NDArray[np.float32]] = deque()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Start an episode; all delayed actions are zero."""
        space: Any = self.env.action_space
        self._waiting = deque(np.zeros(space.shape, space.dtype) for _ in range(self.delay_steps))
        return super().reset(seed=seed, options=options)

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], Any, bool, bool, dict[str, Any]]:
        """Queue an action and apply the one that is due.

        Raises:
            ValueError: If the action is not valid; it is then not queued.
        """
        self._waiting.append(check_action(action, self._bounds).copy())
        return self.env.step(self._waiting.popleft())
