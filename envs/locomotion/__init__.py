"""HalfCheetah, Walker2d and Hopper with the imperfections of a real robot.

Position-only observations, sensor noise, dropped frames, overwritten and delayed actions are each
a separate wrapper around Gymnasium's MuJoCo environments. `envs.faults` lists those that suit a
world.
"""

from envs.locomotion.disturbances import DelayedActions, DroppedFrames, OverwrittenActions
from envs.locomotion.sensors import PositionsOnly, SensorNoise
from envs.locomotion.worlds import OBSERVE, Timed, make_locomotion

__all__ = [
    "OBSERVE",
    "DelayedActions",
    "DroppedFrames",
    "OverwrittenActions",
    "PositionsOnly",
    "SensorNoise",
    "Timed",
    "make_locomotion",
]
