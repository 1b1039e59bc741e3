"""The ways in which a recording can be taught, and what each does to what was driven."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from ncp_control.contract import (
    ActionContract,
    Contract,
    DictContract,
    Entry,
    FramesContract,
    VectorContract,
)
from ncp_control.learning.demonstrations import Batch, Demonstrations
from policies.augmentation import STEERING_PER_WIDTH, FrameAugmentation, steering_signs
from scripts.training.recorded_settings import Recorded
from scripts.training.ways import (
    SMOOTHING_S,
    Way,
    balancing_weight,
    smoothed,
    ways_of,
    with_ways_that_fit,
)

LOG = (Path("drive"),)


def driven(steering, starts=(0,)):
    steering = np.asarray(steering, np.float32)
    return Demonstrations(
        observations=np.zeros((len(steering), 2), np.float32),
        actions=steering[:, None],
        dt_s=np.full(len(steering), 0.05, np.float32),
        episode_starts=np.array(starts),
    )


def test_each_way_adds_one_thing_to_the_plain_one():
    assert ways_of(Recorded(log=LOG)) == (
        Way(),
        Way(mirror=True),
        Way(smoothing_s=SMOOTHING_S),
        Way(shift=True),
        Way(balance=True),
    )


def test_what_was_asked_for_is_in_every_way_and_nothing_else_is_tried():
    asked = Recorded(log=LOG, mirror=True, smoothing_s=0.0, balance=False)
    assert ways_of(asked) == (Way(mirror=True), Way(mirror=True, shift=True))
    one = Recorded(log=LOG, mirror=False, smoothing_s=0.3, shift=False, balance=True)
    assert ways_of(one) == (Way(smoothing_s=0.3, balance=True),)


def test_smoothing_spreads_a_tap_within_its_episode():
    tap = np.zeros(80)
    tap[20] = 1.0
    store = driven(tap, starts=(0, 40))
    smooth = smoothed(store, 0.1, 0.05, (0,)).actions[:, 0]
    assert smooth.sum() == pytest.approx(1.0, abs=1e-5)
    assert smooth[20] == pytest.approx(1 / (2 * np.sqrt(2 * np.pi)), rel=0.01)  # σ is 2 frames
    assert not smooth[40:].any()
    assert smoothed(store, 0.0, 0.05, (0,)) is store


def test_steering_alone_is_smoothed():
    both = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    store = dataclasses.replace(driven(both[:, 0]), actions=both)
    smooth = smoothed(store, 0.2, 0.05, (0,)).actions
    assert smooth[:, 0].std() < 0.6 * both[:, 0].std()
    np.testing.assert_array_equal(smooth[:, 1], both[:, 1])


FRAMES = FramesContract(shape=(78, 200, 3))
SPEED = VectorContract(entries=(Entry(name="speed"),))


def learns(observation, action):
    return Contract(observation=observation, action=(action,), frame_s=0.05)


def test_only_the_ways_that_fit_are_left_open():
    steering = ActionContract(name="steering", positive="left")
    beside = DictContract(parts={"frames": FRAMES, "numbers": SPEED})
    asked = Recorded(log=LOG)
    assert with_ways_that_fit(asked, learns(FRAMES, steering)) == asked
    ways = ways_of(with_ways_that_fit(asked, learns(beside, steering)))
    assert ways == (Way(), Way(smoothing_s=SMOOTHING_S), Way(balance=True))
    for seen in (FRAMES, SPEED, beside):
        elbow = learns(seen, ActionContract(name="elbow"))
        assert ways_of(with_ways_that_fit(asked, elbow)) == (Way(),)
    with pytest.raises(ValueError, match="`shift` must be left out where numbers are sensed"):
        with_ways_that_fit(Recorded(log=LOG, shift=True), learns(beside, steering))
    with pytest.raises(ValueError, match="`smoothing_s` must be left out where no action leads"):
        with_ways_that_fit(Recorded(log=LOG, smoothing_s=0.2), elbow)


def test_a_frame_one_deviation_from_straight_counts_e_times_unless_the_largest_is_far():
    near = driven([0.3, -0.3] * 5)
    assert np.exp(balancing_weight(near, (0,)) * 0.3) == pytest.approx(np.e, rel=1e-5)
    far = driven([1.0] + [0.0] * 999)
    assert np.exp(balancing_weight(far, (0,)) * 1.0) == pytest.approx(np.e**4, rel=1e-5)
    assert balancing_weight(driven([0.5, 0.5]), (0,)) == 0.0


@pytest.mark.parametrize(("positive", "sign"), [("left", 1.0), ("right", -1.0)])
def test_a_picture_that_is_moved_to_the_right_is_steered_to_the_right(positive, sign):
    frames = torch.zeros(16, 3, 4, 40, 3, dtype=torch.uint8)
    frames[:, :, :, 20] = 255
    batch = Batch(
        observations=frames,
        actions=torch.full((16, 3, 1), 0.1),
        dt_s=torch.full((16, 3), 0.05),
        mask=torch.ones(16, 3, dtype=torch.bool),
    )
    signs = steering_signs([ActionContract(name="steering", positive=positive)])
    move = FrameAugmentation(steered=signs, largest_move=0.25)
    moved = move(batch, torch.Generator().manual_seed(0))
    columns = moved.observations[:, :, 0, :, 0].argmax(-1)
    pixels = columns[:, 0] - 20
    assert (columns == columns[:, :1]).all(), "a window moves as a whole"
    assert pixels.min() < -3 and pixels.max() > 3 and pixels.abs().max() <= 10
    wanted = 0.1 - sign * STEERING_PER_WIDTH * pixels / 40
    torch.testing.assert_close(moved.actions[:, 0, 0], wanted)
    assert (batch.observations == frames).all() and (batch.actions == 0.1).all()
