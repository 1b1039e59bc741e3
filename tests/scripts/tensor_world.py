"""The tiny world, also as many points at once in tensors."""

from dataclasses import replace

import numpy as np
import torch
from gymnasium import spaces

from ncp_control.tensor_worlds import TensorStep, TensorWorlds
from ncp_control.worlds import World, world_of
from tests.scripts.tiny_world import Reach


class Points(TensorWorlds):
    """Points on a line that are to be brought to zero."""

    observation_space = spaces.Box(-4.0, 4.0, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, num_worlds, device, max_steps):
        self.num_worlds, self.device = num_worlds, torch.device(device)
        self.max_steps = min(max_steps, 20)
        self.generator = torch.Generator(device)

    @property
    def num_bytes(self):
        return 8 * self.num_worlds

    def seed(self, seed):
        self.generator.manual_seed(seed)

    def reset(self):
        self.place, self.steps = self.draw(), torch.zeros(self.num_worlds)
        return self.place.clone()

    def step(self, actions):
        self.place = (self.place + 0.3 * actions).clamp(-4.0, 4.0)
        self.steps += 1
        reward, last = -self.place.abs().sum(1), self.place.clone()
        truncated = self.steps >= self.max_steps
        self.place = torch.where(truncated[:, None], self.draw(), self.place)
        self.steps *= ~truncated
        never = torch.zeros_like(truncated)
        return TensorStep(self.place.clone(), reward, never, truncated, last)

    def draw(self):
        return 2.0 * torch.rand(self.num_worlds, 1, generator=self.generator) - 1.0


def points() -> World:
    """The world as a job finds it: one environment to be measured in, or many points."""
    world = world_of(Reach, name="tests.scripts.tensor_world:points")
    return replace(world, make_batch=Points, max_steps=20)
