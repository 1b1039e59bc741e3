"""Path of a car past parked cars in its lane.

The path swings out by a smoothstep, is straight beside the parked car, and swings back.
"""

import math
from collections.abc import Iterable

from envs.driving.bodies import Body
from envs.driving.periodic import ahead_m

RAMP_M = 12.0
"""Distance along the road over which a car swings out, or back."""
_STRAIGHT_M = 1.5
"""Extra straight distance before and behind a parked car, besides the lengths of both cars."""


def swing_m(shift_m: float, along_m: float, reach_m: float) -> float:
    """Return the lateral shift of a passing car [m].

    Args:
        shift_m: Shift needed beside the parked car [m].
        along_m: Distance from the passing car's middle to the parked one's [m], either sign.
        reach_m: Sum of the half lengths of both along the road [m].
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
    """Return the shift to the left of its lane's middle that a car needs to get past [m], >= 0.

    Args:
        parked: Body that stands at the right side of the lane.
        lane_m: Middle of the lane, to the left of the centre line [m].
        half_width_m: Half the width of the car [m].
        clearance_m: Gap between the car and the parked body [m].
        most_m: Largest shift [m]; if it is too small, the gap is smaller instead.
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
    """Return the lateral position of the path past all parked bodies, left of the centre line [m].

    Args:
        arc_length_m: Place along the road [m].
        lane_m: Middle of the lane [m].
        car: Car that follows the path.
        clearance_m: Gap beside the parked bodies [m].
        parked: Bodies that stand at the right side of the lane.
        lap_m: Length of the road [m].
        most_m: Largest shift [m].
    """
    out_m = 0.0
    for one in parked:
        along_m = ahead_m(arc_length_m, one.arc_length_m, lap_m)
        reach_m = 0.5 * car.length_m + one.reach_m
        if abs(along_m) < reach_m + _STRAIGHT_M + RAMP_M:
            shift_m = shift_past_m(one, lane_m, 0.5 * car.width_m, clearance_m, most_m)
            out_m = max(out_m, swing_m(shift_m, along_m, reach_m))
    return lane_m + out_m
