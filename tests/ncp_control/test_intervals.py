import math

import numpy as np
import pytest

from ncp_control.intervals import is_vacuous_range, outward


def test_a_bound_that_excludes_nothing_is_vacuous():
    low, high = np.array([-3.0, -0.999, -3.0, -0.2, 2.0]), np.array([3.0, 0.999, 0.5, 0.3, 3.0])
    assert is_vacuous_range(low, high).tolist() == [True, True, False, False, False]
    assert is_vacuous_range(low, high, -10.0, 10.0).tolist() == [False] * 5


@pytest.mark.parametrize(
    ("low", "high", "digits", "text"),
    [
        (-1.0280664, 0.8683886, 3, ("-1.03", "0.869")),
        (-1.0280664, 0.8683886, 4, ("-1.029", "0.8684")),
        (0.8683886, 1.0280664, 3, ("0.868", "1.03")),
        (-0.0, 0.25, 3, ("0", "0.25")),
        (-9.999, 9.991, 3, ("-10", "10")),
        (-math.inf, 1e-9, 3, ("-inf", "1.01e-09")),  # the double above 1e-9
        (np.float32(-0.5), np.float32(0.1), 3, ("-0.5", "0.101")),
    ],
)
def test_the_text_of_an_interval_encloses_it(low, high, digits, text):
    assert outward(low, high, digits) == text
