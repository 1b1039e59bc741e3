"""What the wrappers share: a random generator of their own, and checked numbers."""

import math
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs


class SeededWrapper(gymnasium.Wrapper, RecordConstructorArgs):
    """A wrapper whose randomness is seeded with the world's but drawn apart from it.

    So the body moves the same with and without a disturbance as long as the actions are the same.
    """

    stream: ClassVar[int]
    """Tells the generators of different wrappers apart."""

    def __init__(self, env: gymnasium.Env, **settings: Any) -> None:
        RecordConstructorArgs.__init__(self, **settings)  # so that its `spec` rebuilds it
        gymnasium.Wrapper.__init__(self, env)
        self.random = np.random.default_rng()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode; a seed also seeds this disturbance, None goes on with it."""
        if seed is not None:
            self.random = np.random.default_rng([seed, self.stream])
        return super().reset(seed=seed, options=options)


def check_probability(name: str, value: float) -> None:
    """Refuse a number that is not from 0 to below 1."""
    if not 0.0 <= value < 1.0:
        raise ValueError(f"`{name}` must be from 0 to below 1, got {value!r}. Lower it.")


def check_not_negative(name: str, value: float) -> None:
    """Refuse a number that is negative or not finite."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"`{name}` must be finite and >= 0, got {value!r}. Use 0 for none.")
