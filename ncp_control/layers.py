"""Dense layers as encoders and critics have them."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def dense(sizes: Sequence[int], activation: type[nn.Module]) -> nn.Sequential:
    """Return linear layers of the given widths, the activation behind each; empty for one width."""
    return nn.Sequential(
        *(
            layer
            for width_in, width_out in pairwise(sizes)
            for layer in (nn.Linear(width_in, width_out), activation())
        )
    )
