import numpy as np
import pytest

from ncp_control.worlds import find_world
from scripts.evaluation.lanes import lane_borders


@pytest.mark.parametrize(
    ("world", "options", "width_m"),
    [("LaneKeeping-v0", {"observe": "numbers"}, 4.0), ("RoadDriving-v0", {"camera": "none"}, 3.5)],
)
def test_a_car_that_keeps_its_lane_is_between_the_borders(world, options, width_m):
    env = find_world(world, **options).make()
    _, info = env.reset(seed=5)
    left, right = lane_borders({name: np.array([value]) for name, value in info.items()})
    env.close()
    np.testing.assert_allclose(np.linalg.norm(left - right, axis=1), width_m, rtol=0.02)
    np.testing.assert_allclose(left[0], left[-1], atol=1e-6)
    middle = 0.5 * (left + right)
    off_m = np.linalg.norm(middle - info["position_m"], axis=1).min()
    assert off_m < 1.0, "the car begins near the middle of its lane"
