"""Longitudinal driving: the intelligent driver model, and speed limits in bends.

With the speed v, the desired speed v₀, the gap g to the body ahead and the closing speed Δv, the
intelligent driver model (IDM) accelerates by

    a [1 - (v/v₀)⁴ - (s*/g)²],      s* = s₀ + max(0, v T + v Δv / (2 √(a b)))

which in steady driving keeps the gap (s₀ + v T) / √(1 - (v/v₀)⁴). Source: Treiber, Hennecke and
Helbing 2000, "Congested traffic states in empirical observations and microscopic simulations",
Physical Review E 62, equations 2 and 3.

The speed limit is the largest speed v(s) along the road with v² |κ| ≤ the allowed lateral
acceleration everywhere, such that constant braking reaches every lower limit further on.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from envs.driving.road import Road


@dataclass(frozen=True, kw_only=True)
class DriverModel:
    """Parameters of the intelligent driver model."""

    acceleration_mps2: float = 1.5
    """Largest acceleration, a."""
    braking_mps2: float = 2.0
    """Comfortable deceleration, b."""
    time_gap_s: float = 1.3
    """Time gap at a steady speed, T."""
    standing_gap_m: float = 2.5
    """Gap at standstill, s₀."""

    def acceleration(
        self, speed_mps: float, wish_mps: float, gap_m: float, ahead_mps: float
    ) -> float:
        """Return the acceleration of the model [m/s²].

        Args:
            speed_mps: Own speed [m/s].
            wish_mps: Desired speed [m/s], > 0.
            gap_m: Free distance to the body ahead [m]; infinite if there is none.
            ahead_mps: Speed of the body ahead [m/s].
        """
        free = 1.0 - (speed_mps / wish_mps) ** 4
        if gap_m == math.inf:
            return self.acceleration_mps2 * free
        scale = 2.0 * math.sqrt(self.acceleration_mps2 * self.braking_mps2)
        closing = speed_mps * self.time_gap_s + speed_mps * (speed_mps - ahead_mps) / scale
        wanted_m = self.standing_gap_m + max(0.0, closing)
        return self.acceleration_mps2 * (free - (wanted_m / max(gap_m, 0.1)) ** 2)


@lru_cache(maxsize=128)
def speed_limits(
    road: Road,
    lateral_m: float,
    lateral_mps2: float,
    braking_mps2: float,
    top_mps: float,
    *,
    is_reversed: bool = False,
) -> list[float]:
    """Return the speed limit [m/s] at each sample of a road.

    Args:
        road: The road.
        lateral_m: Lateral position of the car, to the left of the centre line [m].
        lateral_mps2: Allowed lateral acceleration [m/s²].
        braking_mps2: Deceleration in front of bends [m/s²].
        top_mps: Limit on a straight [m/s].
        is_reversed: Whether the car drives against the road's direction.
    """
    stretch = 1.0 - road.curvature_1pm * lateral_m  # of the lane, relative to the centre line
    curvature = np.abs(road.curvature_1pm) / stretch
    squared = np.minimum(lateral_mps2 / np.maximum(curvature, 1e-9), top_mps**2)
    gain = 2.0 * braking_mps2 * road.spacing_m * stretch
    order = range(len(squared)) if is_reversed else range(len(squared) - 1, -1, -1)
    values, gains = squared.tolist(), gain.tolist()
    after = values[order[-1]]
    for _ in range(2):  # the second lap carries the limits after the seam to the samples before it
        for i in order:
            after = min(values[i], after + gains[i])
            values[i] = after
    return np.sqrt(values).tolist()


def limit_at(limits: list[float], road: Road, arc_length_m: float) -> float:
    """Return the speed limit at an arc length of the road [m/s]."""
    return limits[round(arc_length_m / road.spacing_m) % len(limits)]
