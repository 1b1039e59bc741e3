"""Learning rates: valid range and decay during training."""

import math

from ncp_control.ranges import is_number

HIGHEST_RATE = 1000.0
"""Largest learning rate. Adam changes each weight by about the learning rate per step; with larger
rates, float32 overflows."""


def check_learning_rate(name: str, value: float) -> None:
    """Check a learning rate or a factor of one.

    Raises:
        ValueError: If the value is not above 0 and at most `HIGHEST_RATE`.
    """
    if not (is_number(value) and 0.0 < value <= HIGHEST_RATE):
        raise ValueError(
            f"`{name}` must be positive and at most {HIGHEST_RATE:g}, got {value!r}."
            " Useful rates are around 1e-3, and factors around 1."
        )


def check_learning_rates(settings: object, *names: str) -> None:
    """Check the learning rates or factors with these names in `settings`; None is allowed."""
    for name in names:
        value = getattr(settings, name)
        if value is not None:
            check_learning_rate(name, value)


def half_cosine(step: int, steps: int, final: float) -> float:
    """Return the factor of the initial learning rate: it falls from 1 to `final` on half a cosine.

    Args:
        step: Index of the step or epoch, counted from 0.
        steps: Total number of steps or epochs, >= 1.
        final: Factor in the last step; 1 keeps the rate constant.
    """
    progress = step / max(steps - 1, 1)
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * progress))
