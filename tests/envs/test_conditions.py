"""Conditions: seeded, stronger with their severity, and each of them what its name says."""

import dataclasses
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch

from envs.conditions import (
    ACTIONS,
    CONDITIONS,
    PICTURES,
    SEVERITIES,
    read_conditions,
    strengths_of,
    training,
)
from envs.conditions.draws import Scene
from envs.conditions.training import RandomConditions
from envs.conditions.wrappers import Gain, Pictured, Wind
from envs.worlds import lane_keeping
from ncp_control.learning.demonstrations import Batch
from ncp_control.learning.demonstrations.expert import demonstrate
from ncp_control.policy import load
from ncp_control.records import frames_in, join, numbers_in
from ncp_control.worlds import find_world
from tests.envs.test_faults import GreyEnv

FRAME_S = 1.0 / 30.0


def road(height: int = 78, width: int = 200, channels: int = 3) -> np.ndarray:
    """Return grey ground with two white marks under a light sky."""
    frame = np.full((height, width, channels), 90, np.uint8)
    frame[: height // 3] = 180
    for left in (width // 4, 3 * width // 4):
        frame[height // 3 :, left : left + max(width // 50, 1)] = 230
    return frame


def scene(seed: int = 0, height: int = 78, width: int = 200) -> Scene:
    return Scene(height, width, FRAME_S, np.random.default_rng(seed))


def shown(name: str, severity: int, *, seed: int = 0, frames: int = 300) -> np.ndarray:
    """Return what is seen of frames that differ from each other."""
    effect, frame = PICTURES[name](severity, scene(seed)), road()
    moving = [np.roll(frame, i, axis=1) for i in range(frames)]
    return np.stack([effect(one) for one in moving])


@pytest.mark.parametrize("name", PICTURES)
def test_stronger_conditions_change_frames_more(name: str):
    clean = np.stack([np.roll(road(), i, axis=1) for i in range(60)]).astype(float)
    changes = []
    for severity in SEVERITIES:
        seen = [shown(name, severity, seed=seed, frames=60) for seed in range(6)]
        changes.append(np.mean([np.abs(one - clean).mean() for one in seen]))
    assert changes[0] > 0.05
    assert changes[-1] > 1.5 * changes[0]
    assert all(later > 0.9 * earlier for earlier, later in pairwise(changes))


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("shape", [(78, 200, 3), (40, 40, 1), (33, 57, 12)])
def test_frames_keep_size_and_type_and_are_not_written_into(name: str, shape: tuple[int, ...]):
    frame = road(*shape)
    before = frame.copy()
    effect = PICTURES[name](5, scene(1, *shape[:2]))
    for _ in range(3):
        seen = effect(frame)
        assert seen.shape == shape and seen.dtype == np.uint8
    np.testing.assert_array_equal(frame, before)


@pytest.mark.parametrize("name", PICTURES)
def test_the_seed_decides(name: str):
    np.testing.assert_array_equal(
        shown(name, 3, seed=5, frames=170), shown(name, 3, seed=5, frames=170)
    )
    if name != "fog":  # which draws nothing
        assert (shown(name, 3, seed=5, frames=170) != shown(name, 3, seed=6, frames=170)).any()


@pytest.mark.parametrize(
    ("severity", "seconds"), [(1, 0.1), (2, 0.2), (3, 0.5), (4, 1.0), (5, 2.0)]
)
def test_blackouts_and_frozen_frames_last_as_long_as_stated(severity: int, seconds: float):
    frames = round(60.0 / FRAME_S)  # 12 spells
    for name in ("blackout", "frozen"):
        effect = PICTURES[name](severity, scene(2))
        numbers = [effect(np.full((78, 200, 3), 1 + i % 250, np.uint8))[0, 0, 0]
                   for i in range(frames)]  # fmt: skip
        if name == "blackout":
            failed = np.array(numbers) == 0
        else:
            failed = np.array(numbers) != 1 + np.arange(frames) % 250
        assert failed.sum() == pytest.approx(frames * seconds / 5.0, abs=round(seconds / FRAME_S))
        # A spell that has begun goes on: as many beginnings as spells.
        assert np.diff(failed.astype(int)).clip(0).sum() in (11, 12, 13)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_lost_frames_are_replaced_by_the_one_before(severity: int):
    effect = PICTURES["lost"](severity, scene(3))
    seen = np.array([effect(np.full((78, 200, 3), i % 251, np.uint8))[0, 0, 0]
                     for i in range(3000)])  # fmt: skip
    is_lost = seen != np.arange(3000) % 251
    assert is_lost.mean() == pytest.approx(0.1 * severity, abs=0.03)
    np.testing.assert_array_equal(seen[1:][is_lost[1:]], seen[:-1][is_lost[1:]])


def test_fog_hides_what_is_far_before_what_is_near():
    frame = road()
    seen = PICTURES["fog"](3, scene())(frame)[..., 0].astype(float)
    contrast = seen[:, 50] - seen[:, 100]  # mark against ground
    assert contrast[77] > 3 * contrast[32] > 0.0
    assert all(later >= earlier - 1 for earlier, later in pairwise(contrast[30:]))


def test_all_markings_are_missing_at_the_highest_severity_and_the_ground_is_not():
    seen = PICTURES["worn"](5, scene())(road())
    assert (seen[26:] == 90).all()
    assert (seen[:26] == 180).all()


def test_a_shaken_camera_turns_the_horizon():
    frame = road()
    frame[26:] = 0
    effect, angles = PICTURES["shake"](5, scene(4)), []
    for _ in range(100):
        edge = (effect(frame)[:, :, 0] > 90).sum(0)
        slope = np.polyfit(np.arange(20, 180), edge[20:180], 1)[0]
        angles.append(np.rad2deg(np.arctan(slope)))
    assert 1.0 < np.std(angles) < 8.0


def test_motion_blur_keeps_the_mean_and_takes_detail():
    frame = road()
    seen = PICTURES["blur"](3, scene())(frame)
    assert seen.mean() == pytest.approx(frame.mean(), rel=0.02)
    details = [cv2.Laplacian(one, cv2.CV_32F).var() for one in (seen, frame)]
    assert details[0] < 0.7 * details[1]


def test_words_name_conditions():
    assert read_conditions(["fog:3", "fog:2-3", "gain:1"]) == [("fog", 3), ("fog", 2), ("gain", 1)]
    assert read_conditions(["rain"]) == [("rain", severity) for severity in SEVERITIES]
    assert len(read_conditions(["all"])) == 5 * len(CONDITIONS) == 90
    assert {name for name, _ in read_conditions(["all:2"], PICTURES)} == set(PICTURES)


@pytest.mark.parametrize("word", ["fog:0", "fog:6", "fog:3-2", "fog:", "fog:1-", "smog", "all:x"])
def test_other_words_are_refused(word: str):
    with pytest.raises(ValueError, match=r"`condition` must"):
        read_conditions([word])
    with pytest.raises(ValueError, match=r"`condition` must"):
        read_conditions(["wind:2"], PICTURES)


def test_every_condition_can_be_put_around_the_driving_world():
    world = lane_keeping(tracks="held_out")
    plain = world.make()
    first, _ = plain.reset(seed=1)
    action = np.array([0.3], np.float32)
    seen = [plain.step(action)[0] for _ in range(20)]
    for name in CONDITIONS:
        env = world.disturbed(strengths_of(name, 5)).make()
        begun, _ = env.reset(seed=1)
        steps = [env.step(action) for _ in range(20)]
        assert begun.shape == first.shape
        told = np.stack([step[0] for step in steps])
        if name in ACTIONS:
            np.testing.assert_array_equal(begun, first)  # the camera sees what there is
        assert (told != np.stack(seen)).any() or name in ("blackout", "frozen"), name
        env.close()


def test_a_gain_multiplies_or_divides_and_actions_stay_possible():
    class Echo(GreyEnv):
        def step(self, action: np.ndarray):
            return self.frame, float(action[0]), False, False, {}

    env, factors = Gain(Echo(), 5), set()
    for seed in range(20):
        env.reset(seed=seed)
        factors.add(env.step(np.array([0.4], np.float32))[1] / 0.4)
        assert abs(env.step(np.array([-0.9], np.float32))[1]) <= 1.0
    assert sorted(factors) == pytest.approx([0.5, 2.0])


def test_wind_pushes_as_hard_as_stated():
    class Echo(GreyEnv):
        def step(self, action: np.ndarray):
            return self.frame, float(action[0]), False, False, {}

    env, pushes = Wind(Echo(), 2, frame_s=FRAME_S), []
    for seed in range(300):
        env.reset(seed=seed)
        pushes.append(env.step(np.zeros(1, np.float32))[1])
    # 4 % of half the range of 2, for the steady wind and for the gusts
    assert np.std(pushes) == pytest.approx(0.04 * np.sqrt(2.0), rel=0.15)
    assert abs(np.mean(pushes)) < 0.01


@pytest.mark.parametrize("severity", [0, 6, 2.5])
def test_other_severities_are_refused(severity: float):
    for make in (
        lambda: Pictured(GreyEnv(), severity, condition="fog", frame_s=FRAME_S),
        lambda: Wind(GreyEnv(), severity, frame_s=FRAME_S),
        lambda: Gain(GreyEnv(), severity),
    ):
        with pytest.raises(ValueError, match="`severity` must be"):
            make()


def test_an_unknown_condition_is_refused_by_its_name():
    with pytest.raises(ValueError, match="`condition` must be one of .*'fgo'"):
        Pictured(GreyEnv(), 1, condition="fgo", frame_s=FRAME_S)


def test_only_images_have_conditions():
    with pytest.raises(TypeError, match="uint8 images"):
        Pictured(GreyEnv(dtype=np.float32), 1, condition="fog", frame_s=FRAME_S)


def batch(windows: int = 200, frames: int = 4) -> Batch:
    seen = torch.from_numpy(np.broadcast_to(road(20, 30), (windows, frames, 20, 30, 3)).copy())
    return Batch(
        observations=seen,
        actions=torch.rand(windows, frames, 1),
        dt_s=torch.full((windows, frames), FRAME_S),
        mask=torch.ones(windows, frames, dtype=torch.bool),
    )


def test_a_share_of_the_windows_is_changed_and_no_action():
    given = batch()
    changed = RandomConditions([("fog", 3), ("night", 2)], FRAME_S, 0.6)(
        given, torch.Generator().manual_seed(0)
    )
    is_changed = (changed.observations != given.observations).flatten(1).any(1)
    assert is_changed.float().mean() == pytest.approx(0.6, abs=0.1)
    torch.testing.assert_close(changed.actions, given.actions, rtol=0.0, atol=0.0)
    again = RandomConditions([("fog", 3), ("night", 2)], FRAME_S, 0.6)(
        given, torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(changed.observations, again.observations, rtol=0.0, atol=0.0)


def test_in_records_the_frames_change_as_alone_and_the_numbers_stay():
    given = batch(20)
    numbers = torch.rand(20, 4, 2).numpy()
    records = torch.from_numpy(join(given.observations.numpy(), numbers))
    conditions, record_frame = [("fog", 3), ("night", 2)], (20, 30, 3)
    alone = RandomConditions(conditions, FRAME_S)(given, torch.Generator().manual_seed(0))
    changed = RandomConditions(conditions, FRAME_S, record_frame=record_frame)(
        dataclasses.replace(given, observations=records), torch.Generator().manual_seed(0)
    )
    frames = frames_in(changed.observations, record_frame)
    torch.testing.assert_close(frames, alone.observations, rtol=0.0, atol=0.0)
    np.testing.assert_array_equal(numbers_in(changed.observations, record_frame), numbers)


def test_windows_of_numbers_have_no_conditions():
    numbers = Batch(
        observations=torch.rand(2, 3, 5), actions=torch.rand(2, 3, 1),
        dt_s=torch.ones(2, 3), mask=torch.ones(2, 3, dtype=torch.bool),
    )  # fmt: skip
    with pytest.raises(ValueError, match="Only camera frames"):
        RandomConditions([("fog", 3)], FRAME_S)(numbers, torch.Generator())


@pytest.mark.parametrize("name", ["blackout", "frozen"])
def test_a_camera_that_fails_at_times_fails_in_every_window_that_is_to_show_it(name: str):
    moving = torch.from_numpy(np.stack([np.full((20, 30, 3), i + 1, np.uint8) for i in range(16)]))
    given = Batch(
        observations=moving.expand(100, *moving.shape).clone(),
        actions=torch.zeros(100, 16, 1),
        dt_s=torch.full((100, 16), FRAME_S),
        mask=torch.ones(100, 16, dtype=torch.bool),
    )
    changed = RandomConditions([(name, 1)], FRAME_S, 1.0)(given, torch.Generator().manual_seed(0))
    has_failed = (changed.observations != given.observations).flatten(2).any(2)
    # A frame cannot repeat one before it if it is the first.
    assert has_failed.any(1).float().mean() > (0.99 if name == "blackout" else 0.9)
    first = has_failed[has_failed.any(1)].float().argmax(1)
    assert first.min() <= 1 and first.max() >= 14, "it begins anywhere"


def test_worlds_of_few_frames_a_second_have_blackouts():
    slow = Scene(20, 30, 12.0, np.random.default_rng(0))
    effect = PICTURES["blackout"](1, slow)
    seen = [bool(effect(np.full((20, 30, 3), 9, np.uint8)).any()) for _ in range(10)]
    assert True in seen and False in seen


class Seeing:
    """A policy whose action is the mean of the frame that it sees."""

    def __call__(self, observations, infos, dt_s, reset):
        frames = observations if observations.ndim == 4 else frames_in(observations, (20, 30, 3))
        return frames.mean((1, 2, 3))[:, None]


def test_a_learner_meets_a_condition_until_its_episode_is_over(monkeypatch):
    monkeypatch.setattr(training, "PolicyPilot", lambda policy: policy)
    rng = np.random.default_rng(0)
    frames = rng.integers(100, 255, (40, 20, 30, 3)).astype(np.uint8)
    met = RandomConditions([("blackout", 5), ("night", 5)], FRAME_S, 0.5)
    clean, around = frames.mean((1, 2, 3))[:, None], met.as_pilot(Seeing(), 0)

    def act(around, seen, first):
        reset = np.full(len(seen), first)
        return around(seen, [{}] * len(seen), np.full(len(seen), FRAME_S, np.float32), reset)

    begun = act(around, frames, True)
    unchanged = (begun == clean).all(1)
    later = np.stack([act(around, frames, False) for _ in range(150)])
    is_met = (later != clean).any((0, 2))
    assert 10 <= is_met.sum() <= 30 and (begun[~is_met] == clean[~is_met]).all()
    spells = (later == 0.0).mean((0, 2))  # 2 s in 5 s, or none
    assert set(np.round(spells, 1)) == {0.0, 0.4}
    assert unchanged.sum() > (~is_met).sum(), "a blackout begins later"

    # Beside others it is the same, and in records, whose numbers the learner sees as they are.
    alone = act(met.as_pilot(Seeing(), 0), frames[5:8], True)
    np.testing.assert_array_equal(alone, begun[5:8])
    again = act(around, frames[::-1], True)
    np.testing.assert_array_equal(again, begun[::-1])


def test_a_world_that_always_begins_alike_meets_another_condition_each_time(monkeypatch):
    monkeypatch.setattr(training, "PolicyPilot", lambda policy: policy)
    frame = np.full((1, 20, 30, 3), 200, np.uint8)
    met = RandomConditions([("night", 1), ("night", 5)], FRAME_S, 0.5)
    seen = [
        met.as_pilot(Seeing(), seed)(frame, [{}], np.full(1, FRAME_S, np.float32), np.ones(1, bool))
        for seed in range(60)
    ]
    clean, dim, dark = (sum(low <= x.item() < high for x in seen)
                        for low, high in ((199, 201), (90, 199), (0, 90)))  # fmt: skip
    assert clean + dim + dark == 60
    assert 18 <= clean <= 42 and min(dim, dark) >= 6


def test_what_a_learner_did_under_conditions_is_recorded_clean(tmp_path):
    world = find_world("LaneKeeping-v0", tracks="train")
    policy = load("drive-ncp")
    met = RandomConditions([("night", 5)], world.frame_s, 1.0)
    shown = [
        demonstrate(tmp_path / name, world, world.expert, [3, 4], num_steps=20, learner=learner)
        for name, learner in (("clean", policy), ("met", met.as_pilot(policy, 0)))
    ]
    first, last = (np.array(one.observations).reshape(2, 20, 78, 200, 3) for one in shown)
    np.testing.assert_array_equal(first[:, 0], last[:, 0])  # not darkened
    assert (first[:, -1] != last[:, -1]).any()  # it drove otherwise
    assert abs(float(first.mean()) - float(last.mean())) < 5.0
