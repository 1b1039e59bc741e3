"""Path of a car past parked cars in its lane.

The path swings out by a smoothstep, is straight beside the parked car, and swings back.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from envs.driving.bodies import Body
from envs.driving.periodic import ahead_m

RAMP_M = 12.0
"""Distance along the road over which a car swings out."""


@dataclass(frozen=True, kw_only=True)
class Passing:
    """How a car passes bodies that stand at the right side of its lane."""

    clearance_m: float
    """Gap between the car and a parked body."""
    straight_m: float = 1.5
    """Distance before and behind a parked body, besides the lengths of both, that the car drives
    fully swung out."""
    back_m: float = RAMP_M
    """Distance along the road over which the car swings back."""
    most_m: float = math.inf
    """Largest shift; where it is too small, the gap is smaller instead."""

    def shift_m(self, car: Body, lane_m: float, parked: Body) -> float:
        """Return how far to the left of its lane's middle a car gets past a body [m], >= 0.

        Args:
            car: Car that passes.
            lane_m: Middle of its lane, to the left of the road's centre line [m].
            parked: Body that it passes.
        """
        left_m = parked.lateral_m + parked.half_width_m
        wanted_m = left_m + self.clearance_m + 0.5 * car.width_m - lane_m
        return min(max(0.0, wanted_m), self.most_m)

    def line_m(
        self, at_m: float, car: Body, lane_m: float, parked: Iterable[Body], lap_m: float
    ) -> float:
        """Return the lateral position of the path past all bodies, left of the centre line [m].

        Args:
            at_m: Place along the road [m].
            car: Car that passes.
            lane_m: Middle of its lane, to the left of the centre line [m].
            parked: Bodies that it passes.
            lap_m: Length of the road [m].
        """
        out_m = 0.0
        for one in parked:
            beside_m = 0.5 * car.length_m + one.reach_m + self.straight_m
            along_m = ahead_m(at_m, one.arc_length_m, lap_m)
            ramp_m = RAMP_M if along_m > 0.0 else self.back_m
            beyond = (abs(along_m) - beside_m) / ramp_m
            if beyond < 1.0:
                inside = max(0.0, beyond)  # 0 beside the body, 1 where the car is in its lane
                share = 1.0 - inside * inside * (3.0 - 2.0 * inside)
                out_m = max(out_m, share * self.shift_m(car, lane_m, one))
        return lane_m + out_m
