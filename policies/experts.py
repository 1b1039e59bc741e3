"""Experts that know the world's state and teach policies that only see.

Pure pursuit steers along the circle through the rear axle and a point on the path ahead:

    curvature = 2 y / (x² + y²),   steer = arctan(wheelbase · curvature)

with (x, y) the point in the car's frame, y to the left. Source: Coulter 1992, "Implementation of
the pure pursuit path tracking algorithm", CMU-RI-TR-92-01.

An expert that a job is told by name (`--expert policies.experts:race`) is a function of the
environment, the observation and its info; it returns an action as policies give them, in [-1, 1].
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ncp_control.ranges import check_positive


@dataclass(frozen=True, kw_only=True)
class PurePursuit:
    """Steer towards a point on the centre line ahead.

    Raises:
        ValueError: If a length or angle is not positive.
    """

    wheelbase_m: float
    """Distance between the axles [m]."""
    max_steer_rad: float
    """Steering angle of action 1 [rad]."""
    lookahead_m: float = 6.0
    """Distance to the point aimed at [m]."""

    def __post_init__(self) -> None:
        check_positive(self, "wheelbase_m", "max_steer_rad", "lookahead_m")

    def __call__(self, preview_m: np.ndarray) -> np.ndarray:
        """Return the steering action for the path ahead.

        Args:
            preview_m: Points of the path in the car's frame, origin at the rear axle, x forward and
                y left [m], shape (points, 2), near to far.

        Returns:
            Steering in [-1, 1], left positive, shape (1,).

        Raises:
            ValueError: If there is no point, one is not finite, or the point aimed at is the rear
                axle itself, where no circle is defined.
        """
        preview_m = np.asarray(preview_m, np.float64)
        if preview_m.ndim != 2 or preview_m.shape[1] != 2 or not len(preview_m):
            raise ValueError(
                f"`preview_m` must have shape (points, 2), got {preview_m.shape}."
                " Give at least one point of the path ahead."
            )
        if not np.isfinite(preview_m).all():
            point = int(np.argmin(np.isfinite(preview_m).all(axis=1)))
            raise ValueError(
                f"`preview_m` must be finite, got {preview_m[point].tolist()!r} at point {point}."
            )
        distance_m = np.hypot(preview_m[:, 0], preview_m[:, 1])
        x, y = preview_m[int(np.argmin(np.abs(distance_m - self.lookahead_m)))]
        if x == y == 0.0:
            raise ValueError(
                "`preview_m` must have a point away from the rear axle to aim at, got (0, 0)."
                " Look further ahead."
            )
        steer_rad = np.arctan(self.wheelbase_m * 2.0 * y / (x**2 + y**2))
        return np.clip([steer_rad / self.max_steer_rad], -1.0, 1.0).astype(np.float32)


GRIP = 60.0
"""Largest lateral acceleration that `race` asks of the car [m/s²], in Box2D's units."""
BRAKING = 90.0
"""Deceleration that `race` counts on [m/s²]."""
TOP_SPEED = 70.0
"""Largest speed [m/s]."""
HORIZON = 30
"""Points of the road ahead, about 3.5 m apart, that limit the speed."""
SPAN = 4
"""Points over which the curvature is measured."""


def race(env: Any, observation: np.ndarray, info: dict[str, Any]) -> np.ndarray:
    """Drive Gymnasium's CarRacing-v3, seeing the whole track.

    It steers towards a point of the road ahead, farther away at a higher speed, and keeps a speed
    from which each bend ahead can be reached by braking: v² ≤ GRIP / curvature + 2 BRAKING · way.

    Args:
        env: The environment, with or without wrappers.
        observation: Not looked at.
        info: Not looked at.

    Returns:
        Steering (positive is right), gas and brake, each in [-1, 1]; -1 is no gas and no brake.
    """
    world = env.unwrapped
    road, hull = np.array(world.track)[:, 2:], world.car.hull
    place, speed = np.array(hull.position), float(np.hypot(*hull.linearVelocity))
    near = int(np.argmin(((road - place) ** 2).sum(axis=1)))
    aim = road[(near + int(2 + speed / 12.0)) % len(road)] - place
    error = np.arctan2(-aim[0], aim[1]) - hull.angle
    error = (error + np.pi) % (2.0 * np.pi) - np.pi

    steps = np.diff(road[(near + np.arange(1, HORIZON)) % len(road)], axis=0)
    heading = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
    length = np.hypot(steps[:, 0], steps[:, 1])
    curvature = np.abs(heading[SPAN:] - heading[:-SPAN]) / (SPAN * length[:-SPAN])
    way = np.cumsum(length)[: len(curvature)]
    allowed = np.sqrt(GRIP / np.maximum(curvature, 1e-3) + 2.0 * BRAKING * way)
    wanted = min(TOP_SPEED, float(allowed.min()))

    gas = np.clip((wanted - speed) / 10.0, 0.0, 1.0) * (0.5 if abs(error) > 0.3 else 1.0)
    brake = np.clip((speed - wanted) / 25.0, 0.0, 0.8)
    steering = np.clip(-1.5 * error, -1.0, 1.0)
    return np.array([steering, 2.0 * gas - 1.0, 2.0 * brake - 1.0], np.float32)
