"""The loop that everything drives with, on a world simple enough to know every value."""

import numpy as np
import pytest
import torch

from ncp_control.acting.closed_loop import PolicyPilot, closed_loop, elapsed_of


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


@pytest.mark.parametrize("limit", [-1.0, 1.0])
def test_policy_pilot_clips_to_the_action_space(tiny_policy, limit):
    with torch.no_grad():
        tiny_policy.circuit.cell.output_offset.fill_(7.0 * limit)
    step = next(iter(closed_loop([Counter(3)], PolicyPilot(tiny_policy), num_steps=1, frame_s=0.1)))
    assert step.actions[0, 0] == limit


class Timeless(Counter):
    """Tells no time, or none at a reset."""

    def __init__(self, length, *, tells_at_steps=False):
        super().__init__(length)
        self.tells_at_steps = tells_at_steps

    def reset(self, *, seed=None, options=None):
        return super().reset()[0], {}

    def step(self, action):
        *rest, info = super().step(action)
        return *rest, info if self.tells_at_steps else {}


def test_a_world_that_tells_no_time_takes_one_interval_a_step():
    worlds = [Timeless(9), Counter(9), Timeless(9, tells_at_steps=True)]
    steps = list(closed_loop(worlds, zero_pilot, num_steps=3, frame_s=0.1))
    expected = [[0.1, 0.1, 0.1], [0.1, 0.01, 0.1], [0.1, 0.02, 0.02]]
    np.testing.assert_allclose([step.dt_s for step in steps], expected, rtol=1e-5)


@pytest.mark.parametrize("time_s", [-1.0, np.nan, np.inf, None, "later"])
def test_a_time_that_does_not_go_on_is_refused(time_s):
    world = Counter(9)
    world.step = lambda action: (np.zeros(2, np.float32), 0.0, False, False, {"time_s": time_s})
    steps = closed_loop([world], zero_pilot, num_steps=3, frame_s=0.1)
    next(steps)
    with pytest.raises(ValueError, match="`time_s` in `info` must be a finite time .* after 0.0"):
        next(steps)


def test_a_world_may_stand_still():
    world = Counter(9)
    world.step = lambda action: (np.zeros(2, np.float32), 0.0, False, False, {"time_s": 0.0})
    steps = list(closed_loop([world], zero_pilot, num_steps=2, frame_s=0.1))
    assert steps[1].dt_s[0] == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"worlds": []}, "`worlds` must hold at least one world, got none"),
        ({"num_steps": -1}, "`num_steps` must be a whole number of at least 0, got -1"),
        ({"num_steps": 2.0}, "`num_steps` must be a whole number of at least 0, got 2.0"),
        ({"frame_s": 0.0}, "`frame_s` must be positive, got 0.0"),
        ({"frame_s": np.nan}, "`frame_s` must be positive, got nan"),
        ({"seeds": [1, 2]}, "`seeds` must be one for each of the 1 worlds, got 2"),
        ({"options": []}, "`options` must be one for each of the 1 worlds, got 0"),
    ],
)
def test_impossible_loops_are_refused_at_once(change, message):
    settings = {"worlds": [Counter(3)], "num_steps": 1, "frame_s": 0.1} | change
    with pytest.raises(ValueError, match=message):
        closed_loop(settings.pop("worlds"), zero_pilot, **settings)


def test_no_steps_and_too_few_actions():
    assert list(closed_loop([Counter(3)], zero_pilot, num_steps=0, frame_s=0.1)) == []
    steps = closed_loop([Counter(3)] * 2, lambda *seen: np.zeros((1, 1)), num_steps=1, frame_s=0.1)
    with pytest.raises(ValueError, match="`pilot` must give one action for each .* got 1"):
        next(steps)


def drive(pilot, observations, reset=False):
    count = len(observations)
    dt_s = np.full(count, 0.1, np.float32)
    dt_s.setflags(write=False)
    return pilot(observations, [{}] * count, dt_s, np.full(count, reset))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_pilot_refuses_what_is_not_finite_and_keeps_its_memory(tiny_policy, value):
    seen = np.random.default_rng(0).normal(size=(3, 2, 2))  # float64, as MuJoCo gives
    pilot = PolicyPilot(tiny_policy)
    expected = [drive(pilot, seen[0], reset=True), drive(pilot, seen[1])]
    drive(pilot, seen[0], reset=True)
    spoilt = seen[1].copy()
    spoilt[1, 0] = value
    with pytest.raises(ValueError, match=r"finite numbers .* at entry 0 of observation 1\."):
        drive(pilot, spoilt)
    seen.setflags(write=False)
    np.testing.assert_array_equal(drive(pilot, seen[1]), expected[1])


@pytest.mark.parametrize("name", ["output_offset", "leak_potential"])
def test_a_pilot_whose_weights_are_lost_forgets_all(tiny_policy, name):
    seen = np.random.default_rng(0).normal(size=(2, 2)).astype(np.float32)
    pilot = PolicyPilot(tiny_policy)
    expected = drive(pilot, seen, reset=True)
    weight = getattr(tiny_policy.circuit.cell, name)
    kept = weight.detach().clone()
    weight.data.fill_(torch.inf)
    what = "action" if name == "output_offset" else "state"
    with pytest.raises(ValueError, match=f"`{what}` must be finite, got .* in world 0. Check the"):
        drive(pilot, seen)
    weight.data.copy_(kept)
    np.testing.assert_allclose(drive(pilot, seen), expected, atol=1e-6)


def test_a_pilot_does_not_go_on_with_the_memory_of_other_worlds(tiny_policy):
    pilot = PolicyPilot(tiny_policy)
    drive(pilot, np.zeros((2, 2), np.float32), reset=True)
    with pytest.raises(ValueError, match=r"`state` must have shape \(3, "):
        drive(pilot, np.zeros((3, 2), np.float32))


def test_a_pilot_takes_another_number_of_worlds_that_all_begin(tiny_policy):
    pilot = PolicyPilot(tiny_policy)
    drive(pilot, np.ones((2, 2), np.float32), reset=True)
    seen = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    expected = drive(PolicyPilot(tiny_policy), seen, reset=True)
    np.testing.assert_array_equal(drive(pilot, seen, reset=True), expected)


def test_an_episode_that_is_terminated_is_over_and_rewards_are_told():
    world = Counter(9)
    world.step = lambda action: (np.ones(2, np.float32), 2.5, True, False, {"time_s": 0.3})
    steps = list(closed_loop([world], zero_pilot, num_steps=3, frame_s=0.1))
    assert [step.reset.tolist() for step in steps] == [[True]] * 3
    assert steps[1].rewards.tolist() == [2.5]


def test_elapsed_time_is_what_info_says():
    assert elapsed_of({"dt_s": 0.25, "time_s": 3.0}) == 0.25
    with pytest.raises(KeyError, match="`info` must carry dt_s, .* got .*'time_s'"):
        elapsed_of({"time_s": 3.0})
