"""Many copies of a world that are stepped at once and show tensors on a device.

A `World` may have a `make_batch` beside its `make`: it builds `TensorWorlds`, whose observations,
actions and rewards never leave the device, so that thousands of worlds can be learned in on a GPU.
What is learned there is measured in the environment that `make` builds.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch
    from gymnasium import spaces
    from torch import Tensor


class TensorStep(NamedTuple):
    """What a step of all worlds gives: tensors on the device of the worlds."""

    observation: "Tensor"
    """What is seen now, shape (worlds, …): in a world that ended, the first observation
    of its next episode."""
    reward: "Tensor"
    """Reward of the step, float32, shape (worlds,)."""
    terminated: "Tensor"
    """Worlds whose task is over, bool, shape (worlds,)."""
    truncated: "Tensor"
    """Worlds whose time is over, bool, shape (worlds,)."""
    last_observation: "Tensor"
    """What was seen before worlds that ended began anew, shape (worlds, …)."""


class TensorWorlds(ABC):
    """Worlds that are stepped at once, each of which begins anew by itself when it has ended.

    No method waits for the device.
    """

    num_worlds: int
    """How many."""
    observation_space: "spaces.Box"
    """What one world shows: numbers, or frames (height, width, channels) of uint8."""
    action_space: "spaces.Box"
    """What one world takes: numbers in [-1, 1]."""
    device: "torch.device"
    """Where all tensors are."""

    @abstractmethod
    def seed(self, seed: int) -> None:
        """Seed all that is drawn from now on; what the worlds share is drawn here."""

    @abstractmethod
    def reset(self) -> "Tensor":
        """Begin an episode in every world; return what is seen, shape (worlds, …)."""

    @abstractmethod
    def step(self, actions: "Tensor") -> TensorStep:
        """Act for one frame in every world, and let those that ended begin anew.

        Args:
            actions: Float32, shape (worlds, action), in [-1, 1].
        """

    @property
    @abstractmethod
    def num_bytes(self) -> int:
        """Memory that all worlds take on the device together [bytes], with what they share."""

    @property
    def shared_bytes(self) -> int:
        """Part of `num_bytes` that is there once, however many worlds there are [bytes]."""
        return 0

    @property
    def bytes_each(self) -> float:
        """Memory that each further world takes on the device [bytes]."""
        return (self.num_bytes - self.shared_bytes) / self.num_worlds
