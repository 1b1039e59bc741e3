"""Worlds by name, and the contracts of Gymnasium's own."""

import warnings
from dataclasses import replace

import gymnasium
import numpy as np
import pytest

from ncp_control import worlds
from ncp_control.contract import ActionContract, Entry, FramesContract, VectorContract
from ncp_control.gymnasium_contracts import contract_of_env
from ncp_control.worlds import (
    WORLDS,
    World,
    find_world,
    full_name,
    register_world,
    world_of,
)

OWN_MODULE = """
import gymnasium
from gymnasium import spaces
import numpy as np


class Room(gymnasium.Env):
    metadata = {"render_fps": 20}
    observation_space = spaces.Box(0, 255, (12, 16, 3), np.uint8)
    action_space = spaces.MultiDiscrete([2, 3])

    def __init__(self, brightness=0):
        self.brightness = brightness

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.full((12, 16, 3), self.brightness, np.uint8), {}

    def step(self, action):
        self.last = action
        return np.zeros((12, 16, 3), np.uint8), 1, False, False, {}


def make_room(brightness=0):
    return Room(brightness)


class Timeless(Room):
    metadata = {}

    def __init__(self):
        super().__init__()


def make_world():
    from ncp_control.worlds import world_of

    return world_of(Room, name="room")


def make_size(size):
    return Room(size)


def make_nothing(size=1):
    Room(size)


number = 3
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "own_worlds.py").write_text(OWN_MODULE)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("env_id", "frame_s", "steps"),
    [("CartPole-v1", 0.02, 500), ("Pendulum-v1", 0.05, 200), ("Hopper-v5", 0.008, 1000)],
)
def test_gymnasium_worlds_tell_their_rate_and_limit(env_id, frame_s, steps):
    world = find_world(f"gymnasium:{env_id}")
    assert world.frame_s == pytest.approx(frame_s)
    assert world.max_steps == steps
    assert world.contract.world == f"gymnasium:{env_id}"


@pytest.mark.parametrize("env_id", ["Hopper-v5", "Walker2d-v5", "HalfCheetah-v5", "Ant-v5"])
def test_names_of_sensors_are_those_of_the_joints_they_read(env_id, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = find_world(f"gymnasium:{env_id}").make().unwrapped
    env.reset(seed=0)
    positions, velocities = env.data.qpos.copy(), env.data.qvel.copy()
    num_tried = 0
    for joint in range(env.model.njnt):
        name = env.model.joint(joint).name
        part, _, side = name.removesuffix("_joint").partition("_")
        name = {"rootz": "height", "rooty": "pitch"}.get(name, f"{side} {part} angle".strip())
        entries = [e.name for e in contract_of_env(env, name="x").observation.entries]
        if int(env.model.jnt_type[joint]) in (2, 3) and name in entries:
            num_tried += 1
            moved = positions.copy()
            moved[env.model.jnt_qposadr[joint]] += 0.01
            env.set_state(positions, velocities)
            still = env._get_obs()
            env.set_state(moved, velocities)
            changed = np.flatnonzero(env._get_obs() != still)
            assert entries[changed[0]] == name
    assert num_tried >= 5
    assert list(tmp_path.iterdir()) == []  # no log of MuJoCo in the user's folder


def test_every_entry_of_the_ant_has_a_name_and_a_unit():
    contract = find_world("gymnasium:Ant-v5").contract
    entries = contract.observation.entries
    assert len({entry.name for entry in entries}) == len(entries) == 105
    assert entries[-1].name.endswith("force z") and entries[-1].unit == "N"
    assert (
        contract.action[0].name == "4 hip torque" and contract.action[0].unit == "share of 150 N m"
    )


def test_classic_control_has_names():
    entries = find_world("gymnasium:CartPole-v1").contract.observation.entries
    assert [e.name for e in entries][2] == "pole angle" and entries[2].unit == "rad"
    assert find_world("gymnasium:CartPole-v1").contract.action[0].choices == (
        "push left",
        "push right",
    )


def test_a_world_of_ones_own_module_with_options(own_module):
    world = find_world("own_worlds:make_room", brightness=9)
    assert isinstance(world.contract.observation, FramesContract)
    assert world.contract.observation.shape == (12, 16, 3)
    assert world.contract.world_options == {"brightness": 9}
    assert [len(entry.choices) for entry in world.contract.action] == [2, 3]
    assert world.frame_s == pytest.approx(0.05)
    env = world.make()
    observation, _ = env.reset()
    assert observation.max() == 9
    env.step(np.array([1.0, 2.0], np.float32))
    assert env.unwrapped.last.tolist() == [1, 2] and env.unwrapped.last.dtype == np.int64


def test_a_class_that_tells_no_time_is_told_it(own_module):
    told = "for the world 'own_worlds:Timeless', .* --world-options frame_s=0.02, or an attr"
    with pytest.raises(ValueError, match=told):
        find_world("own_worlds:Timeless")
    world = find_world("own_worlds:Timeless", frame_s=0.1)
    assert world.frame_s == 0.1
    again = find_world("own_worlds:Timeless", **world.contract.world_options)
    assert again.contract == world.contract
    with pytest.raises(ValueError, match="`option of own_worlds:Timeless` must be left out"):
        find_world("own_worlds:Timeless", speed=3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "own_worlds:make_world",
            {"frame_s": 0.1},
            "`option of .*make_world` must be left",
        ),
        ("own_worlds:make_room", {"brighness": 3}, "Did you mean 'brightness'"),
        ("own_worlds:make_rom", {}, "`world` must name a function as module:function"),
        ("own_worlds:number", {}, "must name a function, got 'own_worlds:number'"),
        ("own_worlds:make_size", {}, r"`options of own_.*size` must include 'size', got \[\]"),
        ("own_worlds:make_nothing", {}, "returns a gymnasium.Env or a World, got .*'NoneType'"),
        ("no_such_module:make", {}, "No module named 'no_such_module'"),
        ("gymnasium:Hoper-v5", {}, "`world` must be one that Gymnasium can make"),
        ("gymnasium:Hopper-v5", {"nonsense": 1}, "`world` must be one that Gymnasium can make"),
        ("nowhere", {}, "`world` must be one of"),
    ],
)
def test_unknown_names_and_options_are_one_sentence(own_module, name, options, message):
    with pytest.raises(ValueError, match=message) as error:
        find_world(name, **options)
    assert "\n" not in str(error.value)


def test_registered_worlds_are_found_by_name(monkeypatch):
    for name in ("_things", "_sources"):  # without what is registered here, after the test
        monkeypatch.setattr(WORLDS, name, dict(getattr(WORLDS, name)))
    monkeypatch.setattr(worlds, "SHORT_NAMES", dict(worlds.SHORT_NAMES))

    def make_pole(long=False):
        return world_of(lambda: gymnasium.make("CartPole-v1"), name="Pole-v0")

    register_world("Pole-v0", make_pole)
    register_world("Pole-v0", make_pole)  # an import that runs twice does no harm
    assert "Pole-v0" in WORLDS
    register_world("Pole-v0", make_pole, short_name="pole")
    assert isinstance(find_world("Pole-v0", long=True), World)
    assert find_world("pole", long=True).name == "Pole-v0" == full_name("pole")
    with pytest.raises(ValueError, match="`short_name` of a world must be free, got 'pole'"):
        register_world("Other-v0", make_pole, short_name="pole")
    assert "Other-v0" not in WORLDS
    with pytest.raises(ValueError, match="`name` of a world must be free, got 'pole', .* short"):
        register_world("pole", make_pole)
    register_world("Another-v0", make_pole)
    with pytest.raises(ValueError, match="`short_name` .* got 'Another-v0', which is that of"):
        register_world("Pole-v0", make_pole, short_name="Another-v0")
    with pytest.raises(ValueError, match="Did you mean 'long'"):
        find_world("Pole-v0", lang=True)
    with pytest.raises(ValueError, match="`name` of a world must be free, got 'Pole-v0'"):
        register_world("Pole-v0", lambda: make_pole())
    with pytest.raises(ValueError, match="`name` of a world must be of letters, digits"):
        register_world("a:b", make_pole)


def test_a_policy_of_another_world_is_refused():
    hopper, walker = (find_world(f"gymnasium:{name}-v5") for name in ("Hopper", "Walker2d"))
    walker.check_policy(walker.contract)
    with pytest.raises(ValueError, match=r"does not fit the world 'gymnasium:Hopper-v5'"):
        hopper.check_policy(walker.contract)
    with pytest.raises(ValueError, match="must carry a contract"):
        hopper.check_policy(None)


def test_a_policy_of_a_world_of_equal_sizes_is_refused_by_names():
    walker, cheetah = (find_world(f"gymnasium:{name}-v5") for name in ("Walker2d", "HalfCheetah"))
    assert walker.contract.observation.size == cheetah.contract.observation.size
    with pytest.raises(ValueError, match=r"name 'thigh angle' in entry 2 \(thigh angle\), got"):
        cheetah.check_policy(walker.contract)


def test_making_a_halfcheetah_says_nothing_of_its_deprecated_attribute():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find_world("gymnasium:HalfCheetah-v5").make().close()


def test_a_world_may_state_names_but_no_other_sizes():
    def make():
        return gymnasium.make("Pendulum-v1", disable_env_checker=True)

    plain = world_of(make, name="Swing-v0").contract
    entries = tuple(Entry(name=name) for name in ("right", "up", "spin"))
    stated = replace(plain, observation=VectorContract(entries=entries), frame_s=0.1)
    world = world_of(make, name="Swing-v0", contract=stated)
    assert (world.contract, world.frame_s) == (stated, 0.1)
    env = world.make()
    env.reset(seed=0)
    assert env.step([0.0])[-1]["dt_s"] == 0.1
    env.close()
    for wrong in (
        replace(stated, observation=VectorContract(entries=entries[:2])),
        replace(stated, action=stated.action * 2),
        replace(stated, observation=FramesContract(shape=(20, 24, 3))),
    ):
        with pytest.raises(ValueError, match=r"`contract` must be of what .*, \(3, 1\), got"):
            world_of(make, name="Swing-v0", contract=wrong)


def test_an_action_in_the_units_of_the_environment_is_a_command_with_a_scale():
    def make():
        return gymnasium.make("Pendulum-v1", disable_env_checker=True)

    plain = world_of(make, name="Swing-v0").contract
    torque = ActionContract(name="torque", unit="N m", positive="left", range=(-2.0, 2.0))
    world = world_of(make, name="Swing-v0", contract=replace(plain, action=(torque,)))
    (action,) = world.contract.action
    assert (action.range, action.scale, action.unit) == ((-1.0, 1.0), (0.0, 2.0), "N m")
    assert "commands  torque in [-1, 1] for -2 to 2 N m, positive is left" in (
        world.contract.describe()
    )
    env = world.make()
    env.reset(seed=0)
    env.step(np.array([0.25], np.float32))
    assert env.unwrapped.last_u == pytest.approx(0.25 * action.scale[1])
    env.close()
    wrong = replace(plain, action=(replace(torque, range=(-3.0, 3.0)),))
    with pytest.raises(ValueError, match=r"`range` of the action 'torque' must be \[-1, 1\].*-2"):
        world_of(make, name="Swing-v0", contract=wrong)
