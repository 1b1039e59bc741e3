"""Experts that demonstrate and are asked: what is written down, and who acts."""

from typing import ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from ncp_control.acting.experts import SlowError
from ncp_control.cells import LTC
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.learning.demonstrations.expert import demonstrate, failed_before
from ncp_control.policy import VectorPolicy
from ncp_control.wiring_rules import fully_connected
from ncp_control.worlds import find_world, world_of

LENGTHS = {3: 4, 4: 6, 5: 2}
"""Steps of the episode of each seed."""


class Line(gymnasium.Env):
    """A point on a line that an action in [-1, 1] moves."""

    metadata: ClassVar = {"render_fps": 10}
    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.length = 0, LENGTHS.get(seed, 3)
        self.place = np.array([seed or 0, 0.0], np.float32)
        return self.place.copy(), {}

    def step(self, action):
        self.steps += 1
        self.place = self.place + np.asarray(action, np.float32)
        return self.place.copy(), 1.0, self.steps == self.length, False, {}


def homing(env, observation, info):
    """Return a step towards the origin."""
    assert env.unwrapped.place.tolist() == observation.tolist()
    return np.clip(-observation, -1.0, 1.0)


LINE = world_of(Line, name="line")


def test_one_whole_episode_of_each_seed_is_written_down(tmp_path):
    store = demonstrate(tmp_path / "store", LINE, homing, list(LENGTHS))
    found = {
        int(store.observations[store.episode(i)][0, 0]): len(store.observations[store.episode(i)])
        for i in range(store.num_episodes)
    }
    assert found == LENGTHS
    np.testing.assert_allclose(store.dt_s, 0.1)


def test_what_is_written_down_is_what_the_expert_would_do_and_not_what_it_did(tmp_path):
    error = SlowError(0.5, np.random.default_rng(0))
    store = demonstrate(tmp_path / "store", LINE, homing, [4, 5], error=error)
    labels = np.clip(-store.observations, -1.0, 1.0)
    np.testing.assert_array_equal(store.actions, labels)
    path = store.observations[store.episode(0)]
    assert np.abs(np.diff(path, axis=0) - labels[store.episode(0)][:-1]).max() > 0.1


def test_a_learner_acts_while_the_expert_is_asked(tmp_path):
    learner = make_policy()
    store = demonstrate(tmp_path / "store", LINE, homing, [4], learner=learner)
    learner.reset()
    acted = [learner.act(observation) for observation in np.array(store.observations)]
    np.testing.assert_allclose(np.diff(store.observations, axis=0), np.stack(acted)[:-1], atol=1e-6)
    np.testing.assert_array_equal(store.actions, np.clip(-store.observations, -1.0, 1.0))


def test_a_policy_is_an_expert_with_a_memory_of_its_own_in_each_world(tmp_path):
    expert = make_policy()
    store = demonstrate(tmp_path / "store", LINE, expert, [3, 4])
    for i in range(2):
        expert.reset()
        frames = store.episode(i)
        acted = [expert.act(observation) for observation in np.array(store.observations[frames])]
        np.testing.assert_allclose(store.actions[frames], np.stack(acted), atol=1e-6)


def test_the_error_has_its_deviation_and_its_memory():
    error = SlowError([0.1, 0.0], np.random.default_rng(0), memory=0.9)
    first = np.zeros(2000, dtype=bool)
    zeros = np.zeros((2000, 2), np.float32)
    before = error.add(zeros, ~first)
    for _ in range(60):
        before, now = error.add(zeros, first), error.add(zeros, first)
    assert np.std(now[:, 0]) == pytest.approx(0.1, rel=0.1) and not now[:, 1].any()
    assert np.corrcoef(before[:, 0], now[:, 0])[0, 1] == pytest.approx(0.9, abs=0.03)


def test_the_error_of_an_episode_begins_small():
    error = SlowError(0.3, np.random.default_rng(0))
    reset = np.array([True, False])
    zeros = np.zeros((2, 1), np.float32)
    error.add(zeros, np.array([True, True]))
    steps = np.stack([error.add(zeros, reset) for _ in range(400)])
    assert np.std(steps[:, 0]) == pytest.approx(0.3 * np.sqrt(1 - 0.93**2), rel=0.15)
    assert np.std(steps[:, 1]) > 2.0 * np.std(steps[:, 0])


def test_frames_are_written_down_as_they_are_seen(tmp_path):
    pytest.importorskip("Box2D")
    world = find_world("gymnasium:CarRacing-v3", max_episode_steps=3, height=24, width=32)

    def idle(env, observation, info):
        return np.array([0.0, -1.0, -1.0])

    store = demonstrate(tmp_path / "store", world, idle, [0])
    assert store.observations.shape == (3, 24, 32, 3) and store.observations.dtype == np.uint8


def make_policy():
    return VectorPolicy(
        LTC(fully_connected(2, 4, 2, seed=0), frame_s=0.1), observation_size=2, squash="tanh"
    )


@pytest.mark.parametrize("said", [None, [np.nan, 0.0], [0.1], "left", [np.inf, 0.0]])
def test_what_is_no_action_is_the_experts_fault(tmp_path, said):
    with pytest.raises(ValueError, match=r"`expert` must return a finite number for each of"):
        demonstrate(tmp_path / "store", LINE, lambda *_: said, [3])


class Lamps(Line):
    """The same, moved by choices."""

    action_space = spaces.MultiDiscrete([3, 2])


@pytest.mark.parametrize("said", [[3, 0], [0, -1], [0.5, 0], [1e30, 0]])
def test_what_is_no_choice_is_the_experts_fault(tmp_path, said):
    world = world_of(Lamps, name="lamps")
    with pytest.raises(
        ValueError,
        match=r"`expert` must return the number of a choice for action 0 \(0 to 2\), action 1"
        r" \(0 to 1\), got \[",
    ):
        demonstrate(tmp_path / "store", world, lambda *_: said, [3])
    store = demonstrate(tmp_path / "store", world, lambda *_: [2.0, True], [3])
    np.testing.assert_array_equal(store.actions, [[2, 1]] * 4)


def test_an_expert_that_asks_for_too_much_is_told_so_once_and_clipped(tmp_path):
    with pytest.warns(UserWarning, match=r"must be in \[-1, 1\], .* got \[50.0, 0.5\]") as told:
        store = demonstrate(tmp_path / "store", LINE, lambda *_: [50.0, 0.5], [3])
    assert len(told) == 1 and (store.actions == [1.0, 0.5]).all()
    np.testing.assert_allclose(np.diff(store.observations[:, 0]), 1.0)


@pytest.mark.parametrize("workers", [1, 2])
def test_it_is_written_down_which_episodes_failed(tmp_path, workers):
    """An episode fails if the world ends it; here that needs more than three steps."""
    store = tmp_path / "store"
    shown = demonstrate(
        store, LINE, homing, [3, 4, 5, 6], num_steps=3, workers=workers, find=line_and_expert
    )
    assert shown.meta["source"] == {"seeds": [3, 4, 5, 6], "failed": [5, 6]}


def test_what_goes_well_later_has_not_failed_before():
    def told(seeds, failed):
        return Demonstrations(
            observations=np.zeros((1, 2), np.float32),
            actions=np.zeros((1, 1), np.float32),
            dt_s=np.zeros(1, np.float32),
            episode_starts=np.zeros(1, np.int64),
            meta={"source": {"seeds": seeds, "failed": failed}},
        )

    rounds = [told([1, 2, 3], [1, 3]), told([3, 1, 4], [1, 4]), told([4, 5], [5])]
    assert failed_before([]) == []
    assert failed_before(rounds[:1]) == [3, 1]
    assert failed_before(rounds[:2]) == [4, 1]
    assert failed_before(rounds) == [5, 1]


def line_and_expert():
    return LINE, homing
