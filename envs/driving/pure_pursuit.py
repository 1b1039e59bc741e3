"""Pure pursuit: the expert that knows the road and teaches policies that see only frames.

It steers along the circle through the rear axle and a point on the path ahead:

    curvature = 2 y / (x² + y²),   steer = arctan(wheelbase · curvature)

with (x, y) the point in the frame of the rear axle, y to the left. Source: Coulter 1992,
"Implementation of the pure pursuit path tracking algorithm", CMU-RI-TR-92-01.
"""

import functools
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from ncp_control.ranges import check_positive


@dataclass(frozen=True, kw_only=True)
class PurePursuit:
    """Controller that steers towards a point on the centre line ahead.

    Raises:
        ValueError: If a length or angle is not positive.
    """

    wheelbase_m: float
    """Distance between the axles [m]."""
    max_steer_rad: float
    """Steering angle for the action 1 [rad]."""
    lookahead_m: float = 6.0
    """Distance to the target point [m]."""

    def __post_init__(self) -> None:
        check_positive(self, "wheelbase_m", "max_steer_rad", "lookahead_m")

    def __call__(self, preview_m: np.ndarray) -> np.ndarray:
        """Return the steering action for the path ahead.

        Args:
            preview_m: Points of the path, nearest first, in the frame of the rear axle (x forward,
                y left) [m], shape (points, 2).

        Returns:
            Steering in [-1, 1], left positive, shape (1,).

        Raises:
            ValueError: If there is no point, one is not finite, or the target point is the rear
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


def keep_lane(env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> np.ndarray:
    """Return the action of pure pursuit in `LaneKeepingEnv`, with or without wrappers.

    Args:
        env: The environment.
        observation: Not used.
        info: The environment's info, with `preview_m`.
    """
    world: Any = env.unwrapped
    pursuit = _pursuit_of(world.car.wheelbase_m, world.config.max_steer_rad)
    return pursuit(info["preview_m"])


@functools.cache
def _pursuit_of(wheelbase_m: float, max_steer_rad: float) -> PurePursuit:
    """Return the controller of a car; it is asked in every frame."""
    return PurePursuit(wheelbase_m=wheelbase_m, max_steer_rad=max_steer_rad)
