import math

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import TQC, RecurrentPPO
from stable_baselines3 import PPO, SAC, TD3
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecCheckNan,
    VecEnvWrapper,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
)

from ncp_control import Policy
from ncp_control.learning.reinforcement.actor_critic import CircuitActorCritic
from ncp_control.learning.reinforcement.elapsed import ObserveElapsed
from ncp_control.learning.reinforcement.ppo import SequencePPO
from ncp_control.learning.reinforcement.wrappers import wrappers_around
from policies.from_sb3 import policy_from_sb3
from policies.motor_circuits import make_motor_cell


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


class Choice(gymnasium.Env):
    """Readings wander about, whatever is chosen."""

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)

    def __init__(self, *kinds):
        self.action_space = (
            spaces.MultiDiscrete(kinds) if len(kinds) > 1 else spaces.Discrete(*kinds)
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.num_steps = 0
        return self.np_random.normal(5.0, 3.0, 3), {}

    def step(self, action):
        self.num_steps += 1
        return (
            self.np_random.normal(5.0, 3.0, 3),
            float(np.sum(action)),
            self.num_steps >= 9,
            False,
            {},
        )


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


@pytest.fixture
def observations():
    return np.random.default_rng(0).normal(2.0, 8.0, (40, 17)).astype(np.float32)


def actions(policy, observations):
    return np.stack([policy.act(observation) for observation in observations])


@pytest.mark.parametrize("algorithm", [SAC, TQC])
def test_a_squashed_actor_acts_as_the_library_predicts(algorithm, observations, tmp_path):
    observations[:20] *= 100.0  # as contact forces are: nothing is clipped without a VecNormalize
    model = algorithm("MlpPolicy", Body(), policy_kwargs={"net_arch": [32, 32]}, buffer_size=10)
    expected, _ = model.predict(observations, deterministic=True)
    policy = policy_from_sb3(model, frame_s=0.05)
    np.testing.assert_allclose(actions(policy, observations), expected, atol=1e-4)
    policy.save(tmp_path / "teacher")
    np.testing.assert_allclose(
        actions(Policy.load(tmp_path / "teacher"), observations), expected, atol=1e-4
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
    policy = policy_from_sb3(model, frame_s=0.05)
    np.testing.assert_allclose(actions(policy, observations), expected, atol=1e-4)
    assert 0.05 < np.mean(np.abs(expected) == 1.0) < 0.95, "clipped here and there"


@pytest.mark.parametrize(("encoder", "timed"), [((), False), ((4,), True)])
@pytest.mark.parametrize(
    "name", ["ltc", "cfc", "wired_cfc", "lstm", "gru", "feedforward", "mixed_cfc"]
)
def test_an_exported_policy_acts_as_sb3_over_episodes(tmp_path, name, timed, encoder):
    env = VecNormalize(
        DummyVecEnv([lambda: ObserveElapsed(Drift()) if timed else Drift()] * 2),
        norm_obs_keys=["observation"] if timed else None,
    )
    cell = make_motor_cell(name, (*encoder, 3)[0], 8, 2, frame_s=0.1)
    kwargs = {"cell": cell, "encoder": encoder, "actor_lr_scale": 10.0}
    model = SequencePPO(env, n_steps=32, batch_size=64, policy_kwargs=kwargs, seed=0).learn(64)
    policy_from_sb3(model).save(tmp_path / "policy")
    _acts_alike(model, env, Policy.load(tmp_path / "policy"), timed)


def test_an_exported_feed_forward_policy_acts_as_sb3_over_episodes():
    env = VecNormalize(DummyVecEnv([Drift] * 2))
    layers = {"net_arch": [16, 16], "activation_fn": torch.nn.ReLU}
    model = PPO("MlpPolicy", env, n_steps=32, batch_size=64, policy_kwargs=layers, seed=0)
    model.learn(64)
    _acts_alike(model, env, policy_from_sb3(model, frame_s=0.1), False)


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


@pytest.mark.parametrize("kinds", [(4,), (3, 2, 4)])
@pytest.mark.parametrize("algorithm", [SequencePPO, PPO])
def test_a_policy_of_choices_chooses_as_the_model(algorithm, kinds, tmp_path):
    env = VecNormalize(DummyVecEnv([lambda: Choice(*kinds)]))
    settings = {"n_steps": 64, "batch_size": 64, "n_epochs": 8, "seed": 0, "learning_rate": 0.03}
    if algorithm is SequencePPO:
        cell = make_motor_cell("cfc", 3, 12, sum(kinds), frame_s=0.1)
        model = SequencePPO(env, policy_kwargs={"cell": cell, "actor_lr_scale": 3.0}, **settings)
    else:
        layers = {"net_arch": [16, 16], "activation_fn": torch.nn.ReLU}
        model = PPO("MlpPolicy", env, policy_kwargs=layers, **settings)
    model.learn(64)
    policy_from_sb3(model, frame_s=0.1).save(tmp_path / "policy")
    policy = Policy.load(tmp_path / "policy")
    assert policy.choices == kinds
    env.training = False
    world, state, is_first, chosen = Choice(*kinds), None, True, []
    seen, _ = world.reset(seed=1)
    for _ in range(60):
        expected, state = model.predict(
            env.normalize_obs(seen), state, episode_start=np.array([is_first]), deterministic=True
        )
        if is_first:
            policy.reset()
        chosen.append(policy.act(seen))
        np.testing.assert_array_equal(chosen[-1], np.atleast_1d(expected))
        seen, _, is_first, _, _ = world.step(expected)
        if is_first:
            seen, _ = world.reset()
    assert np.std(chosen, axis=0).max() > 0  # not always the same


def test_actions_of_another_range_are_refused():
    model = SAC("MlpPolicy", Body(highest=2.0), buffer_size=10)
    with pytest.raises(
        ValueError, match=r"`action_space` must be Box\(-1, 1, \(n,\)\), or .*, got Box\(-2.0"
    ):
        policy_from_sb3(model, frame_s=0.05)


@pytest.mark.parametrize(
    "layers",
    [
        {"net_arch": [16, 16]},  # tanh, sb3's default
        {"net_arch": [16], "activation_fn": torch.nn.ReLU},
        {"net_arch": [16, 8], "activation_fn": torch.nn.ReLU},
    ],
)
def test_an_actor_of_other_layers_is_refused(layers):
    model = PPO("MlpPolicy", Body(), n_steps=16, batch_size=16, policy_kwargs=layers)
    with pytest.raises(ValueError, match="`model` must have an actor of two ReLU layers"):
        policy_from_sb3(model, frame_s=0.05)


@pytest.mark.parametrize(("algorithm", "settings"), [(TD3, {}), (SAC, {"use_sde": True})])
def test_an_actor_with_more_behind_it_is_refused(algorithm, settings):
    layers = {"net_arch": [16, 16]}
    model = algorithm("MlpPolicy", Body(), policy_kwargs=layers, buffer_size=10, **settings)
    with pytest.raises(ValueError, match="`model` must have an actor of two ReLU layers"):
        policy_from_sb3(model, frame_s=0.05)


def test_an_actor_that_squashes_by_itself_does_so_here(observations):
    layers = {"net_arch": [16, 16], "activation_fn": torch.nn.ReLU, "squash_output": True}
    model = PPO("MlpPolicy", Body(), n_steps=16, batch_size=16, use_sde=True, policy_kwargs=layers)
    with torch.no_grad():
        model.policy.action_net.weight.mul_(100.0)
    expected, _ = model.predict(observations, deterministic=True)
    policy = policy_from_sb3(model, frame_s=0.05)
    np.testing.assert_allclose(actions(policy, observations), expected, atol=1e-4)
    assert 0.05 < np.mean(np.abs(expected) < 0.9)


def test_the_librarys_own_lstm_is_refused():
    layers = {"net_arch": [16, 16], "activation_fn": torch.nn.ReLU, "lstm_hidden_size": 3}
    model = RecurrentPPO("MlpLstmPolicy", Body(), n_steps=16, batch_size=16, policy_kwargs=layers)
    with pytest.raises(ValueError, match="`model` must hold a circuit or no memory, got Recurrent"):
        policy_from_sb3(model, frame_s=0.05)


def circuit_in(env, *, num_inputs=3):
    """A SequencePPO after one update, in environments of two actions."""
    cell = make_motor_cell("ltc", num_inputs, 8, 2, frame_s=0.1)
    kwargs = {"cell": cell, "actor_lr_scale": 10.0}
    settings = {"n_steps": 64, "batch_size": 64, "n_epochs": 2, "seed": 0}
    return SequencePPO(env, policy_kwargs=kwargs, **settings).learn(64)


def feed_forward_in(env):
    layers = {"net_arch": [16, 16], "activation_fn": torch.nn.ReLU}
    settings = {"n_steps": 64, "batch_size": 64, "n_epochs": 2, "seed": 0}
    return PPO("MlpPolicy", env, policy_kwargs=layers, **settings).learn(64)


def frozen(env):
    """A VecNormalize whose averages were made elsewhere."""
    scaled = VecNormalize(env, training=False, clip_obs=math.inf)
    scaled.obs_rms.mean, scaled.obs_rms.var = np.array([5.0, 4.0, -3.0]), np.array([9.0, 4.0, 1.0])
    return scaled


class Doubled(VecEnvWrapper):
    """Somebody's own wrapper."""

    def reset(self):
        return 2.0 * self.venv.reset()

    def step_wait(self):
        seen, *rest = self.venv.step_wait()
        return 2.0 * seen, *rest


class OwnNormalize(VecNormalize):
    """A subclass may do anything."""


STACKS = {
    "nothing": lambda env: env,
    "once": VecNormalize,
    "clipped early": lambda env: VecNormalize(env, clip_obs=0.5),
    "made elsewhere": frozen,
    "rewards alone": lambda env: VecNormalize(env, norm_obs=False),
    "rewards apart": lambda env: VecNormalize(VecNormalize(env, norm_reward=False), norm_obs=False),
    "watched": lambda env: VecCheckNan(VecMonitor(VecNormalize(VecMonitor(env)))),
}


@pytest.mark.parametrize("train", [circuit_in, feed_forward_in])
@pytest.mark.parametrize("stack", STACKS)
def test_a_policy_acts_on_raw_observations_as_the_model_in_its_wrappers(stack, train, tmp_path):
    """Nothing between the worlds and the model is lost, nor when the policy is saved."""
    env = STACKS[stack](DummyVecEnv([Drift]))
    model = train(env)
    with torch.no_grad():
        for weight in getattr(model.policy.action_net, "parameters", list)():
            weight.mul_(30.0)  # a feed-forward actor says nearly nothing after one update
    policy_from_sb3(model, frame_s=0.1).save(tmp_path / "policy")
    policy = Policy.load(tmp_path / "policy")
    for wrapper in wrappers_around(env):
        if isinstance(wrapper, VecNormalize):
            wrapper.training = False
    seen, state, is_first, moved = env.reset(), None, np.ones(1, dtype=bool), []
    for _ in range(25):  # three episodes
        raw = env.unwrapped.buf_obs[None][0].copy()
        expected, state = model.predict(seen, state, is_first, deterministic=True)
        if is_first[0]:
            policy.reset()
        action = policy.act(raw)
        np.testing.assert_allclose(action, expected[0], atol=2e-5)
        moved.append(action)
        seen, _, is_first, _ = env.step(expected)
    assert np.std(moved, axis=0).min() > 1e-3  # not all alike


@pytest.mark.parametrize(
    ("wrap", "name", "num_inputs"),
    [
        (lambda env: VecNormalize(VecNormalize(env)), "VecNormalize once more", 3),
        (lambda env: Doubled(VecNormalize(env)), "Doubled", 3),
        (lambda env: VecNormalize(Doubled(env)), "Doubled", 3),
        (Doubled, "Doubled", 3),
        (OwnNormalize, "OwnNormalize", 3),
        (lambda env: VecFrameStack(VecNormalize(env), 2), "VecFrameStack", 6),
        (lambda env: VecNormalize(VecFrameStack(env, 2)), "VecFrameStack", 6),
    ],
)
def test_wrappers_that_a_policy_cannot_repeat_are_refused(wrap, name, num_inputs):
    model = circuit_in(wrap(DummyVecEnv([Drift])), num_inputs=num_inputs)
    told = f"`model` must act in environments with at most one VecNormalize .*, got {name}. Do what"
    with pytest.raises(ValueError, match=told):
        policy_from_sb3(model)


def test_a_model_without_what_it_was_trained_in_is_refused(tmp_path):
    model = circuit_in(VecNormalize(DummyVecEnv([Drift])))
    model.save(tmp_path / "model.zip")
    alone = SequencePPO.load(tmp_path / "model.zip")
    with pytest.raises(ValueError, match="`model` must have the environments .*, got none"):
        policy_from_sb3(alone)
    fresh = SequencePPO.load(tmp_path / "model.zip", env=VecNormalize(DummyVecEnv([Drift])))
    with pytest.raises(ValueError, match=r"the VecNormalize of its 64 steps .*VecNormalize\.load"):
        policy_from_sb3(fresh)


def test_layers_in_front_of_the_actor_are_refused():
    class Halved(FlattenExtractor):
        def forward(self, observations):
            return 0.5 * super().forward(observations)

    layers = {
        "net_arch": [16, 16],
        "activation_fn": torch.nn.ReLU,
        "features_extractor_class": Halved,
    }
    told = "`model` must have no features extractor of its own, got Halved"
    for algorithm, settings in (
        (PPO, {"n_steps": 16, "batch_size": 16}),
        (SAC, {"buffer_size": 9}),
    ):
        model = algorithm("MlpPolicy", Body(), policy_kwargs=layers, **settings)
        with pytest.raises(ValueError, match=told):
            policy_from_sb3(model)


def test_a_policy_class_that_acts_otherwise_is_refused():
    class Reversed(CircuitActorCritic):
        def predict(self, *args, **kwargs):
            action, state = super().predict(*args, **kwargs)
            return -action, state

    env = VecNormalize(DummyVecEnv([Drift]))
    cell = make_motor_cell("ltc", 3, 8, 2, frame_s=0.1)
    torch.nn.init.constant_(cell.output_offset, 0.5)
    model = SequencePPO(env, policy=Reversed, policy_kwargs={"cell": cell})
    with pytest.raises(ValueError, match="`model` must act as its layers do, got actions that"):
        policy_from_sb3(model)


def test_a_scaled_elapsed_time_is_refused_when_the_training_is_built():
    env = VecNormalize(DummyVecEnv([lambda: ObserveElapsed(Drift())]))
    with pytest.raises(ValueError, match=r"`norm_obs_keys` must be \['observation'\] for obs"):
        SequencePPO(
            env, policy_kwargs={"cell": make_motor_cell("ltc", 3, 8, 2, frame_s=0.1)}, seed=0
        )


def test_a_training_that_diverged_gives_no_policy():
    cell = make_motor_cell("ltc", 17, 12, 6, frame_s=0.1)
    model = SequencePPO(VecNormalize(DummyVecEnv([Body])), policy_kwargs={"cell": cell})
    with torch.no_grad():
        model.policy.actor.circuit.cell.threshold[0] = torch.nan
    with pytest.raises(ValueError, match="`model` must have finite weights"):
        policy_from_sb3(model)


def test_averages_that_are_not_finite_give_no_policy():
    env = VecNormalize(DummyVecEnv([Drift]))
    model = circuit_in(env)
    env.obs_rms.var[1] = np.inf
    with pytest.raises(ValueError, match="finite running averages, got .* in observation"):
        policy_from_sb3(model)
