import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import TQC
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from ncp_control import Policy
from policies.teachers import policy_from_sb3


class Body(gymnasium.Env):
    """Random observations of a walking body's size."""

    observation_space = spaces.Box(-np.inf, np.inf, (17,))

    def __init__(self, highest=1.0):
        self.action_space = spaces.Box(-highest, highest, (6,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.normal(size=17).astype(np.float32), {}

    def step(self, action):
        return self.np_random.normal(3.0, 2.0, 17).astype(np.float32), 0.0, False, False, {}


@pytest.fixture
def observations():
    return np.random.default_rng(0).normal(2.0, 8.0, (40, 17)).astype(np.float32)


def actions(policy, observations):
    return np.stack([policy.act(observation) for observation in observations])


@pytest.mark.parametrize("algorithm", [SAC, TQC])
def test_a_squashed_actor_acts_as_the_library_predicts(algorithm, observations, tmp_path):
    model = algorithm("MlpPolicy", Body(), policy_kwargs={"net_arch": [32, 32]}, buffer_size=10)
    expected, _ = model.predict(observations, deterministic=True)
    policy = policy_from_sb3(model, frame_s=0.05)
    np.testing.assert_allclose(actions(policy, observations), expected, atol=1e-5)
    policy.save(tmp_path / "teacher")
    np.testing.assert_allclose(
        actions(Policy.load(tmp_path / "teacher"), observations), expected, atol=1e-5
    )


def test_a_clipped_actor_acts_as_the_library_predicts_behind_its_scale(observations):
    env = VecNormalize(DummyVecEnv([Body]))
    layers = {"net_arch": [32, 32], "activation_fn": torch.nn.ReLU}
    model = PPO("MlpPolicy", env, n_steps=16, batch_size=16, policy_kwargs=layers)
    env.reset()
    for _ in range(50):
        env.step(np.zeros((1, 6)))
    with torch.no_grad():
        model.policy.action_net.weight.mul_(100.0)  # an untrained one says nearly nothing
    expected, _ = model.predict(env.normalize_obs(observations), deterministic=True)
    policy = policy_from_sb3(model, frame_s=0.05, normalization=env)
    np.testing.assert_allclose(actions(policy, observations), expected, atol=1e-4)
    assert 0.05 < np.mean(np.abs(expected) == 1.0) < 0.95, "clipped here and there"


def test_actions_of_another_range_are_refused():
    model = SAC("MlpPolicy", Body(highest=2.0), buffer_size=10)
    with pytest.raises(ValueError, match=r"`model` must have actions in \[-1, 1\], got Box"):
        policy_from_sb3(model, frame_s=0.05)
