"""Certified intervals for people: whether they exclude anything, and their ends as text."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Context

import numpy as np

VACUOUS_SHARE = 0.01
"""A bound is vacuous if it excludes less than this fraction of the possible range."""


def is_vacuous_range(
    low: np.ndarray, high: np.ndarray, least: float = -1.0, most: float = 1.0
) -> np.ndarray:
    """Return which bounds are vacuous, i.e. exclude hardly any of the possible range.

    Args:
        low: Certified lowest value.
        high: Certified highest value, of the same shape.
        least: Lowest possible value, e.g. of a clipped action.
        most: Highest possible value.

    Returns:
        True where a bound excludes less than a hundredth of the range from `least` to `most`.
    """
    left = np.minimum(high, most) - np.maximum(low, least)
    return left > (1.0 - VACUOUS_SHARE) * (most - least)


def outward(low: float, high: float, digits: int = 3) -> tuple[str, str]:
    """Return the ends of an interval as text, rounded so that the text encloses the interval."""
    roundings = ((low, ROUND_FLOOR), (high, ROUND_CEILING))
    ends = (Context(digits, rounding).create_decimal(float(end)) for end, rounding in roundings)
    low_text, high_text = (f"{float(end) + 0.0:.{digits}g}" for end in ends)
    return low_text, high_text
