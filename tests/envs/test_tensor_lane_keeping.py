"""Cars in mujoco-warp against `LaneKeepingEnv`, whose car MuJoCo's C simulates.

The first test of a fresh machine compiles mujoco-warp's kernels, which takes half a minute.
"""

import numpy as np
import pytest
import torch

from envs.driving import LaneKeepingConfig, LaneKeepingEnv, VectorObservation
from envs.driving.pure_pursuit import keep_lane
from envs.driving.tensor_lane_keeping import LaneKeepingWorlds
from tests.no_waiting import NoWaiting

pytest.importorskip("mujoco_warp")
LOOKS_ALIKE = LaneKeepingConfig(randomize_appearance=False)
BLIND = LaneKeepingConfig(camera="none")


def worlds(num_worlds=4, config=BLIND, seed=0, **options) -> LaneKeepingWorlds:
    built = LaneKeepingWorlds(
        config, num_worlds, **{"observe": "numbers", "num_tracks": 3} | options
    )
    built.seed(seed)
    built.reset()
    return built


def in_c(batch, config, wrapper=lambda env: env):
    """Return an environment for each world, at the same place of the same road."""
    envs = []
    for track, arc_m in zip(batch.tracks.tolist(), batch.arc_length_m.tolist(), strict=True):
        env = wrapper(LaneKeepingEnv(config))
        env.reset(seed=0, options={"track": track, "start_m": arc_m})
        envs.append(env)
    return envs


def drive(batch, envs, num_steps, *, steer=0.0, noise=0.3):
    """Drive both as the expert does, with noise; yield what both show."""
    rng = np.random.default_rng(1)
    infos = [env.unwrapped._info(crashed=False) for env in envs]
    for _ in range(num_steps):
        experts = [keep_lane(env, None, info) for env, info in zip(envs, infos, strict=True)]
        shaken = np.array(experts) + steer + rng.normal(0, noise, (len(envs), 1))
        actions = np.clip(shaken, -1, 1).astype(np.float32)
        steps = [env.step(action) for env, action in zip(envs, actions, strict=True)]
        infos = [step[-1] for step in steps]
        yield batch.step(torch.from_numpy(actions)), steps


@pytest.mark.slow
def test_each_frame_is_that_of_the_environment():
    batch = worlds()
    envs = in_c(batch, BLIND, VectorObservation)
    total = 0.0
    for step, expected in drive(batch, envs, 90):
        seen, rewards = (np.array([one[i] for one in expected]) for i in (0, 1))
        np.testing.assert_allclose(step.observation.numpy(), seen, rtol=0, atol=2e-3)
        np.testing.assert_allclose(step.reward.numpy(), rewards, rtol=0, atol=2e-4)
        assert not (step.terminated | step.truncated).any()
        assert torch.equal(step.observation, step.last_observation)
        total += rewards.sum()
    assert total == pytest.approx(4 * 90 / 30 * 8, rel=0.1), "all drive at 8 m/s"


@pytest.mark.slow
@pytest.mark.parametrize("on_crash", ["terminate", "recover"])
def test_a_car_that_leaves_its_lane_is_treated_as_in_the_environment(on_crash):
    config = LaneKeepingConfig(camera="none", on_crash=on_crash)
    batch = worlds(config=config)
    envs = in_c(batch, config, VectorObservation)
    crashes = []
    for step, expected in drive(batch, envs, 60, steer=0.6, noise=0.0):
        seen, rewards, terminated = (np.array([one[i] for one in expected]) for i in (0, 1, 2))
        np.testing.assert_allclose(step.last_observation.numpy(), seen, rtol=0, atol=2e-3)
        np.testing.assert_allclose(step.reward.numpy(), rewards, rtol=0, atol=2e-4)
        assert step.terminated.tolist() == terminated.tolist()
        crashes.append([one[-1]["crashed"] for one in expected])
        if terminated.any():
            new = step.observation[step.terminated]
            assert (new[:, 0] == 0).all() and torch.allclose(new[:, 3], torch.tensor(8.0))
            assert torch.equal(
                step.observation[~step.terminated], step.last_observation[~step.terminated]
            )
            break
    assert np.any(crashes), "the cars steer off their lanes"


@pytest.mark.slow
def test_frames_are_those_of_the_environment():
    batch = worlds(config=LOOKS_ALIKE, observe="frames")
    envs = in_c(batch, LOOKS_ALIKE)
    for step, expected in drive(batch, envs, 15, noise=0.1):
        wanted = np.stack([one[0] for one in expected]).astype(int)
        difference = np.abs(step.observation.numpy().astype(int) - wanted)
        assert step.observation.dtype == torch.uint8
        assert difference.mean() < 0.05 and (difference > 2).mean() < 1e-3
        assert wanted.std() > 20, "there is something to see"


@pytest.mark.slow
def test_looks_differ_if_they_are_drawn():
    drawn = worlds(config=LaneKeepingConfig(randomize_appearance=True), observe="frames", seed=2)
    plain = worlds(config=LOOKS_ALIKE, observe="frames", seed=2)
    shown = drawn._observe().float().mean((1, 2))
    alike = plain._observe().float().mean((1, 2))
    assert (shown - alike).abs().max() > 5


@pytest.mark.slow
def test_time_ends_episodes_and_only_those_worlds_begin_anew():
    batch = worlds(max_steps=5)
    batch._num_steps[1] = 3
    actions = torch.zeros(4, 1)
    ends = [batch.step(actions) for _ in range(5)]
    truncated = [step.truncated.tolist() for step in ends]
    assert truncated[1] == [False, True, False, False] and truncated[4] == [True, False, True, True]
    gone_on = [0, 2, 3]
    assert torch.equal(ends[1].observation[gone_on], ends[1].last_observation[gone_on])
    assert not torch.equal(ends[1].observation[1], ends[1].last_observation[1])
    short = LaneKeepingConfig(camera="none", episode_s=0.1)
    assert worlds(config=short).max_steps == 3, "the shorter of both"


@pytest.mark.slow
def test_a_car_that_diverges_has_crashed_and_leaves_the_others_alone():
    for on_crash in ("terminate", "recover"):
        config = LaneKeepingConfig(camera="none", on_crash=on_crash)
        batch, other = worlds(3, config), worlds(3, config)
        batch._cars.simulation.positions[1, 1] = float("nan")
        for i in range(3):
            actions = torch.full((3, 1), 0.1 * i)
            step, same = batch.step(actions), other.step(actions)
            assert step.terminated.tolist() == [False, i == 0 and on_crash == "terminate", False]
            for values in (step.observation, step.last_observation, step.reward):
                assert values.isfinite().all()
            assert torch.equal(step.observation[[0, 2]], same.observation[[0, 2]])
            assert i or float(step.reward[1]) == -config.crash_cost_m


@pytest.mark.slow
def test_the_same_seed_gives_the_same_episodes():
    runs = []
    for seed in (3, 3, 4):
        batch = worlds(3, seed=seed, max_steps=2)
        runs.append(torch.stack([batch.step(torch.zeros(3, 1)).observation for _ in range(5)]))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


@pytest.mark.slow
@pytest.mark.parametrize("observe", ["numbers", "frames"])
def test_no_step_and_no_reset_waits_for_the_device(observe):
    batch = worlds(2, LOOKS_ALIKE, observe=observe, max_steps=2)
    with NoWaiting():
        for _ in range(3):
            batch.step(torch.zeros(2, 1))


@pytest.mark.slow
def test_a_step_before_the_first_reset_on_these_tracks_is_refused():
    batch = LaneKeepingWorlds(BLIND, 2, observe="numbers")
    refused = pytest.raises(RuntimeError, match="`reset` must be called before `step`")
    with refused:
        batch.step(torch.zeros(2, 1))
    batch.seed(3)
    with refused:
        batch.step(torch.zeros(2, 1))
    batch.reset()
    batch.step(torch.zeros(2, 1))
    batch.seed(4)  # draws other tracks, on which no car stands yet
    with refused:
        batch.step(torch.zeros(2, 1))


def held_tensors(holder):
    """Return the tensors that an object of ours holds, by where their memory is."""
    if isinstance(holder, torch.Tensor):
        return {holder.untyped_storage().data_ptr(): holder.untyped_storage().nbytes()}
    if isinstance(holder, (list, tuple)):
        parts = holder
    elif isinstance(holder, dict):
        parts = holder.values()
    else:
        is_ours = type(holder).__module__.startswith("envs.driving.tensor_")
        parts = vars(holder).values() if is_ours else ()
    return {at: size for part in parts for at, size in held_tensors(part).items()}


@pytest.mark.slow
@pytest.mark.parametrize("observe", ["numbers", "frames"])
def test_memory_is_that_of_all_tensors_that_are_held(observe):
    batch = LaneKeepingWorlds(LOOKS_ALIKE, 5, observe=observe, num_tracks=3)
    assert batch.shared_bytes < 1000, "nothing is drawn by a question"
    batch.seed(0)
    before = batch.num_bytes
    batch.reset()
    batch.step(torch.zeros(5, 1))
    assert batch.num_bytes == before, "all tracks are drawn by `seed`"
    simulated = batch._cars.simulation.num_bytes
    assert simulated > 5 * 4 * (13 + 12), "positions and velocities"
    assert batch.num_bytes == simulated + sum(held_tensors(batch).values())
    painted_bytes = 3 * 3 * (2050**2 + 1026**2 + 514**2) if observe == "frames" else 0
    assert painted_bytes < batch.shared_bytes < painted_bytes + 2e6
    double = worlds(10, LOOKS_ALIKE, observe=observe)
    assert double.shared_bytes == batch.shared_bytes
    assert double.bytes_each == pytest.approx(batch.bytes_each, rel=0.05)


@pytest.mark.slow
def test_the_same_seed_keeps_the_tracks_and_another_draws_them_anew():
    batch = worlds(observe="frames", config=LOOKS_ALIKE)
    camera, known = batch._camera, batch._known_tracks
    batch.seed(0)
    assert batch._camera is camera
    batch.seed(1)
    assert batch._camera is not camera and not torch.equal(batch._known_tracks, known)


@pytest.mark.slow
def test_worlds_that_nobody_has_seeded_are_those_of_seed_0():
    unseeded = LaneKeepingWorlds(BLIND, 4, observe="numbers", num_tracks=3)
    seeded = LaneKeepingWorlds(BLIND, 4, observe="numbers", num_tracks=3)
    seeded.seed(0)
    assert torch.equal(unseeded.reset(), seeded.reset())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observe": "full"}, "`observe` must be one of"),
        ({"num_worlds": 0}, "`num_worlds` must be a whole number of at least 1, got 0"),
        ({"max_steps": 0}, "`max_steps` must be a whole number of at least 1, got 0"),
        ({"num_tracks": 10_001}, "`num_tracks` must be at most 10000, got 10001"),
        ({"config": LaneKeepingConfig(drive_speed=True)}, "`drive_speed` must be left out"),
        ({"config": LaneKeepingConfig(camera="mujoco")}, "`camera` must be left out"),
        ({"config": BLIND}, "`camera` must be left out for cars on a device, got 'none'"),
    ],
)
def test_impossible_worlds_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        LaneKeepingWorlds(**({"config": LOOKS_ALIKE, "num_worlds": 2} | changes))
