"""Base class of wrappers with their own random generator, and a check of actions."""

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray


class SeededWrapper(gymnasium.Wrapper, RecordConstructorArgs):
    """Wrapper whose random generator is seeded with the environment's seed but separate from it.

    So the body moves the same with and without a disturbance, as long as the actions are the same.
    """

    stream: ClassVar[int]
    """Number that makes the generators of different wrappers differ."""

    def __init__(self, env: gymnasium.Env, **settings: Any) -> None:
        RecordConstructorArgs.__init__(self, **settings)  # so that `spec` can rebuild the wrapper
        gymnasium.Wrapper.__init__(self, env)
        self.random = np.random.default_rng()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode; a seed also seeds this disturbance, None continues its generator."""
        if seed is not None:
            self.random = np.random.default_rng([seed, self.stream])
        return super().reset(seed=seed, options=options)


def check_continuous(env: gymnasium.Env) -> spaces.Box:
    """Return the bounds of an environment's actions.

    Raises:
        TypeError: If the actions are not continuous.
    """
    if not isinstance(env.action_space, spaces.Box):
        raise TypeError(
            f"`env` must have continuous actions, got {env.action_space!r}."
            " Choose an environment with torques as actions."
        )
    return env.action_space


def check_action(action: Any, bounds: spaces.Box) -> NDArray[Any]:
    """Check an action and return it as an array.

    Raises:
        ValueError: If the action does not hold real numbers, has another shape, is out of bounds or
            not finite.
    """
    action = np.asarray(action)
    low, high = bounds.low, bounds.high
    is_real = action.dtype.kind in "iuf"
    if (
        not is_real
        or action.shape != low.shape
        or not np.all((action >= low) & (action <= high) & np.isfinite(action))
    ):
        raise ValueError(
            f"`action` must have shape {low.shape} and lie in [{low.min():g}, {high.max():g}],"
            f" got {action.tolist()!r}. Clip the policy's output."
        )
    return action
