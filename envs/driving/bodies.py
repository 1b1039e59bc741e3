"""Bodies on a road: cars and people as boxes, where they are, and whether two of them touch.

A body's place is given along the road, as `Road` measures it; its box is turned by `turn_rad` from
the road's direction. Two rectangles in the plane touch unless a line between them separates them.
It is enough to try the directions of their sides (Gottschalk et al. 1996, "OBBTree", SIGGRAPH).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from envs.driving.appearance import Colour

GREY: Colour = (120.0, 122.0, 126.0)


@dataclass(kw_only=True, slots=True)
class Body:
    """A box that stands or moves on the road."""

    kind: str
    """"car", "parked" or "person"."""
    length_m: float
    """Along its own heading."""
    width_m: float
    """Across it."""
    height_m: float
    """Above the ground."""
    colour: Colour = GREY
    """Of its paint, or of its clothes."""
    arc_length_m: float = 0.0
    """Place of its middle along the road, in [0, length of the road)."""
    lateral_m: float = 0.0
    """Place of its middle to the left of the road's centre line."""
    turn_rad: float = 0.0
    """Its heading minus the road's."""
    speed_mps: float = 0.0
    """Forward along its own heading."""

    @property
    def reach_m(self) -> float:
        """How far it reaches along the road from its middle [m]."""
        cosine, sine = abs(math.cos(self.turn_rad)), abs(math.sin(self.turn_rad))
        return 0.5 * (cosine * self.length_m + sine * self.width_m)

    @property
    def half_width_m(self) -> float:
        """How far it reaches across the road from its middle [m]."""
        cosine, sine = abs(math.cos(self.turn_rad)), abs(math.sin(self.turn_rad))
        return 0.5 * (sine * self.length_m + cosine * self.width_m)


class Rectangle(NamedTuple):
    """A rectangle in the plane: its middle [m], the direction of its length, and half its sides."""

    x_m: float
    y_m: float
    yaw_rad: float
    half_length_m: float
    half_width_m: float


def do_touch(one: Rectangle, other: Rectangle) -> bool:
    """Whether two rectangles have a point in common."""
    dx, dy = other.x_m - one.x_m, other.y_m - one.y_m
    turn_rad = other.yaw_rad - one.yaw_rad
    cosine, sine = abs(math.cos(turn_rad)), abs(math.sin(turn_rad))
    for first, second in ((one, other), (other, one)):
        along, across = math.cos(first.yaw_rad), math.sin(first.yaw_rad)
        far_along = cosine * second.half_length_m + sine * second.half_width_m
        far_across = sine * second.half_length_m + cosine * second.half_width_m
        if abs(along * dx + across * dy) > first.half_length_m + far_along:
            return False
        if abs(along * dy - across * dx) > first.half_width_m + far_across:
            return False
    return True
