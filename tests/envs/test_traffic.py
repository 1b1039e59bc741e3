"""Traffic: car following by its closed form, collisions by another library, fair people, seeds."""

import itertools
import math

import cv2
import numpy as np
import pytest

from envs.driving import make_road
from envs.driving.bodies import Body, Rectangle, do_touch
from envs.driving.car_following import DriverModel, speed_limits
from envs.driving.passing import Passing
from envs.driving.periodic import ahead_m
from envs.driving.traffic import FAIR_BRAKING_MPS2, OWN_LANE_M
from envs.driving.traffic_draws import LEVELS, draw_traffic

DT_S = 1 / 30


def driven_at(arc_length_m: float, speed_mps: float = 0.0) -> Body:
    return Body(
        kind="car", length_m=3.6, width_m=1.66, height_m=1.4, arc_length_m=arc_length_m,
        lateral_m=OWN_LANE_M, speed_mps=speed_mps,
    )  # fmt: skip


@pytest.mark.parametrize("ahead_mps", [3.0, 8.0])
def test_a_follower_settles_at_the_gap_of_the_closed_form(ahead_mps: float):
    driver, wish_mps = DriverModel(), 12.0
    speed_mps, gap_m = 10.0, 40.0
    for _ in range(6000):
        speed_mps += DT_S * driver.acceleration(speed_mps, wish_mps, gap_m, ahead_mps)
        gap_m += DT_S * (ahead_mps - speed_mps)
    free = 1.0 - (ahead_mps / wish_mps) ** 4
    expected_m = (driver.standing_gap_m + ahead_mps * driver.time_gap_s) / math.sqrt(free)
    assert speed_mps == pytest.approx(ahead_mps, rel=1e-3)
    assert gap_m == pytest.approx(expected_m, rel=1e-3)


def test_a_free_driver_keeps_the_wished_speed():
    assert DriverModel().acceleration(9.0, 9.0, math.inf, 0.0) == 0.0
    assert DriverModel().acceleration(0.0, 9.0, math.inf, 0.0) == DriverModel().acceleration_mps2


@pytest.mark.parametrize("is_reversed", [False, True])
def test_limits_keep_to_lateral_and_braking_acceleration(is_reversed: bool):
    road, lateral_m = make_road(5), -1.75
    limits = np.array(speed_limits(road, lateral_m, 2.5, 2.0, 14.0, is_reversed=is_reversed))
    stretch = 1.0 - road.curvature_1pm * lateral_m
    assert (limits**2 * np.abs(road.curvature_1pm) / stretch).max() <= 2.5 + 1e-9
    after = np.roll(limits, 1 if is_reversed else -1)
    gained = (limits**2 - after**2) / (2.0 * road.spacing_m * stretch)
    assert gained.max() <= 2.0 + 1e-9  # the seam included
    assert 3.0 < limits.min() < 6.0 and limits.max() > 9.0


def test_touching_agrees_with_another_library():
    rng, found = np.random.default_rng(0), []
    for _ in range(3000):
        one, other = (
            Rectangle(*rng.uniform(-2.5, 2.5, 2), rng.uniform(-7, 7), *rng.uniform(0.2, 2.0, 2))
            for _ in range(2)
        )
        boxes = [
            ((r.x_m, r.y_m), (2 * r.half_length_m, 2 * r.half_width_m), math.degrees(r.yaw_rad))
            for r in (one, other)
        ]
        expected = cv2.rotatedRectangleIntersection(*boxes)[0] != cv2.INTERSECT_NONE
        found.append(expected)
        # A touch by less than a thousandth is a matter of rounding.
        grown, shrunk = (
            one._replace(half_length_m=one.half_length_m + d, half_width_m=one.half_width_m + d)
            for d in (1e-3, -1e-3)
        )
        if do_touch(grown, other) == do_touch(shrunk, other):
            assert do_touch(one, other) == do_touch(other, one) == expected
    assert 0.2 < np.mean(found) < 0.9


def test_the_way_between_two_places_is_the_short_one():
    assert ahead_m(390.0, 10.0, 400.0) == pytest.approx(20.0)
    assert ahead_m(10.0, 390.0, 400.0) == pytest.approx(-20.0)


def test_the_line_passes_a_parked_car_with_the_clearance_asked_for():
    car = driven_at(0.0)
    parked = Body(
        kind="parked", length_m=4.2, width_m=1.8, height_m=1.4, arc_length_m=60.0, lateral_m=-3.2
    )  # fmt: skip
    places_m = np.arange(0.0, 120.0, 0.25)
    passing = Passing(clearance_m=0.5)
    line = np.array([passing.line_m(s, car, OWN_LANE_M, [parked], 400.0) for s in places_m])
    beside = np.abs(places_m - 60.0) < 0.5 * (4.2 + 3.6)
    assert line[beside] - 0.83 - (-3.2 + 0.9) == pytest.approx(0.5)
    assert line[0] == line[-1] == OWN_LANE_M
    assert np.abs(np.diff(line)).max() < 0.06  # no jump


def test_the_way_back_may_be_longer_than_the_way_out():
    car = driven_at(0.0)
    parked = Body(
        kind="parked", length_m=4.2, width_m=1.8, height_m=1.4, arc_length_m=60.0, lateral_m=-3.2
    )  # fmt: skip
    passing = Passing(clearance_m=0.5, straight_m=2.0, back_m=30.0)
    beside_m = 0.5 * (car.length_m + 4.2) + 2.0
    line = {
        part: [passing.line_m(60.0 + at_m, car, OWN_LANE_M, [parked], 400.0) for at_m in places_m]
        for part, places_m in {
            "out": -beside_m - np.array([12.0, 6.0, 0.0]),
            "back": beside_m + np.array([30.0, 15.0, 0.0]),
        }.items()
    }
    shift_m = passing.shift_m(car, OWN_LANE_M, parked)
    half_way = [OWN_LANE_M, OWN_LANE_M + 0.5 * shift_m, OWN_LANE_M + shift_m]
    assert line["out"] == pytest.approx(half_way) and line["back"] == pytest.approx(half_way)


def run(track: int, seed: int, seconds: float, speed_mps: float = 6.0):
    """Let traffic go round while the driven car keeps its lane at a speed."""
    road = make_road(track)
    driven = driven_at(0.0, speed_mps)
    traffic = draw_traffic(road, LEVELS["full"], seed, 0.0, speed_mps)
    traffic.begin(driven)
    for _ in range(round(seconds / DT_S)):
        driven.arc_length_m = (driven.arc_length_m + speed_mps * DT_S) % road.length_m
        traffic.step(DT_S, driven)
        yield road, driven, traffic


@pytest.mark.parametrize("seed", range(6))
def test_bodies_of_the_traffic_never_touch_each_other(seed: int):
    for step, (_, _, traffic) in enumerate(run(seed, seed, 40.0, speed_mps=0.0)):
        if step % 5 == 0:
            boxes = zip(traffic.bodies, traffic.rectangles(), strict=True)
            for (one, box), (other, other_box) in itertools.combinations(boxes, 2):
                assert not do_touch(box, other_box), (step, one, other)


def test_the_same_seed_gives_the_same_traffic_and_another_seed_another():
    def trace(seed: int) -> np.ndarray:
        return np.concatenate([t.poses.ravel() for _, _, t in run(3, seed, 4.0)])

    np.testing.assert_array_equal(trace(1), trace(1))
    first, second = trace(1), trace(2)
    assert first.shape != second.shape or not np.array_equal(first, second)


def test_people_step_out_only_before_a_driver_who_can_stop():
    speed_mps, num_steps_out = 7.0, 0
    for seed in range(8):
        crossed: set[int] = set()
        for road, driven, traffic in run(seed, seed, 20.0, speed_mps):
            traffic.cars = ()  # they would hold people back
            for person in traffic.people:
                if person.is_crossing and id(person) not in crossed:
                    crossed.add(id(person))
                    gap_m = (person.arc_length_m - driven.arc_length_m) % road.length_m - 2.1
                    assert gap_m > speed_mps + speed_mps**2 / (2.0 * FAIR_BRAKING_MPS2) - 0.5
        num_steps_out += len(crossed)
    assert num_steps_out > 3


@pytest.mark.parametrize("level", ["none", "light", "full"])
def test_a_level_bounds_who_is_there(level: str):
    counts = []
    for seed in range(20):
        traffic = draw_traffic(make_road(seed % 4), LEVELS[level], seed, 10.0, 5.0)
        own = sum(car.direction > 0 for car in traffic.cars)
        counts.append((own, len(traffic.cars) - own, len(traffic.parked), len(traffic.people)))
        for one in traffic.parked:  # partly in the lane, but not beyond its middle
            assert -3.5 < one.lateral_m + one.half_width_m < OWN_LANE_M + 0.3
            assert abs(ahead_m(10.0, one.arc_length_m, traffic.road.length_m)) > 30.0
    limits = LEVELS[level]
    for found, (_, most) in zip(
        np.array(counts).T, (limits.own, limits.oncoming, limits.parked, limits.people), strict=True
    ):
        assert found.max() <= most and (found.max() > 0) == (most > 0)


@pytest.mark.parametrize("speed_mps", [7.0, 0.0])
def test_who_was_held_back_lets_a_car_pass_that_is_too_near(speed_mps: float):
    traffic = next(
        t for s in range(9) if (t := draw_traffic(make_road(0), LEVELS["full"], s, 0.0, 5.0)).people
    )
    traffic.cars, person = (), traffic.people[0]
    person.has_decided = person.means_to_cross = True
    traffic.step(DT_S, driven_at(person.arc_length_m - 9.0, speed_mps))
    assert person.is_crossing == (speed_mps == 0.0)
