"""The head that sees how far the picture moved: shifts that are known, and what a policy makes."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from ncp_control import Policy
from ncp_control.policy.heads import frames_together, make_head
from ncp_control.policy.motion import NUM_BANDS, MotionHead, picture_shifts
from policies.driving import make_driving_policy

SHAPE = (78, 200, 6)


def pair(pixels_right, brightness=1.0):
    """Two frames of a landscape, the later one moved to the right and of another brightness."""
    noise = np.random.default_rng(0).normal(size=(78, 240))
    scene = 127 + 600 * gaussian_filter(noise, (1.0, 2.0))
    before, latest = scene[:, 20:220], brightness * scene[:, 20 - pixels_right : 220 - pixels_right]
    both = [np.repeat(one[..., None], 3, axis=-1) for one in (before, latest)]
    return torch.from_numpy(np.concatenate(both, axis=-1).clip(0, 255).astype(np.uint8))[None]


@pytest.mark.parametrize("pixels", [-9, -2, 0, 1, 6])
def test_a_picture_that_moved_is_found_to_have_moved(pixels):
    shifts = picture_shifts(pair(pixels).float())
    assert shifts.shape == (1, NUM_BANDS)
    np.testing.assert_allclose(shifts, pixels, atol=0.3)


def test_brightness_changes_no_shift_and_a_mirror_turns_it_round():
    seen = pair(4)
    np.testing.assert_allclose(picture_shifts(pair(4, 0.5).float()), 4, atol=0.5)
    mirrored = picture_shifts(seen.flip(2).float())
    np.testing.assert_allclose(mirrored, -picture_shifts(seen.float()), atol=1e-4)


def test_frames_without_an_edge_have_no_shift():
    flat = torch.full((2, *SHAPE), 90.0)
    np.testing.assert_allclose(picture_shifts(flat), 0.0, atol=1e-5)


def test_the_shifts_stand_behind_the_features_of_the_latest_frame():
    head = make_head("motion", SHAPE)
    seen = pair(5)
    features = head(seen)
    assert isinstance(head, MotionHead)
    assert frames_together("motion") == 2 and frames_together("light") == 1
    assert features.shape == (1, head.num_features) == (1, 38)
    np.testing.assert_allclose(features[:, 32:].detach(), picture_shifts(seen.float()))
    other = seen.clone()
    other[..., :3] = 0
    torch.testing.assert_close(head(other)[:, :32], features[:, :32])


def test_gradients_reach_the_pixels_of_both_frames():
    seen = pair(3).float().requires_grad_()
    picture_shifts(seen).sum().backward()
    assert seen.grad is not None
    assert seen.grad[..., :3].abs().sum() > 0 and seen.grad[..., 3:].abs().sum() > 0


@pytest.mark.parametrize("shape", [(78, 200, 3), (20, 200, 6), (78, 24, 6)])
def test_a_frame_that_is_not_two_is_refused(shape):
    with pytest.raises(ValueError, match="`frame_shape` must be that of two frames together"):
        make_head("motion", shape)


@pytest.mark.parametrize("model", ["ncp", "cfc", "lstm", "cnn"])
def test_a_policy_that_looks_back_is_saved_and_loaded(tmp_path, model):
    policy = make_driving_policy(model, head="motion")
    policy.save(tmp_path / "policy")
    loaded = Policy.load(tmp_path / "policy")
    seen = pair(2)[None]
    torch.testing.assert_close(loaded(seen)[0], policy(seen)[0], rtol=0, atol=0)
