"""Environments ("worlds"): driving, walking, and faults that can be added to any of them.

Importing this package registers the worlds: with Gymnasium, `gymnasium.make("LaneKeeping-v0")`, and
by name for policies, `ncp_control.worlds.find_world("Walker2d-v5")`. A simulator is imported only
when a world is built.
"""

import importlib.util

_missing = [name for name in ("cv2", "gymnasium", "mujoco") if not importlib.util.find_spec(name)]
if _missing:
    raise ModuleNotFoundError(
        f"`envs` needs {', '.join(_missing)}, which the extra `stack` installs. "
        'Run `pip install -e ".[stack]"` in the clone.'
    )

import gymnasium  # noqa: E402 - after the check that it is there

gymnasium.register(id="LaneKeeping-v0", entry_point="envs.driving.lane_keeping:LaneKeepingEnv")
gymnasium.register(id="RoadDriving-v0", entry_point="envs.driving.road_driving:RoadDrivingEnv")

from envs import worlds  # noqa: E402 - it needs Gymnasium

worlds.register()
