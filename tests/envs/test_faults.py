"""Sensor faults: the noise has the variance it says, and its own seed."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from envs.faults import PixelNoise


class GreyEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """Shows one grey level forever."""

    def __init__(self, level: int = 128, dtype: type = np.uint8) -> None:
        self.observation_space = spaces.Box(0, 255, (78, 200, 3), dtype)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.frame = np.full((78, 200, 3), level, dtype)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return self.frame.copy(), {}

    def step(self, action: np.ndarray) -> Any:
        return self.frame.copy(), 0.0, False, False, {}


@pytest.mark.parametrize("variance", [0.001, 0.005, 0.01])
def test_variance_of_mid_grey_is_as_stated(variance: float):
    # Mid-grey stays 5 standard deviations from clipping; 46,800 samples give 0.65 % of error.
    frame, _ = PixelNoise(GreyEnv(), variance).reset(seed=0)
    noise = (frame.astype(float) - 128.0) / 255.0
    assert noise.var() == pytest.approx(variance, rel=0.03)
    assert abs(noise.mean()) < 5 * np.sqrt(variance / noise.size)
    assert abs(np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]) < 0.03


def test_strong_noise_is_clipped_to_both_ends():
    frame, _ = PixelNoise(GreyEnv(), 0.3).reset(seed=0)
    # P(n < -0.5) with σ² = 0.3 is 0.180.
    assert np.mean(frame == 0) == pytest.approx(0.180, abs=0.01)
    assert np.mean(frame == 255) == pytest.approx(0.180, abs=0.01)
    assert frame.dtype == np.uint8


def test_seed_decides_the_noise():
    env = PixelNoise(GreyEnv(), 0.1)
    first, _ = env.reset(seed=3)
    second = env.step(np.zeros(1))[0]
    again, _ = env.reset(seed=3)
    other, _ = env.reset(seed=4)
    np.testing.assert_array_equal(first, again)
    assert (first != second).any() and (first != other).any()


def test_the_noise_is_drawn_from_the_second_stream_of_the_seed():
    """Published numbers hang on it: the world draws from the plain seed."""
    frame, _ = PixelNoise(GreyEnv(), 1.0).reset(seed=3)
    drawn = np.random.default_rng([3, 1]).standard_normal(frame.shape, dtype=np.float32)
    expected = np.clip(np.rint(128.0 + 255.0 * drawn), 0, 255)
    assert np.abs(frame - expected).max() <= 1


def test_no_variance_changes_nothing():
    frame, _ = PixelNoise(GreyEnv(level=77), 0.0).reset(seed=0)
    assert (frame == 77).all()


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match=r"`variance` must be finite and >= 0, got -0\.1"):
        PixelNoise(GreyEnv(), -0.1)
    with pytest.raises(ValueError, match="`variance` must be finite and >= 0, got nan"):
        PixelNoise(GreyEnv(), float("nan"))
    for value in (True, "0.1", float("inf")):
        with pytest.raises(ValueError, match="`variance` must be finite and >= 0, got"):
            PixelNoise(GreyEnv(), value)
    with pytest.raises(TypeError, match="`env` must have uint8 images"):
        PixelNoise(GreyEnv(dtype=np.float32), 0.1)
