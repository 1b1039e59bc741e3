"""Learning rates: which are possible, and how they fall over a training."""

import math
from numbers import Real

HIGHEST_RATE = 1000.0
"""Adam moves each weight by about the learning rate a step; beyond this its float32 overflows."""


def check_learning_rate(name: str, value: float) -> None:
    """Refuse a learning rate, or a factor of one, that is not positive or is absurdly large.

    Raises:
        ValueError: If it is not above 0 and at most `HIGHEST_RATE`.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not 0.0 < value <= HIGHEST_RATE:
        raise ValueError(
            f"`{name}` must be positive and at most {HIGHEST_RATE:g}, got {value!r}."
            " Useful rates are around 1e-3, and factors around 1."
        )


def check_learning_rates(settings: object, *names: str) -> None:
    """Refuse settings with such learning rates or factors; one that is None was not given."""
    for name in names:
        value = getattr(settings, name)
        if value is not None:
            check_learning_rate(name, value)


def half_cosine(step: int, steps: int, final: float) -> float:
    """Return the share of the initial rate in a step: from 1 along half a cosine to `final`.

    Args:
        step: Number of the step, or of the epoch, counted from 0.
        steps: Steps or epochs in all, >= 1.
        final: Share in the last one; 1 keeps the rate constant.
    """
    progress = step / max(steps - 1, 1)
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * progress))
