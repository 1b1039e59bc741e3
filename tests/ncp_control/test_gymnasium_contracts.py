"""What spaces of Gymnasium become, and environments that are held to their contracts."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from ncp_control.adapted import Adapted
from ncp_control.contract import DictContract, FramesContract, VectorContract
from ncp_control.gymnasium_contracts import actions_of, contract_of_env, observation_of
from ncp_control.worlds import find_world, world_of


def test_actions_of_another_range_are_rescaled():
    world = find_world("gymnasium:Pendulum-v1")
    assert world.contract.action[0].range == (-1.0, 1.0)
    assert world.contract.action[0].unit == "share of 2 N m"
    env = world.make()
    env.reset(seed=0)
    env.step(np.array([0.5], np.float32))
    assert env.unwrapped.last_u == pytest.approx(1.0)


def test_actions_of_double_precision_are_rescaled_without_a_warning():
    acts = spaces.Box(-3.0, 1.0, (1,), np.float64)
    world = world_of(lambda: Grid(spaces.Box(-1, 1, (2,)), acts), name="grid", frame_s=0.1)
    env = world.make()
    env.reset()
    env.step(np.array([0.5], np.float32))
    assert env.unwrapped.last == pytest.approx(0.0)


def test_time_goes_on_by_the_frame_interval_and_begins_anew():
    env = find_world("gymnasium:CartPole-v1").make()
    _, info = env.reset(seed=0)
    assert info["time_s"] == 0.0
    *_, info = env.step(np.array([1.0]))
    assert (info["time_s"], info["dt_s"]) == (0.02, 0.02)
    _, info = env.reset()
    assert info["time_s"] == 0.0


class Grid(gymnasium.Env):
    """Choices that begin elsewhere than at 0, observations of other axes than policies take."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.last = action
        return self.observation_space.sample(), 0.0, False, False, {}


@pytest.mark.parametrize(
    ("action_space", "own", "chosen"),
    [
        (spaces.Discrete(3, start=-1), spaces.Discrete(3), np.array([2])),
        (spaces.MultiDiscrete([2, 3], start=[5, 1]), spaces.MultiDiscrete([2, 3]), np.ones(2)),
    ],
)
@pytest.mark.parametrize(
    ("observation_space", "shape"),
    [(spaces.Box(0, 255, (12, 16), np.uint8), (12, 16, 1)), (spaces.Box(-1, 1, (2, 3)), (6,))],
)
def test_choices_count_from_0_and_observations_have_the_axes_of_the_contract(
    action_space, own, chosen, observation_space, shape
):
    world = world_of(lambda: Grid(observation_space, action_space), name="grid", frame_s=0.1)
    env = world.make()
    assert env.action_space == own and env.observation_space.shape == shape
    assert env.reset()[0].shape == shape
    assert env.step(chosen)[0].shape == shape
    first = np.asarray(action_space.start)
    np.testing.assert_array_equal(env.unwrapped.last, first + chosen.squeeze())


def test_a_world_that_tells_its_time_keeps_it():
    class Clock(gymnasium.Env):
        observation_space, action_space = spaces.Box(-1, 1, (1,)), spaces.Box(-1, 1, (1,))

        def reset(self, *, seed=None, options=None):
            return np.zeros(1, np.float32), {"time_s": 7.0}

    tick = Clock()
    tick.dt = np.float32(0.25)
    assert contract_of_env(tick, name="clock").frame_s == 0.25
    contract = contract_of_env(Clock(), name="clock", frame_s=0.1)
    info = Adapted(Clock(), contract).reset()[1]
    assert (info["time_s"], info["dt_s"]) == (7.0, 0.1)


class Returns(gymnasium.Env):
    """Returns what it is given, whatever that is."""

    observation_space, action_space = spaces.Box(-1, 1, (1,)), spaces.Box(-1, 1, (1,))

    def __init__(self, from_reset, from_step):
        self.from_reset, self.from_step = from_reset, from_step

    def reset(self, *, seed=None, options=None):
        return self.from_reset

    def step(self, action):
        return self.from_step


SEEN = np.zeros(1, np.float32)


@pytest.mark.parametrize(
    ("from_reset", "from_step", "told"),
    [
        (SEEN, None, "`reset` of 'own' must return .observation, info., got ndarray"),
        ((SEEN, {}), (SEEN, 0.0, False, {}), "`step` of 'own' must return .*, got 4 values"),
        ((SEEN, {}), (SEEN, np.nan, False, False, {}), "`reward` of 'own' must be a finite number"
         ", got nan in step 1"),
        ((SEEN, {}), (SEEN, np.inf, False, False, {}), "`reward` of 'own' must be a finite number"),
        ((SEEN, {}), (SEEN, None, False, False, {}), "`reward` of 'own' must be .*, got None in"),
        ((SEEN, {}), (SEEN, np.ones(2), False, False, {}), "`reward` of 'own' must be a finite"),
        ((SEEN, None), None, "`info` of 'own' must be a dict, got None from `reset`. Return {} if"),
        ((SEEN, {}), (SEEN, 0.0, False, False, None), "`info` of 'own' .*, got None from `step`"),
    ],
)  # fmt: skip
def test_what_a_world_returns_is_what_gymnasium_asks_for(from_reset, from_step, told):
    env = Returns(from_reset, from_step)
    adapted = Adapted(env, contract_of_env(env, name="own", frame_s=0.1))
    with pytest.raises(ValueError, match=told):
        adapted.reset()
        adapted.step(SEEN)


def test_a_reward_may_be_an_array_of_one_number():
    env = Returns((SEEN, {}), (SEEN, np.full(1, -0.5), False, False, {}))
    adapted = Adapted(env, contract_of_env(env, name="own", frame_s=0.1))
    adapted.reset()
    reward = adapted.step(SEEN)[1]
    assert type(reward) is float and reward == -0.5


def test_a_clock_that_is_told_from_the_first_step_on_needs_no_zero():
    class Late(gymnasium.Env):
        observation_space, action_space = spaces.Box(-1, 1, (1,)), spaces.Box(-1, 1, (1,))

        def reset(self, *, seed=None, options=None):
            self.clock_s = 1e9
            return np.zeros(1, np.float32), {}

        def step(self, action):
            self.clock_s += 0.2
            return np.zeros(1, np.float32), 0.0, False, False, {"time_s": self.clock_s}

    env = Adapted(Late(), contract_of_env(Late(), name="late", frame_s=0.1))
    env.reset()
    first, second = (env.step(np.zeros(1, np.float32))[4]["dt_s"] for _ in range(2))
    assert first == 0.1 and second == pytest.approx(0.2, rel=1e-3)


@pytest.mark.parametrize("told", ["time_s", "dt_s"])
def test_time_and_elapsed_time_follow_from_each_other(told):
    times_s = {"time_s": [7.0, 7.3, 7.4], "dt_s": [0.1, 0.3, 0.1]}[told]

    class Uneven(gymnasium.Env):
        observation_space, action_space = spaces.Box(-1, 1, (1,)), spaces.Box(-1, 1, (1,))

        def reset(self, *, seed=None, options=None):
            self.steps = 0
            return np.zeros(1, np.float32), {told: times_s[0]}

        def step(self, action):
            self.steps += 1
            return np.zeros(1, np.float32), 0.0, False, False, {told: times_s[self.steps]}

    env = Adapted(Uneven(), contract_of_env(Uneven(), name="uneven", frame_s=0.1))
    for _ in range(2):
        infos = [env.reset()[1], *(env.step(np.zeros(1, np.float32))[4] for _ in range(2))]
        first_s = infos[0]["time_s"]
        assert [info["time_s"] - first_s for info in infos] == pytest.approx([0.0, 0.3, 0.4])
        assert [info["dt_s"] for info in infos] == pytest.approx([0.1, 0.3, 0.1])


@pytest.mark.parametrize(
    ("space", "kind"),
    [
        (spaces.Box(-1, 1, (2, 3)), VectorContract),
        (spaces.Box(0, 255, (9, 8), np.uint8), FramesContract),
        (spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.Box(0, 255, (9, 8, 3), np.uint8)),
         DictContract),
    ],
)  # fmt: skip
def test_spaces_become_contracts(space, kind):
    assert isinstance(observation_of(space), kind)


@pytest.mark.parametrize(
    ("space", "remedy"),
    [
        (spaces.Text(5), "FlattenObservation"),
        (spaces.Box(-1, 1, (0,)), "Show at least one number"),
        (spaces.Box(0, 255, (4, 40, 50), np.uint8), r"\(4, 40, 50\)\. Move the channels"),
        (spaces.Box(0, 1, (40, 50, 3)), "got float32 .* Show pictures as uint8"),
        (spaces.Dict(a=spaces.Box(0, 255, (3, 8, 9), np.uint8)), "Move the channels"),
    ],
)
def test_other_spaces_are_refused_with_a_remedy(space, remedy):
    with pytest.raises(ValueError, match=remedy):
        observation_of(space)


def test_an_action_that_cannot_change_is_refused():
    fixed = spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 0.0], np.float32))
    with pytest.raises(ValueError, match="must have low < high, got 0.0 to 0.0 for action 1"):
        actions_of(fixed)


def test_actions_of_whole_numbers_are_refused_with_a_remedy():
    with pytest.raises(ValueError, match="must be a Box of real numbers, .* Discrete"):
        actions_of(spaces.Box(-10, 10, (2,), np.int32))


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        (np.zeros(5), r"of shape \(3,\), .* got float64 of shape \(5,\)"),
        (np.array([1.0, 1e200, np.nan]), "got nan as 'entry 2' in step 2"),
        (np.array([-np.inf, 0.0, 0.0]), "got -inf as 'entry 0' in step 2"),
        (np.array([1e200, 0.0, 0.0]), None),
    ],
)
def test_what_a_world_shows_is_as_it_says_and_finite(shown, told):
    class Faulty(gymnasium.Env):
        observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)
        action_space = spaces.Box(-1, 1, (1,))

        def reset(self, *, seed=None, options=None):
            self.shows = iter([np.zeros(3), shown])
            return np.zeros(3), {}

        def step(self, action):
            return next(self.shows), 0.0, False, False, {}

    env = world_of(Faulty, name="faulty", frame_s=0.1).make()
    env.reset()
    env.step(np.zeros(1))
    if told is None:
        np.testing.assert_array_equal(env.step(np.zeros(1))[0], shown)
        return
    with pytest.raises(ValueError, match=f"`observation` of 'faulty' must .*{told}"):
        env.step(np.zeros(1))


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        (np.zeros((3, 8, 9), np.uint8), r"got uint8 of shape \(3, 8, 9\)"),
        (np.full((8, 9, 3), np.nan), "got float64 of shape"),
    ],
)
def test_frames_have_the_shape_and_the_type_of_their_space(shown, told):
    class Turned(gymnasium.Env):
        observation_space = spaces.Box(0, 255, (8, 9, 3), np.uint8)
        action_space = spaces.Box(-1, 1, (1,))

        def reset(self, *, seed=None, options=None):
            return shown, {}

    env = world_of(Turned, name="turned", frame_s=0.1).make()
    with pytest.raises(ValueError, match=told):
        env.reset()


def test_a_number_beside_a_frame_that_is_none_is_named():
    class Car(gymnasium.Env):
        observation_space = spaces.Dict(
            camera=spaces.Box(0, 255, (8, 9, 3), np.uint8), speed=spaces.Box(0, 9, (1,))
        )
        action_space = spaces.Box(-1, 1, (1,))

        def reset(self, *, seed=None, options=None):
            return {"camera": np.zeros((8, 9, 3), np.uint8), "speed": np.array([np.nan])}, {}

    env = world_of(Car, name="car", frame_s=0.1).make()
    with pytest.raises(ValueError, match="got nan as 'speed' in step 0"):
        env.reset()
