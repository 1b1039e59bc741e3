"""Wrong settings, options and actions are refused in one sentence with the value and the remedy."""

from typing import Any

import numpy as np
import pytest

import envs  # noqa: F401 - registers the worlds
from envs.driving import LaneKeepingConfig, LaneKeepingEnv
from ncp_control.worlds import find_world


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"tracks": "test"},
            r"`tracks` must be one of \['held_out', 'train', 'valid.*, got 'test'",
        ),
        ({"on_crash": "stop"}, r"`on_crash` must be one of \['recover', 'terminate'\], got 'stop'"),
        (
            {"camera": "unity"},
            r"`camera` must be one of \['mujoco', 'none', 'opencv'\], got 'unity'",
        ),
        ({"render_view": "top"}, r"`render_view` must be one of \['camera', 'chase'\], got 'top'"),
        ({"randomize_appearance": "no"}, "`randomize_appearance` must be true or false, got 'no'"),
        ({"episode_s": 0.0}, "`episode_s` must be positive, got 0.0"),
        ({"cruise_speed_mps": -8.0}, "`cruise_speed_mps` must be positive, got -8.0"),
        ({"control_rate_hz": float("nan")}, "`control_rate_hz` must be positive, got nan"),
        ({"max_steer_rad": 0.9}, r"`max_steer_rad` must be in \(0, 0.5\], got 0.9"),
        ({"crash_cost_m": -1.0}, "`crash_cost_m` must be finite and >= 0, got -1.0"),
        ({"preview_distances_m": ()}, r"`preview_distances_m` must be .* > 0, got \(\)"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        LaneKeepingConfig(**settings)


def test_a_world_that_shows_frames_refuses_an_appearance_that_is_neither_true_nor_false():
    with pytest.raises(ValueError, match="`randomize_appearance` must be true or false"):
        find_world("LaneKeeping-v0", randomize_appearance="no")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trak": 3}, "`options` must have keys among track, .*, got 'trak'. Remove it"),
        ({"track": -1}, "`track` must be a whole number of at least 0, got -1"),
        ({"track": 1.5}, "`track` must be a whole number of at least 0, got 1.5"),
        ({"track": True}, "`track` must be a whole number of at least 0, got True"),
        ({"start_m": "0"}, "`start_m` must be a finite number, got '0'"),
        ({"heading_error_rad": float("inf")}, "`heading_error_rad` must be a finite .*, got inf"),
        ({"lateral_m": 2.5}, "`lateral_m` must be within the lane, ±2 m, got 2.5"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str):
    env = LaneKeepingEnv()
    with pytest.raises(ValueError, match=message):
        env.reset(seed=0, options=options)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(2), r"`action` must be of shape \(1,\), got shape \(2,\)"),
        (np.float32(0.0), r"`action` must be of shape \(1,\), got shape \(\)"),
        (np.array([np.nan]), r"`action` must be finite, got \[nan\]"),
    ],
)
def test_wrong_actions(action: Any, message: str):
    env = LaneKeepingEnv()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(action)


def test_actions_beyond_the_limits_are_clipped():
    env = LaneKeepingEnv()
    frames = []
    for value in (1.0, 7.0):
        env.reset(seed=0)
        frames.append(env.step(np.array([value], np.float32))[0])
    np.testing.assert_array_equal(*frames)


def test_wrong_render_mode_and_order():
    with pytest.raises(ValueError, match="`render_mode` must be None or 'rgb_array', got 'human'"):
        LaneKeepingEnv(render_mode="human")
    with pytest.raises(RuntimeError, match="`reset` must be called before"):
        LaneKeepingEnv().step(np.zeros(1, np.float32))
    with pytest.raises(RuntimeError, match="`reset` must be called before"):
        LaneKeepingEnv(render_mode="rgb_array").render()
