"""Draws the traffic of an episode from its seed."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from envs.driving.appearance import Colour
from envs.driving.bodies import Body
from envs.driving.periodic import ahead_m
from envs.driving.road import Road
from envs.driving.traffic import OWN_LANE_M, ROAD_HALF_WIDTH_M, Person, Traffic, TrafficCar

CLOTHES: tuple[Colour, ...] = (
    (178.0, 40.0, 44.0), (38.0, 62.0, 130.0), (226.0, 196.0, 60.0), (40.0, 40.0, 44.0),
    (210.0, 210.0, 206.0), (52.0, 120.0, 84.0),
)  # fmt: skip
PAINTS: tuple[Colour, ...] = (
    (186.0, 40.0, 36.0), (42.0, 72.0, 150.0), (214.0, 214.0, 210.0), (44.0, 46.0, 50.0),
    (120.0, 124.0, 130.0), (196.0, 160.0, 60.0), (60.0, 108.0, 70.0),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrafficLevel:
    """Amount of traffic; each pair is the lowest and highest number of a kind of body.

    The numbers are drawn in the order of the fields.
    """

    own: tuple[int, int]
    """Number of cars in the own lane."""
    oncoming: tuple[int, int]
    """Number of cars in the other lane."""
    parked: tuple[int, int]
    """Number of cars parked at the side."""
    people: tuple[int, int]
    """Number of people beside the road."""


LEVELS = {
    "none": TrafficLevel(own=(0, 0), oncoming=(0, 0), parked=(0, 0), people=(0, 0)),
    "light": TrafficLevel(own=(1, 1), oncoming=(0, 2), parked=(0, 2), people=(0, 2)),
    "full": TrafficLevel(own=(1, 3), oncoming=(2, 4), parked=(2, 4), people=(2, 4)),
    "crowded": TrafficLevel(own=(1, 3), oncoming=(2, 4), parked=(3, 6), people=(5, 9)),
}
"""Traffic levels by the values of the environment's setting `traffic`."""


def draw_traffic(
    road: Road, level: TrafficLevel, seed: int, start_m: float, speed_mps: float
) -> Traffic:
    """Draw the traffic of an episode.

    Args:
        road: The road.
        level: Amount of traffic.
        seed: Seed of all draws.
        start_m: Start of the driven car along the road [m].
        speed_mps: Start speed of the driven car and of the traffic [m/s].
    """
    source = random.Random(seed)
    counts = {name: source.randint(*limits) for name, limits in vars(level).items()}
    parked = _draw_parked(road, counts["parked"], source, start_m)
    people = _draw_people(road, counts["people"], source, start_m, parked)
    own = _draw_own(road, counts["own"], source, start_m, speed_mps)
    oncoming = _draw_oncoming(road, counts["oncoming"], source, speed_mps)
    return Traffic(road, [*own, *oncoming], parked, people)


def _shape(source: random.Random) -> dict[str, float]:
    """Draw the size of a car."""
    if source.random() < 0.2:  # a van
        return {"length_m": source.uniform(4.6, 5.2), "width_m": 1.9, "height_m": 2.1}
    length_m = source.uniform(3.7, 4.5)
    return {"length_m": length_m, "width_m": source.uniform(1.65, 1.8), "height_m": 1.45}


def _draw_own(
    road: Road, count: int, source: random.Random, start_m: float, speed_mps: float
) -> list[TrafficCar]:
    """Draw cars ahead in the own lane: the first one near, the others behind one another."""
    cars, at_m = [], start_m + source.uniform(18.0, 50.0)
    for _ in range(count):
        if at_m - start_m > road.length_m - 40.0:  # would start behind the driven car
            break
        slow_mps = source.uniform(4.0, 9.0)
        cars.append(
            TrafficCar(
                kind="car",
                **_shape(source),
                colour=source.choice(PAINTS),
                arc_length_m=at_m % road.length_m,
                lateral_m=OWN_LANE_M,
                speed_mps=speed_mps,
                direction=1,
                random=random.Random(source.getrandbits(48)),
                wishes_mps=(slow_mps, slow_mps + source.uniform(2.0, 7.0)),
                braking_every_s=source.uniform(12.0, 30.0),
            )
        )
        at_m += source.uniform(25.0, 90.0)
    return cars


def _draw_oncoming(
    road: Road, count: int, source: random.Random, speed_mps: float
) -> list[TrafficCar]:
    """Draw cars in the other lane, spread over the road."""
    first_m = source.uniform(0.0, road.length_m)
    cars = []
    for i in range(count):
        at_m = first_m + (i + source.uniform(0.0, 0.5)) * road.length_m / count
        car = TrafficCar(
            kind="car",
            **_shape(source),
            colour=source.choice(PAINTS),
            arc_length_m=at_m % road.length_m,
            turn_rad=math.pi,
            speed_mps=speed_mps,
            direction=-1,
            random=random.Random(source.getrandbits(48)),
            wishes_mps=(5.0, source.uniform(7.0, 13.0)),
        )
        car.lateral_m = car.lane_m
        cars.append(car)
    return cars


def _draw_parked(road: Road, count: int, source: random.Random, start_m: float) -> list[Body]:
    """Draw cars parked on fairly straight road, with 0.4 to 1.9 m of their width in the lane."""
    taken = [(start_m, 35.0)]
    parked: list[Body] = []
    for _ in range(count):
        shape, colour = _shape(source), source.choice(PAINTS)
        inside_m = source.uniform(0.4, 1.9)
        place_m = _free_place(road, source, taken, straight_1pm=0.025)
        if place_m is None:
            continue
        parked.append(
            Body(
                kind="parked",
                **shape,
                colour=colour,
                arc_length_m=place_m,
                lateral_m=inside_m - ROAD_HALF_WIDTH_M - 0.5 * shape["width_m"],
                turn_rad=source.uniform(-0.03, 0.03),
            )
        )
        taken.append((place_m, 60.0))
    return parked


def _draw_people(
    road: Road, count: int, source: random.Random, start_m: float, parked: Sequence[Body]
) -> list[Person]:
    """Draw people who stand beside the road, away from parked cars."""
    taken = [(start_m, 15.0), *((one.arc_length_m, 40.0) for one in parked)]
    people = []
    for _ in range(count):
        side, beyond_m = source.choice((-1.0, 1.0)), source.uniform(0.7, 1.6)
        colour, height_m = source.choice(CLOTHES), source.uniform(1.55, 1.9)
        place_m = _free_place(road, source, taken, straight_1pm=1.0)
        if place_m is None:
            continue
        people.append(
            Person(
                kind="person",
                length_m=0.4,
                width_m=0.55,
                height_m=height_m,
                colour=colour,
                arc_length_m=place_m,
                lateral_m=side * (ROAD_HALF_WIDTH_M + beyond_m),
                turn_rad=-side * 0.5 * math.pi,
                random=random.Random(source.getrandbits(48)),
                likelihood=source.uniform(0.5, 1.0),
            )
        )
        taken.append((place_m, 25.0))
    return people


def _free_place(
    road: Road, source: random.Random, taken: Sequence[tuple[float, float]], straight_1pm: float
) -> float | None:
    """Draw a free place on road that is straight enough; None after 30 failed draws.

    Args:
        road: The road.
        source: Source of randomness.
        taken: Occupied places [m], each with the distance to keep from it [m].
        straight_1pm: Largest allowed curvature within 15 m [1/m].
    """
    for _ in range(30):
        place_m = source.uniform(0.0, road.length_m)
        is_straight = all(
            abs(road.curvature_at(place_m + along_m)) <= straight_1pm
            for along_m in (-15.0, -7.5, 0.0, 7.5, 15.0)
        )
        is_free = all(abs(ahead_m(place_m, at_m, road.length_m)) > far_m for at_m, far_m in taken)
        if is_straight and is_free:
            return place_m
    return None
