"""Range checks of numbers that a user types."""

import math
from collections.abc import Sequence
from dataclasses import fields
from numbers import Integral, Real
from typing import Any

from ncp_control.json_files import shorten


def is_number(value: object) -> bool:
    """True if a value is a finite real number; False for bool and text."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number too large for a float
        return False


def check_count(name: str, value: int, least: int = 1) -> int:
    """Return a count as a Python int, which JSON can store.

    Raises:
        ValueError: If it is not a whole number, or less than `least`.
    """
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or value < least:
        raise ValueError(
            f"`{name}` must be a whole number of at least {least}, got {shorten(value)}."
        )
    return int(value)


def check_at_least(settings: object, least: int, *names: str) -> None:
    """Check that attributes are whole numbers of at least `least`; None is skipped.

    Args:
        settings: Object with the attributes.
        least: Smallest allowed value.
        *names: Names of the attributes.

    Raises:
        ValueError: If one is not a whole number, or less than `least`.
    """
    for name in names:
        value = getattr(settings, name)
        if value is not None:
            check_count(name, value, least)


def check_seed(settings: object, name: str = "seed") -> None:
    """Check that a seed is valid for every random generator.

    Args:
        settings: Object with the seed as an attribute.
        name: Name of the attribute.

    Raises:
        ValueError: If it is not a whole number from 0 to 2³¹ − 1.
    """
    value = getattr(settings, name)
    if check_count(name, value, least=0) >= 2**31:
        raise ValueError(
            f"`{name}` must be at most {2**31 - 1}, got {shorten(value)}. Choose a small one."
        )


def check_positive(settings: object, *names: str) -> None:
    """Check that attributes are positive and finite; None is skipped.

    Args:
        settings: Object with the attributes.
        *names: Names of the attributes.

    Raises:
        ValueError: If one is zero, negative, infinite or not a number.
    """
    for name in names:
        value = getattr(settings, name)
        if value is not None:
            check_above_zero(name, value)


def check_above_zero(name: str, value: float) -> None:
    """Raise ValueError unless `value` is a finite number above 0."""
    if not (is_number(value) and value > 0):
        raise ValueError(
            f"`{name}` must be positive, got {shorten(value)}. Give a finite number above 0."
        )


def check_not_negative(name: str, value: float) -> None:
    """Raise ValueError unless `value` is a finite number >= 0."""
    if not (is_number(value) and value >= 0):
        raise ValueError(f"`{name}` must be finite and >= 0, got {shorten(value)}. Use 0 for none.")


def check_given(settings: object, *names: str) -> None:
    """Check that lists are not empty; a command-line option without values gives an empty list.

    Args:
        settings: Object with the lists as attributes.
        *names: Names of the attributes.

    Raises:
        ValueError: If one is empty.
    """
    for name in names:
        value = getattr(settings, name)
        if not value:
            raise ValueError(f"`{name}` must be at least one value, got {value!r}. Name some.")


def changed_settings(settings: Any) -> dict[str, Any]:
    """Return the settings of a dataclass that do not have their default values, by name."""
    return {
        known.name: value
        for known in fields(settings)
        if (value := getattr(settings, known.name)) != known.default
    }


def check_part(name: str, value: float, advice: str = "Leave some for either part.") -> None:
    """Raise ValueError unless `value` is above 0 and below 1, so that neither part is empty."""
    if not (is_number(value) and 0.0 < value < 1.0):
        raise ValueError(f"`{name}` must be above 0 and below 1, got {shorten(value)}. {advice}")


def check_share(name: str, value: float) -> None:
    """Raise ValueError unless `value`, e.g. a probability or decay, is from 0 to below 1."""
    if not (is_number(value) and 0.0 <= value < 1.0):
        raise ValueError(f"`{name}` must be from 0 to below 1, got {shorten(value)}. Lower it.")


def check_time_range(name: str, value: Sequence[float]) -> tuple[float, float]:
    """Return a range of times as two floats, the shortest and the longest time [s].

    Raises:
        ValueError: If they are not two positive numbers, the smaller one first.
    """
    is_pair = isinstance(value, Sequence) and len(value) == 2 and all(map(is_number, value))
    if not (is_pair and 0.0 < value[0] <= value[1]):
        raise ValueError(
            f"`{name}` must be a shortest and a longest time > 0 in seconds, got {shorten(value)}."
            " Span what is to be remembered, e.g. 0.05 2.0."
        )
    return float(value[0]), float(value[1])
