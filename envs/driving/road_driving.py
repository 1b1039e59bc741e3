"""RoadDriving-v0: drive a car on a road with bends, traffic and people, from camera frames.

There are two lanes: the right one is the own lane, the left one is for oncoming traffic. The tracks
are those of LaneKeeping-v0. See `RoadDrivingEnv`; `traffic.py` describes the traffic.
"""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.driving.appearance import Appearance
from envs.driving.bodies import Body, Rectangle, do_touch
from envs.driving.bodies_view import BodiesView
from envs.driving.car import CarState
from envs.driving.car_following import limit_at, speed_limits
from envs.driving.driving_env import DrivingEnv
from envs.driving.periodic import ahead_m, wrap_angle
from envs.driving.road_config import RoadDrivingConfig
from envs.driving.texture import Ground, paint_ground
from envs.driving.traffic import OWN_LANE_M, ROAD_HALF_WIDTH_M, Person
from envs.driving.traffic_draws import LEVELS, draw_traffic

CAR_LENGTH_M, CAR_WIDTH_M = 3.64, 1.66
"""Size of the driven car, with its bumpers and tyres."""
START_MPS = 6.0
"""Largest speed at the start of an episode."""
STANDING_MPS = 0.3
"""Speed below which a car counts as standing."""
_LOOK_M = 15.0  # a body nearer than this in front is a reason to stand, unless it is parked
_ONCOMING_M = 80.0  # behind a parked car, a driving car nearer than this ahead is a reason
_PATIENCE_S = 3.0  # time that the car may stand after the start and after being put back
_TARGET_LEAD_MPS = 0.6  # largest difference between the controller's target and the speed


class RoadDrivingEnv(DrivingEnv[RoadDrivingConfig]):
    """Environment with a car in the right lane of a closed road with traffic.

    ## Action
    `Box(-1, 1, (2,), float32)`; entries out of range are clipped.

    | entry | meaning | unit |
    |---|---|---|
    | 0 | front wheel angle, positive to the left | fraction of `max_steer_rad` |
    | 1 | acceleration: 1 is `throttle_mps2`, -1 brakes by `braking_mps2` | linear on either side of 0 |

    The wheels move towards the angle at most at `max_steer_rate_radps`. The car drives neither
    backwards nor faster than `top_speed_mps`. All four wheels drive and brake, with little slip.

    ## Observation
    A `Dict` of `frame`, `Box(0, 255, (78, 200, 3), uint8)`, an RGB frame taken at the end of the
    step, and `speed`, `Box(-10, 50, (1,), float32)`, the own speed [m/s]. With `observe="frames"`,
    only the frame.

    ## Info
    That of `LaneKeepingEnv`, but `cross_track_m` and `preview_m` refer to the middle of the own
    lane. And:

    | key | meaning | unit |
    |---|---|---|
    | `collided` | the car touched another body in this step | bool |
    | `collided_with` | "car", "parked" or "person"; only in a collision | - |
    | `departed` | the car left the own lane in this step | bool |
    | `crashed` | `collided` or `departed` | bool |
    | `stood_idle` | the car stands although nothing is in its way | bool |
    | `acceleration_mps2` | along the car, of this step | m/s² |
    | `lateral_mps2` | across the car, positive to the left | m/s² |
    | `gap_m` | free distance to the next body in the own lane, at most 60 | m |
    | `friction` | grip of the tyres | - |

    ## Reward
    In metres: progress along the road, minus `cross_track_cost_1ps` · |cross_track_m| · control
    period, minus `collision_cost_m` for a collision, minus `crash_cost_m` for leaving the lane.

    ## Episode
    `terminated`: a collision, or |cross_track_m| > `lane_half_width_m`, with `on_crash="terminate"`.
    With "recover" the car is put at rest in the middle of its lane, at the nearest free place
    behind it. If it touched a parked car, the place is past that car, so that each parked car is
    touched only once. `truncated`: after `episode_s`. `reset(options=...)` is that of
    `LaneKeepingEnv`.

    Args:
        config: Settings; None for the defaults.
        render_mode: None or "rgb_array".

    Attributes:
        is_braking: Whether the car brakes to a standstill, whatever the action asks for. May be set
            from outside; `reset` clears it.
        traffic: The other bodies.
        driven: The driven car as a body for the traffic.

    Raises:
        ValueError: If `render_mode` is neither.
    """  # noqa: E501 - a table row cannot be broken

    lane_middle_m: ClassVar[float] = OWN_LANE_M
    driven_wheels: ClassVar[str] = "all"
    action_size = 2

    def __init__(
        self, config: RoadDrivingConfig | None = None, render_mode: str | None = None
    ) -> None:
        super().__init__(config if config is not None else RoadDrivingConfig(), render_mode)
        self._view = BodiesView(self.camera.geometry)
        if self.config.observe == "full":
            speed = spaces.Box(-10.0, 50.0, (1,), np.float32)
            self.observation_space = spaces.Dict({"frame": self.observation_space, "speed": speed})
        self.driven = Body(kind="car", length_m=CAR_LENGTH_M, width_m=CAR_WIDTH_M, height_m=1.45)

    def _start(self, arc_length_m: float, lateral_m: float, heading_error_rad: float) -> None:
        config, road = self.config, self.road
        low, high = config.friction_range
        self._friction = low + (high - low) * self.np_random.random()
        self.car.set_friction(self._friction)
        limits = speed_limits(road, OWN_LANE_M, 2.0, 2.0, config.top_speed_mps)
        speed_mps = min(START_MPS, limit_at(limits, road, arc_length_m))
        self._put(arc_length_m, lateral_m, heading_error_rad, speed_mps=speed_mps)
        self.traffic = draw_traffic(
            road,
            LEVELS[config.traffic],
            int(self.np_random.integers(2**31)),
            arc_length_m,
            speed_mps,
        )
        self.traffic.begin(self.driven)
        self._patience_s = _PATIENCE_S

    def _put(
        self,
        arc_length_m: float,
        lateral_m: float = 0.0,
        heading_error_rad: float = 0.0,
        *,
        speed_mps: float,
    ) -> None:
        """Place the car and clear the record of its earlier motion."""
        self._place_car(arc_length_m, lateral_m, heading_error_rad, speed_mps=speed_mps)
        self._target_mps = speed_mps
        self._acceleration_mps2 = self._lateral_mps2 = 0.0
        self._tell_others()

    def _tell_others(self) -> None:
        """Copy the car's place and motion into `driven`, which the traffic reads."""
        driven, place, state = self.driven, self._place, self._state
        driven.arc_length_m, driven.lateral_m = place.arc_length_m, place.lateral_m
        driven.turn_rad = state.yaw_rad - self.road.heading_at(place.arc_length_m)
        driven.speed_mps = max(state.speed_mps, 0.0)

    def _paint(self, **size: int) -> Ground:
        look = self._appearance
        if look.dash_length_m == 0.0:  # two lanes always have a line between them
            look = replace(look, dash_length_m=Appearance.dash_length_m)
        self._view.set_appearance(look)
        return paint_ground(self.road, ROAD_HALF_WIDTH_M, look, **size)

    def _look(self) -> NDArray[np.uint8]:
        frame = super()._look()
        if self.config.camera != "none":
            self._view.draw(frame, self._pose(), self.traffic.bodies, self.traffic.poses)
        return frame

    def _observe(self) -> Any:
        frame = self._look()
        if self.config.observe == "frames":
            return frame
        return {"frame": frame, "speed": np.array([self._state.speed_mps], np.float32)}

    def render(self) -> NDArray[np.uint8] | None:
        """Return an RGB image (height, width, 3), or None without a render mode."""
        if self._road is not None:
            self._chase.set_bodies(self.traffic.bodies, self.traffic.poses)
        return super().render()

    def step(self, action: NDArray[np.float32]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Drive for one control period.

        Args:
            action: Steering and acceleration, shape (2,); clipped to [-1, 1].

        Returns:
            Observation, reward [m], terminated, truncated, info.

        Raises:
            ValueError: If the action has the wrong shape or is not finite.
            RuntimeError: Before the first `reset`.
        """
        config, road, dt_s = self.config, self.road, self.config.control_period_s
        steering, pedal = self._read_action(action)
        before = self._state
        self.car.step(steering * config.max_steer_rad, self._next_target_mps(pedal))
        self._num_steps += 1
        progress_m = self._locate(road)
        turned_rad = wrap_angle(self._state.yaw_rad - before.yaw_rad)
        self._acceleration_mps2 = (self._state.speed_mps - before.speed_mps) / dt_s
        self._lateral_mps2 = self._state.speed_mps * turned_rad / dt_s
        self._tell_others()
        self.traffic.step(dt_s, self.driven)
        cross_track_m = abs(self._cross_track_m)
        touched = self._touched()
        self._collided = touched is not None
        self._departed = cross_track_m > config.lane_half_width_m
        crashed = self._collided or self._departed
        reward_m = progress_m - config.cross_track_cost_1ps * cross_track_m * dt_s
        reward_m -= config.collision_cost_m * self._collided + config.crash_cost_m * self._departed
        self._patience_s -= dt_s
        if crashed and config.on_crash == "recover":
            is_passed = touched is not None and touched.kind == "parked"
            self._put(self._free_place(is_passed=is_passed), speed_mps=0.0)
            self._patience_s = _PATIENCE_S
        terminated = crashed and config.on_crash == "terminate"
        info = self._info(crashed=crashed)
        if touched is not None:
            info["collided_with"] = touched.kind
        return self._observe(), reward_m, terminated, self._is_over, info

    def _next_target_mps(self, pedal: float) -> float:
        """Return the next target of the speed controller, changed by the pedal [m/s].

        The target stays close to the speed, so that spinning or locked wheels regain their grip.
        """
        config, speed_mps = self.config, self._state.speed_mps
        if self.is_braking:
            pedal = -1.0
        wanted_mps2 = pedal * (config.throttle_mps2 if pedal > 0.0 else config.braking_mps2)
        target_mps = self._target_mps + wanted_mps2 * config.control_period_s
        target_mps = min(
            max(target_mps, speed_mps - _TARGET_LEAD_MPS), speed_mps + _TARGET_LEAD_MPS
        )
        self._target_mps = min(max(target_mps, 0.0), config.top_speed_mps)
        return self._target_mps

    @property
    def state(self) -> CarState:
        """Pose, speed and steering angle of the car."""
        return self._state

    @property
    def friction(self) -> float:
        """Grip of the tyres in this episode."""
        return self._friction

    def _touched(self) -> Body | None:
        """Return a body that the car touches; None if there is none."""
        state = self._state
        own = Rectangle(state.x_m, state.y_m, state.yaw_rad, 0.5 * CAR_LENGTH_M, 0.5 * CAR_WIDTH_M)
        for body, other in zip(self.traffic.bodies, self.traffic.rectangles(), strict=True):
            is_near = abs(other.x_m - own.x_m) < 8.0 and abs(other.y_m - own.y_m) < 8.0
            if is_near and do_touch(own, other):
                return body
        return None

    def _free_place(self, *, is_passed: bool) -> float:
        """Return the nearest place at or behind the car where its lane is free [m].

        Args:
            is_passed: Whether to search ahead of the car instead.
        """
        road, place_m = self.road, self._place.arc_length_m
        forward = 1.0 if is_passed else -1.0
        for away_m in np.arange(0.0, road.length_m, 1.0).tolist():
            at_m = (place_m + forward * away_m) % road.length_m
            if not any(self._is_near(body, at_m) for body in self.traffic.bodies):
                return at_m
        return place_m

    def _is_near(self, body: Body, place_m: float) -> bool:
        """Whether a body is too near to a place in the own lane for putting the car there."""
        half_m = 0.5 * CAR_WIDTH_M + 0.4
        if isinstance(body, Person):
            is_beside = not body.way_crosses(OWN_LANE_M - half_m, OWN_LANE_M + half_m)
        else:
            is_beside = abs(body.lateral_m - OWN_LANE_M) > half_m + body.half_width_m
        if is_beside:
            return False
        along_m = ahead_m(place_m, body.arc_length_m, self.road.length_m)
        reach_m = 0.5 * CAR_LENGTH_M + body.reach_m
        behind_m = 4.0 + 0.2 * body.speed_mps**2  # a body behind approaches
        return -reach_m - behind_m < along_m < reach_m + 8.0

    def _gap_m(self) -> float:
        """Return the free distance ahead in the own lane, at most 60 m [m]."""
        nearest_m = 60.0
        for body in self.traffic.bodies:
            if isinstance(body, Person):
                if not body.way_crosses(-ROAD_HALF_WIDTH_M, 0.0):
                    continue
            elif body.lateral_m - body.half_width_m > 0.0:
                continue
            along_m = ahead_m(self._place.arc_length_m, body.arc_length_m, self.road.length_m)
            if along_m > 0.0:
                nearest_m = min(nearest_m, along_m - 0.5 * CAR_LENGTH_M - body.reach_m)
        return max(nearest_m, 0.0)

    def _has_reason(self, gap_m: float) -> bool:
        """Whether the car has a reason to stand: a moving body ahead, or oncoming traffic."""
        if self._patience_s > 0.0:
            return True
        if gap_m > _LOOK_M:
            return False
        lap_m, place_m = self.road.length_m, self._place.arc_length_m
        for one in self.traffic.parked:
            if 0.0 < ahead_m(place_m, one.arc_length_m, lap_m) < _LOOK_M + 5.0:
                break
        else:
            return True  # not a parked car: the body will move on
        ways_m = [ahead_m(place_m, car.arc_length_m, lap_m) for car in self.traffic.cars]
        return any(-5.0 < way_m < _ONCOMING_M for way_m in ways_m)

    def _info(self, *, crashed: bool) -> dict[str, Any]:
        gap_m = self._gap_m()
        stands = self._state.speed_mps < STANDING_MPS
        return {
            **super()._info(crashed=crashed),
            "collided": crashed and self._collided,
            "departed": crashed and self._departed,
            "stood_idle": bool(stands and not self._has_reason(gap_m)),
            "acceleration_mps2": self._acceleration_mps2,
            "lateral_mps2": self._lateral_mps2,
            "gap_m": gap_m,
            "friction": self._friction,
        }
