"""Observations of frames and numbers: contract, record, view, policy."""

from typing import ClassVar

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from envs.faults import PixelNoise
from ncp_control import LTC, auto_ncp, load
from ncp_control.contract import Contract, DictContract, FramesContract, VectorContract
from ncp_control.gymnasium_contracts import observation_of
from ncp_control.policy import FramesPolicy
from ncp_control.records import frames_in, join, numbers_in, pack, with_frames
from ncp_control.worlds import find_world
from policies.locomotion import make_policy_for

FRAME = (15, 20, 3)  # 900 bytes; with an odd width, numbers begin anywhere
CAMERA = spaces.Box(0, 255, FRAME, np.uint8)
SPEED, GOAL = spaces.Box(-9.0, 9.0, (1,)), spaces.Box(-np.inf, np.inf, (2,), np.float64)


class Seen(gymnasium.Env):
    """Shows what it draws from its observation space."""

    metadata: ClassVar = {"render_fps": 10}
    action_space = spaces.Box(-1.0, 1.0, (1,))

    def __init__(self, **parts):
        self.observation_space = spaces.Dict(**parts)
        self.observation_space.seed(0)

    def reset(self, *, seed=None, options=None):
        self.shown = self.observation_space.sample()
        return self.shown, {}

    def step(self, action):
        return self.reset()[0], 0.0, False, False, {}


def make_both():
    return Seen(speed=SPEED, camera=CAMERA, goal=GOAL)


def make_goals():
    return Seen(achieved_goal=GOAL, desired_goal=GOAL, observation=SPEED)


OWN = "tests.ncp_control.test_records"


@pytest.mark.parametrize("shape", [(15, 20, 3), (3, 3, 1)])
@pytest.mark.parametrize("lead", [(), (4,), (2, 5)])
def test_a_record_holds_frame_and_numbers(shape, lead):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (*lead, *shape), np.uint8)
    numbers = rng.standard_normal((*lead, 3)).astype(np.float32)
    records = join(frames, numbers)
    assert records.dtype == np.uint8 and records.shape == (*lead, np.prod(shape) + 12)
    for held in (records, torch.from_numpy(records), torch.from_numpy(records).float()):
        np.testing.assert_array_equal(np.asarray(frames_in(held, shape)), frames)
        np.testing.assert_array_equal(np.asarray(numbers_in(held, shape)), numbers)
        other = with_frames(held, 255 - frames_in(held, shape))
        np.testing.assert_array_equal(np.asarray(frames_in(other, shape)), 255 - frames)
        np.testing.assert_array_equal(np.asarray(numbers_in(other, shape)), numbers)


def test_a_world_of_frames_and_numbers_shows_records():
    world = find_world(f"{OWN}:make_both")
    seen = world.contract.observation
    assert isinstance(seen, DictContract)
    assert Contract.from_json(world.contract.to_json()) == world.contract
    env = world.make()
    assert env.observation_space == spaces.Box(0, 255, (900 + 12,), np.uint8)
    record, info = env.reset()
    shown = env.unwrapped.shown
    assert env.observation_space.contains(record) and info["full_observation"] is record
    np.testing.assert_array_equal(frames_in(record, FRAME), shown["camera"])
    wanted = np.concatenate([shown["speed"], shown["goal"]]).astype(np.float32)
    np.testing.assert_array_equal(numbers_in(record, FRAME), wanted)
    np.testing.assert_array_equal(pack(shown, seen), record)


def test_a_dictionary_of_numbers_alone_is_one_vector():
    world = find_world(f"{OWN}:make_goals")
    seen = world.contract.observation
    assert isinstance(seen, VectorContract)
    assert [entry.name for entry in seen.entries] == [
        "achieved_goal: entry 0", "achieved_goal: entry 1",
        "desired_goal: entry 0", "desired_goal: entry 1", "observation",
    ]  # fmt: skip
    env = world.make()
    vector, _ = env.reset()
    assert env.observation_space.contains(vector) and env.observation_space.high[-1] == 9.0
    shown = env.unwrapped.shown
    wanted = np.concatenate([shown[name] for name in ("achieved_goal", "desired_goal")])
    np.testing.assert_allclose(vector[:4], wanted, rtol=1e-6)


def make_hopper():
    env = gymnasium.make("Hopper-v5")
    space = spaces.Dict(observation=env.observation_space)
    return gymnasium.wrappers.TransformObservation(env, lambda seen: {"observation": seen}, space)


def test_a_body_may_show_its_numbers_in_a_dictionary():
    assert find_world(f"{OWN}:make_hopper").contract.observation.size == 11


def test_pixel_noise_is_refused_on_a_record():
    with pytest.raises(TypeError, match="must have uint8 images as observations"):
        PixelNoise(find_world(f"{OWN}:make_both").make(), 0.1)


def test_a_view_changes_the_frame_alone():
    world = find_world(f"{OWN}:make_both", crop_top=0.2, width=10, stack=2)
    frames = world.contract.observation.parts["camera"]
    assert frames.shape == (12, 10, 6) and frames.view.stack == 2
    assert list(world.contract.observation.parts) == ["speed", "camera", "goal"]
    env = world.make()
    record, _ = env.reset()
    numbers = numbers_in(record, frames.shape)
    np.testing.assert_array_equal(numbers[:1], env.unwrapped.shown["speed"])
    with pytest.raises(ValueError, match="must be uint8 frames, or have some"):
        find_world(f"{OWN}:make_goals", stack=2)


def test_a_dictionary_with_a_frame_alone_shows_frames():
    assert observation_of(spaces.Dict(camera=CAMERA)) == FramesContract(shape=FRAME)


@pytest.mark.parametrize(
    ("space", "told"),
    [
        (spaces.Dict(left=CAMERA, right=CAMERA), "one Box of frames and any of numbers"),
        (spaces.Dict(), "one Box of frames and any of numbers, got no part"),
        (spaces.Dict(camera=CAMERA, gear=spaces.Discrete(5)), "a Box as its part 'gear', got Dis"),
        (spaces.Dict(camera=CAMERA, own=spaces.Dict(speed=SPEED)), "a Box as its part 'own'"),
    ],
)
def test_other_dictionaries_are_refused(space, told):
    with pytest.raises(ValueError, match=told):
        observation_of(space)


@pytest.fixture
def policy():
    torch.manual_seed(0)
    contract = find_world(f"{OWN}:make_both").contract
    built = make_policy_for(contract, "ltc", num_neurons=10).eval()
    built.contract = contract
    return built


def parts(**changes):
    frame = np.arange(900, dtype=np.uint8).reshape(FRAME)
    return {"camera": frame, "speed": np.array([3.0]), "goal": [0.5, -1.0], **changes}


def test_a_policy_acts_on_the_parts_or_their_record_and_is_saved_with_both(policy, tmp_path):
    assert policy.circuit.cell.input_size == 32 + 3
    policy.fit_scale(torch.randn(50, 3) * 4.0 + 1.0)
    policy.save(tmp_path / "policy")
    loaded = load(tmp_path / "policy")
    assert isinstance(loaded, FramesPolicy) and loaded.numbers == 3
    assert loaded.contract.observation == policy.contract.observation
    acted = policy.act(parts())
    np.testing.assert_array_equal(loaded.act(parts()), acted)
    loaded.reset()
    np.testing.assert_array_equal(loaded.act(pack(parts(), loaded.contract.observation)), acted)
    loaded.reset()
    assert not np.array_equal(loaded.act(parts(speed=[4.0])), acted), "a number matters"
    loaded.reset()
    assert not np.array_equal(loaded.act(parts(camera=parts()["camera"].T.reshape(FRAME))), acted)


def test_numbers_are_scaled_and_clipped_behind_the_features(policy):
    policy.fit_scale(torch.tensor([[0.0, 1.0, 5.0], [4.0, 3.0, 5.0]]))
    record = pack(parts(speed=6.0, goal=[-100.0, 5.0]), policy.contract.observation)
    features = policy.perceive(torch.from_numpy(record)[None])[0]
    # Means 2, 2, 5 and deviations 2, 1, 0, which counts as the constant itself.
    torch.testing.assert_close(features[32:].detach(), torch.tensor([2.0, -10.0, 0.0]))
    frame = torch.from_numpy(parts()["camera"])[None]
    torch.testing.assert_close(features[:32], policy.head(frame)[0])


@pytest.mark.parametrize(
    ("observation", "told"),
    [
        ({"camera": parts()["camera"]}, r"must have the parts \['camera', 'goal', 'speed'\], got"),
        (parts(goal=1.0), "must have 2 numbers as 'goal', got float64 of shape"),
        (parts(goal=["a", "b"]), "must have 2 numbers as 'goal'"),
        (parts(camera=np.zeros(FRAME)), "must have a uint8 frame of shape .* as 'camera', got fl"),
        (parts(camera=np.zeros((3, 15, 20), np.uint8)), "must have a uint8 frame of shape"),
        (parts(speed=np.nan), "must hold finite numbers"),
        (parts(speed=1e300), "must hold finite numbers"),
        (parts()["camera"], "must be a record of 912 bytes, of a frame of shape"),
        (np.zeros(912, np.float32), "must be a record of 912 bytes"),
    ],
)
def test_wrong_parts_are_refused_in_one_sentence_and_not_remembered(policy, observation, told):
    policy.act(parts())
    before = policy.act(parts())
    policy.reset()
    policy.act(parts())
    with pytest.raises(ValueError, match=told):
        policy.act(observation)
    np.testing.assert_array_equal(policy.act(parts()), before)


def test_a_policy_without_such_a_contract_takes_no_dictionary(policy):
    policy.contract = None
    with pytest.raises(ValueError, match="must be an array, got a dictionary of .*no contract"):
        policy.act(parts())
    cell = LTC(auto_ncp(32, 9, 1))
    with pytest.raises(ValueError, match="`cell` must take 35 inputs, got 32"):
        FramesPolicy(cell, head="light", frame_shape=FRAME, numbers=3)
    assert "numbers" not in FramesPolicy(cell, head="light", frame_shape=FRAME).to_config()


def test_a_policy_of_frames_or_numbers_alone_says_what_it_senses(policy):
    seen = policy.contract.observation.parts
    numbers = [part for part in seen.values() if isinstance(part, VectorContract)]
    for part, told in ((seen["camera"], "frames"), (numbers[0], f"{numbers[0].size} numbers")):
        message = rf"because the policy senses only {told}, got a dictionary of \['camera', 'goal'"
        with pytest.raises(ValueError, match=message):
            pack(parts(), part)


def test_sequences_give_what_single_steps_give(policy):
    records = [pack(parts(speed=float(i)), policy.contract.observation) for i in range(3)]
    together, _ = policy(torch.from_numpy(np.stack(records))[None])
    alone = [policy.act(record) for record in records]
    np.testing.assert_allclose(policy.command(together[0].detach().numpy()), alone, atol=1e-6)
