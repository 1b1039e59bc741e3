import gymnasium
import pytest
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from torch import nn

from ncp_control.cells import GRU, LSTM, CfC, Feedforward
from ncp_control.learning.reinforcement.actor_critic import (
    CircuitActorCritic,
    SequenceCore,
    check_action_space,
)
from ncp_control.learning.reinforcement.elapsed import ObserveElapsed
from ncp_control.learning.reinforcement.perception import check_observation_space
from ncp_control.learning.reinforcement.ppo import SequencePPO


def test_a_sequence_with_episode_starts_is_what_sb3_does_frame_by_frame():
    cell = LSTM(3, 5, 2)
    core = SequenceCore(
        cell, encoder=(), observation_size=3, has_elapsed=False, hidden_size=cell.state_size
    )
    reference = nn.LSTM(3, 5)
    reference.load_state_dict(cell.lstm.state_dict())
    features = torch.randn(4 * 9, 3)
    starts = (torch.rand(4 * 9) < 0.3).float()
    hidden, memory = torch.randn(1, 4, 5), torch.randn(1, 4, 5)

    expected, (last_hidden, last_memory) = RecurrentActorCriticPolicy._process_sequence(
        features, (hidden, memory), starts, reference
    )
    packed = torch.cat([hidden, memory], dim=-1)
    outputs, (state, _) = CircuitActorCritic._process_sequence(
        features, (packed, torch.zeros_like(packed)), starts, core
    )
    torch.testing.assert_close(outputs, cell.output(expected))
    torch.testing.assert_close(state, torch.cat([last_hidden, last_memory], dim=-1))


@pytest.mark.parametrize(
    ("other", "critic", "timed"),
    [
        (None, None, False),
        (None, lambda: GRU(1, 12, 12), True),
        (lambda: CfC(1, 6, 1, frame_s=0.1), lambda: GRU(1, 3, 3), True),
    ],
)
def test_minibatches_give_the_values_and_probabilities_of_the_rollout(
    other, critic, timed, liquid, learner
):
    model = learner((other or liquid)(), timed=timed, critic_cell=critic and critic())
    model.policy.log_std.data.fill_(1.0)  # wild actions: carts get lost, episodes begin anywhere
    _, callback = model._setup_learn(10_000)
    for _ in range(2):  # the second begins in the middle of episodes
        model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    assert 4 < model.rollout_buffer.episode_starts[1:].sum() < 60

    num_steps = 0
    for batch in model.rollout_buffer.get(48):
        with torch.no_grad():
            values, log_probs, _ = model.policy.evaluate_actions(
                batch.observations, batch.actions, batch.lstm_states, batch.episode_starts
            )
        torch.testing.assert_close(log_probs, batch.old_log_prob, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(values.flatten(), batch.old_values, atol=1e-4, rtol=1e-4)
        num_steps += len(log_probs)
    assert num_steps == 4 * 60


def test_elapsed_time_reaches_the_circuit(liquid):
    core = SequenceCore(liquid(), encoder=(), observation_size=1, has_elapsed=True, hidden_size=8)
    states = torch.rand(1, 1, 8), torch.zeros(1, 1, 8)
    frozen = torch.tensor([[[0.7, 0.0]]])  # no time passes
    _, (state, _) = core(frozen, states, torch.tensor([[False]]))
    torch.testing.assert_close(state, states[0])
    for dt_s in (0.1, 0.3):
        outputs, _ = core(torch.tensor([[[0.7, dt_s]]]), states, torch.tensor([[False]]))
        expected, _ = core.circuit(torch.tensor([[[0.7]]]), states[0][0], dt_s=dt_s)
        torch.testing.assert_close(outputs, expected)


@pytest.mark.parametrize("critic", [None, lambda: GRU(1, 4, 4)])
def test_every_parameter_is_in_the_optimizer_once_and_moves(critic, liquid, learner):
    model = learner(liquid(3), encoder=(3,), critic_cell=critic and critic(), actor_lr_scale=5.0)
    policy = model.policy
    optimized = [p for group in policy.optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, optimized)) == sorted(map(id, policy.parameters()))

    before = {name: p.detach().clone() for name, p in policy.named_parameters()}
    model.learn(240)
    still = [name for name, p in policy.named_parameters() if torch.equal(p, before[name])]
    assert still == []
    actor, noise, rest = (group["lr"] for group in policy.optimizer.param_groups)
    assert actor == pytest.approx(5.0 * rest) and noise == rest


def test_at_first_the_critic_learns_alone(liquid, learner):
    model = learner(liquid(), critic_first_steps=480)
    before = {name: p.detach().clone() for name, p in model.policy.named_parameters()}
    model.learn(480)
    moved = {n for n, p in model.policy.named_parameters() if not torch.equal(p, before[n])}
    assert moved and all("value" in name for name in moved), moved
    model.learn(240, reset_num_timesteps=False)
    assert not torch.equal(model.policy.log_std, before["log_std"])


def test_two_trainings_from_the_same_arguments_share_no_weight(liquid, learner):
    cell = liquid()
    one, other = learner(cell), learner(cell)
    before = other.policy.actor.circuit.cell.raw_weight.detach().clone()
    one.learn(240)
    assert torch.equal(other.policy.actor.circuit.cell.raw_weight, before)
    assert torch.equal(cell.raw_weight, before)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=1),
        spaces.MultiBinary(2),
        spaces.Box(-2.0, 2.0, (1,)),
        spaces.Box(-1.0, 1.0, (2, 2)),
    ],
)
def test_actions_no_motor_neuron_can_command_are_refused(space):
    with pytest.raises(ValueError, match=r"`action_space` must be Box\(-1, 1, \(n,\)\)"):
        check_action_space(space)


def test_observations_that_are_neither_numbers_nor_frames_are_refused():
    for space in (spaces.Box(0, 1, (8, 8, 3)), spaces.Dict(a=spaces.Discrete(2))):
        with pytest.raises(ValueError, match="`observation_space` must be"):
            check_observation_space(space)


def test_a_cell_that_does_not_fit_is_refused(liquid, carts, learner):
    with pytest.raises(ValueError, match="`cell` must have 1 outputs, one an action, got 2"):
        learner(Feedforward(1, 4, 2))
    with pytest.raises(ValueError, match="`cell` must take 1 inputs, got 3"):
        learner(liquid(3))
    with pytest.raises(ValueError, match="`sequence_length` must divide the"):
        SequencePPO(carts(), sequence_length=7, policy_kwargs={"cell": liquid()})
    with pytest.raises(ValueError, match="`policy_kwargs` must hold the circuit, got None"):
        SequencePPO(carts())


def test_settings_of_sb3_that_a_circuit_would_ignore_are_refused(liquid, carts, learner):
    with pytest.raises(ValueError, match="`use_sde` must be False, got True"):
        SequencePPO(carts(), use_sde=True, policy_kwargs={"cell": liquid()})
    for name in ("ortho_init", "net_arch", "lstm_hidden_size"):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
            learner(liquid(), **{name: 1})


def test_an_environment_without_elapsed_time_is_refused():
    env = ObserveElapsed(gymnasium.make("Pendulum-v1"))
    with pytest.raises(KeyError, match="`info` must carry dt_s"):
        env.reset()
