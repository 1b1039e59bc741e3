import numpy as np
import pytest
import torch
from scipy import ndimage

from ncp_control.audit.faults import add_pixel_noise, change_brightness, occlude
from ncp_control.audit.saliency import saliency
from ncp_control.audit.stability import saliency_stability, ssim
from policies.driving import make_driving_policy


def ssim_by_scipy(a, b):
    """Wang et al. 2004 with SciPy's Gaussian filter, cut at 5 pixels."""

    def smooth(x):
        return ndimage.gaussian_filter(x, 1.5, truncate=5 / 1.5)[5:-5, 5:-5]

    ma, mb = smooth(a), smooth(b)
    va, vb, cov = smooth(a * a) - ma**2, smooth(b * b) - mb**2, smooth(a * b) - ma * mb
    numerator = (2 * ma * mb + 1e-4) * (2 * cov + 9e-4)
    return np.mean(numerator / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))


def test_ssim_is_that_of_the_formula():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 30, 40)), rng.random((2, 30, 40))
    b[1] = 0.8 * a[1] + 0.2 * b[1]
    ours = ssim(torch.from_numpy(a), torch.from_numpy(b))
    np.testing.assert_allclose(ours, [ssim_by_scipy(*pair) for pair in zip(a, b, strict=True)])
    np.testing.assert_allclose(ssim(torch.from_numpy(a), torch.from_numpy(a)), 1.0)


def test_ssim_refuses_maps_that_do_not_match():
    with pytest.raises(ValueError, match=r"one shape .* at least 11 × 11 pixels"):
        ssim(torch.zeros(1, 10, 40), torch.zeros(1, 10, 40))
    with pytest.raises(ValueError, match=r"got \(1, 20, 20\) and \(2, 20, 20\)"):
        ssim(torch.zeros(1, 20, 20), torch.zeros(2, 20, 20))


def test_the_smallest_map_is_that_of_the_window():
    """The window lies inside it once, so the mean is one value."""
    a, b = torch.rand(2, 1, 11, 11, dtype=torch.float64)
    expected = ssim_by_scipy(a[0].numpy(), b[0].numpy())
    torch.testing.assert_close(ssim(a, b), torch.tensor([expected]))


def test_maps_differ_more_the_more_noise_there_is():
    policy = make_driving_policy("ncp", head="light")
    rows = np.linspace(0, 255, 78)[:, None] * np.ones(200)
    frames = np.repeat(rows[None, :, :, None], 3, axis=3).astype(np.uint8)
    means = saliency_stability(policy, frames, (0.0, 0.02, 0.3)).mean(1).tolist()
    assert means[0] == pytest.approx(1.0)
    assert means[0] > means[1] > means[2]


def test_faults_do_what_they_say():
    rng, frames = np.random.default_rng(0), np.full((2, 60, 80, 3), 128, np.uint8)
    noise = add_pixel_noise(frames, 0.01, rng) / 255.0 - 128 / 255.0
    assert noise.std() == pytest.approx(0.1, rel=0.02)
    assert (change_brightness(frames, 0.5) == 64).all()
    assert (change_brightness(frames, 3.0) == 255).all()
    hidden = occlude(np.zeros_like(frames), 0.25, rng)
    assert (hidden > 0).mean() == pytest.approx(0.25)
    np.testing.assert_array_equal(hidden[0], hidden[1])
    for spoil, value in ((add_pixel_noise, -1.0), (occlude, 1.5)):
        with pytest.raises(ValueError, match=f"got {value}"):
            spoil(frames, value, rng)
    with pytest.raises(ValueError, match=r"`factor` must be finite and >= 0, got nan"):
        change_brightness(frames, float("nan"))


def test_faults_of_no_size_change_nothing_and_of_full_size_everything():
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 256, (2, 6, 10, 3), dtype=np.uint8)
    for same in (
        add_pixel_noise(frames, 0.0, rng),
        change_brightness(frames, 1.0),
        occlude(frames, 0.0, rng),
    ):
        np.testing.assert_array_equal(same, frames)
    assert not change_brightness(frames, 0.0).any()
    assert (occlude(frames, 1.0, rng) == 127).all()
    for value in (np.nan, np.inf, -1e-9):
        with pytest.raises(ValueError, match="`variance` must be finite and >= 0"):
            add_pixel_noise(frames, value, rng)
        with pytest.raises(ValueError, match="`factor` must be finite and >= 0"):
            change_brightness(frames, value)
        with pytest.raises(ValueError, match="`share` must be from 0 to 1"):
            occlude(frames, value, rng)


def test_pixels_are_rounded_and_clipped_and_noise_is_that_of_the_generator():
    frames = np.array([0, 1, 129, 200, 255], np.uint8).reshape(1, 1, 5, 1)
    dark = change_brightness(frames, 0.5)
    assert dark.tolist() == np.array([0, 0, 64, 100, 128]).reshape(1, 1, 5, 1).tolist()
    noisy = add_pixel_noise(frames, 0.04, np.random.default_rng(3))
    drawn = np.random.default_rng(3).standard_normal(frames.shape, dtype=np.float32)
    expected = np.clip(np.rint(frames + drawn * 255 * 0.2), 0, 255)
    np.testing.assert_array_equal(noisy, expected)
    assert noisy.dtype == dark.dtype == np.uint8


def test_what_hides_has_the_frames_shape_and_reaches_every_edge():
    """A quarter of 8 × 12 pixels is 4 × 6; in many draws it lies at each border once."""
    frames, rng = np.full((1, 8, 12, 1), 5, np.uint8), np.random.default_rng(0)
    rows, columns = set(), set()
    for _ in range(200):
        hidden = np.argwhere(occlude(frames, 0.25, rng)[0, :, :, 0] == 127)
        (top, left), (bottom, right) = hidden.min(0), hidden.max(0)
        assert (bottom - top + 1, right - left + 1, len(hidden)) == (4, 6, 24)
        rows.add(int(top)), columns.add(int(left))
    assert rows == set(range(5)) and columns == set(range(7))
    assert (frames == 5).all(), "the frames themselves are left as they are"


def test_similarity_is_that_of_the_maps_of_clean_and_noisy_frames():
    torch.manual_seed(0)
    policy = make_driving_policy("ncp", head="light")
    frames = np.random.default_rng(0).integers(0, 256, (2, 78, 200, 3), dtype=np.uint8)
    found = saliency_stability(policy, frames, (0.01, 0.1), "input_gradient", action=0)
    assert found.shape == (2, 2)
    noisy = add_pixel_noise(frames, 0.1, np.random.default_rng(0))
    maps = [saliency(policy, x, "input_gradient") for x in (frames, noisy)]
    torch.testing.assert_close(found[1], ssim(*maps))
    other = saliency_stability(policy, frames, (0.1,), "input_gradient", seed=1)
    assert (other[0] != found[1]).all()
