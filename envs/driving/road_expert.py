"""Expert for `RoadDrivingEnv` that knows the whole road and all bodies on it.

It steers by pure pursuit along the middle of its lane, on a path that swings out past parked cars.
Its speed is the lowest allowed by: bends ahead, slow passing, people beside the road, the
intelligent driver model for bodies ahead, stopping for people who cross, and stopping in front of a
parked car if an oncoming car would meet it there.

The expert has no memory: its action depends only on the current state of the world.
"""

import math
from typing import Any

import gymnasium
import numpy as np

from envs.driving.bodies import Body
from envs.driving.car_following import DriverModel, limit_at, speed_limits
from envs.driving.passing import RAMP_M, Passing
from envs.driving.periodic import ahead_m
from envs.driving.pure_pursuit import PurePursuit
from envs.driving.road_driving import RoadDrivingEnv
from envs.driving.traffic import OWN_LANE_M, ROAD_HALF_WIDTH_M, Person

CRUISE_MPS, PASSING_MPS, PEOPLE_MPS = 14.0, 4.5, 3.5
"""Speeds on a free straight, beside a parked car, and where people stand beside the road. The last
is low so that a person who steps out is near and large in the frame."""
LATERAL_MPS2, BRAKING_MPS2 = 2.5, 2.0
"""Lateral acceleration in bends, and deceleration before bends, on dry asphalt."""
PASSING = Passing(clearance_m=1.0, straight_m=3.5, back_m=30.0, most_m=1.55)
"""The car leaves its lane at 1.75 m, so it passes the widest parked cars at 0.6 m. A parked car
leaves the frame before the car is past it. The way back is so long that a learner who swings back
from that moment on does not touch it."""

_DRIVER = DriverModel(acceleration_mps2=2.0, braking_mps2=2.0, time_gap_s=1.8, standing_gap_m=6.0)
_AIR_M = 0.35  # gap beside bodies that are passed without slowing down
_PREVIEW_M = np.arange(2.0, 22.0, 1.0)
_SIGHT_M = 90.0
_BEFORE_PEOPLE_M = 15.0  # distance before a person at which the car must be slow
_REACTION_S = 0.3  # the target speed is that of the place the car reaches after this time
_CREPT_M = 1.0  # a car that crept so far past the place where it waits can still wait
_MEETING_M = 0.2  # if its left side is farther left than this, the car waits for oncoming traffic


def drive_road(env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> np.ndarray:
    """Return steering and acceleration, each in [-1, 1].

    Args:
        env: A `RoadDrivingEnv`, with or without wrappers.
        observation: Not used.
        info: The environment's info.
    """
    world: Any = env.unwrapped
    assert isinstance(world, RoadDrivingEnv)
    return np.array([_steering(world, info), _pedal(world, info)], np.float32)


def _steering(world: RoadDrivingEnv, info: dict[str, Any]) -> float:
    """Return the steering action; pure pursuit looks farther ahead at higher speed."""
    place_m = info["arc_length_m"]
    ahead_of_car_m = [place_m + distance_m for distance_m in _PREVIEW_M.tolist()]
    line = [_line_m(world, at_m) for at_m in ahead_of_car_m]
    pursuit = PurePursuit(
        wheelbase_m=world.car.wheelbase_m,
        max_steer_rad=world.config.max_steer_rad,
        lookahead_m=4.5 + 0.35 * max(info["speed_mps"], 0.0),
    )
    return float(pursuit(world.preview(_PREVIEW_M, np.array(line)))[0])


def _line_m(world: RoadDrivingEnv, at_m: float) -> float:
    """Return the lateral position of the path at a place, to the left of the centre line [m]."""
    parked, lap_m = world.traffic.parked, world.road.length_m
    return PASSING.line_m(at_m, world.driven, OWN_LANE_M, parked, lap_m)


def _pedal(world: RoadDrivingEnv, info: dict[str, Any]) -> float:
    """Return the acceleration action in [-1, 1]."""
    config, speed_mps = world.config, max(info["speed_mps"], 0.0)
    grip = min(info["friction"], 1.0)
    place_m = info["arc_length_m"]
    limits = speed_limits(
        world.road, OWN_LANE_M, LATERAL_MPS2 * grip, BRAKING_MPS2 * grip, CRUISE_MPS
    )
    limit_mps = limit_at(limits, world.road, place_m + _REACTION_S * speed_mps)
    limit_mps = min(
        limit_mps, _passing_limit_mps(world, place_m), _people_limit_mps(world, place_m)
    )
    wanted = (limit_mps - speed_mps) / _REACTION_S
    wanted = min(wanted, 2.0 * grip)
    for gap_m, ahead_mps in _obstacles(world, place_m, speed_mps):
        wanted = min(wanted, _follow(speed_mps, gap_m, ahead_mps))
    scale = config.throttle_mps2 if wanted > 0.0 else config.braking_mps2
    return min(max(wanted / scale, -1.0), 1.0)


def _follow(speed_mps: float, gap_m: float, ahead_mps: float) -> float:
    """Return the acceleration behind a body [m/s²]; full braking if the gap is below 1 m."""
    if gap_m < 1.0:
        return -math.inf
    return _DRIVER.acceleration(speed_mps, CRUISE_MPS, gap_m, ahead_mps)


def _passing_limit_mps(world: RoadDrivingEnv, place_m: float) -> float:
    """Return the highest speed that still allows slowing down for the parked cars ahead [m/s]."""
    limit_mps = math.inf
    driven = world.driven
    for one in world.traffic.parked:
        along_m = ahead_m(place_m, one.arc_length_m, world.road.length_m)
        reach_m = 0.5 * driven.length_m + one.reach_m + PASSING.straight_m
        if PASSING.shift_m(driven, OWN_LANE_M, one) < 0.05:
            continue
        if -reach_m - RAMP_M < along_m < _SIGHT_M:
            way_m = along_m - reach_m - RAMP_M
            limit_mps = min(limit_mps, _slowing_mps(PASSING_MPS, way_m))
    return limit_mps


def _people_limit_mps(world: RoadDrivingEnv, place_m: float) -> float:
    """Return the highest speed that still allows slowing down for the people ahead [m/s]."""
    limit_mps = math.inf
    for person in world.traffic.people:
        along_m = ahead_m(place_m, person.arc_length_m, world.road.length_m)
        if 0.0 < along_m < _SIGHT_M:
            limit_mps = min(limit_mps, _slowing_mps(PEOPLE_MPS, along_m - _BEFORE_PEOPLE_M))
    return limit_mps


def _slowing_mps(speed_mps: float, way_m: float) -> float:
    """Return the speed from which the car can slow down to `speed_mps` within a distance [m/s]."""
    return math.sqrt(speed_mps**2 + 2.0 * BRAKING_MPS2 * max(0.0, way_m))


def _obstacles(
    world: RoadDrivingEnv, place_m: float, speed_mps: float
) -> list[tuple[float, float]]:
    """Return gap [m] and speed [m/s] of each body that the car must keep away from."""
    driven, lap_m, traffic = world.driven, world.road.length_m, world.traffic
    half_m = 0.5 * driven.width_m + _AIR_M
    found = []
    for body in (*traffic.cars, *traffic.people):
        along_m = ahead_m(place_m, body.arc_length_m, lap_m)
        gap_m = along_m - 0.5 * driven.length_m - body.reach_m
        if not (0.0 < along_m < _SIGHT_M):
            continue
        if isinstance(body, Person):
            if body.way_crosses(-ROAD_HALF_WIDTH_M, 0.3):
                found.append((gap_m, 0.0))
            continue
        middle_m = _line_m(world, body.arc_length_m)
        if abs(body.lateral_m - middle_m) < half_m + body.half_width_m and body.direction > 0:
            found.append((gap_m, body.speed_mps))
    for one in traffic.parked:
        gap_m = ahead_m(place_m, one.arc_length_m, lap_m) - 0.5 * driven.length_m - one.reach_m
        if 0.0 < gap_m < _SIGHT_M and _must_wait(world, one, gap_m, speed_mps):
            found.append((max(gap_m - RAMP_M + _DRIVER.standing_gap_m, 0.5), 0.0))
    return found


def _must_wait(world: RoadDrivingEnv, parked: Body, gap_m: float, speed_mps: float) -> bool:
    """Whether the car would meet oncoming traffic beside a parked car and can still stop before."""
    driven, lap_m = world.driven, world.road.length_m
    shift_m = PASSING.shift_m(driven, OWN_LANE_M, parked)
    if OWN_LANE_M + shift_m + 0.5 * driven.width_m < _MEETING_M:
        return False
    before_m = gap_m - RAMP_M  # distance to where the car starts to swing out
    if before_m < speed_mps**2 / (2.0 * 3.5) - _CREPT_M:
        return False  # too late to stop: the car is already passing
    # Half-way back, it is no longer in the way of oncoming cars.
    length_m = 2.0 * (PASSING.straight_m + parked.reach_m) + driven.length_m
    length_m += RAMP_M + 0.5 * PASSING.back_m
    pass_s = _time_s(before_m + length_m, speed_mps, PASSING_MPS, 1.5) + 1.0
    for car in world.traffic.cars:
        if car.direction > 0:
            continue
        beyond_m = ahead_m(parked.arc_length_m, car.arc_length_m, lap_m) + parked.reach_m + RAMP_M
        way_m = beyond_m - 0.5 * car.length_m - 2.0 * RAMP_M
        if beyond_m > -car.length_m and way_m < pass_s * (car.speed_mps + 1.5):
            return True
    return False


def _time_s(way_m: float, speed_mps: float, top_mps: float, acceleration_mps2: float) -> float:
    """Return the time to cover a distance while accelerating up to a top speed [s]."""
    if speed_mps >= top_mps:
        return way_m / top_mps
    rising_s = (top_mps - speed_mps) / acceleration_mps2
    risen_m = 0.5 * (speed_mps + top_mps) * rising_s
    if risen_m < way_m:
        return rising_s + (way_m - risen_m) / top_mps
    squared = speed_mps**2 + 2.0 * acceleration_mps2 * way_m
    return (math.sqrt(squared) - speed_mps) / acceleration_mps2
