"""A safety filter around any driver of `RoadDriving-v0`, made of control barrier functions.

What the driver asks for is changed as little as keeps three functions h of the world's numbers from
falling below zero. With ḣ ≥ -α h for every h that is a box around the two motors, and the nearest
point of a box (the quadratic program of Ames et al.) is a clip of each motor.

**In the lane.** Let y be the offset of the rear axle from the middle of the lane, ψ its heading
against the road's, v the speed, k = tan δ / L the curvature that it drives, and κ' the road's
curvature at its place, κ cos ψ / (1 - κ d) with d the offset from the centre line. Of the point
p = y + ℓ sin ψ both bounds ±m are kept:

    ẏ = v sin ψ = v (p - y) / ℓ,        ṗ = v sin ψ + ℓ v cos ψ (k - κ')
    |k - κ' + tan ψ / ℓ| ≤ α (m ∓ p) / (ℓ v cos ψ)      on either side

so |p| ≤ m stays true, and |y| ≤ m with it, since y runs after p; the car's middle is between them.
With ℓ = 8 m the wheels can always turn as far as this asks on a road with bends of 12 m.

**Behind what is ahead**, with its speed w and the gap g; b and b_w are the decelerations of the car
and, at most, of what is ahead:

    h = g - d - T v - v² / 2b + w² / 2b_w,      a ≤ (α h - v) / (T + v / b)

which holds even if it brakes with b_w from now on, since then the last term of h falls by w.

**In bends**, with V the speed from which every bend ahead can be reached by braking:
h = V - v,  a ≤ v dV/ds + α h.

The filter knows cars in the own lane, people who cross it, and parked cars that the car would touch
if it went on; it does not know oncoming cars, nor what is beside the car. So a parked car may still
be touched in passing, and a driver who does not swing out far enough comes to stand behind it. The
proof is for dry asphalt and motors without delay, without wind and with the right gain of the
steering. Steering takes time and the car slips a little, for which `m` is smaller than the lane.

Source: Ames et al. 2017, "Control barrier function based quadratic programs for safety critical
systems", IEEE TAC 62; the distance: Shalev-Shwartz et al. 2017 (arXiv 1708.06374). Differs: bounds
on each motor by itself, so that the program has a closed form.
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
"""Offset m within which the car is kept; it leaves its lane at 1.75 m."""
AHEAD_OF_AXLE_M = 8.0
"""Distance ℓ of the point whose offset is kept, in front of the rear axle."""
STANDING_M, PARKED_M, REACTION_S = 1.5, 0.5, 0.25
"""Gaps d, and to what is parked, which must be passed; time T in which brakes take hold."""
BRAKING_MPS2, BRAKING_AHEAD_MPS2 = 4.0, 9.0
"""Decelerations b and b_w."""
LATERAL_MPS2, EARLY_MPS2, TOP_MPS = 3.0, 2.5, 15.0
"""Lateral acceleration in bends, deceleration in front of them, and speed on a straight."""
LANE_RATE_1PS, GAP_RATE_1PS, BEND_RATE_1PS = 2.0, 2.0, 3.0
"""α of the three functions."""
_SIGHT_M = 90.0
_AIR_M = 0.1  # beside a parked car
_CHANGED = 1e-4  # a smaller change of an action is rounding


class SafetyFilter(gymnasium.Wrapper):
    """Change actions as little as keeps the car in its lane and off what is ahead.

    `info` gets `filtered`, whether this step's action was changed.

    Args:
        env: A `RoadDrivingEnv`, with or without wrappers.

    Raises:
        TypeError: If it is another environment.
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
        """Drive for one control period, with the nearest action that is safe."""
        asked = np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0)
        low, high = steering_bounds(self._world)
        done = np.array(
            [min(max(asked[0], low), high), min(asked[1], pedal_bound(self._world))], np.float32
        )
        is_changed = bool(np.abs(done - asked).max() > _CHANGED)
        seen, reward, terminated, truncated, info = self.env.step(done)
        return seen, reward, terminated, truncated, {**info, "filtered": is_changed}


def guarded(world: World) -> World:
    """Return `RoadDriving-v0` with the filter around the car, and its share of the steps measured.

    The filter has the last word about what is commanded. What the body makes of a command (delay,
    wind, gain) comes after it; what disturbs the driver, before.
    """

    def make(**rendering: Any) -> gymnasium.Env:
        return SafetyFilter(world.make(**rendering))

    def measures(episodes: "Sequence[Episode]") -> dict[str, float]:
        share = np.concatenate([episode.told["filtered"] for episode in episodes]).mean()
        return {**world.measures(episodes), "filtered_share": float(share)}

    names = (*world.measure_names, "filtered_share")
    # Those of the body first: the filter is the outermost wrapper then.
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
    """Return the largest pedal that keeps the car off what is ahead and on the road, in [-1, 1]."""
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
    """Return the largest acceleration with which the bends ahead can be reached [m/s²]."""
    road, grip = world.road, min(world.friction, 1.0)
    limits = speed_limits(road, OWN_LANE_M, LATERAL_MPS2 * grip, EARLY_MPS2 * grip, TOP_MPS)
    place_m = world.driven.arc_length_m + REACTION_S * speed_mps
    here_mps = limit_at(limits, road, place_m)
    slope_1ps = (limit_at(limits, road, place_m + 1.0) - here_mps) / 1.0
    return speed_mps * slope_1ps + BEND_RATE_1PS * (here_mps - speed_mps)


def _bodies_ahead(world: RoadDrivingEnv) -> list[tuple[float, float]]:
    """Return of what is in the car's way how far the car may come [m], and its speed [m/s]."""
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
