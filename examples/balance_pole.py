"""Train twelve liquid neurons by PPO to balance a pole, in a Gymnasium environment."""

import gymnasium
import numpy as np
import torch
from gymnasium.wrappers import RescaleAction
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from ncp_control.learning.reinforcement.ppo import SequencePPO
from policies.from_sb3 import policy_from_sb3
from policies.motor_circuits import make_motor_cell


def make_world():
    return RescaleAction(gymnasium.make("InvertedPendulum-v5"), np.float32(-1), np.float32(1))


torch.set_num_threads(1)  # faster than two for networks this small
seed = 0
torch.manual_seed(seed)  # before the cell draws its first weights
env = VecNormalize(make_vec_env(make_world, n_envs=8))
cell = make_motor_cell("ltc", 4, 12, 1, frame_s=0.04)  # 4 readings, 12 neurons, 1 of them a motor
learner = {"cell": cell, "actor_lr_scale": 10.0}  # circuits need a larger rate than the critic
model = SequencePPO(env, policy_kwargs=learner, verbose=1, seed=seed).learn(60_000)
policy = policy_from_sb3(model)
policy.save("balance")

world = make_world()
reading, _ = world.reset(seed=1)
is_over, steps = False, 0
while not is_over:
    reading, _, has_fallen, is_late, _ = world.step(policy.act(reading))
    is_over, steps = has_fallen or is_late, steps + 1
print(f"balanced for {steps} of 1000 steps")
