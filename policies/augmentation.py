"""Changes of light and side that a driving policy should not mind.

Source: Lechner et al. 2020, methods (shadow augmentation). The mirror is ours: a left turn seen in
a mirror is a right turn.
"""

import dataclasses

import cv2
import numpy as np
import torch

from ncp_control.learning.demonstrations import Batch

MIRRORED_SHARE = 0.5
LIGHT_RANGE = (0.5, 1.3)
"""Brightness inside a shadow or a gleam, as a factor."""


def augment_driving(batch: Batch, generator: torch.Generator) -> Batch:
    """Mirror half of the windows, and cast a shadow or a gleam over part of each.

    Args:
        batch: Windows of frames, observations (batch, time, height, width, 3) uint8.
        generator: Source of the randomness.

    Returns:
        A new batch; mirrored windows have the opposite steering.

    Raises:
        ValueError: If the observations are not uint8 frames of three colours.
    """
    seen = batch.observations
    if seen.dtype != torch.uint8 or seen.ndim != 5 or seen.shape[-1] != 3:
        raise ValueError(
            "`observations` must be uint8 of shape (batch, time, height, width, 3), got"
            f" {seen.dtype} of shape {tuple(seen.shape)}. Only camera frames can be relit."
        )
    frames, actions = batch.observations.numpy().copy(), batch.actions.clone()
    draws = torch.rand(len(frames), 4, generator=generator).numpy()
    for window, action, (side, light, *edges) in zip(frames, actions, draws, strict=True):
        if side < MIRRORED_SHARE:
            window[:] = window[:, :, ::-1].copy()
            action[:, 0] *= -1.0
        first, last = (int(edge * window.shape[2]) for edge in sorted(edges))
        low, high = LIGHT_RANGE
        window[:, :, first:last] = _relight(window[:, :, first:last], low + (high - low) * light)
    return dataclasses.replace(batch, observations=torch.from_numpy(frames), actions=actions)


def _relight(pixels: np.ndarray, factor: float) -> np.ndarray:
    """Multiply uint8 pixels by a factor, by table: far faster than through floats."""
    if pixels.size == 0:
        return pixels
    table = np.clip(np.arange(256) * factor, 0, 255).astype(np.uint8)
    return cv2.LUT(np.ascontiguousarray(pixels).reshape(-1, 3), table).reshape(pixels.shape)
