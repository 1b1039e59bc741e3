"""Labels of an expert that sees no more than the camera: in fog, in black frames, elsewhere."""

import math

import numpy as np
import pytest
import torch

from envs.conditions.training import RandomConditions
from envs.driving.camera import CameraGeometry
from envs.driving.limited_sight import (
    BRAKING_MPS2,
    SEEN_CONTRAST,
    STANDING_GAP_M,
    limited_sight,
    safe_speed_mps,
    sight_in_fog_m,
)
from ncp_control.learning.demonstrations import Batch
from ncp_control.records import join
from ncp_control.worlds import find_world
from scripts.training.met_conditions import MetConditions

FRAME = (20, 30, 3)


def records(speeds_mps: np.ndarray, *, value: int = 120) -> np.ndarray:
    frames = np.full((*speeds_mps.shape, *FRAME), value, np.uint8)
    return join(frames, speeds_mps[..., None].astype(np.float32))


def batch(speeds_mps: np.ndarray, pedal: float) -> Batch:
    actions = torch.full((*speeds_mps.shape, 2), pedal)
    actions[..., 0] = 0.3  # steering
    return Batch(
        observations=torch.from_numpy(records(speeds_mps)),
        actions=actions,
        dt_s=torch.full(speeds_mps.shape, 1.0 / 30.0),
        mask=torch.ones(speeds_mps.shape, dtype=torch.bool),
    )


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_a_mark_at_the_end_of_sight_keeps_the_contrast_that_fog_leaves_it(severity: int):
    from envs.conditions import PICTURES
    from envs.conditions.draws import Scene

    camera, sight_m = CameraGeometry(), sight_in_fog_m(severity)
    height = camera.height_px
    effect = PICTURES["fog"](severity, Scene(height, 4, 1 / 30, np.random.default_rng(0)))
    dark, bright = (np.full((height, 4, 3), value, np.uint8) for value in (0, 250))
    contrast = (effect(bright)[:, 0, 0].astype(float) - effect(dark)[:, 0, 0]) / 250.0
    # The fog takes the horizon to be at a third of the height, whatever the camera's angle.
    row = 0.33 * (height - 1) + camera.height_m * camera.focal_px / sight_m
    if row < height - 1:
        left = np.interp(row, np.arange(height), contrast)
        assert left == pytest.approx(SEEN_CONTRAST, abs=0.02)
    else:
        assert contrast.max() < SEEN_CONTRAST, "not even the nearest ground is seen well"


def test_the_car_stops_within_sight_from_the_safe_speed():
    for sight_m in (5.0, 10.0, 25.0):
        speed_mps = safe_speed_mps(sight_m)
        assert speed_mps * 0.5 + speed_mps**2 / (2.0 * BRAKING_MPS2) == pytest.approx(
            sight_m - STANDING_GAP_M
        )


def test_fog_lowers_the_pedal_of_a_fast_car_and_no_other_action():
    world = find_world("RoadDriving-v0")
    speeds_mps = np.array([[1.0, safe_speed_mps(sight_in_fog_m(3)), 12.0]])
    given = batch(speeds_mps, 0.5)
    relabel = limited_sight(world.contract)
    met = RandomConditions([("fog", 3)], 1 / 30, 1.0, FRAME, relabel=relabel)
    changed = met(given, torch.Generator().manual_seed(0))
    torch.testing.assert_close(changed.actions[..., 0], given.actions[..., 0], rtol=0.0, atol=0.0)
    expected = [0.5, 0.0, -BRAKING_MPS2 / 5.0]  # accelerates, holds its speed, brakes
    np.testing.assert_allclose(changed.actions[0, :, 1].numpy(), expected, atol=1e-6)
    assert (given.actions[..., 1] == 0.5).all(), "the given batch stays as it was"
    # A stronger braking of the expert stays.
    hard = met(batch(speeds_mps, -0.9), torch.Generator().manual_seed(0))
    assert (hard.actions[..., 1] == -0.9).all()


def test_black_frames_brake_and_the_others_of_a_blackout_do_not():
    world = find_world("RoadDriving-v0")
    given = batch(np.full((4, 60), 5.0), 0.5)
    met = RandomConditions([("blackout", 3)], 1 / 30, 1.0, FRAME, 1, limited_sight(world.contract))
    changed = met(given, torch.Generator().manual_seed(0))
    is_black = (changed.observations[..., : math.prod(FRAME)] == 0).all(-1)
    assert 0.05 < is_black.float().mean() < 0.5
    expected = torch.where(is_black, -BRAKING_MPS2 / 5.0, 0.5)
    torch.testing.assert_close(changed.actions[..., 1], expected)


def test_other_conditions_and_clear_windows_keep_the_actions():
    world = find_world("RoadDriving-v0")
    given = batch(np.full((20, 3), 15.0), 0.5)
    for condition, share in (("night", 1.0), ("fog", 1e-9)):
        met = RandomConditions(
            [(condition, 3)], 1 / 30, share, FRAME, relabel=limited_sight(world.contract)
        )
        changed = met(given, torch.Generator().manual_seed(0))
        torch.testing.assert_close(changed.actions, given.actions, rtol=0.0, atol=0.0)


def test_the_setting_reaches_the_windows_and_needs_conditions_and_a_speed():
    world = find_world("RoadDriving-v0")
    met = MetConditions(conditions=("fog",), limited_sight=True).conditions_in(world)
    assert met is not None and met.relabel == limited_sight(world.contract)
    assert MetConditions(conditions=("fog",)).conditions_in(world).relabel is None  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="`limited_sight` must be left out without --conditions"):
        MetConditions(limited_sight=True).check_conditions([])
    with pytest.raises(ValueError, match="except in RoadDriving-v0 with its observed speed"):
        MetConditions(conditions=("fog",), limited_sight=True).conditions_in(
            find_world("LaneKeeping-v0")
        )
    with pytest.raises(ValueError, match="`relabel` must be left out where observations are not"):
        RandomConditions([("fog", 3)], 1 / 30, relabel=limited_sight(world.contract))
