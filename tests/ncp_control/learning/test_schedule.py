import re
from types import SimpleNamespace

import pytest

from ncp_control.learning.schedule import check_learning_rates, half_cosine


@pytest.mark.parametrize("rate", [1e-12, 3e-4, 1, 1000.0, None])
def test_possible_learning_rates_pass(rate):
    check_learning_rates(SimpleNamespace(rate=rate), "rate")


@pytest.mark.parametrize("rate", [0, -1e-3, 1e30, float("nan"), float("inf"), True, "1e-3"])
def test_impossible_learning_rates_are_refused(rate):
    told = f"`rate` must be positive and at most 1000, got {re.escape(repr(rate))}"
    with pytest.raises(ValueError, match=told):
        check_learning_rates(SimpleNamespace(rate=rate), "rate")


def test_a_rate_falls_along_half_a_cosine():
    shares = [half_cosine(epoch, 5, final=0.1) for epoch in range(5)]
    assert shares[0] == 1.0 and shares[-1] == pytest.approx(0.1)
    assert shares[2] == pytest.approx(0.55), "half-way down in the middle"
    assert half_cosine(0, 1, final=0.1) == 1.0
