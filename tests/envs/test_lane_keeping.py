"""LaneKeeping-v0: the contract with gymnasium, the driving, crashes and repeatability."""

import math

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import envs  # noqa: F401 - registers the world
from envs.driving import (
    HELD_OUT_TRACKS,
    TRAIN_TRACKS,
    VALIDATION_TRACKS,
    LaneKeepingConfig,
    LaneKeepingEnv,
    make_road,
)

STRAIGHT_ON = np.zeros(1, np.float32)
HARD_LEFT = np.ones(1, np.float32)


def pure_pursuit(env: LaneKeepingEnv, info: dict) -> np.ndarray:
    """Steer along the circle through the rear axle and a point about 5 m ahead."""
    preview_m = info["preview_m"]
    distance_m = np.linalg.norm(preview_m, axis=1)
    x_m, y_m = preview_m[np.argmin(np.abs(distance_m - 5.0))]
    steer_rad = math.atan(2.0 * env.car.wheelbase_m * y_m / (x_m**2 + y_m**2))
    return np.array([np.clip(steer_rad / env.config.max_steer_rad, -1, 1)], np.float32)


@pytest.mark.parametrize("drive_speed", [False, True])
@pytest.mark.parametrize("render_view", ["chase", "camera"])
def test_gymnasium_accepts_it(drive_speed: bool, render_view: str):
    config = LaneKeepingConfig(drive_speed=drive_speed, render_view=render_view)
    env = gymnasium.make("LaneKeeping-v0", config=config, render_mode="rgb_array")
    assert env.spec is not None and env.spec.max_episode_steps is None
    check_env(env.unwrapped)
    env.close()


@pytest.mark.parametrize("track", HELD_OUT_TRACKS[:4])
def test_pure_pursuit_keeps_the_lane(track: int):
    env = LaneKeepingEnv(LaneKeepingConfig(tracks="held_out", episode_s=30.0))
    _, info = env.reset(seed=0, options={"track": track})
    cross_track_m, speed_mps, truncated = [], [], False
    while not truncated:
        _, _, terminated, truncated, info = env.step(pure_pursuit(env, info))
        assert not terminated
        cross_track_m.append(abs(info["cross_track_m"]))
        speed_mps.append(info["speed_mps"])
    assert np.mean(cross_track_m) < 0.10 and np.max(cross_track_m) < 0.40
    assert np.abs(np.array(speed_mps) / 8.0 - 1.0).max() < 0.02
    assert info["distance_m"] == pytest.approx(240.0, rel=0.01)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_positive_action_steers_left(side: float):
    env = LaneKeepingEnv()
    _, before = env.reset(seed=0)
    for _ in range(18):
        *_, info = env.step(np.array([side], np.float32))
    assert side * (info["yaw_rad"] - before["yaw_rad"]) > 0.1
    assert side * info["steer_rad"] > 0.1


def test_info_describes_the_start_asked_for():
    env = LaneKeepingEnv()
    options = {"track": 12, "start_m": 33.0, "lateral_m": 0.8, "heading_error_rad": -0.1}
    _, info = env.reset(seed=0, options=options)
    road = make_road(12)
    assert info["track"] == 12 and info["time_s"] == 0.0 and info["distance_m"] == 0.0
    assert info["arc_length_m"] == pytest.approx(33.0)
    assert info["cross_track_m"] == pytest.approx(0.8)
    assert info["heading_error_rad"] == pytest.approx(-0.1)
    np.testing.assert_allclose(info["position_m"], road.point_at(33.0, 0.8))
    assert info["curvature_1pm"] == pytest.approx(road.curvature_at(33.0))
    # Preview points seen from the rear axle, put back on the map, are the road's own.
    yaw_rad, position_m = info["yaw_rad"], info["position_m"]
    cosine, sine = math.cos(yaw_rad), math.sin(yaw_rad)
    rear_m = position_m - 1.2 * np.array([cosine, sine])
    points = info["preview_m"] @ np.array([[cosine, sine], [-sine, cosine]]) + rear_m
    expected = road.point_at(33.0 + np.arange(2.0, 21.0, 2.0))
    np.testing.assert_allclose(points, np.stack(expected, axis=1), atol=1e-9)


def test_leaving_the_lane_terminates():
    env = LaneKeepingEnv(LaneKeepingConfig(on_crash="terminate"))
    env.reset(seed=0)
    for _ in range(90):
        _, reward, terminated, truncated, info = env.step(HARD_LEFT)
        assert info["crashed"] == terminated == (abs(info["cross_track_m"]) > 2.0)
        if terminated:
            break
    assert terminated and not truncated
    assert reward < -9.0


def test_recovery_puts_the_car_back_and_drives_on():
    env = LaneKeepingEnv(LaneKeepingConfig(on_crash="recover"))
    env.reset(seed=0)
    crashes, before_m = 0, 0.0
    for _ in range(150):
        _, reward, terminated, _, info = env.step(HARD_LEFT)
        assert not terminated
        if info["crashed"]:
            crashes += 1
            assert reward < -9.0
            assert info["cross_track_m"] == pytest.approx(0.0, abs=1e-9)
            assert info["heading_error_rad"] == pytest.approx(0.0, abs=1e-6)
            assert info["speed_mps"] == pytest.approx(8.0)
            assert -0.3 < info["distance_m"] - before_m < 0.6  # the same place along the road
        before_m = info["distance_m"]
    assert crashes >= 2


def test_time_limit_truncates_and_does_not_terminate():
    env = LaneKeepingEnv(LaneKeepingConfig(episode_s=0.5))
    _, info = env.reset(seed=0, options={"track": 3, "start_m": 0.0})
    for step in range(1, 16):
        _, _, terminated, truncated, info = env.step(pure_pursuit(env, info))
        assert not terminated
        assert truncated == (step == 15)
    assert info["time_s"] == pytest.approx(0.5)


def test_reward_is_progress_minus_costs():
    env = LaneKeepingEnv(LaneKeepingConfig(cross_track_cost_1ps=2.0))
    _, before = env.reset(seed=0, options={"track": 3, "lateral_m": 1.0})
    _, reward, _, _, info = env.step(STRAIGHT_ON)
    progress_m = info["distance_m"] - before["distance_m"]
    assert reward == pytest.approx(progress_m - 2.0 * abs(info["cross_track_m"]) / 30)


def test_progress_counts_laps():
    config = LaneKeepingConfig(episode_s=10.0)
    env = LaneKeepingEnv(config)
    start_m = make_road(5).length_m - 40.0
    _, info = env.reset(seed=0, options={"track": 5, "start_m": start_m})
    for _ in range(300):
        *_, info = env.step(pure_pursuit(env, info))
    assert info["arc_length_m"] == pytest.approx(info["distance_m"] - 40.0, abs=1e-6)


def test_second_entry_drives_the_speed():
    env = LaneKeepingEnv(LaneKeepingConfig(drive_speed=True))
    _, info = env.reset(seed=0, options={"track": 3})
    for _ in range(75):
        *_, info = env.step(np.append(pure_pursuit(env, info), 0.0).astype(np.float32))
    assert info["speed_mps"] == pytest.approx(4.0, rel=0.02)
    for _ in range(75):
        *_, info = env.step(np.append(pure_pursuit(env, info), -1.0).astype(np.float32))
    assert info["speed_mps"] == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("camera_options", [{}, {"randomize_appearance": True}])
def test_same_seed_gives_the_same_frames(camera_options: dict):
    def drive(seed: int) -> bytes:
        env = LaneKeepingEnv(LaneKeepingConfig(**camera_options))
        frame, info = env.reset(seed=seed)
        frames = [frame]
        for _ in range(40):
            frame, _, _, _, info = env.step(pure_pursuit(env, info))
            frames.append(frame)
        return np.stack(frames).tobytes()

    assert drive(5) == drive(5)
    assert drive(5) != drive(6)


def test_appearance_is_constant_unless_randomized():
    options = {"track": 3, "start_m": 0.0}
    plain, varied = LaneKeepingEnv(), LaneKeepingEnv(LaneKeepingConfig(randomize_appearance=True))
    first, _ = plain.reset(seed=0, options=options)
    second, _ = plain.reset(options=options)
    np.testing.assert_array_equal(first, second)
    third, _ = varied.reset(seed=0, options=options)
    fourth, _ = varied.reset(options=options)
    assert np.abs(third.astype(int) - fourth).mean() > 2.0


@pytest.mark.parametrize(
    ("name", "tracks"),
    [("train", TRAIN_TRACKS), ("validation", VALIDATION_TRACKS), ("held_out", HELD_OUT_TRACKS)],
)
def test_tracks_are_drawn_from_their_range(name: str, tracks: range):
    env = LaneKeepingEnv(LaneKeepingConfig(tracks=name))
    drawn = {env.reset(seed=seed)[1]["track"] for seed in range(6)}
    assert drawn <= set(tracks) and len(drawn) == 6


def test_render_shows_the_view_asked_for():
    chase = LaneKeepingEnv(LaneKeepingConfig(render_view="chase"), render_mode="rgb_array")
    camera = LaneKeepingEnv(LaneKeepingConfig(render_view="camera"), render_mode="rgb_array")
    chase.reset(seed=0)
    frame, _ = camera.reset(seed=0)
    picture = chase.render()
    assert picture is not None and picture.shape == (360, 640, 3)
    np.testing.assert_array_equal(camera.render(), frame)
    assert LaneKeepingEnv().render() is None
