"""The loop that everything drives with, on a world simple enough to know every value."""

import numpy as np
import torch

from ncp_control.learning.closed_loop import PolicyPilot, closed_loop


class Counter:
    """Observes the number of its step; an episode lasts `length` steps of uneven time."""

    def __init__(self, length):
        self.length = length
        self.episodes = 0
        self.actions = []

    def reset(self, *, seed=None, options=None):
        self.episodes += 1
        self.count, self.time_s = 0, 0.0
        return np.array([0.0, 1.0], np.float32), {"time_s": 0.0, "seed": seed, "options": options}

    def step(self, action):
        self.actions.append(float(action[0]))
        self.count += 1
        self.time_s += 0.01 * self.count
        observation = np.array([self.count, 1.0], np.float32)
        is_over = self.count == self.length
        return observation, float(self.count), False, is_over, {"time_s": self.time_s}


def zero_pilot(observations, infos, dt_s, reset):
    return np.zeros((len(observations), 1), np.float32)


def test_worlds_begin_again_by_themselves():
    worlds = [Counter(3), Counter(5)]
    steps = list(closed_loop(worlds, zero_pilot, num_steps=7, frame_s=0.1))
    assert [s.reset.tolist() for s in steps] == [
        [True, True],
        [False, False],
        [False, False],
        [True, False],
        [False, False],
        [False, True],
        [True, False],
    ]
    assert [s.observations[:, 0].tolist() for s in steps][2:5] == [[2, 2], [0, 3], [1, 4]]
    assert [w.episodes for w in worlds] == [3, 2]


def test_elapsed_time_is_the_worlds_own_and_starts_with_the_frame_interval():
    steps = list(closed_loop([Counter(3)], zero_pilot, num_steps=5, frame_s=0.1))
    np.testing.assert_allclose([s.dt_s[0] for s in steps], [0.1, 0.01, 0.02, 0.1, 0.01], rtol=1e-5)


def test_seeds_and_options_reach_their_worlds():
    steps = closed_loop(
        [Counter(9), Counter(9)],
        zero_pilot,
        num_steps=1,
        frame_s=0.1,
        seeds=[4, 5],
        options=["a", "b"],
    )
    infos = next(iter(steps)).infos
    assert [(i["seed"], i["options"]) for i in infos] == [(4, "a"), (5, "b")]


def test_policy_pilot_keeps_one_memory_for_each_world(tiny_policy):
    """Side by side, with episodes of different lengths, equals each world driven alone by act."""
    worlds = [Counter(3), Counter(5)]
    for _ in closed_loop(worlds, PolicyPilot(tiny_policy), num_steps=8, frame_s=1 / 30):
        pass
    for world, length in zip(worlds, (3, 5), strict=True):
        alone = Counter(length)
        observation, info = alone.reset()
        tiny_policy.reset()
        dt_s = 1 / 30
        for expected in world.actions:
            action = tiny_policy.act(observation, dt_s)
            np.testing.assert_allclose(action[0], expected, atol=1e-6)
            before = info["time_s"]
            observation, _, _, is_over, info = alone.step(action)
            dt_s = info["time_s"] - before
            if is_over:
                observation, info = alone.reset()
                tiny_policy.reset()
                dt_s = 1 / 30


def test_policy_pilot_clips_to_the_action_space(tiny_policy):
    with torch.no_grad():
        tiny_policy.circuit.cell.output_offset.fill_(7.0)
    step = next(iter(closed_loop([Counter(3)], PolicyPilot(tiny_policy), num_steps=1, frame_s=0.1)))
    assert step.actions[0, 0] == 1.0
