"""Episodes shared by workers are those of one process, to the last bit, whatever is random."""

import copy
from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from ncp_control.acting import shares
from ncp_control.acting.experts import RandomChoices, SlowError
from ncp_control.acting.recorder import iterate_episodes
from ncp_control.acting.shares import shares_of, show_in_workers
from ncp_control.worlds import world_of
from policies.locomotion import make_policy_for


class Wander(gymnasium.Env):
    """A point that is pulled at random; an episode lasts as long as its seed says."""

    metadata: ClassVar = {"render_fps": 10}
    observation_space = spaces.Box(-9.0, 9.0, (2,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 2 + (seed or 0) * 7 % 5
        self.place = self.np_random.normal(size=2).astype(np.float32)
        return self.place.copy(), {"full_observation": self.place.copy()}

    def step(self, action):
        pull = self.np_random.normal(size=2)
        self.place = (self.place + 0.3 * np.asarray(action) + 0.1 * pull).astype(np.float32)
        self.left -= 1
        info = {"full_observation": self.place.copy()}
        return self.place.copy(), 1.0, self.left == 0, False, info


class Chooses(Wander):
    """The same, moved by choices."""

    action_space = spaces.MultiDiscrete([3, 3])

    def step(self, action):
        return super().step(np.asarray(action) - 1.0)


def homing(env, observation, info):
    return np.clip(-observation, -1.0, 1.0)


def choosing(env, observation, info):
    return (observation < 0).astype(np.int64) * 2


def policy_of(world, seed):
    torch.manual_seed(seed)
    return make_policy_for(world.contract, "lstm", num_neurons=8, encoder=(16,), seed=seed)


class HereAndNow:
    """No workers: tasks are copied, as between processes, and the last one is done first."""

    def __init__(self, count, begin, *arguments):
        self.work = begin(*arguments)

    def map(self, tasks) -> Iterator:
        tasks = [copy.deepcopy(task) for task in tasks]
        yield from reversed([self.work(task) for task in reversed(tasks)])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("who", ["expert", "choosing expert", "learner", "policy as expert"])
def test_what_workers_show_is_what_one_process_shows(who, workers, monkeypatch):
    monkeypatch.setattr(shares, "Workers", HereAndNow)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    world = world_of(Chooses if who == "choosing expert" else Wander, name="wander")
    expert, learner, error = homing, None, None
    if who == "learner":
        learner = policy_of(world, 1)
    elif who == "choosing expert":
        expert, error = choosing, RandomChoices(0.4, (3, 3), np.random.default_rng(5))
    else:
        error = SlowError(0.3, np.random.default_rng(5))
        expert = policy_of(world, 2) if who == "policy as expert" else homing
    asked = {"seeds": range(20, 31), "parallel": 4, "learner": learner}
    told = {**asked, "policy": asked["learner"], "expert": expert, "error": copy.deepcopy(error)}
    del told["learner"]
    whole = list(iterate_episodes(world, keeps_observations=True, **told))
    find = partial(lambda *found: found, world, expert)
    shown = list(show_in_workers(workers, find, num_actions=2, error=error, **asked))
    assert [len(e) for e in shown] == [len(e) for e in whole] and len(whole) == 11
    for one, other in zip(whole, shown, strict=True):
        np.testing.assert_array_equal(one.recorded_observations, other.recorded_observations)
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_array_equal(one.expert_actions, other.expert_actions)
    if error is not None:  # it goes on where it would be
        assert error.generator.random() == told["error"].generator.random()


@pytest.mark.parametrize(("count", "parallel"), [(1, None), (7, None), (20, 8), (16, 16), (5, 1)])
@pytest.mark.parametrize("workers", [1, 2, 3, 16])
def test_shares_are_all_episodes_in_their_order(count, parallel, workers):
    found = shares_of(count, parallel, workers)
    assert [i for share in found for i in range(count)[share.chosen]] == list(range(count))
    assert all(share.rows.first + share.count <= share.rows.size for share in found)
    sizes = {min(parallel or count, count - share.group) for share in found}
    assert {share.rows.size for share in found} == sizes
