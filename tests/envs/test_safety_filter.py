"""The safety filter: whoever drives, the car stays in its lane and off what is ahead."""

import gymnasium
import numpy as np
import pytest

from envs.driving.passing import Passing
from envs.driving.periodic import ahead_m
from envs.driving.road_config import RoadDrivingConfig
from envs.driving.road_driving import RoadDrivingEnv
from envs.driving.road_expert import drive_road
from envs.driving.safety_filter import LANE_M, SafetyFilter, guarded, steering_bounds
from ncp_control.acting.recorder import run_episodes
from ncp_control.worlds import find_world
from scripts.evaluation.worlds import open_world

LEFT, RIGHT = np.array([1.0, 1.0], np.float32), np.array([-1.0, 1.0], np.float32)
QUIET = {"camera": "none", "traffic": "none", "tracks": "held_out"}


def make(seed: int, *, traffic: str = "none", **settings) -> tuple[SafetyFilter, RoadDrivingEnv]:
    """Return a road with the filter, with cars ahead and people but nobody parked or oncoming."""
    config = RoadDrivingConfig(camera="none", traffic=traffic, tracks="held_out", **settings)
    inner = RoadDrivingEnv(config)
    env = SafetyFilter(inner)
    env.reset(seed=seed)
    one = inner.traffic
    one.cars, one.parked = [car for car in one.cars if car.direction > 0], []
    one.bodies = [*one.cars, *one.people]
    one._locate()
    return env, inner


def drive(env: SafetyFilter, driver, frames: int) -> list[dict]:
    """Return what the world told, frame by frame."""
    infos = []
    for _ in range(frames):
        *_, terminated, _, info = env.step(driver())
        infos.append(info)
        assert not terminated, {key: info[key] for key in ("collided", "departed", "time_s")}
    return infos


class Drunkard:
    """Jerks the wheel from side to side, with the accelerator down."""

    def __init__(self, seed: int) -> None:
        self.random, self.action = np.random.default_rng(seed), LEFT

    def __call__(self) -> np.ndarray:
        if self.random.random() < 0.05:
            self.action = LEFT if self.random.random() < 0.5 else RIGHT
        return self.action


@pytest.mark.parametrize(("seed", "who"), [(2, "left"), (4, "right"), (5, "drunk")])
def test_a_driver_who_steers_out_of_the_lane_stays_in_it(seed: int, who: str):
    env, _ = make(seed)
    driver = {"left": lambda: LEFT, "right": lambda: RIGHT, "drunk": Drunkard(seed)}[who]
    infos = drive(env, driver, 600)
    assert max(abs(info["cross_track_m"]) for info in infos) < 1.75
    assert max(abs(info["cross_track_m"]) for info in infos) > 1.2, "it is let to the edge"
    assert infos[-1]["distance_m"] > 100.0 and all(info["filtered"] for info in infos[-30:])


def test_without_the_filter_the_same_driver_leaves_the_lane_at_once():
    config = RoadDrivingConfig(camera="none", traffic="none", tracks="held_out")
    env = RoadDrivingEnv(config)
    env.reset(seed=2)
    assert any(env.step(LEFT)[2] for _ in range(60))


@pytest.mark.parametrize("seed", [3, 5])
def test_a_driver_who_only_accelerates_does_not_hit_cars_and_people(seed: int):
    env, _ = make(seed, traffic="full")
    infos = drive(env, Drunkard(seed), 500)
    assert min(info["gap_m"] for info in infos) > 1.0
    assert infos[-1]["distance_m"] > 40.0


def test_a_car_that_stops_as_hard_as_can_be_is_not_hit():
    env, inner = make(3, traffic="light")
    (lead,) = inner.traffic.cars
    inner.traffic.people, inner.traffic.bodies = [], [lead]
    drive(env, lambda: drive_straight(inner), 150)
    lead.braking_mps2, lead.brakes_to_mps, lead.holds_s = 9.0, 0.0, 100.0
    infos = drive(env, lambda: drive_straight(inner), 200)
    assert lead.speed_mps == 0.0 and infos[-1]["speed_mps"] < 0.1


def test_a_standing_car_ahead_is_approached_and_not_touched():
    env, inner = make(3, traffic="light")
    (lead,) = inner.traffic.cars
    lead.wishes_mps, lead.wish_mps, lead.speed_mps = (0.01, 0.01), 0.01, 0.0
    infos = drive(env, lambda: drive_straight(inner), 400)
    assert infos[-1]["speed_mps"] < 0.1
    gap_m = ahead_m(inner.driven.arc_length_m, lead.arc_length_m, inner.road.length_m)
    assert 0.5 < gap_m - 0.5 * 3.64 - lead.reach_m < 4.0


def drive_straight(world: RoadDrivingEnv) -> np.ndarray:
    """Follow the lane with the accelerator down."""
    action = drive_road(world, None, world._info(crashed=False))
    action[1] = 1.0
    return action


def test_the_bounds_leave_the_middle_free_and_close_at_the_edges():
    _, inner = make(2)
    curvature = np.abs(inner.road.curvature_1pm)
    window = np.convolve(np.concatenate([curvature, curvature[:60]]), np.ones(60), "valid")
    place_m = (float(np.argmin(window)) + 30.0) * inner.road.spacing_m
    widths = {}
    for lateral_m in (0.0, LANE_M, -LANE_M):
        inner._put(place_m, lateral_m, speed_mps=6.0)
        low, high = steering_bounds(inner)
        widths[lateral_m] = high - low
        if lateral_m == 0.0:
            assert low < -0.3 and high > 0.3
        else:
            edge = high if lateral_m > 0.0 else low
            assert edge == pytest.approx(0.0, abs=0.05), "no further out"
    # atan(L α 2m / (ℓ v)) of 0.4 rad, on a straight
    steer_rad = np.arctan(inner.car.wheelbase_m * 2.0 * LANE_M / (8.0 * 6.0))
    assert widths[0.0] == pytest.approx(2.0 * steer_rad / 0.4, rel=0.02)


def test_a_careful_driver_is_hardly_touched():
    world = find_world("RoadDriving-v0", camera="none", on_crash="recover", episode_s=15.0)
    plain, kept = (
        one.measure(run_episodes(one, None, seeds=[100], expert=world.expert))
        for one in (world, guarded(world))
    )
    assert kept["filtered_share"] < 0.1
    assert kept["collisions"] == kept["lane_departures"] == 0
    assert kept["driven_km"] > 0.95 * plain["driven_km"]


def test_what_pushes_the_car_is_not_undone_by_the_filter():
    """Wind and a loose steering move the car after the filter has decided what is commanded."""
    world = open_world("RoadDriving-v0", QUIET)
    for name in ("wind", "gain", "delay"):
        env = guarded(world).disturbed({name: 5.0, "overwrite": 0.5}).make()
        names = []
        while isinstance(env, gymnasium.Wrapper):
            names.append(type(env).__name__)
            env = env.env
        inside = {"wind": "Wind", "gain": "Gain", "delay": "DelayedActions"}[name]
        assert names.index("OverwrittenActions") < names.index("SafetyFilter")
        assert names.index("SafetyFilter") < names.index(inside)


def test_wind_moves_the_car_although_the_filter_changed_the_command():
    world = open_world("RoadDriving-v0", QUIET)
    seen = []
    for strength in (0.0, 5.0):
        env = guarded(world).disturbed({"wind": strength}).make()
        env.reset(seed=3)
        *_, info = env.step(np.array([1.0, 0.0], np.float32))  # at full lock, from the same place
        seen.append((info["filtered"], env.unwrapped.state.steer_rad))
    (plain, straight_rad), (windy, pushed_rad) = seen
    assert plain and windy, "the filter changed both commands"
    assert straight_rad != pushed_rad, "and the wind what came of it"


def test_who_does_not_swing_out_stands_behind_a_parked_car(monkeypatch):
    monkeypatch.setattr("envs.driving.road_expert.PASSING", Passing(clearance_m=-0.3))
    config = RoadDrivingConfig(camera="none", tracks="held_out", on_crash="recover")
    collisions = []
    for is_guarded in (False, True):
        inner = RoadDrivingEnv(config)
        env = SafetyFilter(inner) if is_guarded else inner
        _, info = env.reset(seed=5)
        collisions.append(0)
        for _ in range(450):
            *_, info = env.step(drive_road(inner, None, info))
            collisions[-1] += info["collided"]
    assert collisions[0] > 0 and collisions[1] == 0


def test_other_environments_are_refused():
    with pytest.raises(TypeError, match="`env` must be a RoadDrivingEnv, got CartPoleEnv"):
        SafetyFilter(gymnasium.make("CartPole-v1").unwrapped)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_no_bad_driver_gets_out_of_the_lane_or_into_another(seed: int):
    for traffic in ("none", "full"):
        env, _ = make(seed, traffic=traffic)
        for driver in (Drunkard(seed), lambda: LEFT, lambda: RIGHT):
            drive(env, driver, 500)
