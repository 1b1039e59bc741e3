"""What is measured of the returns of episodes, against values from Student's table."""

import numpy as np
import pytest

from ncp_control.episode import Episode
from ncp_control.returns import half_width, return_and_duration


def test_intervals_are_those_of_student():
    # Student 1908: four values 1, 2, 3, 4; t(0.975, 3) = 3.182.
    assert half_width(np.array([1.0, 2.0, 3.0, 4.0])) == pytest.approx(
        3.182 * np.sqrt(5.0 / 3.0) / 2.0, rel=1e-3
    )
    assert np.isnan(half_width(np.ones(1)))


def test_return_and_duration():
    def episode(rewards):
        n = len(rewards)
        return Episode(
            actions=np.zeros((n, 1)), dt_s=np.full(n, 0.5), time_s=0.5 * np.arange(n),
            rewards=np.array(rewards, float),
        )  # fmt: skip

    # Of two values 3 and 5 the deviation is √2, and t(0.975, 1) = 12.706.
    assert return_and_duration([episode([1, 2]), episode([5])]) == {
        "mean_return": 4.0, "half_width": pytest.approx(12.706, rel=1e-4), "lowest_return": 3.0,
        "mean_duration_s": 0.75,
    }  # fmt: skip
