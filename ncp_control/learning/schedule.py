"""How a learning rate falls over a training."""

import math


def half_cosine(epoch: int, epochs: int, final: float) -> float:
    """Return the share of the initial rate in an epoch: from 1 along half a cosine to `final`.

    Args:
        epoch: Number of the epoch, counted from 0.
        epochs: Epochs in all, >= 1.
        final: Share in the last epoch; 1 keeps the rate constant.
    """
    progress = epoch / max(epochs - 1, 1)
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * progress))
