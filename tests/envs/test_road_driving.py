"""RoadDriving-v0: pedals, crashes, being put back, rewards, repeatability, and its expert."""

import math

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import envs  # noqa: F401 - registers the world
from envs.driving import make_road
from envs.driving.bodies import Body
from envs.driving.periodic import ahead_m
from envs.driving.road_config import RoadDrivingConfig
from envs.driving.road_driving import RoadDrivingEnv
from envs.driving.road_expert import drive_road
from envs.driving.traffic_draws import LEVELS
from ncp_control.acting.recorder import run_episodes
from ncp_control.records import frames_in, numbers_in
from ncp_control.worlds import find_world


def make(**settings) -> RoadDrivingEnv:
    return RoadDrivingEnv(RoadDrivingConfig(**{"camera": "none", "traffic": "none"} | settings))


def straightest_m(track: int) -> float:
    """Return where a track is straight for the longest."""
    curvature = np.abs(make_road(track).curvature_1pm)
    window = np.convolve(np.concatenate([curvature, curvature[:160]]), np.ones(160), "valid")
    return float(np.argmin(window)) * make_road(track).spacing_m


def park(env: RoadDrivingEnv, gap_m: float) -> Body:
    """Put a car that stands into the own lane, ahead of the driven one."""
    place_m = (env.driven.arc_length_m + gap_m) % env.road.length_m
    one = Body(
        kind="parked",
        length_m=4.0,
        width_m=1.8,
        height_m=1.4,
        arc_length_m=place_m,
        lateral_m=-1.75,
    )
    env.traffic.parked = [one]
    env.traffic.bodies = [one]
    env.traffic._locate()
    return one


@pytest.mark.filterwarnings("ignore:.*Not able to test alternative render modes")
@pytest.mark.parametrize("observe", ["full", "frames"])
def test_gymnasium_accepts_it(observe: str):
    config = RoadDrivingConfig(observe=observe)
    env = gymnasium.make("RoadDriving-v0", config=config, render_mode="rgb_array")
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


@pytest.mark.parametrize(("pedal", "expected_mps2"), [(1.0, 3.0), (0.5, 1.5), (-0.5, -2.5)])
def test_the_pedal_accelerates_by_what_it_says(pedal: float, expected_mps2: float):
    env = make()
    env.reset(seed=0, options={"track": 3, "start_m": straightest_m(3)})
    speeds = [env.step(np.array([0.0, pedal], np.float32))[4]["speed_mps"] for _ in range(30)]
    found = (speeds[-1] - speeds[9]) / (20 / 30)
    assert found == pytest.approx(expected_mps2, rel=0.06)


@pytest.mark.parametrize("friction", [1.0, 0.4])
def test_braking_ends_at_a_standstill_within_the_grip(friction: float):
    env = make(friction=friction)
    env.reset(seed=0, options={"track": 3, "start_m": straightest_m(3)})
    start_mps = env._state.speed_mps
    for _ in range(90):
        *_, info = env.step(np.array([0.0, -1.0], np.float32))
        assert info["speed_mps"] > -0.05
    assert abs(info["speed_mps"]) < 0.05
    shortest_m = start_mps**2 / (2.0 * min(5.0, 9.81 * friction))
    assert 0.95 * shortest_m < info["distance_m"] < 1.35 * shortest_m


def test_the_brake_works_whatever_the_action_asks_for():
    env = make()
    env.reset(seed=0, options={"track": 3, "start_m": straightest_m(3)})
    env.is_braking = True
    for _ in range(60):
        *_, info = env.step(np.array([0.0, 1.0], np.float32))
    assert abs(info["speed_mps"]) < 0.05


def test_speed_stays_below_the_top():
    env = make(top_speed_mps=7.0)
    env.reset(seed=0, options={"track": 3, "start_m": straightest_m(3)})
    speeds = [env.step(np.array([0.0, 1.0], np.float32))[4]["speed_mps"] for _ in range(40)]
    assert 6.5 < max(speeds) < 7.1


def test_who_only_steers_runs_into_the_car_ahead():
    num_collisions = 0
    for seed in range(4):
        env = make(traffic="light", observe="frames")
        _, info = env.reset(seed=seed)
        is_over = False
        while not is_over:
            action = drive_road(env, None, info)
            action[1] = 0.3
            *_, terminated, truncated, info = env.step(action)
            is_over = terminated or truncated
        num_collisions += info["collided"]
        assert info["crashed"] == terminated
    assert num_collisions >= 3


def test_a_collision_costs_and_the_car_is_put_past_what_is_parked():
    env = make(on_crash="recover")
    env.reset(seed=0, options={"track": 3, "start_m": straightest_m(3)})
    one, collided = park(env, 14.0), False
    for _ in range(90):
        before_m = env._distance_m
        _, reward, terminated, _, info = env.step(np.array([0.0, 0.5], np.float32))
        assert not terminated
        assert ("collided_with" in info) == info["collided"]
        if info["collided"]:
            collided = True
            assert info["collided_with"] == "parked"
            assert reward < info["distance_m"] - before_m - 29.9
            assert info["speed_mps"] == 0.0 and info["cross_track_m"] == pytest.approx(0.0)
            along_m = ahead_m(one.arc_length_m, info["arc_length_m"], env.road.length_m)
            assert 4.0 <= along_m - 0.5 * (3.64 + 4.0) < 6.0
            assert info["gap_m"] == 60.0
            break
    assert collided
    for _ in range(60):  # it does not touch it again
        *_, info = env.step(np.array([0.0, 0.5], np.float32))
        assert not info["collided"]


def test_after_a_collision_with_a_car_that_drives_the_car_is_put_behind_it():
    env = make(on_crash="recover")
    env.reset(seed=0, options={"track": 3, "start_m": straightest_m(3)})
    one = park(env, 14.0)
    one.kind = "car"
    for _ in range(90):
        *_, info = env.step(np.array([0.0, 0.5], np.float32))
        if info["collided"]:
            along_m = ahead_m(info["arc_length_m"], one.arc_length_m, env.road.length_m)
            assert 8.0 <= along_m - 0.5 * (3.64 + 4.0) < 10.0
            assert info["gap_m"] == pytest.approx(along_m - 3.82)
            return
    pytest.fail("nothing was touched")


def test_leaving_the_lane_to_either_side_is_a_departure():
    for side in (1.0, -1.0):
        env = make()
        env.reset(seed=0, options={"track": 3, "start_m": straightest_m(3)})
        terminated = False
        while not terminated:
            _, _, terminated, truncated, info = env.step(np.array([side, 0.0], np.float32))
            assert not truncated and terminated == (abs(info["cross_track_m"]) > 1.75)
        assert info["departed"] and not info["collided"] and side * info["cross_track_m"] > 0.0


def test_rewards_add_up_to_progress_minus_costs():
    env = make(traffic="full", on_crash="recover", episode_s=20.0)
    _, info = env.reset(seed=2)
    rewards, expected_m, is_over = 0.0, 0.0, False
    rng = np.random.default_rng(0)
    while not is_over:
        action = drive_road(env, None, info) + rng.normal(0.0, 0.5, 2)
        place = env._place
        _, reward, _, is_over, info = env.step(np.clip(action, -1, 1).astype(np.float32))
        rewards += reward
        expected_m -= 30.0 * info["collided"] + 10.0 * info["departed"]
        if not info["crashed"]:  # after a crash it tells of the place where the car was put
            expected_m -= 0.3 * abs(info["cross_track_m"]) / 30.0
        else:
            expected_m -= 0.3 * abs(place.lateral_m + 1.75) / 30.0
    assert rewards == pytest.approx(info["distance_m"] + expected_m, abs=0.2)


def test_standing_without_reason_is_told_and_with_reason_is_not():
    env = make()
    env.reset(seed=0, options={"track": 3, "start_m": straightest_m(3)})
    infos = [env.step(np.array([0.0, -1.0], np.float32))[4] for _ in range(150)]
    assert not any(info["stood_idle"] for info in infos[:85])  # it may stop to look
    assert all(info["stood_idle"] for info in infos[-30:])
    park(env, 12.0).kind = "car"
    env.traffic.parked = []  # one that will go on
    assert not env.step(np.array([0.0, -1.0], np.float32))[4]["stood_idle"]


def test_the_same_seed_gives_the_same_drive():
    def trace(seed: int) -> list[np.ndarray]:
        env = RoadDrivingEnv(RoadDrivingConfig(randomize_appearance=True, friction=(0.5, 1.0)))
        seen, info = env.reset(seed=seed)
        frames = [seen["frame"]]
        for _ in range(20):
            seen, *_, info = env.step(drive_road(env, seen, info))
            frames.append(seen["frame"])
        return [np.array(frames), env.traffic.poses, np.array([info["friction"]])]

    first, again, other = trace(4), trace(4), trace(5)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert first[2] != other[2] and not np.array_equal(first[0], other[0])


def test_the_world_shows_a_record_of_frame_and_speed():
    world = find_world("RoadDriving-v0", traffic="light")
    assert world.contract.world_options == {"traffic": "light"}
    env = world.make()
    seen, info = env.reset(seed=1)
    assert numbers_in(seen, (78, 200, 3)) == pytest.approx([info["speed_mps"]])
    alone = find_world("RoadDriving-v0", traffic="light", observe="frames").make()
    np.testing.assert_array_equal(frames_in(seen, (78, 200, 3)), alone.reset(seed=1)[0])


def test_conditions_change_the_frame_of_a_record_and_not_the_speed():
    world = find_world("RoadDriving-v0")
    plain, info = world.make().reset(seed=1)
    for name in ("fog", "noise"):
        strength = 3.0 if name == "fog" else 0.1
        seen, _ = world.disturbed({name: strength}).make().reset(seed=1)
        assert numbers_in(seen, (78, 200, 3)) == pytest.approx([info["speed_mps"]])
        changed = frames_in(seen, (78, 200, 3)) != frames_in(plain, (78, 200, 3))
        assert changed.mean() > 0.5


@pytest.mark.parametrize("seed", range(2))
def test_the_expert_drives_in_full_traffic_without_a_fault(seed: int):
    world = find_world("RoadDriving-v0", camera="none", on_crash="recover", episode_s=25.0)
    seeds = [100 + seed]
    measured = world.measure(run_episodes(world, None, seeds=seeds, expert=world.expert))
    assert measured["collisions"] == measured["lane_departures"] == 0
    assert measured["driven_km"] > 0.05 and measured["idle_share"] < 0.02
    assert measured["lateral_p95_mps2"] < 3.0 and measured["mean_jerk_mps3"] < 3.0


@pytest.mark.slow
@pytest.mark.parametrize("friction", [1.0, [0.5, 1.0]])
def test_the_expert_drives_kilometres_without_a_fault(friction):
    world = find_world(
        "RoadDriving-v0", camera="none", on_crash="recover", tracks="held_out", friction=friction
    )
    seeds = range(500, 510)
    episodes = run_episodes(world, None, seeds=seeds, parallel=1, expert=world.expert)
    measured = world.measure(episodes)
    assert measured["collisions"] == measured["lane_departures"] == 0
    assert measured["driven_km"] > 2.5


def test_the_expert_is_slow_beside_people_and_nowhere_else_on_a_straight():
    env = make(traffic="full", on_crash="recover")
    for stands in (True, False):
        _, info = env.reset(seed=0, options={"track": 3, "start_m": straightest_m(3)})
        person = env.traffic.people[0]
        person.likelihood = 0.0
        person.arc_length_m = (info["arc_length_m"] + 30.0) % env.road.length_m
        env.traffic.cars, env.traffic.parked, env.traffic.people = [], [], [person] * stands
        env.traffic.bodies = [*env.traffic.people]
        beside_mps = []
        for _ in range(400):
            *_, info = env.step(drive_road(env, None, info))
            along_m = ahead_m(info["arc_length_m"], person.arc_length_m, env.road.length_m)
            if 0.0 < along_m < 10.0:
                beside_mps.append(info["speed_mps"])
        assert len(beside_mps) > 10
        assert (max(beside_mps) < 5.0) == stands


def test_the_expert_waits_before_a_parked_car_while_somebody_comes():
    env = make(traffic="full", on_crash="recover")
    start_m = straightest_m(3)
    for comes in (True, False):
        _, info = env.reset(seed=0, options={"track": 3, "start_m": start_m})
        cars = [car for car in env.traffic.cars if car.direction < 0][:1]
        env.traffic.cars, env.traffic.people = cars if comes else [], []
        one = park(env, 30.0)
        one.lateral_m = -2.6  # left side at -1.7
        env.traffic.bodies += env.traffic.cars
        for car in env.traffic.cars:
            car.arc_length_m = (one.arc_length_m + 45.0) % env.road.length_m
            car.wishes_mps, car.wish_mps, car.speed_mps = (3.0, 3.0), 3.0, 3.0
        speeds, offsets = [], []
        for _ in range(870 if comes else 540):
            *_, info = env.step(drive_road(env, None, info))
            assert not info["crashed"]
            speeds.append(info["speed_mps"])
            offsets.append(info["cross_track_m"])
        assert (min(speeds[30:]) < 0.5) == comes
        assert max(offsets) > 1.0  # past it in the end
        assert ahead_m(one.arc_length_m, info["arc_length_m"], env.road.length_m) > 10.0


def test_the_expert_still_waits_when_it_has_crept_to_the_parked_car():
    env = make(traffic="full", on_crash="recover")
    _, info = env.reset(seed=0, options={"track": 3, "start_m": straightest_m(3)})
    (car,) = [car for car in env.traffic.cars if car.direction < 0][:1]
    env.traffic.cars, env.traffic.people = [car], []
    one = park(env, 30.0)
    one.lateral_m = -2.6
    env.traffic.bodies += [car]
    for _ in range(900):  # the other car stands in the way all the time
        car.arc_length_m = (one.arc_length_m + 14.0) % env.road.length_m
        car.wishes_mps, car.wish_mps, car.speed_mps = (0.1, 0.1), 0.1, 0.0
        *_, info = env.step(drive_road(env, None, info))
        assert not info["crashed"] and abs(info["cross_track_m"]) < 0.5
    assert info["speed_mps"] < 0.2


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"traffic": "heavy"}, r"'full', 'light', 'none'\], got 'heavy'"),
        ({"observe": "smell"}, r"`observe` must be one of \['frames', 'full'\], got 'smell'"),
        ({"camera": "mujoco"}, r"`camera` must be one of \['none', 'opencv'\], got 'mujoco'"),
        ({"friction": 0.1}, "`friction` must be a number from 0.2 to 1.5"),
        ({"friction": (1.0, 0.5)}, "`friction` must be a number from 0.2 to 1.5"),
        ({"friction": ()}, "`friction` must be a number from 0.2 to 1.5"),
        ({"friction": "wet"}, "`friction` must be a number from 0.2 to 1.5"),
        ({"top_speed_mps": math.inf}, "`top_speed_mps` must be positive, got inf"),
        ({"collision_cost_m": -1.0}, "`collision_cost_m` must be finite and >= 0, got -1.0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict, told: str):
    with pytest.raises(ValueError, match=told):
        RoadDrivingConfig(**settings)


def test_levels_are_those_of_the_settings():
    assert all(RoadDrivingConfig(traffic=name).traffic == name for name in LEVELS)
