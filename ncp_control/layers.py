"""Dense layers for encoders and critics, and the number of parameters of a module."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def num_parameters(module: nn.Module) -> int:
    """Return the number of parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def dense(sizes: Sequence[int], activation: type[nn.Module]) -> nn.Sequential:
    """Return linear layers of the given widths, each followed by the activation.

    Args:
        sizes: Width of the input, then of each layer; no layers if there is only one width.
        activation: Class of the activation.
    """
    return nn.Sequential(
        *(
            layer
            for width_in, width_out in pairwise(sizes)
            for layer in (nn.Linear(width_in, width_out), activation())
        )
    )
