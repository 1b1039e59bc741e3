"""A world in which a training takes a moment, its expert, and the words that train there."""

from typing import ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

TINY = (
    "--world tests.scripts.tiny_world:Reach --expert tests.scripts.tiny_world:expert"
    " --neurons 8 --episodes 2 --imitation.epochs 3 --imitation.dagger-epochs 1"
    " --dagger-episodes 1 --validation-episodes 2 --evaluation-episodes 2"
)


class Reach(gymnasium.Env):
    """A point on a line that is to be brought to zero."""

    metadata: ClassVar = {"render_fps": 10}
    observation_space = spaces.Box(-4.0, 4.0, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.place = 0, self.np_random.uniform(-1.0, 1.0, 1)
        return self.place.astype(np.float32), {}

    def step(self, action):
        self.place = np.clip(self.place + 0.3 * np.asarray(action), -4.0, 4.0)
        self.steps += 1
        reward = -float(np.abs(self.place).sum())
        return self.place.astype(np.float32), reward, False, self.steps == 20, {}


def expert(env, observation, info):
    return np.clip(-3.0 * observation, -1.0, 1.0)
