"""Episodes: what was seen, done and elapsed, frame by frame, as worlds measure them."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class Episode:
    """One episode of one policy, from the first observation to the last action."""

    observations: np.ndarray
    """What was seen, shape (time, …)."""
    actions: np.ndarray
    """What was done, shape (time, action)."""
    dt_s: np.ndarray
    """Time since the previous observation [s], shape (time,)."""
    time_s: np.ndarray
    """Time of each observation since the first [s], shape (time,)."""
    rewards: np.ndarray
    """Reward of each action, shape (time,)."""
    infos: tuple[dict[str, Any], ...]
    """What the world told after each action."""

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def total_reward(self) -> float:
        """Sum of the rewards."""
        return float(self.rewards.sum())
