"""SequencePPO with actions that are choices."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv
from torch.distributions import Categorical

from ncp_control.cells import GRU
from ncp_control.learning.reinforcement.actor_critic import num_outputs
from ncp_control.learning.reinforcement.ppo import SequencePPO
from policies.motor_circuits import make_motor_cell


class Quiz(gymnasium.Env):
    """Two numbers are to be sorted: is the first positive, and in which third is the second?

    One point for each right answer, ten questions an episode.
    """

    observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, kinds=(2, 3)):
        self.action_space = (
            spaces.MultiDiscrete(kinds) if len(kinds) > 1 else spaces.Discrete(*kinds)
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.num_asked = 0
        return self.ask(), {}

    def ask(self):
        self.asked = self.np_random.uniform(-1.0, 1.0, 2).astype(np.float32)
        return self.asked

    def step(self, action):
        right = int(self.asked[0] > 0), int(1.5 * (self.asked[1] + 1.0))
        answers = np.atleast_1d(action)
        reward = float(sum(a == b for a, b in zip(answers, right, strict=False)))
        self.num_asked += 1
        return self.ask(), reward, self.num_asked == 10, False, {}


def student(kinds, *, learning_rate=3e-3):
    env = DummyVecEnv([lambda: Monitor(Quiz(kinds))] * 4)
    cell = make_motor_cell("ltc", 2, 16, num_outputs(env.action_space), frame_s=0.1)
    return SequencePPO(
        env,
        n_steps=64,
        sequence_length=16,
        batch_size=128,
        n_epochs=4,
        gamma=0.0,
        learning_rate=learning_rate,
        policy_kwargs={"cell": cell, "critic_widths": (16,), "actor_lr_scale": 3.0},
        seed=0,
    )


@pytest.mark.parametrize("kinds", [(2,), (2, 3)])
def test_log_probabilities_are_those_of_a_softmax_over_each_entrys_outputs(kinds):
    model = student(kinds)
    _, callback = model._setup_learn(10_000)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    core = model.policy.actor
    for batch in model.rollout_buffer.get(64):
        starts = batch.episode_starts.reshape(-1, 16) > 0.5
        state = batch.lstm_states.pi[0][0]
        seen = batch.observations.reshape(-1, 16, 2)
        scores = core.circuit(seen, state, reset=starts)[0].flatten(0, 1)
        entries = zip(scores.split(kinds, dim=1), batch.actions.T, strict=True)
        drawn = [(Categorical(logits=part), chosen) for part, chosen in entries]
        expected = sum(one.log_prob(chosen) for one, chosen in drawn)
        torch.testing.assert_close(batch.old_log_prob, expected, atol=1e-5, rtol=1e-5)
        actions = batch.actions.flatten() if len(kinds) == 1 else batch.actions
        _, log_prob, entropy = model.policy.evaluate_actions(
            batch.observations, actions, batch.lstm_states, batch.episode_starts
        )
        torch.testing.assert_close(log_prob, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(entropy, sum(one.entropy() for one, _ in drawn))


@pytest.mark.slow
def test_a_circuit_learns_to_choose():
    model = student((2, 3)).learn(8 * 1024)
    returns = [episode["r"] for episode in model.ep_info_buffer]
    assert np.mean(returns) > 15.0  # of 20, by chance 8.3


def test_a_cell_without_an_output_for_each_choice_is_refused():
    env = DummyVecEnv([Quiz])
    with pytest.raises(ValueError, match="`cell` must have 5 outputs, one a choice, got 2"):
        SequencePPO(env, policy_kwargs={"cell": GRU(2, 4, 2)})


def test_a_diverged_training_of_choices_is_told():
    from ncp_control.learning.divergence import DivergenceError

    model = student((2, 3))
    with torch.no_grad():
        model.policy.actor.circuit.cell.output_scale[0] = torch.nan
    with pytest.raises(DivergenceError):
        model.learn(256)
