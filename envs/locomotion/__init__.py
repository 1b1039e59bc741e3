"""HalfCheetah and Walker2d with what a robot has to live with.

Position-only observation, sensor noise, dropped frames, overwritten and delayed actions, each a
wrapper of its own around Gymnasium's MuJoCo environments; `make_locomotion` stacks them.
"""

from envs.locomotion.disturbances import DelayedActions, DroppedFrames, OverwrittenActions
from envs.locomotion.sensors import PositionsOnly, SensorNoise
from envs.locomotion.worlds import OBSERVE, WORLDS, Timed, disturb, make_locomotion

__all__ = [
    "OBSERVE",
    "WORLDS",
    "DelayedActions",
    "DroppedFrames",
    "OverwrittenActions",
    "PositionsOnly",
    "SensorNoise",
    "Timed",
    "disturb",
    "make_locomotion",
]
