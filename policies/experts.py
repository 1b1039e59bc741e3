"""Experts for third-party environments: they use the state of the simulation, as policies cannot.

An expert given to a job by name (`--expert policies.experts:race`) is a function of environment,
observation and info. It returns an action in [-1, 1], as policies do.
"""

from typing import Any

import numpy as np

GRIP = 60.0
"""Largest lateral acceleration that `race` demands of the car [m/s²], in Box2D's units."""
BRAKING = 90.0
"""Deceleration that `race` assumes [m/s²]."""
TOP_SPEED = 70.0
"""Largest speed [m/s]."""
HORIZON = 30
"""Points of the road ahead, about 3.5 m apart, that limit the speed."""
SPAN = 4
"""Points over which the curvature is measured."""


def race(env: Any, observation: np.ndarray, info: dict[str, Any]) -> np.ndarray:
    """Drive Gymnasium's CarRacing-v3, with knowledge of the whole track.

    It steers towards a point of the road ahead, farther away at a higher speed. The speed is
    limited such that the car can brake in time for each bend ahead:
    v² ≤ GRIP / curvature + 2 BRAKING · way.

    Args:
        env: The environment, with or without wrappers.
        observation: Not used.
        info: Not used.

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
