"""Worlds: driving, and faults that any of them can have.

Importing this package registers the worlds with gymnasium: `gymnasium.make("LaneKeeping-v0")`.
The simulator itself is imported when a world is made.
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
