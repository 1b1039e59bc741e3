"""The learner on a device against `SequencePPO`, in the same worlds with the same seeds."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from ncp_control.cells import GRU
from ncp_control.learning.reinforcement import tensor_ppo
from ncp_control.learning.reinforcement.checkpoint import load_checkpoint, save_checkpoint
from ncp_control.learning.reinforcement.ppo import SequencePPO
from ncp_control.learning.reinforcement.sequences import SequenceBuffer
from ncp_control.learning.reinforcement.tensor_env import (
    TensorAverage,
    TensorEnv,
    TensorNormalize,
)
from ncp_control.learning.reinforcement.tensor_ppo import (
    TensorPPO,
    TensorRollout,
    _without_waiting,
)
from ncp_control.learning.reinforcement.wrappers import observation_scale
from ncp_control.policy import FramesPolicy
from ncp_control.tensor_worlds import TensorStep, TensorWorlds
from policies.from_sb3 import policy_from_sb3
from policies.motor_circuits import make_motor_cell
from tests.ncp_control.learning.reinforcement.test_pixels import Film
from tests.no_waiting import NoWaiting

NUM_WORLDS = 4
SETTINGS = {"sequence_length": 12, "n_steps": 60, "batch_size": 48, "n_epochs": 2, "seed": 0}
KEPT = ("observations", "actions", "rewards", "values", "log_probs", "episode_starts")
KEPT += ("advantages", "returns")


class Copies(TensorWorlds):
    """Gymnasium environments behind the interface of worlds on a device, seeded as sb3 does."""

    device = torch.device("cpu")
    num_bytes = 0

    def __init__(self, make, num_worlds):
        self.envs = [make() for _ in range(num_worlds)]
        self.num_worlds = num_worlds
        self.observation_space = self.envs[0].observation_space
        self.action_space = self.envs[0].action_space
        self.first_seed = None

    def seed(self, seed):
        self.first_seed = seed

    def reset(self):
        seeds = [None if self.first_seed is None else self.first_seed + i for i in range(4)]
        self.first_seed = None
        pairs = zip(self.envs, seeds, strict=True)
        return torch.tensor(np.array([env.reset(seed=seed)[0] for env, seed in pairs]))

    def step(self, actions):
        told = []
        for env, action in zip(self.envs, actions.numpy(), strict=True):
            seen, reward, terminated, truncated, _ = env.step(action)
            first = env.reset()[0] if terminated or truncated else seen
            told.append((first, np.float32(reward), terminated, truncated, seen))
        return TensorStep(*(torch.tensor(np.array(values)) for values in zip(*told, strict=True)))


class Returns(BaseCallback):
    """Notes the returns of all episodes that a training tells of."""

    def __init__(self):
        super().__init__()
        self.found = []

    def _on_step(self):
        infos = self.locals["infos"]
        self.found += [info["episode"]["r"] for info in infos if "episode" in info]
        return True


@pytest.fixture
def on_host(carts, liquid):
    def build(**policy_kwargs):
        torch.manual_seed(0)  # the cell draws its weights
        kwargs = {"cell": liquid(), "critic_widths": (16,), **policy_kwargs}
        return SequencePPO(carts(NUM_WORLDS), gamma=0.95, policy_kwargs=kwargs, **SETTINGS)

    return build


@pytest.fixture
def on_device(Cart, liquid):
    def build(seed=0, **policy_kwargs):
        torch.manual_seed(0)
        kwargs = {"cell": liquid(), "critic_widths": (16,), **policy_kwargs}
        env = TensorNormalize(TensorEnv(Copies(Cart, NUM_WORLDS)), gamma=0.95)
        return TensorPPO(env, gamma=0.95, policy_kwargs=kwargs, **{**SETTINGS, "seed": seed})

    return build


def weights(model):
    return torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach()


@pytest.mark.parametrize("critic", ["mlp", "gru"])
def test_it_learns_what_sequence_ppo_learns_in_the_same_worlds(on_host, on_device, critic):
    extra = {"critic_cell": GRU(1, 4, 4, frame_s=0.1)} if critic == "gru" else {}
    models = []
    for build in (on_host, on_device):
        model, told = build(**extra), Returns()
        first = weights(model).clone()
        model.learn(2 * 60 * NUM_WORLDS, callback=told)
        models.append((model, told.found))
    (host, host_returns), (device, device_returns) = models
    for name in KEPT:
        wanted = getattr(host.rollout_buffer, name)
        found = device.rollout_buffer.steps[name].numpy()
        np.testing.assert_allclose(found, wanted.reshape(found.shape), atol=2e-5, err_msg=name)
    assert (host.rollout_buffer.episode_starts.sum() > 4) and len(host_returns) > 4
    np.testing.assert_allclose(sorted(device_returns), sorted(host_returns), atol=1e-4)
    assert (weights(host) - first).abs().max() > 1e-3, "something was learned"
    torch.testing.assert_close(weights(device), weights(host), atol=2e-5, rtol=0)
    scales = observation_scale(host), observation_scale(device)
    np.testing.assert_allclose(scales[1].mean, scales[0].mean, atol=1e-6)
    np.testing.assert_allclose(scales[1].std, scales[0].std, rtol=1e-6)


def seeing(make_model, env, **policy_kwargs):
    """A model that learns from the frames of `Film` with a conv head."""
    torch.manual_seed(0)
    cell = make_motor_cell("ltc", 32, 10, 3, frame_s=0.1)
    kwargs = {"cell": cell, "head": "light", "critic_widths": (16,), **policy_kwargs}
    return make_model(env, gamma=0.95, policy_kwargs=kwargs, **SETTINGS)


def test_it_learns_from_frames_what_sequence_ppo_learns_from_them():
    envs = DummyVecEnv([lambda: Monitor(Film())] * NUM_WORLDS)
    host = seeing(SequencePPO, VecNormalize(envs, gamma=0.95, norm_obs=False))
    first = weights(host).clone()
    host.learn(60 * NUM_WORLDS)
    worlds = TensorEnv(Copies(Film, NUM_WORLDS))
    device = seeing(TensorPPO, TensorNormalize(worlds, gamma=0.95))  # draws from the seed again
    device.learn(60 * NUM_WORLDS)
    frames = device.rollout_buffer.steps["observations"]
    assert frames.dtype == torch.uint8
    assert np.array_equal(frames.numpy(), host.rollout_buffer.observations.reshape(frames.shape))
    assert (weights(host) - first).abs().max() > 1e-3, "something was learned"
    torch.testing.assert_close(weights(device), weights(host), atol=2e-5, rtol=0)
    assert observation_scale(device) is None
    assert isinstance(policy_from_sb3(device), FramesPolicy)


def test_a_head_that_does_not_learn_is_refused():
    env = TensorNormalize(TensorEnv(Copies(Film, NUM_WORLDS)), gamma=0.95)
    with pytest.raises(ValueError, match="`head_learns` must be True for worlds on a device"):
        seeing(TensorPPO, env, head_learns=False)


def test_one_update_on_the_same_rollout_gives_the_same_weights(on_host, on_device):
    host, device = on_host(), on_device()
    host.learn(60 * NUM_WORLDS)
    device.learn(60 * NUM_WORLDS)
    kept = host.rollout_buffer
    rollout = device.rollout_buffer
    for name in KEPT:
        rollout.steps[name][:] = torch.tensor(getattr(kept, name)).reshape(
            rollout.steps[name].shape
        )
    device.set_parameters(copy.deepcopy(host.get_parameters()))  # else they share their moments
    for states, at in zip(rollout._states, range(0, 60, 12), strict=True):
        states.pi[0][:] = torch.tensor(kept.hidden_states_pi[at])
    for model in (host, device):
        torch.manual_seed(1)
        model.train()
    assert torch.equal(weights(device), weights(host))


@pytest.mark.parametrize("gamma", [0.9, 0.99])
def test_advantages_are_those_of_the_buffer_on_the_host(Cart, gamma):
    generator = torch.Generator().manual_seed(0)
    shape, length = (12, 3), 4
    settings = {"gamma": gamma, "gae_lambda": 0.8}
    spaces = (Cart.observation_space, Cart.action_space)
    host = SequenceBuffer(shape[0], *spaces, (12, 1, 3, 2), "cpu", n_envs=3, **settings)
    device = TensorRollout(
        num_steps=12,
        num_worlds=3,
        observation_space=Cart.observation_space,
        action_size=1,
        length=length,
        device=torch.device("cpu"),
        **settings,
    )
    for name in ("rewards", "values"):
        device.steps[name][:] = torch.randn(shape, generator=generator)
    device.steps["episode_starts"][:] = torch.rand(shape, generator=generator) < 0.2
    for name in ("rewards", "values", "episode_starts"):
        setattr(host, name, device.steps[name].numpy().copy())
    last, dones = torch.randn(3, generator=generator), torch.tensor([0.0, 1.0, 0.0])
    host.compute_returns_and_advantage(last[:, None], dones.numpy())
    device.compute_returns_and_advantage(last, dones)
    np.testing.assert_allclose(device.steps["advantages"].numpy(), host.advantages, atol=1e-6)
    np.testing.assert_allclose(device.returns, host.returns, atol=1e-6)


def test_running_averages_are_those_of_the_values():
    average = TensorAverage((2,), torch.device("cpu"))
    batches = [torch.randn(n, 2) * 3 + 5 for n in (4, 7, 100)]
    for batch in batches:
        average.update(batch)
    values = torch.cat(batches).double().numpy()
    np.testing.assert_allclose(average.mean, values.mean(0), rtol=1e-4)
    np.testing.assert_allclose(average.var, values.var(0), rtol=1e-3)


def test_a_training_goes_on_from_a_checkpoint_and_repeats_itself(tmp_path, on_device):
    model = on_device()
    model.learn(60 * NUM_WORLDS)
    save_checkpoint(tmp_path / "training.pt", model)
    ends = []
    for seed in (1, 2):
        resumed = on_device(seed)
        load_checkpoint(tmp_path / "training.pt", resumed)
        assert torch.equal(weights(resumed), weights(model))
        assert observation_scale(resumed).mean == observation_scale(model).mean
        resumed.seed = 0  # what a resumed run is built with
        load_checkpoint(tmp_path / "training.pt", resumed)
        resumed.learn(60 * NUM_WORLDS, reset_num_timesteps=False)
        assert resumed.num_timesteps == 2 * 60 * NUM_WORLDS
        ends.append(weights(resumed))
    assert torch.equal(*ends)
    assert not torch.equal(ends[0], weights(model))


def test_it_becomes_a_policy_that_acts_as_the_model(on_device):
    model = on_device()
    model.learn(60 * NUM_WORLDS)
    policy = policy_from_sb3(model)  # compares their actions
    assert policy.act(np.array([0.3], np.float32)).shape == (1,)


@pytest.mark.parametrize("critic", ["mlp", "gru"])
def test_no_step_of_a_rollout_waits_for_the_device(on_device, critic, monkeypatch):
    extra = {"critic_cell": GRU(1, 4, 4, frame_s=0.1)} if critic == "gru" else {}
    model = on_device(**extra)
    model.learn(60 * NUM_WORLDS)
    step = model.env.step_tensors(torch.zeros(NUM_WORLDS, 1))
    model.env.venv.worlds.step = lambda _: step  # Gymnasium's are on the host
    model.env.take_episodes = lambda: []  # where it does wait, after the last step
    on_gpu = partial(_without_waiting, torch.device("cuda"))
    monkeypatch.setattr(tensor_ppo, "_without_waiting", lambda _: on_gpu())
    callback = Returns()
    callback.init_callback(model)
    with NoWaiting():
        model.collect_rollouts(model.env, callback, model.rollout_buffer, 60)


def test_distributions_are_not_read_on_a_gpu_while_it_acts():
    for name, is_checked in (("cuda", False), ("cpu", True)):
        with _without_waiting(torch.device(name)):
            assert torch.distributions.Distribution._validate_args == is_checked
        assert torch.distributions.Distribution._validate_args


def test_other_worlds_are_refused(carts, liquid):
    with pytest.raises(TypeError, match="`env` must be a TensorNormalize, got VecNormalize"):
        TensorPPO(carts(), policy_kwargs={"cell": liquid()}, **SETTINGS)
