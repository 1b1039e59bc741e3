"""Bodies on a road: cars and people as boxes, and a test whether two boxes touch.

The place of a body is given along the road, as `Road` measures it; its box is turned by `turn_rad`
from the road's direction. Two rectangles touch unless a line separates them. It is enough to try
the directions of their sides (Gottschalk et al. 1996, "OBBTree", SIGGRAPH).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from envs.driving.appearance import Colour

GREY: Colour = (120.0, 122.0, 126.0)


@dataclass(kw_only=True, slots=True)
class Body:
    """Box that stands or moves on the road."""

    kind: str
    """"car", "parked" or "person"."""
    length_m: float
    """Length along the body's heading."""
    width_m: float
    """Width across the body's heading."""
    height_m: float
    """Height above the ground."""
    colour: Colour = GREY
    """Colour of the paint or the clothes."""
    arc_length_m: float = 0.0
    """Arc length of the body's middle along the road, in [0, length of the road)."""
    lateral_m: float = 0.0
    """Offset of the body's middle from the road's centre line, positive to the left."""
    turn_rad: float = 0.0
    """Heading of the body minus that of the road."""
    speed_mps: float = 0.0
    """Speed forward along the body's heading."""

    @property
    def reach_m(self) -> float:
        """Half the extent of the body along the road [m]."""
        cosine, sine = abs(math.cos(self.turn_rad)), abs(math.sin(self.turn_rad))
        return 0.5 * (cosine * self.length_m + sine * self.width_m)

    @property
    def half_width_m(self) -> float:
        """Half the extent of the body across the road [m]."""
        cosine, sine = abs(math.cos(self.turn_rad)), abs(math.sin(self.turn_rad))
        return 0.5 * (sine * self.length_m + cosine * self.width_m)


class Rectangle(NamedTuple):
    """Rectangle in the plane: middle [m], direction of its length, and half its sides [m]."""

    x_m: float
    y_m: float
    yaw_rad: float
    half_length_m: float
    half_width_m: float


def do_touch(one: Rectangle, other: Rectangle) -> bool:
    """True if two rectangles have a point in common."""
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
