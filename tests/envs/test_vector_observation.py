import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs.driving import LaneKeepingConfig, LaneKeepingEnv, VectorObservation


def make_world(**changes) -> VectorObservation:
    return VectorObservation(LaneKeepingEnv(LaneKeepingConfig(camera="none", **changes)))


@pytest.mark.filterwarnings("ignore:.*(infinity|different from the unwrapped).*")
def test_it_is_a_gymnasium_environment():
    check_env(make_world(), skip_render_check=True)


def test_the_numbers_are_the_place_of_the_car():
    world = make_world(preview_distances_m=(5.0, 10.0))
    observation, info = world.reset(
        seed=0, options={"track": 3, "lateral_m": 0.5, "heading_error_rad": -0.1}
    )
    assert observation[:2] == pytest.approx([0.5, -0.1], abs=1e-3)
    assert observation[3] == pytest.approx(8.0, abs=0.01)
    road = world.unwrapped.road
    assert observation[2] == pytest.approx(road.curvature_at(info["arc_length_m"]), abs=1e-5)
    # The line ahead is half a metre to the right and turned 0.1 rad to the left, plus the bend.
    bend_m = 0.5 * observation[2] * np.array([25.0, 100.0])
    expected = -0.5 + np.sin(0.1) * np.array([5.0, 10.0]) + bend_m
    assert observation[4:] == pytest.approx(expected, abs=0.4)


def test_a_car_without_a_camera_drives_as_one_with():
    """Camera "none" saves time and changes nothing else."""
    blind = make_world()
    seeing = VectorObservation(LaneKeepingEnv(LaneKeepingConfig()))
    first = [world.reset(seed=4)[0] for world in (blind, seeing)]
    np.testing.assert_array_equal(*first)
    for steer in (0.3, -0.2, 0.1):
        ends = [world.step(np.array([steer], np.float32)) for world in (blind, seeing)]
        np.testing.assert_array_equal(ends[0][0], ends[1][0])
        assert ends[0][1] == ends[1][1]
        assert ends[0][4]["dt_s"] == pytest.approx(1 / 30)


def test_another_environment_is_refused():
    with pytest.raises(TypeError, match="`env` must be a LaneKeepingEnv, got PendulumEnv"):
        VectorObservation(gymnasium.make("Pendulum-v1"))
