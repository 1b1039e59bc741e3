"""Frames cropped, scaled, grey and stacked as the contract says."""

import sys
from types import SimpleNamespace
from typing import ClassVar

import cv2
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from ncp_control.contract import FramesContract, View
from ncp_control.views import Viewed
from ncp_control.worlds import find_world, world_of


class Camera(gymnasium.Env):
    """Shows random frames, the same in every episode."""

    metadata: ClassVar = {"render_fps": 20}
    observation_space = spaces.Box(0, 255, (40, 60, 3), np.uint8)
    action_space = spaces.Box(-1.0, 1.0, (2,))

    def __init__(self, stack="the environment's own"):
        self.own_option = stack

    def reset(self, *, seed=None, options=None):
        self.frames = iter(np.random.default_rng(0).integers(0, 256, (9, 40, 60, 3), np.uint8))
        return next(self.frames), {}

    def step(self, action):
        return next(self.frames), 1.0, False, False, {}


def raw(count):
    return np.random.default_rng(0).integers(0, 256, (9, 40, 60, 3), np.uint8)[:count]


def seen(options, count=1):
    env = Viewed(Camera(), options)
    frames = [env.reset()[0], *(env.step(None)[0] for _ in range(count - 1))]
    assert all(env.observation_space.contains(frame) for frame in frames)
    return frames


def test_rows_are_cut_off_at_the_top_and_at_the_bottom():
    np.testing.assert_array_equal(seen({"crop_top": 0.25, "crop_bottom": 0.1})[0], raw(1)[0][10:36])


def test_the_rest_is_scaled_by_area():
    expected = raw(1)[0].reshape(20, 2, 20, 3, 3).mean(axis=(1, 3))
    found = seen({"height": 20, "width": 20})[0]
    assert np.abs(found - expected).max() <= 0.51  # rounded


def test_linear_scaling_is_opencvs():
    expected = cv2.resize(raw(1)[0], (50, 30), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(
        seen({"height": 30, "width": 50, "resize": "linear"})[0], expected
    )


def test_grey_is_opencvs_to_a_rounding():
    expected = cv2.cvtColor(raw(1)[0], cv2.COLOR_RGB2GRAY)
    found = seen({"grey": True})[0]
    assert found.shape == (40, 60, 1)
    assert np.abs(found[..., 0].astype(int) - expected).max() <= 1


def test_the_latest_frames_are_seen_together_oldest_first():
    frames, shown = raw(3), seen({"stack": 2}, count=3)
    np.testing.assert_array_equal(shown[0], np.concatenate([frames[0], frames[0]], axis=2))
    np.testing.assert_array_equal(shown[2], np.concatenate([frames[1], frames[2]], axis=2))


def test_an_episode_sees_nothing_of_the_one_before():
    env = Viewed(Camera(), {"stack": 3})
    first, _ = env.reset()
    env.step(None)
    again, _ = env.reset()
    np.testing.assert_array_equal(first, again)


def test_the_contract_says_what_was_done():
    world = world_of(
        Camera, name="camera", view={"crop_top": 0.25, "height": 10, "width": 20, "stack": 2}
    )
    assert world.contract.observation == FramesContract(
        shape=(10, 20, 6), view=View(crop_top=0.25, stack=2)
    )
    assert world.make().reset()[0].shape == (10, 20, 6)


def test_grey_frames_say_so():
    world = world_of(Camera, name="camera", view={"grey": True})
    assert world.contract.observation.colour == "grey"

    class Grey(Camera):
        observation_space = spaces.Box(0, 255, (40, 60, 1), np.uint8)

        def reset(self, **_):
            return np.zeros((40, 60, 1), np.uint8), {}

    for stack in (1, 3):
        world = world_of(Grey, name="grey", view={"stack": stack})
        assert world.contract.observation.colour == "grey"
        assert world.contract.observation.shape == (40, 60, stack)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"crop_top": 0.6, "crop_bottom": 0.4}, "leave something of the image"),
        ({"crop_top": -0.1}, "`crop_top`"),
        ({"crop_top": "x"}, "`crop_top` .* got 'x' and 0.0"),
        ({"resize": "nearest"}, "resize"),
        ({"stack": 0}, "stack"),
        ({"hight": 10}, "height"),
        ({"height": 0}, "height"),
        ({"grey": "no"}, "`grey` must be true or false, got 'no'"),
    ],
)
def test_options_out_of_range_are_named(options, told):
    with pytest.raises(ValueError, match=told):
        Viewed(Camera(), options)


def test_numbers_cannot_be_cropped():
    with pytest.raises(ValueError, match="must be uint8 frames"):
        find_world("gymnasium:CartPole-v1", crop_top=0.1)


def test_a_function_keeps_an_option_of_its_own(monkeypatch):
    monkeypatch.setitem(sys.modules, "own_camera", SimpleNamespace(make=Camera))
    world = find_world("own_camera:make", stack="mine", height=20)
    assert world.contract.observation.shape == (20, 60, 3)
    assert world.make().unwrapped.own_option == "mine"
