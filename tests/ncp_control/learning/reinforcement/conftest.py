"""A cart that is to be held at 0, and what learns it."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from ncp_control import LTC, auto_ncp
from ncp_control.cells import Cell
from ncp_control.learning.reinforcement.elapsed import ObserveElapsed
from ncp_control.learning.reinforcement.ppo import SequencePPO


class Cart(gymnasium.Env):
    """A frictionless cart to be held at 0, seen by its position alone.

    Without knowing its velocity nobody can stop it: an acceleration that depends on the position
    alone conserves energy.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    dt_s = 0.1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position, self.speed = self.np_random.uniform(-1.0, 1.0, 2)
        self.num_steps = 0
        return self.observe(), {"dt_s": self.dt_s}

    def step(self, action):
        self.speed += self.dt_s * 4.0 * float(action[0])
        self.position += self.dt_s * self.speed
        self.num_steps += 1
        is_lost = abs(self.position) > 2.0
        # Uneven frames, so that an elapsed time that is lost or shifted shows.
        info = {"dt_s": self.dt_s * (1 + self.num_steps % 3)}
        return self.observe(), 1.0 - abs(self.position), is_lost, self.num_steps >= 40, info

    def observe(self):
        return np.array([self.position], dtype=np.float32)


def liquid(num_inputs: int = 1, *, neurons: int = 8) -> LTC:
    return LTC(auto_ncp(num_inputs, neurons, 1), frame_s=Cart.dt_s)


def carts(num_envs: int = 4, *, timed: bool = False) -> VecNormalize:
    def make():
        return Monitor(ObserveElapsed(Cart()) if timed else Cart())

    keys = ["observation"] if timed else None
    return VecNormalize(DummyVecEnv([make] * num_envs), gamma=0.95, norm_obs_keys=keys)


def learner(
    cell: Cell,
    *,
    timed: bool = False,
    seed: int = 0,
    critic_first_steps: int = 0,
    **policy_kwargs,
) -> SequencePPO:
    return SequencePPO(
        carts(timed=timed),
        critic_first_steps=critic_first_steps,
        sequence_length=12,
        n_steps=60,
        batch_size=48,
        n_epochs=2,
        policy_kwargs={"cell": cell, "critic_widths": (16,), **policy_kwargs},
        seed=seed,
    )


@pytest.fixture(name="Cart")
def _cart():
    return Cart


@pytest.fixture(name="liquid")
def _liquid():
    return liquid


@pytest.fixture(name="carts")
def _carts():
    return carts


@pytest.fixture(name="learner")
def _learner():
    return learner
