"""Errors of a policy on a recording, against closed forms."""

import numpy as np
import pytest

from ncp_control.contract import ActionContract
from ncp_control.learning.demonstrations import Demonstrations
from scripts.evaluation.recorded import root_errors


def test_errors_of_a_ramp_are_known_in_the_unit_of_each_action():
    """Two episodes of a ramp: persistence lags by its step, and begins with the neutral command."""
    ramp = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 0.3, 0.4, 0.5, 0.6, 0.7])
    actions = np.column_stack([ramp, np.full(10, 0.25)]).astype(np.float32)
    store = Demonstrations(
        observations=np.zeros((10, 1), np.float32),
        actions=actions,
        dt_s=np.full(10, 0.1, np.float32),
        episode_starts=np.array([0, 5]),
    )
    action = [
        ActionContract(name="steering", unit="deg", scale=(10.0, -40.0)),  # neutral: 0.25
        ActionContract(name="throttle"),
    ]
    table = root_errors("mine", actions + np.array([-0.2, 0.1]), store, action)
    assert table.header == ["RMSE of", "mine", "always neutral", "persistence"]
    (steering, *degrees), (throttle, *shares) = table.rows
    assert (steering, throttle) == ("steering [deg]", "throttle")
    lag = (8 * 0.1**2 + 0.25**2 + 0.05**2) / 10
    assert degrees == pytest.approx(
        [40 * 0.2, 40 * np.sqrt(np.mean((ramp - 0.25) ** 2)), 40 * np.sqrt(lag)], rel=1e-6
    )
    assert shares == pytest.approx([0.1, 0.25, np.sqrt(2 * 0.25**2 / 10)], rel=1e-6)
