"""Faults of camera frames: pixel noise, changed brightness, occlusion."""

import math

import numpy as np

from ncp_control.ranges import check_not_negative

_FULL_SCALE = 255.0


def add_pixel_noise(frames: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    """Return uint8 frames with Gaussian noise, clipped; the variance is for pixels in [0, 1].

    Raises:
        ValueError: If the variance is negative or not finite.
    """
    check_not_negative("variance", variance)
    noise = rng.standard_normal(frames.shape, dtype=np.float32)
    noise *= np.float32(_FULL_SCALE * math.sqrt(variance))
    noise += frames
    return to_pixels(noise)


def change_brightness(frames: np.ndarray, factor: float) -> np.ndarray:
    """Return uint8 frames with every pixel multiplied by a factor >= 0, clipped.

    Raises:
        ValueError: If the factor is negative or not finite.
    """
    if not (math.isfinite(factor) and factor >= 0.0):
        raise ValueError(f"`factor` must be finite and >= 0, got {factor!r}. Use 1 for no change.")
    return to_pixels(np.float32(factor) * frames)


def occlude(frames: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return frames in which a grey rectangle hides a share of the area, at one random place.

    Raises:
        ValueError: If the share is not from 0 to 1.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"`share` must be from 0 to 1, got {share!r}. Hide a part of the frame.")
    height, width = frames.shape[1:3]
    rows, columns = (round(math.sqrt(share) * size) for size in (height, width))
    top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
    hidden = frames.copy()
    hidden[:, top : top + rows, left : left + columns] = 127
    return hidden


def to_pixels(values: np.ndarray) -> np.ndarray:
    """Round values and clip them to uint8; `values` is changed in place."""
    np.rint(values, out=values)
    return np.clip(values, 0.0, _FULL_SCALE, out=values).astype(np.uint8)
