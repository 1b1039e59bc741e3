"""Safety filter for any driver of `RoadDriving-v0`, based on control barrier functions.

The filter changes an action as little as needed to keep three functions h of the world's state from
falling below zero. The condition ḣ ≥ -α h for every h gives a box of allowed actions. The nearest
point of a box (the quadratic program of Ames et al.) is found by clipping each entry.

**In the lane.** Let y be the offset of the rear axle from the middle of the lane, ψ its heading
relative to the road, v the speed, k = tan δ / L the curvature of the car's path, and κ' the road's
curvature at that place, κ cos ψ / (1 - κ d) with d the offset from the centre line. The point
p = y + ℓ sin ψ is kept within ±m:

    ẏ = v sin ψ = v (p - y) / ℓ,        ṗ = v sin ψ + ℓ v cos ψ (k - κ')
    |k - κ' + tan ψ / ℓ| ≤ α (m ∓ p) / (ℓ v cos ψ)      on either side

so |p| ≤ m stays true. Then |y| ≤ m stays true as well, since y follows p; the car's middle lies
between them. With ℓ = 8 m the wheels can always turn as far as needed on a road with bends of 12 m.

**Behind a body ahead** with speed w at the gap g. b is the deceleration of the car, b_w the largest
deceleration of the body ahead:

    h = g - d - T v - v² / 2b + w² / 2b_w,      a ≤ (α h - v) / (T + v / b)

which holds even if that body brakes with b_w from now on, since the last term of h then falls by w.

**In bends**, with V the speed from which every bend ahead can be reached by braking:
h = V - v,  a ≤ v dV/ds + α h.

The filter considers cars in the own lane, people who cross it, and parked cars that the car would
hit on its way. It ignores oncoming cars and bodies beside the car. So a parked car may still be
touched in passing, and a driver who does not swing out far enough stops behind it. The proof
assumes dry asphalt, actuators without delay, no wind, and the correct steering gain. Steering takes
time and the car slips a little, so `m` is smaller than the lane.

Source: Ames et al. 2017, "Control barrier function based quadratic programs for safety critical
systems", IEEE TAC 62; the distance: Shalev-Shwartz et al. 2017 (arXiv 1708.06374). Difference: each
entry of the action has its own bounds, so that the program has a closed form.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from envs.driving.car_following import limit_at, speed_limits
from envs.driving.periodic import ahead_m, wrap_angle
from envs.driving.road_driving import RoadDrivingEnv
from envs.driving.traffic import OWN_LANE_M, ROAD_HALF_WIDTH_M
from ncp_control.worlds import World

if TYPE_CHECKING:
    from ncp_control.episode import Episode

LANE_M = 1.5
"""Largest offset m of the kept point; the car leaves its lane at 1.75 m."""
AHEAD_OF_AXLE_M = 8.0
"""Distance ℓ from the rear axle to the kept point in front of it."""
STANDING_M, PARKED_M, REACTION_S = 1.5, 0.5, 0.25
"""Gap d to other bodies and to parked cars, which must be passed; reaction time T of the brakes."""
BRAKING_MPS2, BRAKING_AHEAD_MPS2 = 4.0, 9.0
"""Decelerations b and b_w."""
LATERAL_MPS2, EARLY_MPS2, TOP_MPS = 3.0, 2.5, 15.0
"""Lateral acceleration in bends, deceleration before bends, and speed on a straight."""
LANE_RATE_1PS, GAP_RATE_1PS, BEND_RATE_1PS = 2.0, 2.0, 3.0
"""Rates α of the three functions."""
_SIGHT_M = 90.0
_AIR_M = 0.1  # gap beside a parked car
_CHANGED = 1e-4  # a smaller change of an action counts as rounding


class SafetyFilter(gymnasium.Wrapper):
    """Wrapper that changes actions as little as needed to stay in the lane and avoid bodies ahead.

    `info["filtered"]` says whether the action of this step was changed.

    Args:
        env: A `RoadDrivingEnv`, with or without wrappers.

    Raises:
        TypeError: If `env` is another environment.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        if not isinstance(env.unwrapped, RoadDrivingEnv):
            raise TypeError(
                f"`env` must be a RoadDrivingEnv, got {type(env.unwrapped).__name__}. The filter"
                " takes its numbers from that road."
            )
        self._world: RoadDrivingEnv = env.unwrapped

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        observation, info = super().reset(seed=seed, options=options)
        return observation, {**info, "filtered": False}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Drive for one control period with the nearest safe action."""
        asked = np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0)
        low, high = steering_bounds(self._world)
        applied = np.array(
            [min(max(asked[0], low), high), min(asked[1], pedal_bound(self._world))], np.float32
        )
        is_changed = bool(np.abs(applied - asked).max() > _CHANGED)
        observation, reward, terminated, truncated, info = self.env.step(applied)
        return observation, reward, terminated, truncated, {**info, "filtered": is_changed}


def guarded(world: World) -> World:
    """Return `RoadDriving-v0` with the filter, and with its share of changed actions as a measure.

    Disturbances of the body (delay, wind, gain) act after the filter; those of the driver act
    before it.
    """

    def make(**rendering: Any) -> gymnasium.Env:
        return SafetyFilter(world.make(**rendering))

    def measures(episodes: "Sequence[Episode]") -> dict[str, float]:
        share = np.concatenate([episode.infos["filtered"] for episode in episodes]).mean()
        return {**world.measures(episodes), "filtered_share": float(share)}

    names = (*world.measure_names, "filtered_share")
    # Disturbances of the body come first, so the filter becomes the outermost wrapper.
    inside = [
        replace(one, put=partial(_put_inside, put=one.put))
        for one in world.disturbances
        if one.is_of_body
    ]
    outside = [one for one in world.disturbances if not one.is_of_body]
    return replace(
        world,
        make=make,
        measures=measures,
        measure_names=names,
        disturbances=(*inside, *outside),
    )


def _put_inside(
    env: gymnasium.Env, strength: float, *, put: Callable[[gymnasium.Env, float], gymnasium.Env]
) -> gymnasium.Env:
    """Put a disturbance of the body between the filter and the car."""
    assert isinstance(env, SafetyFilter)
    return SafetyFilter(put(env.env, strength))


def steering_bounds(world: RoadDrivingEnv) -> tuple[float, float]:
    """Return the smallest and the largest steering that keep the car in its lane, in [-1, 1]."""
    state, road = world.state, world.road
    wheelbase_m = world.car.wheelbase_m
    rear_m = 0.5 * wheelbase_m
    x_m = state.x_m - rear_m * math.cos(state.yaw_rad)
    y_m = state.y_m - rear_m * math.sin(state.yaw_rad)
    place = road.project(x_m, y_m, near=world.driven.arc_length_m)
    turn_rad = wrap_angle(state.yaw_rad - road.heading_at(place.arc_length_m))
    cosine, sine = max(math.cos(turn_rad), 0.2), math.sin(turn_rad)
    kappa_1pm = road.curvature_at(place.arc_length_m)
    along_1pm = kappa_1pm * cosine / (1.0 - kappa_1pm * place.lateral_m)
    point_m = place.lateral_m - OWN_LANE_M + AHEAD_OF_AXLE_M * sine
    speed_mps = max(state.speed_mps, 0.5)
    gain = LANE_RATE_1PS / (AHEAD_OF_AXLE_M * speed_mps * cosine)
    straight_1pm = along_1pm - sine / (AHEAD_OF_AXLE_M * cosine)
    bounds = []
    for side_m in (-LANE_M, LANE_M):
        steer_rad = math.atan(wheelbase_m * (straight_1pm + gain * (side_m - point_m)))
        bounds.append(min(max(steer_rad / world.config.max_steer_rad, -1.0), 1.0))
    return bounds[0], bounds[1]


def pedal_bound(world: RoadDrivingEnv) -> float:
    """Return the largest acceleration action that is safe for gaps and bends ahead, in [-1, 1]."""
    config, speed_mps = world.config, max(world.driven.speed_mps, 0.0)
    bound_mps2 = _bend_bound_mps2(world, speed_mps)
    for way_m, ahead_mps in _bodies_ahead(world):
        safe_m = way_m - REACTION_S * speed_mps
        safe_m -= speed_mps**2 / (2.0 * BRAKING_MPS2)
        safe_m += ahead_mps**2 / (2.0 * BRAKING_AHEAD_MPS2)
        wanted = (GAP_RATE_1PS * safe_m - speed_mps) / (REACTION_S + speed_mps / BRAKING_MPS2)
        bound_mps2 = min(bound_mps2, wanted)
    scale = config.throttle_mps2 if bound_mps2 > 0.0 else config.braking_mps2
    return min(max(bound_mps2 / scale, -1.0), 1.0)


def _bend_bound_mps2(world: RoadDrivingEnv, speed_mps: float) -> float:
    """Return the largest acceleration that still allows braking for the bends ahead [m/s²]."""
    road, grip = world.road, min(world.friction, 1.0)
    limits = speed_limits(road, OWN_LANE_M, LATERAL_MPS2 * grip, EARLY_MPS2 * grip, TOP_MPS)
    place_m = world.driven.arc_length_m + REACTION_S * speed_mps
    here_mps = limit_at(limits, road, place_m)
    slope_1ps = (limit_at(limits, road, place_m + 1.0) - here_mps) / 1.0
    return speed_mps * slope_1ps + BEND_RATE_1PS * (here_mps - speed_mps)


def _bodies_ahead(world: RoadDrivingEnv) -> list[tuple[float, float]]:
    """Return for each body in the car's way the gap minus its limit [m], and its speed [m/s]."""
    driven, traffic, lap_m = world.driven, world.traffic, world.road.length_m
    half_m = driven.half_width_m + _AIR_M
    in_way = [(car, car.speed_mps, STANDING_M) for car in traffic.cars if car.direction > 0]
    in_way += [
        (one, 0.0, STANDING_M) for one in traffic.people if one.way_crosses(-ROAD_HALF_WIDTH_M, 0.3)
    ]
    in_way += [
        (one, 0.0, PARKED_M)
        for one in traffic.parked
        if abs(one.lateral_m - driven.lateral_m) < half_m + one.half_width_m
    ]
    found = []
    for body, speed_mps, standing_m in in_way:
        along_m = ahead_m(driven.arc_length_m, body.arc_length_m, lap_m)
        if 0.0 < along_m < _SIGHT_M:
            gap_m = along_m - driven.reach_m - body.reach_m
            found.append((gap_m - standing_m, speed_mps))
    return found
