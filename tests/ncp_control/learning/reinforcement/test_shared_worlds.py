"""Worlds in several processes are those of one, to the last bit."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from ncp_control.learning.reinforcement.shared_worlds import SharedWorlds

NUM_WORLDS = 5


class Drift(gymnasium.Env):
    """A point that is pushed about by chance, until it is too far away."""

    observation_space = spaces.Dict(
        {"place": spaces.Box(-9.0, 9.0, (2,), np.float32), "steps": spaces.Box(0, 99, (1,))}
    )
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    mark = 0.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = self.np_random.normal(size=2) + (options or {}).get("shift", 0), 0
        return self.seen(), {"begun": float(self.place[0])}

    def step(self, action):
        self.place = self.place + action + self.np_random.normal(size=2)
        self.steps += 1
        is_far = bool(np.abs(self.place).max() > 3.0)
        return self.seen(), float(self.place.sum()), is_far, self.steps == 7, {"at": self.steps}

    def seen(self):
        return {
            "place": self.place.astype(np.float32),
            "steps": np.array([self.steps], np.float32),
        }

    def far(self, scale):
        if scale < 0:
            raise ValueError(f"`scale` must be positive, got {scale}.")
        return scale * self.place


def drifts(count):
    return [Monitor(Drift()) for _ in range(count)]


@pytest.fixture(scope="module")
def pair():
    """Yield the worlds in one process, and in two, of which one has more worlds."""
    worlds = drifts(NUM_WORLDS)
    shared = SharedWorlds(2, NUM_WORLDS, drifts)
    processes = [worker.process for worker in shared._workers._workers]
    yield DummyVecEnv([lambda world=world: world for world in worlds]), shared
    shared.close()
    assert not any(process.is_alive() for process in processes)


def same(one, other):
    """Compare what is told, but for the time that it took."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one.keys() - {"t"}:
            same(one[name], other[name])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for few in zip(one, other, strict=True):
            same(*few)
    else:
        np.testing.assert_array_equal(one, other)
        assert getattr(one, "dtype", None) == getattr(other, "dtype", None)


def test_worlds_see_and_earn_the_same_in_two_processes(pair):
    rng = np.random.default_rng(0)
    for venv in pair:
        venv.seed(3)
        venv.set_options([{"shift": i} for i in range(NUM_WORLDS)])
    ended = 0
    for _ in range(2):
        same(*(venv.reset() for venv in pair))
        same(*(venv.reset_infos for venv in pair))
        for _ in range(12):
            actions = rng.uniform(-1.0, 1.0, (NUM_WORLDS, 2)).astype(np.float32)
            one, other = (venv.step(actions) for venv in pair)
            same(one, other)
            same(*(venv.reset_infos for venv in pair))
            ended += one[2].sum()
    assert ended > NUM_WORLDS


def test_attributes_methods_and_errors_reach_each_world(pair):
    for venv in pair:
        venv.reset()
        venv.set_attr("mark", 5.0, indices=[1, 4])
    same(*(venv.get_attr("mark") for venv in pair))
    same(*(venv.env_is_wrapped(Monitor, indices=[0, 3]) for venv in pair))
    one, shared = pair
    assert shared.get_attr("mark", indices=4) == [5.0]
    same(*(venv.get_attr("mark", indices=[4, 0, -1, 2]) for venv in pair))
    same(one.get_attr("observation_space"), shared.get_attr("observation_space"))
    assert len(shared.env_method("far", 2.0)) == NUM_WORLDS
    with pytest.raises(ValueError, match="`scale` must be positive, got -1"):
        shared.env_method("far", -1.0)


def test_what_worlds_draw_goes_on_from_where_it_was(pair):
    venv, shared = pair
    venv.seed(1)
    venv.reset()
    states = [world.np_random.bit_generator.state for world in venv.envs]
    shared.reset()
    shared.set_generator_states(states)
    assert shared.generator_states() == states
    actions = np.zeros((NUM_WORLDS, 2), np.float32)
    same(*(venv.reset() for venv in pair))
    same(*(venv.step(actions) for venv in pair))
    with pytest.raises(ValueError, match="`states` must be 5 states, got 4"):
        shared.set_generator_states(states[1:])


def test_more_processes_than_worlds_are_refused():
    with pytest.raises(ValueError, match="`workers` must be at most the 2 worlds .*, got 3"):
        SharedWorlds(3, 2, drifts)
