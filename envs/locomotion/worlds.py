"""HalfCheetah-v5, Walker2d-v5 and Hopper-v5 as worlds, with elapsed time and checked actions.

|             | HalfCheetah            | Walker2d, Hopper                      |
|-------------|------------------------|---------------------------------------|
| frame       | 0.05 s                 | 0.008 s                               |
| episode     | 1000 frames            | 1000 frames, or until it falls        |
| full torque | 120, 90, 60 N·m (hind) | 100 N·m (each joint), Hopper 200 N·m  |
|             | 120, 60, 30 N·m (front)|                                       |

Action, shape (6,), float32: torque of each joint as a share of its full torque, in [-1, 1].
Hopper has one leg: 3 joints, entries 2 to 4, and velocities from entry 5 on.

| entry    | HalfCheetah                            | Walker2d                           | unit  |
|----------|----------------------------------------|------------------------------------|-------|
| 0        | height of the front tip                | height of the torso                | m     |
| 1        | pitch of the front tip                 | pitch of the torso                 | rad   |
| 2 to 7   | hind thigh, shin, foot; front the same | right thigh, leg, foot; left same  | rad   |
| 8, 9     | velocity forward, upward               | the same                           | m/s   |
| 10       | pitch rate                             | the same                           | rad/s |
| 11 to 16 | rates of joints 2 to 7                 | the same                           | rad/s |

Position-only observation keeps entries 0 to 7 (Hopper 0 to 4). Reward and end of an episode are
Gymnasium's.
Source: gymnasium.farama.org, HalfCheetah-v5, Walker2d-v5 and Hopper-v5; a test holds the table to
the models.
"""

# mujoco is a compiled module without stubs.
# pyright: reportAttributeAccessIssue=false

from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from envs.bodies import BODIES
from envs.locomotion.sensors import PositionsOnly
from envs.seeding import check_action, check_continuous
from ncp_control.gymnasium_contracts import silent_deprecations
from ncp_control.names import check_name

OBSERVE = ("full", "positions")
"""Kinds of observation: with or without velocities."""


def make_locomotion(
    env: str = "halfcheetah", *, observe: str = "full", **rendering: Any
) -> gymnasium.Env:
    """Build a walking environment without disturbances; `envs.faults` has those that suit it.

    Every `info` has `time_s` [s]; `dt_s`, the time since the previous observation [s]; and
    `full_observation`, the undisturbed observation, e.g. for a teacher. `env.unwrapped.dt` is the
    frame interval [s].

    Args:
        env: Name in `envs.bodies.BODIES`.
        observe: Name in `OBSERVE`.
        rendering: Keyword arguments for Gymnasium, e.g. `render_mode`, `width`, `height`.

    Raises:
        ValueError: If a name is unknown.
    """
    check_name("env", env, BODIES)
    check_name("observe", observe, OBSERVE)
    with silent_deprecations():
        body = gymnasium.make(BODIES[env], disable_env_checker=True, **rendering)
    world = Timed(body)
    return PositionsOnly(world) if observe == "positions" else world


class Timed(gymnasium.Wrapper, RecordConstructorArgs):
    """Check actions, and add time and undisturbed observation to `info`.

    Args:
        env: A Gymnasium MuJoCo environment with bounded continuous actions.

    Raises:
        TypeError: If the actions are not continuous or the world is not MuJoCo's.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)
        self._bounds = check_continuous(env)
        if not isinstance(env.unwrapped, MujocoEnv):
            raise TypeError(
                f"`env` must be simulated by MuJoCo, got {env!r}."
                " Give its `info` time_s and dt_s yourself."
            )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, info | self._known(observation)

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """Apply torques for one frame.

        Args:
            action: Share of each joint's full torque in [-1, 1], shape (joints,).

        Raises:
            ValueError: If the action does not hold real numbers, has another shape, is out of
                bounds or not finite.
        """
        action = check_action(action, self._bounds)
        observation, reward, terminated, truncated, info = self.env.step(action)
        known = info | self._known(observation)
        return observation, float(reward), terminated, truncated, known

    def _known(self, observation: NDArray[np.float64]) -> dict[str, Any]:
        body = cast(Any, self.unwrapped)
        return {
            "time_s": float(body.data.time),
            "dt_s": float(body.dt),
            "full_observation": observation.copy(),
        }
