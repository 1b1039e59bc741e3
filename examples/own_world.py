"""Write your own environment: a drone that holds its height in gusts of wind.

    cp examples/own_world.py . && python scripts/train.py ppo --world Hover-v0 --import own_world
    python scripts/train.py imitate --world Hover-v0 --import own_world --expert own_world:hold
Without a contract, --world own_world:Hover is enough: any Gymnasium environment works.
"""

import gymnasium
import numpy as np

from ncp_control.contract import ActionContract, Contract, Entry, VectorContract
from ncp_control.worlds import register_world, world_of

DT_S, GRAVITY_MPS2, EPISODE_STEPS = 0.05, 9.81, 200


class Hover(gymnasium.Env):
    """Observation: height error [m], climb rate [m/s]. Action: thrust in [-1, 1], 0 to hover."""

    dt = DT_S
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, gust_mps2=1.0):
        self.gust_mps2 = gust_mps2

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state, self.steps = self.np_random.normal(0.0, [1.0, 0.2]), 0
        return np.float32(self.state), {}

    def step(self, action):
        gust_mps2 = self.np_random.normal(0.0, self.gust_mps2)
        self.state[1] += DT_S * (GRAVITY_MPS2 * float(action[0]) + gust_mps2)
        self.state[0] += DT_S * self.state[1]
        self.steps += 1
        error_m, is_over = abs(float(self.state[0])), self.steps == EPISODE_STEPS
        return np.float32(self.state), 1.0 - min(error_m, 1.0), error_m > 5.0, is_over, {}


def make_hover(gust_mps2=1.0):
    """Return the environment; arguments are its options, e.g. --world-options gust_mps2=2."""
    senses = Entry(name="height error", unit="m"), Entry(name="climb rate", unit="m/s")
    contract = Contract(
        observation=VectorContract(entries=senses),
        action=(ActionContract(name="thrust", unit="weight of the drone", positive="up"),),
        frame_s=DT_S,
        world="Hover-v0",
        world_options={"gust_mps2": gust_mps2},
    )
    return world_of(lambda: Hover(gust_mps2), name="Hover-v0", contract=contract)


def hold(env, observation, info):
    """Return the action of the expert; it must be in [-1, 1] for any action space."""
    return np.clip([-0.6 * sum(observation)], -1.0, 1.0)  # reduces height error and climb rate


register_world("Hover-v0", make_hover)
