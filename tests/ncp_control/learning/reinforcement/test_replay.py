"""Sequences that are replayed, against episodes whose every frame tells its place."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from ncp_control import LTC, auto_ncp
from ncp_control.learning.reinforcement.sac import SequenceSAC

LENGTH, FRAMES = 4, 3


class Counter(gymnasium.Env):
    """Shows the number of its episode and the step in it, in tenths; rewards the step.

    Every second episode is over at its end, the others are cut off there by a time limit.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, num_steps: int, first: int) -> None:
        self.num_steps, self.episode, self.time = num_steps, first, 0
        self.actions: dict[tuple[int, int], float] = {}

    def reset(self, *, seed=None, options=None):
        self.episode, self.time = self.episode + 1, 0
        return self.observe(), {}

    def step(self, action):
        self.actions[self.episode, self.time] = float(action[0])
        self.time += 1
        ends = self.time == self.num_steps
        is_over = ends and self.episode % 2 == 0
        return self.observe(), float(self.time), is_over, ends and not is_over, {}

    def observe(self):
        return np.array([self.episode, self.time], dtype=np.float32) / 10.0


@pytest.fixture(name="worlds", scope="module")
def _worlds():
    return Counter(7, 0), Counter(11, 100)


@pytest.fixture(name="model", scope="module")
def _model(worlds):
    """Experience of one actor that does not learn: twice begun anew, the oldest overwritten."""
    torch.manual_seed(0)
    model = SequenceSAC(
        DummyVecEnv([lambda world=world: world for world in worlds]),
        sequence_length=LENGTH,
        burn_in=2,
        critic_frames=FRAMES,
        batch_size=512,
        learning_starts=24,
        gradient_steps=0,
        buffer_size=70,
        seed=0,
        policy_kwargs={"cell": LTC(auto_ncp(2, 8, 1)), "critic_widths": (8,)},
        device="cpu",
    )
    model.learn(64)
    model.learn(40)  # begins new episodes in the middle of those under way
    assert model.replay_buffer.full
    return model


@pytest.fixture(name="batch", scope="module")
def _batch(model):
    return model.replay_buffer.sample(512)


def seen_at(steps: Any) -> list[tuple[int, int]]:
    """Return episode and time of what the actor sees at every step."""
    time = steps.windows.burn_in + steps.time
    seen = steps.windows.frames[steps.window, time]
    return [(round(10 * episode), round(10 * time)) for episode, time in seen.tolist()]


def test_sequences_are_what_happened_in_its_order(batch):
    now, then = seen_at(batch.observations), seen_at(batch.next_observations)
    rewards, over = batch.rewards[:, 0].tolist(), batch.dones[:, 0].tolist()
    assert len(now) == 512 and len(set(now)) > 50, "many places"
    for (episode, time), reward, is_over in zip(now, rewards, over, strict=True):
        last = 11 if episode > 100 else 7
        assert reward == time + 1
        assert is_over == (time + 1 == last and episode % 2 == 0)
    for step, after, is_over in zip(now, then, over, strict=True):
        if not is_over:  # of no use where an episode is over
            assert after == (step[0], step[1] + 1), "also where an episode was cut off"
    for first in range(0, 512, LENGTH):
        for before, step in zip(now[first:], now[first + 1 : first + LENGTH], strict=False):
            assert step in {(before[0], before[1] + 1), (before[0] + 1, 0)}


@torch.no_grad()
def test_an_actor_that_does_not_change_answers_as_it_did_then(model, batch):
    actor = model.actor
    for steps, over in ((batch.observations, None), (batch.next_observations, batch.dones)):
        means, log_std, _ = actor.get_action_dist_params(steps)
        for i, (episode, time) in enumerate(seen_at(steps)):
            if over is not None and over[i]:
                continue
            frames = torch.tensor([[[episode, t] for t in range(time + 1)]]) / 10.0
            outputs, _ = actor.core.circuit(frames)
            torch.testing.assert_close(means[i], outputs[0, -1])
            torch.testing.assert_close(log_std[i], actor.log_std(frames[0, -1]))


def test_a_critic_sees_the_last_frames_of_the_episode_and_what_was_done(worlds, batch):
    actions = worlds[0].actions | worlds[1].actions
    for steps, seen in (
        (batch.observations, seen_at(batch.observations)),
        (batch.next_observations, seen_at(batch.next_observations)),
    ):
        for i, (episode, time) in enumerate(seen):
            if steps is batch.next_observations and batch.dones[i]:
                continue
            past = [max(time - ago, 0) for ago in range(FRAMES)]
            wanted = [number / 10.0 for t in past for number in (episode, t)]
            wanted += [actions.get((episode, time - ago), 0.0) for ago in range(1, FRAMES)]
            torch.testing.assert_close(steps.for_critic[i], torch.tensor(wanted))


def test_every_step_is_drawn_but_for_the_first_ones_of_the_buffer(model):
    buffer = model.replay_buffer
    drawn = {step for _ in range(20) for step in seen_at(buffer.sample(512).observations)}
    stored = {tuple(np.rint(10 * seen).astype(int)) for seen in buffer.observations.reshape(-1, 2)}
    order = (buffer.pos + np.arange(buffer.lead)) % buffer.buffer_size
    oldest = buffer.observations[order].reshape(-1, 2)
    assert drawn == stored - {tuple(np.rint(10 * seen).astype(int)) for seen in oldest}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 30}, "`sequence_length` must divide the 30 steps of a batch, got 4"),
        ({"learning_starts": 11}, "`learning_starts` must be at least 12, so that every"),
        ({"buffer_size": 11}, "`buffer_size` must be at least 12, so that every"),
        ({"burn_in": -1}, "`burn_in` must be"),
        ({"policy_kwargs": None}, "`policy_kwargs` must hold the circuit, got None"),
        ({"policy_kwargs": {"cell": LTC(auto_ncp(2, 8, 2))}}, "`cell` must have 1 outputs"),
        ({"policy_kwargs": {"cell": LTC(auto_ncp(3, 8, 1))}}, "`cell` must take 2 inputs"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(changes, message):
    settings: dict[str, Any] = {"sequence_length": 4, "burn_in": 2, "batch_size": 32}
    settings |= {"learning_starts": 24, "buffer_size": 100}
    settings |= {"policy_kwargs": {"cell": LTC(auto_ncp(2, 8, 1))}}
    with pytest.raises(ValueError, match=message):
        SequenceSAC(DummyVecEnv([lambda: Counter(7, 0)] * 2), **(settings | changes))
