"""Dense layers as encoders and critics have them, and how many numbers a module learns."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def num_parameters(module: nn.Module) -> int:
    """Return how many numbers of a module are learned."""
    return sum(parameter.numel() for parameter in module.parameters())


def dense(sizes: Sequence[int], activation: type[nn.Module]) -> nn.Sequential:
    """Return linear layers of the given widths, the activation behind each; empty for one width."""
    return nn.Sequential(
        *(
            layer
            for width_in, width_out in pairwise(sizes)
            for layer in (nn.Linear(width_in, width_out), activation())
        )
    )
