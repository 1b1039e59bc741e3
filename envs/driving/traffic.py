"""Traffic around the driven car: each body follows its own script, drawn from one seed.

| body                | script                                                                 |
|---------------------|------------------------------------------------------------------------|
| car in the own lane | intelligent driver model with a desired speed that changes; sometimes  |
|                     | brakes hard, down to a lower speed or a standstill                     |
| oncoming car        | the same in the other lane, without hard braking                       |
| parked car          | stands partly in the own lane                                          |
| person              | waits beside the road, may step out when the driven car comes near     |

A person who wants to cross waits for a gap that leaves the driven car a second of reaction time and
the distance to stop by `FAIR_BRAKING_MPS2`, and lets the cars of the traffic stop as well. Cars
stop for people and for the driven car. Each script has its own random generator, so the draws of
one body do not depend on those of others. `traffic_draws.py` draws the bodies.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from envs.driving.bodies import Body, Rectangle
from envs.driving.car_following import DriverModel, limit_at, speed_limits
from envs.driving.passing import Passing
from envs.driving.periodic import ahead_m
from envs.driving.road import Road

OWN_LANE_M, ONCOMING_LANE_M, ROAD_HALF_WIDTH_M = -1.75, 1.75, 3.5
"""Middles of the lanes and the edge of the road, to the left of the centre line [m]."""
FAIR_BRAKING_MPS2 = 2.5
"""Deceleration that is enough to stop for a person who steps out."""

_DRIVER = DriverModel()
_LATERAL_MPS2, _TOP_MPS = 2.0, 16.0
_FIRM_MPS2, _EMERGENCY_MPS2 = 4.0, 9.0
_SIGHT_M = 60.0
_BESIDE_M = 0.3  # gap between two bodies that pass each other
_PASSING = Passing(clearance_m=0.3)
_PERSON_WAITS_M = 1.0  # a person does not walk closer than this to the side of a car


@dataclass(kw_only=True, slots=True)
class TrafficCar(Body):
    """Car of the traffic, which follows its lane."""

    direction: int
    """1 along the road in the own lane, -1 against it in the other lane."""
    random: random.Random
    """Random generator of the car's script."""
    wishes_mps: tuple[float, float]
    """Lowest and highest desired speed."""
    braking_every_s: float = math.inf
    """Mean time between two hard brakings."""
    wish_mps: float = 0.0
    """Current desired speed."""
    changes_s: float = 0.0
    """Time until the desired speed changes."""
    brakes_s: float = math.inf
    """Time until the next hard braking."""
    braking_mps2: float = 0.0
    """Deceleration of the current hard braking; 0 if there is none."""
    brakes_to_mps: float = 0.0
    """Speed at which the hard braking ends."""
    holds_s: float = 0.0
    """Time for which the car then holds that speed."""

    @property
    def lane_m(self) -> float:
        """Middle of the car's lane, to the left of the centre line [m]."""
        return OWN_LANE_M if self.direction > 0 else ONCOMING_LANE_M

    def begin(self) -> None:
        """Draw the first desired speed and the time of the first hard braking."""
        self._draw_wish()
        if self.braking_every_s < math.inf:
            self.brakes_s = self.random.expovariate(1.0 / self.braking_every_s) + 3.0

    def follow_script(self, dt_s: float, acceleration_mps2: float) -> float:
        """Return the driver model's acceleration as changed by the script [m/s²]."""
        self.changes_s -= dt_s
        if self.changes_s <= 0.0:
            self._draw_wish()
        self.brakes_s -= dt_s
        if self.brakes_s <= 0.0:
            self.braking_mps2 = self.random.uniform(3.0, 5.0)
            self.brakes_to_mps = self.random.choice((0.0, 0.0, 0.3, 0.5)) * self.speed_mps
            self.holds_s = self.random.uniform(0.0, 2.5)
            self.brakes_s = self.random.expovariate(1.0 / self.braking_every_s) + 5.0
        if self.braking_mps2 == 0.0:
            return acceleration_mps2
        if self.speed_mps > self.brakes_to_mps:
            return min(acceleration_mps2, -self.braking_mps2)
        self.holds_s -= dt_s
        if self.holds_s <= 0.0:
            self.braking_mps2 = 0.0
        return min(acceleration_mps2, 0.0)

    def _draw_wish(self) -> None:
        self.wish_mps = self.random.uniform(*self.wishes_mps)
        self.changes_s = self.random.uniform(4.0, 15.0)


@dataclass(kw_only=True, slots=True)
class Person(Body):
    """Person who stands beside the road and may cross it."""

    random: random.Random
    """Random generator of the person's script."""
    likelihood: float
    """Probability of stepping out when the driven car comes near."""
    walk_mps: float = 1.4
    """Walking speed."""
    target_m: float = 0.0
    """End of the crossing, to the left of the centre line [m]."""
    is_crossing: bool = False
    """Whether the person is crossing the road."""
    has_decided: bool = False
    """Whether the person has decided what to do about the approaching driven car."""
    means_to_cross: bool = False
    """Whether the decision is to step out once there is a gap."""
    early_m: float = 0.0
    """Distance by which the next decision is made earlier than necessary [m]."""

    def begin(self) -> None:
        """Clear the decision and draw when to decide next."""
        self.has_decided = self.means_to_cross = False
        self.early_m = self.random.uniform(0.0, 40.0)

    def decide(self) -> None:
        """Draw whether to cross in front of the driven car, and the walking speed."""
        self.has_decided = True
        self.means_to_cross = self.random.random() < self.likelihood
        self.walk_mps = self.random.uniform(1.0, 1.8)

    def step_out(self) -> None:
        """Start crossing to the other side of the road."""
        self.is_crossing, self.means_to_cross = True, False
        self.target_m = -self.lateral_m
        self.turn_rad = math.copysign(0.5 * math.pi, self.target_m)

    def way_crosses(self, right_m: float, left_m: float) -> bool:
        """Whether the rest of the person's way touches a strip along the road."""
        if not self.is_crossing:
            return False
        low_m, high_m = sorted((self.lateral_m, self.target_m))
        return low_m - self.half_width_m < left_m and high_m + self.half_width_m > right_m


@dataclass
class Traffic:
    """All bodies around the driven car, and their motion."""

    road: Road
    """The road."""
    cars: Sequence[TrafficCar] = ()
    """Driving cars."""
    parked: Sequence[Body] = ()
    """Cars parked at the right side of the own lane."""
    people: Sequence[Person] = ()
    """People beside or on the road."""
    bodies: list[Body] = field(init=False)
    """All bodies: cars, parked cars, people."""

    def __post_init__(self) -> None:
        self.bodies = [*self.cars, *self.parked, *self.people]
        for car in self.cars:
            car.begin()
            car.lateral_m = self._line_m(car)
        self._limits = {
            direction: speed_limits(
                self.road,
                OWN_LANE_M if direction > 0 else ONCOMING_LANE_M,
                _LATERAL_MPS2,
                _DRIVER.braking_mps2,
                _TOP_MPS,
                is_reversed=direction < 0,
            )
            for direction in (1, -1)
        }
        self._locate()

    def begin(self, driven: Body) -> None:
        """Start an episode; people whom the driven car is already close to do not step out."""
        for person in self.people:
            person.begin()
            person.has_decided = self._gap_m(driven, person) < _stopping_m(driven.speed_mps) + 2.0

    def step(self, dt_s: float, driven: Body) -> None:
        """Move all bodies.

        Args:
            dt_s: Time step [s].
            driven: The driven car in its current state.
        """
        for person in self.people:
            self._walk(person, dt_s, driven)
        moves = [self._acceleration(car, dt_s, driven) for car in self.cars]
        for car, (acceleration_mps2, gap_m) in zip(self.cars, moves, strict=True):
            self._move(car, dt_s, acceleration_mps2, gap_m)
        self._locate()

    def rectangles(self) -> list[Rectangle]:
        """Return the rectangle of each body, seen from above."""
        return [
            Rectangle(x_m, y_m, yaw_rad, 0.5 * body.length_m, 0.5 * body.width_m)
            for body, (x_m, y_m, yaw_rad) in zip(self.bodies, self.poses.tolist(), strict=True)
        ]

    def _locate(self) -> None:
        """Update the poses of all bodies in the plane."""
        arc_m = np.array([body.arc_length_m for body in self.bodies], dtype=np.float64)
        lateral_m = np.array([body.lateral_m for body in self.bodies], dtype=np.float64)
        turn_rad = np.array([body.turn_rad for body in self.bodies], dtype=np.float64)
        x_m, y_m, heading_rad, _ = self.road.frame_at(arc_m)
        self.poses: NDArray[np.float64] = np.stack(
            [
                x_m - lateral_m * np.sin(heading_rad),
                y_m + lateral_m * np.cos(heading_rad),
                heading_rad + turn_rad,
            ],
            axis=1,
        )
        """x [m], y [m] and yaw [rad] of each body, shape (bodies, 3)."""

    def _ahead_of(self, car: TrafficCar, driven: Body) -> tuple[float, float]:
        """Return the gap of a car to the nearest body in its way [m], and that body's speed."""
        nearest_m, speed_mps = math.inf, 0.0
        reach_m = 0.5 * car.length_m
        half_m = 0.5 * car.width_m + _BESIDE_M
        for other in (*self.cars, driven, *self.people):
            if other is car:
                continue
            along_m = car.direction * ahead_m(
                car.arc_length_m, other.arc_length_m, self.road.length_m
            )
            if not 0.0 < along_m < _SIGHT_M or along_m >= nearest_m + 3.0:
                continue
            if isinstance(other, Person):
                if not other.way_crosses(car.lane_m - half_m, car.lane_m + half_m):
                    continue
                moves_mps = 0.0
            else:
                if abs(other.lateral_m - car.lateral_m) > half_m + other.half_width_m:
                    continue
                moves_mps = car.direction * other.speed_mps * math.cos(other.turn_rad)
            gap_m = along_m - reach_m - other.reach_m
            if gap_m < nearest_m:
                nearest_m, speed_mps = gap_m, moves_mps
        return nearest_m, speed_mps

    def _acceleration(self, car: TrafficCar, dt_s: float, driven: Body) -> tuple[float, float]:
        """Return a car's acceleration [m/s²] and its gap to the body ahead [m]."""
        gap_m, ahead_mps = self._ahead_of(car, driven)
        limit_mps = limit_at(self._limits[car.direction], self.road, car.arc_length_m)
        wish_mps = min(car.wish_mps, limit_mps)
        wanted = _DRIVER.acceleration(car.speed_mps, wish_mps, gap_m, ahead_mps)
        return max(car.follow_script(dt_s, wanted), -_EMERGENCY_MPS2), gap_m

    def _move(self, car: TrafficCar, dt_s: float, acceleration_mps2: float, gap_m: float) -> None:
        road = self.road
        speed_mps = max(0.0, car.speed_mps + acceleration_mps2 * dt_s)
        car.speed_mps = min(speed_mps, max(0.0, gap_m - 0.5) / dt_s)  # cars never hit a body ahead
        stretch = 1.0 - road.curvature_at(car.arc_length_m) * car.lateral_m
        way_m = car.direction * car.speed_mps * dt_s / stretch
        car.arc_length_m = (car.arc_length_m + way_m) % road.length_m
        if car.direction > 0 and self.parked:
            before_m = car.lateral_m
            car.lateral_m = self._line_m(car)
            if way_m > 1e-6:
                car.turn_rad = math.atan2(car.lateral_m - before_m, way_m)

    def _line_m(self, car: TrafficCar) -> float:
        """Return the lateral position of a car's path at its place, left of the centre line [m]."""
        parked = self.parked if car.direction > 0 else ()
        return _PASSING.line_m(car.arc_length_m, car, car.lane_m, parked, self.road.length_m)

    def _gap_m(self, driven: Body, person: Person) -> float:
        """Return the distance from the driven car to a person [m]; nearly a lap once passed."""
        along_m = (person.arc_length_m - driven.arc_length_m) % self.road.length_m
        return along_m - driven.reach_m - person.reach_m

    def _walk(self, person: Person, dt_s: float, driven: Body) -> None:
        if person.is_crossing:
            self._cross(person, dt_s, driven)
            return
        gap_m, stopping_m = self._gap_m(driven, person), _stopping_m(driven.speed_mps)
        if gap_m > 0.5 * self.road.length_m:
            if person.has_decided:
                person.begin()
        elif not person.has_decided:
            if gap_m < stopping_m + 2.0 + person.early_m:
                person.decide()
        elif person.means_to_cross and gap_m > stopping_m and self._is_clear(person):
            person.step_out()

    def _is_clear(self, person: Person) -> bool:
        """Whether all cars of the traffic are far enough away to stop for a person."""
        for car in self.cars:
            gap_m = car.direction * ahead_m(
                car.arc_length_m, person.arc_length_m, self.road.length_m
            )
            stopping_m = 0.5 * car.speed_mps + car.speed_mps**2 / (2.0 * _FIRM_MPS2)
            if -car.length_m < gap_m < stopping_m + 0.5 * car.length_m + 2.5:
                return False
        return True

    def _cross(self, person: Person, dt_s: float, driven: Body) -> None:
        """Continue crossing, but do not walk into the side of a car."""
        sense = math.copysign(1.0, person.target_m - person.lateral_m)
        person.speed_mps = 0.0
        for car in (*self.cars, driven):
            along_m = ahead_m(car.arc_length_m, person.arc_length_m, self.road.length_m)
            if abs(along_m) < car.reach_m + person.reach_m + 0.5:
                away_m = sense * (car.lateral_m - person.lateral_m)
                near_m = car.half_width_m + person.half_width_m + _PERSON_WAITS_M
                if 0.0 < away_m < near_m:
                    return
        person.speed_mps = person.walk_mps
        person.lateral_m += sense * person.walk_mps * dt_s
        if sense * (person.target_m - person.lateral_m) <= 0.0:
            person.lateral_m, person.speed_mps = person.target_m, 0.0
            person.is_crossing, person.has_decided = False, True


def _stopping_m(speed_mps: float) -> float:
    """Return the stopping distance, with one second of reaction time [m]."""
    return speed_mps + speed_mps * speed_mps / (2.0 * FAIR_BRAKING_MPS2)
