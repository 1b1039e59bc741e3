"""Bodies in mujoco-warp against Gymnasium's own environments, which MuJoCo's C simulates.

The first test of a fresh machine compiles mujoco-warp's kernels, which takes half a minute.
"""

import sys

import gymnasium
import numpy as np
import pytest
import torch

from envs import warp_simulation
from envs.locomotion.warp_worlds import KINDS, WarpWorlds
from ncp_control.worlds import find_world
from tests.no_waiting import NoWaiting

pytest.importorskip("mujoco_warp")
NUM_WORLDS = 8
BODIES = [
    pytest.param(name, marks=[] if name == "HalfCheetah-v5" else pytest.mark.slow) for name in KINDS
]


def worlds(env_id, num_worlds=NUM_WORLDS, *, seed=0, **options) -> WarpWorlds:
    built = find_world(env_id, **options).make_batch(num_worlds, "cpu")
    built.seed(seed)
    built.reset()
    return built


def in_c(env_id) -> gymnasium.Env:
    env = gymnasium.make(env_id).unwrapped
    env.reset(seed=0)
    return env


def state_of(env) -> np.ndarray:
    return np.concatenate([env.data.qpos, env.data.qvel])


def states(batch) -> np.ndarray:
    return torch.cat([batch.positions, batch.velocities], dim=1).double().numpy()


def set_states(batch, rows):
    num_positions = batch.positions.shape[1]
    batch.positions.copy_(torch.as_tensor(rows[:, :num_positions]))
    batch.velocities.copy_(torch.as_tensor(rows[:, num_positions:]))


def random_actions(batch, num_steps, seed=0):
    shape = (num_steps, batch.num_worlds, *batch.action_space.shape)
    return torch.as_tensor(np.random.default_rng(seed).uniform(-1, 1, shape), dtype=torch.float32)


@pytest.mark.parametrize("env_id", BODIES)
def test_each_frame_is_that_of_mujocos_c(env_id):
    batch, env = worlds(env_id), in_c(env_id)
    num_positions = env.model.nq
    actions = random_actions(batch, 40)
    errors, ended = [], 0
    for action in actions:
        before = states(batch)
        step = batch.step(action)
        after = step.last_observation
        for i, row in enumerate(before):
            env.reset()  # clears what the solver remembers
            env.set_state(row[:num_positions], row[num_positions:])
            seen, reward, terminated, _, _ = env.step(action[i].double().numpy())
            errors.append(np.abs(after[i].numpy() - seen).max())
            # A velocity from two float32 positions: 1e-6 m over a frame of 0.008 s.
            assert float(step.reward[i]) == pytest.approx(reward, abs=2e-3)
            assert bool(step.terminated[i]) == terminated
            ended += terminated
    assert np.median(errors) < 2e-5
    assert max(errors) < 1e-3
    assert (ended > 0) == (env_id != "HalfCheetah-v5"), "both ends and goes on"


@pytest.mark.parametrize("env_id", BODIES)
def test_trajectories_part_less_than_those_of_c_whose_starts_differ_by_1e_5(env_id):
    batch = worlds(env_id)
    num_steps = 20
    actions = 0.3 * random_actions(batch, num_steps, seed=1)
    starts = states(batch)
    env, shifted = in_c(env_id), in_c(env_id)
    num_positions = env.model.nq
    paths = []
    for i, row in enumerate(starts):
        for one, start in ((env, row), (shifted, row + 1e-5)):
            one.reset()
            one.set_state(start[:num_positions], start[num_positions:])
        path = []
        for action in actions[:, i].double().numpy():
            env.step(action)
            shifted.step(action)
            path.append((state_of(env), state_of(shifted)))
        paths.append(path)
    expected, other = np.array(paths).transpose(2, 1, 0, 3)  # (two runs, time, world, state)
    found = []
    for action in actions:
        step = batch.step(action)
        assert not step.terminated.any(), "nobody falls, so no world begins anew"
        found.append(states(batch))
    error = np.abs(np.array(found) - expected).max(axis=(0, 2))
    chaos = np.abs(other - expected).max(axis=(0, 2))
    assert error.max() < 1e-3
    assert np.median(error) < np.median(chaos)


def test_worlds_begin_as_gymnasium_lets_them():
    for env_id in KINDS:
        env, batch = in_c(env_id), worlds(env_id, 2000)
        drawn = []
        for seed in range(2000):
            env.reset(seed=seed)
            drawn.append(state_of(env))
        wanted, found = np.array(drawn), states(batch)
        std = wanted.std(axis=0)
        np.testing.assert_allclose(found.std(axis=0), std, rtol=0.07)
        np.testing.assert_allclose((found.mean(axis=0) - wanted.mean(axis=0)) / std, 0, atol=0.12)
        spread = np.abs(wanted - wanted.mean(axis=0)).max(axis=0)
        found_spread = np.abs(found - wanted.mean(axis=0)).max(axis=0)
        np.testing.assert_allclose(found_spread, spread, rtol=0.35)


@pytest.mark.slow
def test_only_worlds_that_ended_begin_anew():
    batch = worlds("Walker2d-v5", 6)
    batch.max_steps = 3
    tilted = states(batch)
    tilted[[1, 4], 2] = 1.2  # a pitch at which a walker has fallen
    set_states(batch, tilted)
    step = batch.step(torch.zeros(6, 6))
    assert step.terminated.tolist() == [False, True, False, False, True, False]
    assert not step.truncated.any()
    gone_on = [0, 2, 3, 5]
    assert torch.equal(step.observation[gone_on], step.last_observation[gone_on])
    assert (step.last_observation[[1, 4], 1] > 1.0).all()
    assert (step.observation[[1, 4], 1].abs() < 0.006).all()
    assert (batch.positions[[1, 4], 0].abs() < 0.006).all(), "x begins at 0 again"
    batch.step(torch.zeros(6, 6))
    truncated = batch.step(torch.zeros(6, 6)).truncated
    assert truncated.tolist() == [True, False, True, True, False, True]


@pytest.mark.slow
def test_a_world_begins_anew_as_one_that_never_ran():
    batch, fresh = worlds("HalfCheetah-v5", 2), worlds("HalfCheetah-v5", 2)
    for action in random_actions(batch, 10):
        batch.step(action)
    batch.max_steps = 11
    batch.step(torch.zeros(2, 6))
    set_states(fresh, states(batch))
    for action in random_actions(batch, 5, seed=3):
        a, b = batch.step(action), fresh.step(action)
        assert torch.equal(a.observation, b.observation)


def test_a_world_that_diverges_ends_and_leaves_the_others_alone():
    batch, other = worlds("HalfCheetah-v5", 3), worlds("HalfCheetah-v5", 3)
    batch.positions[1, 3] = float("nan")
    for i, action in enumerate(random_actions(batch, 3)):
        step, same = batch.step(action), other.step(action)
        assert step.terminated.tolist() == [False, i == 0, False]
        for values in (step.observation, step.last_observation, step.reward):
            assert values.isfinite().all()
        assert torch.equal(step.observation[[0, 2]], same.observation[[0, 2]])


def test_the_same_seed_gives_the_same_episodes():
    runs = []
    for seed in (3, 3, 4):
        batch = worlds("HalfCheetah-v5", 3, seed=seed)
        batch.max_steps = 2
        steps = [batch.step(action).observation for action in random_actions(batch, 5)]
        runs.append(torch.stack(steps))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_positions_only_hide_velocities():
    full, partial = worlds("HalfCheetah-v5"), worlds("HalfCheetah-v5", observe="positions")
    action = random_actions(full, 1)[0]
    seen, hidden = full.step(action).observation, partial.step(action).observation
    assert hidden.shape == (NUM_WORLDS, 8)
    assert torch.equal(hidden, seen[:, :8])


def test_tensors_share_the_memory_of_the_simulation_and_are_counted():
    batch = worlds("HalfCheetah-v5", 2)
    assert batch.positions.data_ptr() == batch._simulation._data.qpos.ptr
    assert batch.num_bytes > 2 * 4 * (9 + 9)
    assert worlds("HalfCheetah-v5", 64).num_bytes > 20 * batch.num_bytes


def test_no_step_and_no_reset_waits_for_the_device():
    batch = worlds("HalfCheetah-v5", 2)
    batch.max_steps = 2
    actions = random_actions(batch, 3)
    with NoWaiting():
        for action in actions:
            batch.step(action)
    with NoWaiting(), pytest.raises(AssertionError, match="waits for the device"):
        bool(actions[0, 0, 0] > 0)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco_warp", None)
    with pytest.raises(ValueError, match=r"needs mujoco-warp.*`pip install -e \"\.\[gpu\]\"`"):
        WarpWorlds("HalfCheetah-v5", 2)


def test_a_gpu_without_a_number_is_the_current_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    devices = [warp_simulation._numbered(torch.device(name)) for name in ("cuda", "cuda:1", "cpu")]
    assert [str(device) for device in devices] == ["cuda:3", "cuda:1", "cpu"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env_id": "Ant-v5"}, "`env_id` must be one of"),
        ({"num_worlds": 0}, "`num_worlds` must be a whole number of at least 1, got 0"),
        ({"max_steps": 0}, "`max_steps` must be a whole number of at least 1, got 0"),
        ({"observe": "none"}, "`observe` must be one of"),
    ],
)
def test_impossible_worlds_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        WarpWorlds(**({"env_id": "HalfCheetah-v5", "num_worlds": 2} | changes))
