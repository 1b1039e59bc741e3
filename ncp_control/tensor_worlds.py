"""Batched worlds: many copies of a world, stepped at once as tensors on a device.

A `World` may have a `make_batch` beside its `make`: it builds `TensorWorlds`, whose observations,
actions and rewards never leave the device, so that a policy can be trained in thousands of worlds
on a GPU. The policy is evaluated in the environment that `make` builds.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch
    from gymnasium import spaces
    from torch import Tensor


class TensorStep(NamedTuple):
    """Result of a step of all worlds: tensors on the device of the worlds."""

    observation: "Tensor"
    """Observations after the step, shape (worlds, …); in a world whose episode ended: the first
    observation of its next episode."""
    reward: "Tensor"
    """Reward of the step, float32, shape (worlds,)."""
    terminated: "Tensor"
    """True where the world ended the episode, bool, shape (worlds,)."""
    truncated: "Tensor"
    """True where the time limit ended the episode, bool, shape (worlds,)."""
    last_observation: "Tensor"
    """Observations before the reset of worlds whose episodes ended, shape (worlds, …)."""


class TensorWorlds(ABC):
    """Base class of worlds that are stepped at once; each resets itself when its episode ends.

    No method waits for the device.
    """

    num_worlds: int
    """Number of worlds."""
    observation_space: "spaces.Box"
    """Observation space of one world: numbers, or uint8 frames (height, width, channels)."""
    action_space: "spaces.Box"
    """Action space of one world: numbers in [-1, 1]."""
    device: "torch.device"
    """Device of all tensors."""

    @abstractmethod
    def seed(self, seed: int) -> None:
        """Seed the random generator, and draw the data that the worlds share."""

    @abstractmethod
    def reset(self) -> "Tensor":
        """Begin an episode in every world; return the observations, shape (worlds, …)."""

    @abstractmethod
    def step(self, actions: "Tensor") -> TensorStep:
        """Apply an action for one frame in every world; worlds whose episodes end are reset.

        Args:
            actions: Actions in [-1, 1], float32, shape (worlds, action).
        """

    @property
    @abstractmethod
    def num_bytes(self) -> int:
        """Memory of all worlds on the device, including shared data [bytes]."""

    @property
    def shared_bytes(self) -> int:
        """Memory of data that all worlds share [bytes], a part of `num_bytes`."""
        return 0

    @property
    def bytes_each(self) -> float:
        """Memory of each additional world on the device [bytes]."""
        return (self.num_bytes - self.shared_bytes) / self.num_worlds
