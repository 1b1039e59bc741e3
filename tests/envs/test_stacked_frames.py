"""Disturbed frames in a stack: each shows what the camera gave at its time."""

from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from envs.conditions.training import RandomConditions
from envs.faults import disturbances_of
from ncp_control.learning.demonstrations import Batch
from ncp_control.records import frames_in, numbers_in, record_frame
from ncp_control.worlds import World, world_of
from scripts.training.met_conditions import MetConditions

FRAME_S, STACK = 0.05, 3


class Camera(gymnasium.Env):
    """Shows frames that grow brighter, and a number beside them if asked."""

    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, *, is_record: bool = False) -> None:
        camera = spaces.Box(0, 255, (12, 16, 3), np.uint8)
        speed = spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self._is_record = is_record
        self.observation_space: spaces.Space = camera
        if is_record:
            self.observation_space = spaces.Dict([("camera", camera), ("speed", speed)])

    def _seen(self):
        frame = np.full((12, 16, 3), self.count + 1, np.uint8)
        number = np.array([self.count], np.float32)
        return {"camera": frame, "speed": number} if self._is_record else frame

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self._seen(), {}

    def step(self, action):
        self.count += 1
        return self._seen(), 0.0, False, False, {}


def camera_world(stack: int, *, is_record: bool = False) -> World:
    world = world_of(
        partial(Camera, is_record=is_record), name="camera", frame_s=FRAME_S, view={"stack": stack}
    )
    return World(
        name="camera",
        make=world.make,
        contract=world.contract,
        disturbances=disturbances_of(world.contract),
    )


def frames_of(world: World, seed: int, count: int) -> np.ndarray:
    """Return the frames of an episode, shape (count, height, width, channels)."""
    env, shape = world.make(), record_frame(world.contract.observation)
    seen = [env.reset(seed=seed)[0]]
    seen += [env.step(np.zeros(1, np.float32))[0] for _ in range(count - 1)]
    if shape is None:
        return np.stack(seen)
    assert [numbers_in(one, shape).item() for one in seen] == list(range(count))
    return np.stack([frames_in(one, shape) for one in seen])


def stacks_of(frames: np.ndarray) -> np.ndarray:
    """Return each frame with the two before it, oldest first; the first stands for earlier ones."""
    index = np.arange(len(frames))
    ages = range(STACK - 1, -1, -1)
    return np.concatenate([frames[np.maximum(index - age, 0)] for age in ages], axis=-1)


@pytest.mark.parametrize("is_record", [False, True])
@pytest.mark.parametrize(
    "strengths",
    [{"blackout": 3}, {"noise": 0.1}, {"lost": 5}, {"night": 2}, {"frozen": 3, "noise": 0.02}],
)
def test_a_stack_holds_the_disturbed_frames_of_its_times(strengths, is_record):
    single, stacked = (
        camera_world(stack, is_record=is_record).disturbed(strengths) for stack in (1, STACK)
    )
    alone = frames_of(single, 4, 120)
    np.testing.assert_array_equal(frames_of(stacked, 4, 120), stacks_of(alone))
    clean = frames_of(camera_world(1, is_record=is_record), 4, 120)
    assert (alone != clean).any((1, 2, 3)).sum() >= 10


def test_lost_frames_leave_a_stack_as_it_is_without_noise():
    world = camera_world(STACK)
    plain = frames_of(world.disturbed({"drop": 0.5}), 4, 40)
    noisy = frames_of(world.disturbed({"drop": 0.5, "noise": 1e-9}), 4, 40)
    np.testing.assert_array_equal(plain, noisy)
    assert (np.diff(plain[:, 0, 0, -1].astype(int)) > 1).any(), "frames were lost"


def test_an_episode_begins_without_the_frames_of_the_one_before():
    for strengths in ({"noise": 0.1}, {"lost": 5}):
        env = camera_world(STACK).disturbed(strengths).make()
        first, _ = env.reset(seed=2)
        for _ in range(3):
            env.step(np.zeros(1, np.float32))
        np.testing.assert_array_equal(env.reset(seed=2)[0], first)
        parts = np.split(first, STACK, axis=2)
        assert all(np.array_equal(part, parts[0]) for part in parts)


def test_windows_that_are_learned_from_change_each_frame_once():
    frames = np.stack([np.full((12, 16, 3), i + 1, np.uint8) for i in range(18)])
    met = MetConditions(conditions=("blackout:2",), condition_share=1.0).conditions_in(
        camera_world(STACK)
    )
    assert isinstance(met, RandomConditions) and met.stack == STACK
    for begin in (0, 2):  # with an episode, and within it
        window = torch.from_numpy(stacks_of(frames)[begin : begin + 16]).expand(50, -1, -1, -1, -1)
        batch = Batch(
            observations=window.clone(),
            actions=torch.zeros(50, 16, 1),
            dt_s=torch.full((50, 16), FRAME_S),
            mask=torch.ones(50, 16, dtype=torch.bool),
        )
        seen = met(batch, torch.Generator().manual_seed(0)).observations.numpy()[:, :, 0, 0, ::3]
        newest, before = seen[:, 1:], seen[:, :-1]
        np.testing.assert_array_equal(newest[..., :-1], before[..., 1:])
        assert (seen == 0).any((1, 2)).all(), "each window has a blackout"
        assert ((seen == 0).any(2) & (seen != 0).any(2)).any(), "no stack goes black at once"
