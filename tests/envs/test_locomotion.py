from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs.bodies import BODIES
from envs.locomotion import (
    DelayedActions,
    DroppedFrames,
    OverwrittenActions,
    PositionsOnly,
    SensorNoise,
    Timed,
    make_locomotion,
)
from ncp_control.worlds import find_world

DISTURBED = {"noise": 0.1, "drop": 0.3, "overwrite": 0.2, "delay": 2}


def disturbed(env, observe="full", **strengths):
    """A body as evaluation disturbs it."""
    world = find_world(BODIES[env], **({} if observe == "full" else {"observe": observe}))
    return world.disturbed(strengths).make()


class Recorder(gymnasium.Wrapper):
    """Remembers the actions that reach the body."""

    def __init__(self, env):
        super().__init__(env)
        self.actions = []

    def step(self, action):
        self.actions.append(np.array(action))
        return self.env.step(action)


def body(env="halfcheetah"):
    return Recorder(make_locomotion(env))


def random_actions(count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 6)).astype(np.float32)


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version")
@pytest.mark.filterwarnings("ignore:.*Box observation space (min|max)imum value is")
@pytest.mark.filterwarnings("ignore:.*not.*render")
@pytest.mark.parametrize("env", BODIES)
@pytest.mark.parametrize(
    "changes", [{}, {"observe": "positions"}, {"observe": "positions"} | DISTURBED]
)
def test_gymnasium_finds_no_fault(env, changes):
    check_env(disturbed(env, **changes), skip_render_check=True)


@pytest.mark.parametrize("env", BODIES)
def test_the_units_table_is_the_models(env):
    world = make_locomotion(env)
    world.reset(seed=0)
    simulation = world.unwrapped
    joints = {"hopper": 3}.get(env, 6)
    simulation.data.qpos[:] = 0.01 * np.arange(3 + joints)
    simulation.data.qvel[:] = 1.0 + np.arange(3 + joints)
    observation = simulation._get_obs()
    model = simulation.model
    kinds = ["slide" if kind == 2 else "hinge" for kind in model.jnt_type]
    # x, z, pitch and six joints; x is not observed, so rad begin at entry 1 and rad/s at 10.
    assert kinds == ["slide"] * 2 + ["hinge"] * (1 + joints)
    np.testing.assert_allclose(observation[: 2 + joints], simulation.data.qpos[1:])
    np.testing.assert_allclose(observation[2 + joints :], simulation.data.qvel)
    gears = {"halfcheetah": [120, 90, 60, 120, 60, 30], "walker2d": [100] * 6, "hopper": [200] * 3}
    assert model.actuator_gear[:, 0].tolist() == gears[env]
    assert simulation.dt == pytest.approx({"halfcheetah": 0.05}.get(env, 0.008))


@pytest.mark.parametrize("env", BODIES)
def test_positions_only_hides_every_velocity(env):
    world = make_locomotion(env, observe="positions")
    world.reset(seed=0)
    simulation = world.unwrapped
    before = world.env.env.unwrapped._get_obs()
    simulation.data.qvel[:] += 5.0
    after = simulation._get_obs()
    num_velocities = simulation.model.nv
    assert (before != after).sum() == num_velocities
    masked = world.get_wrapper_attr("observation")
    np.testing.assert_array_equal(masked(after), masked(before))
    assert world.observation_space.shape == (num_velocities - 1,)


def test_info_tells_time_and_the_whole_undisturbed_body():
    world = disturbed("halfcheetah", observe="positions", noise=0.5)
    plain = make_locomotion("halfcheetah")
    _, info = world.reset(seed=3)
    full, _ = plain.reset(seed=3)
    np.testing.assert_array_equal(info["full_observation"], full)
    assert info["time_s"] == 0.0
    for i, action in enumerate(random_actions(5)):
        seen, *_, info = world.step(action)
        full, *_ = plain.step(action)
        np.testing.assert_array_equal(info["full_observation"], full)
        assert (seen != full[:8]).all()
        assert info["time_s"] == pytest.approx(0.05 * (i + 1))
        assert info["dt_s"] == pytest.approx(0.05)


def test_noise_has_the_deviation_asked_for_and_its_own_seed():
    world = SensorNoise(make_locomotion(), 0.3)
    world.reset(seed=1)
    zeros = np.zeros((2000, 17))
    noise = world.observation(zeros)
    assert noise.std() == pytest.approx(0.3, rel=0.02)
    assert abs(noise.mean()) < 0.01
    world.reset(seed=1)
    np.testing.assert_array_equal(world.observation(zeros), noise)


def test_dropped_frames_hold_the_action_and_pass_on_the_time():
    recorder = body()
    world = DroppedFrames(recorder, 0.5)
    world.reset(seed=0)
    plain = make_locomotion()
    plain.reset(seed=0)
    elapsed = []
    for action in random_actions(100):
        before = len(recorder.actions)
        observation, reward, *_, info = world.step(action)
        held = recorder.actions[before:]
        assert all((a == action).all() for a in held)
        expected = [plain.step(action)[:2] for _ in held]
        np.testing.assert_array_equal(observation, expected[-1][0])
        assert reward == pytest.approx(sum(r for _, r in expected))
        assert info["dt_s"] == pytest.approx(0.05 * len(held))
        elapsed.append(info["dt_s"])
    assert world.unwrapped.data.time == pytest.approx(sum(elapsed))
    assert np.mean(elapsed) == pytest.approx(0.05 / (1 - 0.5), rel=0.2), "geometric"


def test_a_frame_at_the_end_of_an_episode_is_never_lost():
    world = disturbed("halfcheetah", drop=0.9)
    world.reset(seed=0)
    steps, is_over, dt_s = 0, False, 0.0
    while not is_over:
        *_, terminated, truncated, info = world.step(np.zeros(6, np.float32))
        is_over, steps, dt_s = terminated or truncated, steps + 1, dt_s + info["dt_s"]
    assert dt_s == pytest.approx(1000 * 0.05)
    assert steps < 200


def test_delayed_actions_arrive_late_and_none_waits_over_a_reset():
    recorder = body()
    world = DelayedActions(recorder, 2)
    actions = random_actions(6)
    for _ in range(2):
        recorder.actions.clear()
        world.reset(seed=0)
        for action in actions:
            world.step(action)
        np.testing.assert_array_equal(recorder.actions, [*np.zeros((2, 6)), *actions[:-2]])


def test_overwritten_actions_are_random_in_the_share_asked_for():
    recorder = body()
    world = OverwrittenActions(recorder, 0.3)
    world.reset(seed=0)
    for _ in range(500):
        world.step(np.full(6, 0.5, np.float32))
    foreign = np.array([a for a in recorder.actions if (a != 0.5).any()])
    assert len(foreign) / 500 == pytest.approx(0.3, abs=0.06)
    assert foreign.min() < -0.9 and foreign.max() > 0.9 and abs(foreign.mean()) < 0.06


def test_each_disturbance_draws_from_its_own_stream_of_the_seed():
    """Published numbers hang on the streams 2, 3 and 4; the body draws from the plain seed."""
    noisy = SensorNoise(make_locomotion(), 0.3)
    noisy.reset(seed=7)
    generator = np.random.default_rng([7, 2])
    generator.standard_normal(17)  # on the first observation
    expected = 0.3 * generator.standard_normal(17)
    np.testing.assert_array_equal(noisy.observation(np.zeros(17)), expected)

    recorder = body()
    dropping = DroppedFrames(recorder, 0.6)
    dropping.reset(seed=7)
    generator = np.random.default_rng([7, 3])
    for action in random_actions(20):
        recorder.actions.clear()
        dropping.step(action)
        num_frames = 1
        while generator.random() < 0.6:
            num_frames += 1
        assert len(recorder.actions) == num_frames

    overwriting = OverwrittenActions(recorder, 0.5)
    overwriting.reset(seed=7)
    recorder.actions.clear()
    generator, expected = np.random.default_rng([7, 4]), []
    for action in random_actions(20):
        overwriting.step(action)
        is_foreign = generator.random() < 0.5
        expected.append(generator.uniform(-np.ones(6), 1.0) if is_foreign else action)
    np.testing.assert_array_equal(recorder.actions, np.array(expected, np.float32))


def test_an_action_that_waits_does_not_follow_the_array_it_came_in():
    recorder = body()
    world = DelayedActions(recorder, 1)
    world.reset(seed=0)
    action = np.full(6, 0.5, np.float32)
    world.step(action)
    action[:] = -0.5
    world.step(action)
    np.testing.assert_array_equal(recorder.actions[1], np.full(6, 0.5))


def test_the_same_seed_gives_the_same_episode_with_all_disturbances():
    def episode():
        world = disturbed("walker2d", **DISTURBED)
        seen = [world.reset(seed=5)[0]]
        return np.array(seen + [world.step(a)[0] for a in 0.1 * random_actions(10)])

    np.testing.assert_array_equal(episode(), episode())


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(5), r"`action` must have shape \(6,\)"),
        (np.full(6, 1.5), r"lie in \[-1, 1\], got \[1.5"),
        (np.full(6, -np.nextafter(1.0, 2.0)), r"lie in \[-1, 1\], got \[-1.0"),
        (np.full(6, np.nan), r"got \[nan"),
        (np.zeros(6, bool), r"got \[False"),
        (np.zeros(6, complex), r"got \[0j"),
        (["a"] * 6, r"got \['a'"),
    ],
)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda world: world,
        partial(DelayedActions, delay_steps=2),
        partial(OverwrittenActions, probability=0.999),
        partial(DroppedFrames, probability=0.5),
    ],
)
def test_impossible_actions_are_refused_where_they_come_in(wrap, action, message):
    recorder = body()
    world = wrap(recorder)
    world.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        world.step(action)
    recorder.actions.clear()
    for whole in (np.ones(6), -np.ones(6)):  # the limits themselves are possible
        world.step(whole)
    assert np.isfinite(recorder.actions).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env": "ant"}, "`env` must be one of .*, got 'ant'"),
        ({"observe": "none"}, "`observe` must be one of .*, got 'none'"),
    ],
)
def test_impossible_worlds_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_locomotion(**changes)


@pytest.mark.parametrize(
    ("strengths", "message"),
    [
        ({"drop": 1.0}, "`drop_probability` must be from 0 to below 1, got 1.0"),
        ({"overwrite": -0.1}, "`overwrite_probability` must be from 0 .*, got -0.1"),
        ({"delay": 1.5}, "`delay_steps` must be a whole number, got 1.5"),
        ({"delay": -1}, "`delay_steps` must be finite and >= 0, got -1"),
        ({"delay": True}, "`delay_steps` must be finite and >= 0, got True"),
        ({"drop": "0.1"}, "`drop_probability` must be from 0 to below 1, got '0.1'"),
        ({"overwrite": True}, "`overwrite_probability` must be from 0 .*, got True"),
        ({"noise": np.inf}, "`sensor_noise_std` must be finite and >= 0, got inf"),
        ({"noise": True}, "`sensor_noise_std` must be finite and >= 0, got True"),
    ],
)
def test_impossible_disturbances_are_refused(strengths, message):
    with pytest.raises(ValueError, match=message):
        disturbed("halfcheetah", **strengths)


def test_an_environment_without_velocity_table_is_refused():
    with pytest.raises(ValueError, match="`env` must list its positions and velocities"):
        PositionsOnly(gymnasium.make("Pendulum-v1"))


def test_discrete_actions_are_refused():
    pole = gymnasium.make("CartPole-v1")
    overwrite = partial(OverwrittenActions, probability=0.1)
    for wrap in (Timed, overwrite, partial(DelayedActions, delay_steps=1)):
        with pytest.raises(TypeError, match="`env` must have continuous actions, got Discrete"):
            wrap(pole)


def test_worlds_that_lack_what_a_wrapper_needs_are_refused():
    pendulum = gymnasium.make("Pendulum-v1")
    with pytest.raises(TypeError, match="`env` must be simulated by MuJoCo, got .*Pendulum"):
        Timed(pendulum)
    blind = DroppedFrames(pendulum, probability=0.1)
    blind.reset(seed=0)
    with pytest.raises(KeyError, match="`info` must carry dt_s"):
        blind.step(np.zeros(1, np.float32))
    with pytest.raises(TypeError, match="`env` must observe vectors, got Discrete"):
        SensorNoise(gymnasium.make("FrozenLake-v1"), std=0.1)


def test_nothing_is_written_into_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_locomotion("halfcheetah").reset(seed=0)
    assert not list(tmp_path.iterdir())
