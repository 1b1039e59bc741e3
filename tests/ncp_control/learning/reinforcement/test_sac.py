"""Soft actor-critic over sequences, held to sb3's own and to closed forms."""

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import SAC
from torch import distributions, nn

from ncp_control.cells import Feedforward
from ncp_control.learning.divergence import DivergenceError
from ncp_control.learning.reinforcement.checkpoint import load_checkpoint, save_checkpoint
from ncp_control.learning.reinforcement.sac import SequenceSAC, SequenceTQC
from policies.from_sb3 import policy_from_sb3


@pytest.fixture(name="circuit_learner")
def _circuit_learner(carts, liquid):
    def make(
        kind: Any = SequenceSAC, *, cell: Any = None, encoder=(), actor_lr_scale=1.0, **changes
    ) -> Any:
        env = carts(2)
        env.norm_reward = False
        settings: dict[str, Any] = {"sequence_length": 4, "burn_in": 3, "batch_size": 32}
        settings |= {"learning_starts": 40, "buffer_size": 400, "seed": 0, "device": "cpu"}
        kwargs = {"cell": cell or liquid(), "encoder": encoder, "critic_widths": (16, 16)}
        kwargs["actor_lr_scale"] = actor_lr_scale
        return kind(env, policy_kwargs=kwargs, **(settings | changes))

    return make


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("length", [1, 4])
def test_without_a_memory_an_update_is_that_of_stable_baselines3(circuit_learner, length):
    cell = Feedforward(1, 16, 1)
    model = circuit_learner(cell=cell, sequence_length=length, burn_in=0, learning_rate=1e-3)
    model.learn(60)
    batch = model.replay_buffer.sample(32)

    def flat(steps):
        return steps.windows.frames[steps.window, steps.windows.burn_in + steps.time]

    stock = SAC(
        "MlpPolicy",
        model.get_env(),
        learning_rate=1e-3,
        batch_size=32,
        device="cpu",
        policy_kwargs={"net_arch": [16, 16], "optimizer_kwargs": {"fused": True}},
    )
    stock._setup_learn(0)
    model._setup_learn(0, None, True)
    actor, own = stock.actor, model.actor
    actor.latent_pi.load_state_dict(own.core.circuit.cell.hidden.state_dict())
    actor.mu.load_state_dict(own.core.circuit.cell.output.state_dict())
    for deviation in (actor.log_std, own.log_std):  # sb3's sees the last layer instead
        nn.init.zeros_(deviation.weight)
        nn.init.constant_(deviation.bias, -0.5)
    stock.critic.load_state_dict(model.critic.state_dict())
    stock.critic_target.load_state_dict(model.critic_target.state_dict())
    for part in (model.actor, model.critic):  # as new as those of the other
        part.optimizer.state.clear()
    model.ent_coef_optimizer.state.clear()
    with torch.no_grad():
        model.log_ent_coef.zero_()
    plain = batch._replace(
        observations=flat(batch.observations), next_observations=flat(batch.next_observations)
    )
    for learner, given in ((model, batch), (stock, plain)):
        learner.replay_buffer.sample = lambda *_, given=given, **__: given
        torch.manual_seed(1)
        learner.train(1, 32)
    for name in ("actor_loss", "critic_loss", "ent_coef_loss"):
        told = (learner.logger.name_to_value[f"train/{name}"] for learner in (model, stock))
        assert next(told) == pytest.approx(next(told), rel=1e-5)
    pairs = [
        (own.core.circuit.cell.hidden, actor.latent_pi),
        (own.core.circuit.cell.output, actor.mu),
        (model.critic, stock.critic),
        (model.critic_target, stock.critic_target),
    ]
    for ours, theirs in pairs:
        torch.testing.assert_close(weights(ours), weights(theirs), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(own.log_std.bias, actor.log_std.bias)
    torch.testing.assert_close(model.log_ent_coef, stock.log_ent_coef)


def test_the_probability_of_an_action_is_that_of_a_squashed_gaussian(circuit_learner):
    model = circuit_learner(burn_in=2)
    model.learn(60)
    steps = model.replay_buffer.sample(32).observations
    means, log_std, _ = model.actor.get_action_dist_params(steps)
    actions, log_prob = model.actor.action_log_prob(steps)
    gaussian = distributions.Normal(means, log_std.exp())
    squash = distributions.transforms.TanhTransform(cache_size=0)
    wanted = distributions.TransformedDistribution(gaussian, squash).log_prob(actions).sum(dim=1)
    torch.testing.assert_close(log_prob, wanted, rtol=1e-3, atol=1e-3)


def test_gradients_flow_through_the_sequence_but_not_into_the_burn_in(circuit_learner):
    model = circuit_learner()
    model.learn(60)
    steps = model.replay_buffer.sample(4).observations
    windows = steps.windows
    windows.frames.requires_grad_(True)
    windows.reset[:] = False
    means, *_ = model.actor.get_action_dist_params(steps)
    (slopes,) = torch.autograd.grad(means[3].sum(), windows.frames)
    reaches = slopes[0, :, 0] != 0.0
    assert reaches.tolist() == [False] * 3 + [True] * 4 + [False]


def test_an_actors_loss_leaves_no_gradient_in_the_critic(circuit_learner):
    model = circuit_learner()
    model.learn(60)
    batch = model.replay_buffer.sample(32)
    model.critic.optimizer.zero_grad()
    actions = batch.actions.clone().requires_grad_(True)
    values = torch.cat(model.critic(batch.observations, actions), dim=1)
    values.sum().backward()
    assert actions.grad.abs().sum() > 0
    assert all(p.grad is None and p.requires_grad for p in model.critic.parameters())
    torch.testing.assert_close(
        values, torch.cat(model.critic(batch.observations, batch.actions), dim=1)
    )


@pytest.mark.parametrize("kind", [SequenceSAC, SequenceTQC])
def test_an_exported_policy_acts_as_the_model(circuit_learner, liquid, kind):
    model = circuit_learner(kind, cell=liquid(8), encoder=(8,), critic_frames=3).learn(100)
    policy = policy_from_sb3(model)
    assert policy.to_config()["squash"] == "tanh"
    env = model.get_env()
    env.training = False
    seen, state, begins = env.reset(), None, np.ones(2, dtype=bool)
    for _ in range(60):
        actions, state = model.predict(seen, state, begins, deterministic=True)
        if begins[0]:
            policy.reset()
        own = policy.act(env.get_original_obs()[0])
        np.testing.assert_allclose(own, actions[0], atol=1e-5)
        seen, _, begins, _ = env.step(actions)


@pytest.mark.parametrize("kind", [SequenceSAC, SequenceTQC])
def test_stable_baselines3_saves_and_loads_a_model(circuit_learner, tmp_path, kind):
    model = circuit_learner(kind, critic_frames=2).learn(60)
    model.save(tmp_path / "model")
    loaded = kind.load(tmp_path / "model", env=model.get_env(), device="cpu")
    torch.testing.assert_close(weights(loaded.policy), weights(model.policy), rtol=0, atol=0)
    loaded.learn(60)
    assert loaded.replay_buffer.critic_frames == 2


def test_a_stopped_training_goes_on_with_its_experience(circuit_learner, tmp_path):
    path = tmp_path / "training.pt"
    model = circuit_learner().learn(100)
    save_checkpoint(path, model)
    resumed = [circuit_learner(), circuit_learner()]
    for other in resumed:
        load_checkpoint(path, other)
        for name in model.replay_buffer.kept:
            stored = (getattr(m.replay_buffer, name) for m in (model, other))
            np.testing.assert_array_equal(*stored, err_msg=name)
        other.learn(60, reset_num_timesteps=False)
        assert other.replay_buffer.pos == 80 and other.replay_buffer.episode_starts[50].all()
    assert resumed[0].num_timesteps == 160
    torch.testing.assert_close(*(weights(other.policy) for other in resumed), rtol=0, atol=0)


def test_the_actor_may_learn_faster_than_the_rest(circuit_learner):
    model = circuit_learner(learning_rate=1e-3, actor_lr_scale=3.0)
    model._setup_learn(0, None, True)
    model._update_learning_rate([model.actor.optimizer, model.critic.optimizer])
    rates = [group["lr"] for group in model.actor.optimizer.param_groups]
    assert rates == [pytest.approx(3e-3), pytest.approx(1e-3)]
    assert model.critic.optimizer.param_groups[0]["lr"] == pytest.approx(1e-3)


def test_a_training_that_diverges_says_so(circuit_learner):
    with pytest.raises(DivergenceError, match="must stay finite"):
        circuit_learner(learning_rate=1e3, gradient_steps=20).learn(200)
