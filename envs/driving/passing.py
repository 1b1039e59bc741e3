"""How a car gets past what is parked in its lane: the line that it follows, and what is in its way.

The line swings out by a smoothstep, is straight beside the parked car, and swings back.
"""

import math
from collections.abc import Iterable

from envs.driving.bodies import Body
from envs.driving.periodic import ahead_m

RAMP_M = 12.0
"""Way along the road in which a car swings out, or back."""
_STRAIGHT_M = 1.5
"""Straight way before and behind a parked car, beside the lengths of both."""


def swing_m(shift_m: float, along_m: float, reach_m: float) -> float:
    """Return how far a car is out that passes something.

    Args:
        shift_m: How far it must be out beside it [m].
        along_m: From its middle to the middle of what it passes [m], either sign.
        reach_m: How far both reach along the road from their middles together [m].
    """
    beyond = (abs(along_m) - reach_m - _STRAIGHT_M) / RAMP_M
    if beyond >= 1.0:
        return 0.0
    if beyond <= 0.0:
        return shift_m
    return shift_m * (1.0 - beyond * beyond * (3.0 - 2.0 * beyond))


def shift_past_m(
    parked: Body,
    lane_m: float,
    half_width_m: float,
    clearance_m: float,
    most_m: float = math.inf,
) -> float:
    """Return how far to the left of its lane's middle a car must be to get past [m], >= 0.

    Args:
        parked: What stands at the right side of the lane.
        lane_m: Middle of the lane, to the left of the centre line [m].
        half_width_m: Half the width of the car [m].
        clearance_m: Air between both [m].
        most_m: The farthest that it may be [m]; where that is not enough, there is less air.
    """
    left_m = parked.lateral_m + parked.half_width_m
    return min(max(0.0, left_m + clearance_m + half_width_m - lane_m), most_m)


def line_m(
    arc_length_m: float,
    lane_m: float,
    car: Body,
    clearance_m: float,
    parked: Iterable[Body],
    lap_m: float,
    most_m: float = math.inf,
) -> float:
    """Return where the line past all that is parked runs, to the left of the centre line [m].

    Args:
        arc_length_m: Place along the road [m].
        lane_m: Middle of the lane [m].
        car: Who follows the line.
        clearance_m: Air beside what is parked [m].
        parked: What stands at the right side of the lane.
        lap_m: Length of the road [m].
        most_m: The farthest that it swings out [m].
    """
    out_m = 0.0
    for one in parked:
        along_m = ahead_m(arc_length_m, one.arc_length_m, lap_m)
        reach_m = 0.5 * car.length_m + one.reach_m
        if abs(along_m) < reach_m + _STRAIGHT_M + RAMP_M:
            shift_m = shift_past_m(one, lane_m, 0.5 * car.width_m, clearance_m, most_m)
            out_m = max(out_m, swing_m(shift_m, along_m, reach_m))
    return lane_m + out_m
