"""Episodes as they are recorded: whose steps are kept, what the world told, and where they end."""

import dataclasses

import numpy as np
import pytest
import torch

from ncp_control import LTC, auto_ncp
from ncp_control.acting.recorder import run_episodes
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.policy import VectorPolicy
from ncp_control.replay import replay, with_activity
from ncp_control.worlds import Disturbance, World, find_world

OWN_MODULE = """
import gymnasium
import numpy as np
from gymnasium import spaces


class Count(gymnasium.Env):
    metadata = {"render_fps": 10}
    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count, self.length = 0, 3 if seed is None else seed
        return np.array([0.0, self.length]), {}

    def step(self, action):
        self.count += 1
        seen, is_over = np.array([self.count, self.length]), self.count == self.length
        told = {"count": self.count, "place_m": np.arange(3.0), "note": "x", "map": np.zeros(99)}
        if self.count == 1:
            told["first"] = True
        return seen, float(self.count), is_over, False, told


def make_count():
    return Count()
"""


@pytest.fixture
def world(tmp_path, monkeypatch):
    (tmp_path / "counting.py").write_text(OWN_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return find_world("counting:make_count")


@pytest.fixture
def policy():
    torch.manual_seed(0)
    return VectorPolicy(LTC(auto_ncp(2, 6, 1), frame_s=0.1), observation_size=2)


def test_each_seed_gives_its_own_first_episode(world, policy):
    episodes = run_episodes(world, policy, seeds=[4, 2, 6], parallel=2)
    assert [len(episode) for episode in episodes] == [4, 2, 6]
    assert [episode.total_reward for episode in episodes] == [10.0, 3.0, 21.0]
    assert all(episode.is_terminated for episode in episodes)
    cut = run_episodes(world, policy, seeds=[4, 2], num_steps=3)
    assert [(len(one), one.is_terminated) for one in cut] == [(3, False), (2, True)]


def test_no_driver_and_no_steps_are_refused_and_no_seeds_are_no_episodes(world, policy):
    assert run_episodes(world, policy, seeds=[]) == []
    with pytest.raises(ValueError, match="`policy` must be given, or else an `expert`"):
        run_episodes(world, None, seeds=[1])
    for name in ("num_steps", "parallel"):
        with pytest.raises(ValueError, match=f"`{name}` must be a whole number of at least 1"):
            run_episodes(world, policy, seeds=[1], **{name: 0})


def test_an_episode_keeps_numbers_that_the_world_told_at_every_step(world, policy):
    (episode,) = run_episodes(world, policy, seeds=[4], keeps_observations=True)
    assert set(episode.infos) == {"count", "place_m", "time_s", "dt_s", "full_observation"}
    np.testing.assert_array_equal(episode.infos["count"], [1, 2, 3, 4])
    assert episode.infos["place_m"].shape == (4, 3)
    np.testing.assert_allclose(episode.time_s, [0.0, 0.1, 0.2, 0.3])
    np.testing.assert_array_equal(
        episode.recorded_observations[:, 0], [0, 1, 2, 3]
    )  # before each action
    assert episode.action_names == ["action 0"] and list(episode.signals) == ["action 0"]


def test_what_was_not_kept_is_refused_in_one_sentence(world, policy):
    (episode,) = run_episodes(world, policy, seeds=[2])
    with pytest.raises(ValueError, match="`episode` must have kept its observations, got none"):
        with_activity(policy, episode)
    with pytest.raises(ValueError, match="`episode` must have kept its activity, got none"):
        _ = episode.recorded_activity


def test_what_the_circuit_did_is_what_it_does_with_the_same_frames(world, policy):
    (episode,) = run_episodes(world, policy, seeds=[6], keeps_observations=True)
    episode = with_activity(policy, episode)
    np.testing.assert_allclose(
        episode.recorded_activity.outputs[0].clamp(-1.0, 1.0).numpy(), episode.actions, atol=1e-6
    )
    assert episode.recorded_features.shape == (6, 2)


def test_the_expert_is_asked_before_the_world_moves(world, policy):
    world = dataclasses.replace(world, expert=lambda env, seen, info: env.unwrapped.count * 0.1)
    (episode,) = run_episodes(world, policy, seeds=[4], expert=world.expert)
    np.testing.assert_allclose(episode.expert_actions, [[0.0], [0.1], [0.2], [0.3]])


def test_a_recording_is_replayed_from_the_start_of_its_longest_episode(policy):
    seen = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    store = Demonstrations(
        observations=seen,
        actions=np.linspace(-1, 1, 9, dtype=np.float32)[:, None],
        dt_s=np.full(9, 0.1, np.float32),
        episode_starts=np.array([0, 2]),
    )
    episode = replay(policy, store, max_frames=5)
    policy.reset()
    acted = np.stack([policy.act(one, 0.1) for one in seen[2:7]])
    np.testing.assert_allclose(episode.actions, acted, atol=1e-6)
    np.testing.assert_array_equal(episode.expert_actions, store.actions[2:7])
    assert episode.overlays == {"recorded action 0": "action 0"}
    assert replay(policy, store, actor="human").overlays == {"human action 0": "action 0"}
    two = dataclasses.replace(store, actions=np.zeros((9, 2), np.float32))
    with pytest.raises(ValueError, match="`recording` must hold 1 actions a frame.*, got 2"):
        replay(policy, two)


def test_disturbances_lie_around_each_other_as_the_world_says(world):
    told = []

    def put(name):
        return lambda env, strength: told.append((name, strength)) or env

    known = tuple(Disturbance(name=n, meaning="", put=put(n)) for n in ("inner", "outer", "other"))
    world = dataclasses.replace(world, disturbances=known)
    world.disturbed({"outer": 2, "inner": 1, "other": 0}).make().close()
    assert told == [("inner", 1), ("outer", 2)]
    with pytest.raises(ValueError, match="`disturbance` must be one of .*, got 'innr'"):
        world.disturbed({"innr": 1})
    world.disturbed({"innr": 0})


def test_measures_are_those_that_the_world_names(world, policy):
    episodes = run_episodes(world, policy, seeds=[2])
    assert tuple(world.measure(episodes)) == world.measure_names
    other: World = dataclasses.replace(world, measures=lambda episodes: {"height": 1.0})
    with pytest.raises(ValueError, match=r"`measures` of the world .* got \('height',\)"):
        other.measure(episodes)
