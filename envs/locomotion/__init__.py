"""HalfCheetah, Walker2d and Hopper with what a robot has to live with.

Position-only observation, sensor noise, dropped frames, overwritten and delayed actions, each a
wrapper of its own around Gymnasium's MuJoCo environments; `envs.faults` says which suit a world.
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
