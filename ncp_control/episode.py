"""Episodes: what was seen, done, elapsed and thought, frame by frame.

The one type behind evaluation, audit, inspector, film and replay, whatever the world.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ncp_control.circuit import Activity


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
    seed: int | None = None
    """Seed of the world."""
    is_terminated: bool = False
    """Whether the world ended it, e.g. by a fall, and not a limit of time."""
    activity: Activity | None = None
    """What every neuron did, a batch of one, if it was recorded."""
    pictures: np.ndarray | None = None
    """RGB pictures of what happened, shape (time, height, width, 3), if they were taken."""
    notes: tuple[str, ...] = field(default=())
    """What could not be had, in words."""

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def total_reward(self) -> float:
        """Sum of the rewards."""
        return float(self.rewards.sum())

    def signal(self, name: str) -> np.ndarray:
        """Return one entry of `infos` over time, shape (time, …)."""
        return np.array([info[name] for info in self.infos])
