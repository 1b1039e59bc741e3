import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from ncp_control import LTC, Policy
from ncp_control.learning.reinforcement.checkpoint import observation_scale
from ncp_control.learning.reinforcement.elapsed import ObserveElapsed
from ncp_control.learning.reinforcement.ppo import SequencePPO
from policies.motor_circuits import MOTOR_CELLS, make_motor_cell, motor_wiring
from policies.reinforced import feedforward_from_layers, policy_from_actor


class Drift(gymnasium.Env):
    """Three readings wander about, seen at uneven times."""

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.num_steps = self.np_random.normal(5.0, 3.0, 3), 0
        return self.place.copy(), {"dt_s": 0.1}

    def step(self, action):
        self.place += self.np_random.normal(size=3)
        self.num_steps += 1
        info = {"dt_s": 0.1 * (1 + self.num_steps % 2)}
        return self.place.copy(), float(action.sum()), self.num_steps >= 9, False, info


@pytest.mark.parametrize(("encoder", "timed"), [((), False), ((4,), True)])
@pytest.mark.parametrize("name", MOTOR_CELLS)
def test_an_exported_policy_acts_as_sb3_over_episodes(tmp_path, name, timed, encoder):
    env = VecNormalize(
        DummyVecEnv([lambda: ObserveElapsed(Drift()) if timed else Drift()] * 2),
        norm_obs_keys=["observation"] if timed else None,
    )
    cell = make_motor_cell(name, (*encoder, 3)[0], 8, 2, frame_s=0.1)
    kwargs = {"cell": cell, "encoder": encoder, "actor_lr_scale": 10.0}
    model = SequencePPO(env, n_steps=32, batch_size=64, policy_kwargs=kwargs, seed=0).learn(64)
    core = model.policy.actor
    mean, std = observation_scale(model)
    policy_from_actor(core.circuit.cell, core.encoder, mean, std).save(tmp_path / "policy")
    _acts_alike(model, env, Policy.load(tmp_path / "policy"), timed)


def test_an_exported_feed_forward_policy_acts_as_sb3():
    env = VecNormalize(DummyVecEnv([Drift] * 2))
    layers = {"net_arch": [16, 16], "activation_fn": torch.nn.ReLU}
    model = PPO("MlpPolicy", env, n_steps=32, batch_size=64, policy_kwargs=layers, seed=0)
    model.learn(64)
    hidden = model.policy.mlp_extractor.policy_net
    cell = feedforward_from_layers(hidden, model.policy.action_net, frame_s=0.1)
    policy = policy_from_actor(cell, torch.nn.Sequential(), *observation_scale(model))
    _acts_alike(model, env, policy, False)


def _acts_alike(model, env, policy, timed):
    world = ObserveElapsed(Drift()) if timed else Drift()
    env.training = False
    seen, info = world.reset(seed=1)
    state, is_first, moved = None, True, []
    for _ in range(25):  # three episodes
        scaled = env.normalize_obs(seen)
        expected, state = model.predict(
            scaled, state, episode_start=np.array([is_first]), deterministic=True
        )
        if is_first:
            policy.reset()
        reading = seen["observation"] if timed else seen
        action = policy.act(reading, info["dt_s"] if timed else None)
        np.testing.assert_allclose(action, expected, atol=2e-5)
        moved.append(action)
        seen, _, is_first, _, info = world.step(action)
        if is_first:
            seen, info = world.reset()
    assert np.std(moved, axis=0).min() > 1e-3  # not all alike


def test_a_circuit_without_room_for_its_layers_is_refused():
    with pytest.raises(ValueError, match="`num_neurons` must be at least 11, got 8"):
        motor_wiring(17, 8, 6)
    with pytest.raises(ValueError, match="`cell` must be one of"):
        make_motor_cell("perceptron", 17, 32, 6, frame_s=0.05)


def test_an_untrained_circuit_answers_around_zero():
    inputs, dt_s = torch.randn(256, 16, 17), torch.full((256, 16), 0.05)

    def offset(cell):
        outputs, _ = cell.sequence(inputs, cell.initial_state(256), dt_s, None)
        return outputs.mean(dim=(0, 1)).abs().max()

    published = LTC(motor_wiring(17, 32, 6), frame_s=0.05)
    assert offset(make_motor_cell("ltc", 17, 32, 6, frame_s=0.05)) < 0.01 < offset(published)
