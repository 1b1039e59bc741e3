from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from ncp_control.ranges import (
    check_above_zero,
    check_at_least,
    check_count,
    check_given,
    check_not_negative,
    check_part,
    check_positive,
    check_seed,
    check_share,
    is_number,
)

NAN, INFINITE = float("nan"), float("inf")


def test_what_was_not_given_or_fits_passes():
    settings = SimpleNamespace(steps=3, rate=1e-3, none=None)
    check_at_least(settings, 3, "steps", "none")
    assert type(check_count("width", np.int64(3))) is int
    check_positive(settings, "rate", "none")
    check_not_negative("noise", 0)
    check_share("decay", 0.0)
    check_part("share", 0.5)
    check_given(SimpleNamespace(noise=(0.0,)), "noise")


@pytest.mark.parametrize("value", [0, -1e-3, NAN, INFINITE])
def test_what_is_not_positive_is_refused(value):
    with pytest.raises(ValueError, match=f"`rate` must be positive, got {value}"):
        check_positive(SimpleNamespace(rate=value), "rate")


def test_seeds_that_not_every_generator_takes_are_refused():
    check_seed(SimpleNamespace(seed=2**31 - 1))
    for value in (2**31, 2**70):
        with pytest.raises(ValueError, match=f"`seed` must be at most 2147483647, got {value}"):
            check_seed(SimpleNamespace(seed=value))
    for value in (-1, 0.5, None):
        with pytest.raises(ValueError, match=f"`seed` must be a whole number .*, got {value}"):
            check_seed(SimpleNamespace(seed=value))


def test_what_is_out_of_range_is_refused():
    with pytest.raises(ValueError, match="`seed` must be a whole number of at least 0, got -1"):
        check_at_least(SimpleNamespace(seed=-1), 0, "seed")
    for value in (2.5, True, "3", NAN):
        with pytest.raises(ValueError, match="`steps` must be a whole number of at least 1, got"):
            check_count("steps", value)
    for value in (-0.1, NAN, INFINITE):
        with pytest.raises(ValueError, match=f"`noise` must be finite and >= 0, got {value}"):
            check_not_negative("noise", value)
    for value in (-0.1, 1.0, NAN):
        with pytest.raises(ValueError, match=f"`decay` must be from 0 to below 1, got {value}"):
            check_share("decay", value)
    for value in (0.0, 1.0, NAN):
        with pytest.raises(ValueError, match=f"`share` must be above 0 and below 1, got {value}"):
            check_part("share", value)
    with pytest.raises(ValueError, match=r"`noise` must be at least one value, got \(\)"):
        check_given(SimpleNamespace(noise=()), "noise")


@pytest.mark.parametrize("value", [True, "1", None, 1j, 10**400, np.array(0.5)])
def test_what_is_not_a_number_is_refused_in_a_sentence(value):
    assert not is_number(value)
    for check in (check_not_negative, check_share, check_part, check_above_zero):
        with pytest.raises(ValueError, match="`setting` must be .*, got"):
            check("setting", value)


@pytest.mark.parametrize("value", [0, -1.5, np.float32(0.5), np.int64(3), Fraction(1, 3), 1e308])
def test_numbers_of_every_real_type_are_numbers(value):
    assert is_number(value)


def test_the_limits_themselves():
    smallest = np.nextafter(0.0, 1.0)
    check_above_zero("rate", smallest)
    check_part("share", smallest)
    check_part("share", np.nextafter(1.0, 0.0))
    check_share("decay", np.nextafter(1.0, 0.0))
    assert check_count("steps", 1) == check_count("seed", 1, 1) == 1
    assert check_count("seed", 0, 0) == 0
    with pytest.raises(ValueError, match="at least 1, got 0"):
        check_count("steps", 0)
    with pytest.raises(ValueError, match="at least 2, got 1"):
        check_at_least(SimpleNamespace(steps=5, layers=1), 2, "steps", "layers")
    with pytest.raises(ValueError, match=r"`given` must be at least one value, got \[\]"):
        check_given(SimpleNamespace(first=[1], given=[]), "first", "given")
