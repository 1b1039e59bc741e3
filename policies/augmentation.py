"""Data augmentation for policies on camera frames: light, mirroring and sideways shifts.

Light does not change the correct action. A mirrored left turn is a right turn. An image shifted to
the right is what a car sees that is too far left or points too far left, so the correct action is
to steer more to the right.

Source: Lechner et al. 2020, methods (shadow augmentation); Bojarski et al. 2016 (arXiv 1604.07316)
for shifts. The mirror is ours.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch

from ncp_control.contract import ActionContract
from ncp_control.learning.demonstrations import Batch
from ncp_control.records import frames_in, with_frames

MIRRORED_SHARE = 0.5
LIGHT_RANGE = (0.5, 1.3)
"""Range of the factor of brightness inside a shadow (below 1) or a bright band (above 1)."""
STEERING_PER_WIDTH = 0.8
"""Steering correction for a shift by the whole width. A side camera sees an image shifted by about
a quarter of the width, and its usual steering correction is 0.2."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameAugmentation:
    """Mirrors half of the windows, shifts them, and darkens or brightens a band of each."""

    mirrored: Sequence[int] = ()
    """Indices of the action entries whose sign a mirror flips; if empty, no window is mirrored."""
    is_relit: bool = False
    """Whether a band of each window is darkened or brightened."""
    steered: Mapping[int, float] = dataclasses.field(default_factory=dict)
    """Indices of the action entries that a shift corrects, each with 1 if left is positive, else
    -1; see `steering_signs`."""
    largest_move: float = 0.0
    """Largest shift of a window to either side, as a share of the width; 0 for no shift."""
    record_frame: tuple[int, int, int] | None = None
    """Shape of the frame in each record; None if the observations are frames."""

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Return a new batch, with the actions of mirrored and shifted windows changed to match.

        Args:
            batch: Windows of frames, observations (batch, time, height, width, channels) uint8, or
                of records (batch, time, bytes).
            generator: Source of the randomness.

        Raises:
            ValueError: If the observations are not uint8 frames.
        """
        observations = batch.observations
        if self.record_frame is not None:
            observations = frames_in(observations, self.record_frame)
        if observations.dtype != torch.uint8 or observations.ndim != 5:
            raise ValueError(
                "`observations` must be uint8 of shape (batch, time, height, width, channels), got"
                f" {observations.dtype} of shape {tuple(observations.shape)}. Only camera frames"
                " can be mirrored and relit."
            )
        frames, actions = observations.numpy().copy(), batch.actions.clone()
        draws = torch.rand(len(frames), 4, generator=generator).numpy()
        for window, action, (side, light, *edges) in zip(frames, actions, draws, strict=True):
            if self.mirrored and side < MIRRORED_SHARE:
                window[:] = window[:, :, ::-1].copy()
                action[:, list(self.mirrored)] *= -1.0
            if self.is_relit:
                first, last = (int(edge * window.shape[2]) for edge in sorted(edges))
                low, high = LIGHT_RANGE
                factor = low + (high - low) * light
                window[:, :, first:last] = _relight(window[:, :, first:last], factor)
        if self.largest_move and self.steered:
            self._move(frames, actions, generator)
        changed = torch.from_numpy(frames)
        if self.record_frame is not None:
            changed = with_frames(batch.observations, changed)
        return dataclasses.replace(batch, observations=changed, actions=actions)

    def _move(self, frames: np.ndarray, actions: torch.Tensor, generator: torch.Generator) -> None:
        """Shift each window by a random share of the width, repeating its edge column, in place."""
        width = frames.shape[3]
        draws = torch.rand(len(frames), generator=generator).numpy()
        for window, action, draw in zip(frames, actions, draws, strict=True):
            pixels = round(float((2.0 * draw - 1.0) * self.largest_move) * width)
            columns = np.clip(np.arange(width) - pixels, 0, width - 1)
            window[:] = window[:, :, columns]
            for entry, sign in self.steered.items():
                action[:, entry] -= sign * STEERING_PER_WIDTH * pixels / width


def steering_signs(action: Sequence[ActionContract]) -> dict[int, float]:
    """Return the indices of action entries that steer, with 1 if left is positive, -1 if right.

    A mirror flips the sign of these entries.
    """
    signs = {"left": 1.0, "right": -1.0}
    return {i: signs[entry.positive] for i, entry in enumerate(action) if entry.positive in signs}


augment_driving = FrameAugmentation(mirrored=(0,), is_relit=True)
"""Augmentation for a single steering action on roads that bend to either side."""


def _relight(pixels: np.ndarray, factor: float) -> np.ndarray:
    """Multiply uint8 pixels by a factor, by lookup table: far faster than with floats."""
    if pixels.size == 0:
        return pixels
    table = np.clip(np.arange(256) * factor, 0, 255).astype(np.uint8)
    flat = np.ascontiguousarray(pixels).reshape(len(pixels), -1)
    return cv2.LUT(flat, table).reshape(pixels.shape)
