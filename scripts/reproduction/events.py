"""Encode rows of bits as events: one frame at each change of the bit, and optionally at the end.

Only the elapsed time tells how long the bit before lasted.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Events(NamedTuple):
    """Frames of each row, followed by padding."""

    inputs: Float[Tensor, "samples time 1"]
    """Value of the bit."""
    dt_s: Float[Tensor, "samples time"]
    """Time since the frame before [s]; for the first frame, since one bit before the first."""
    is_last: Bool[Tensor, "samples time"]
    """Whether the frame is the last of its row."""


def encode_events(
    bits: np.ndarray,
    num_bits: np.ndarray,
    *,
    bit_s: float,
    is_dense: bool = False,
    has_end: bool = True,
) -> Events:
    """Turn rows of bits into events.

    Args:
        bits: Zeros and ones, shape (samples, time).
        num_bits: Number of bits used in each row, >= 1, shape (samples,).
        bit_s: Duration of a bit [s].
        is_dense: Whether every bit has its own frame.
        has_end: Whether the last bit has a frame even if it does not change.
    """
    place, last = np.arange(bits.shape[1]), num_bits[:, None] - 1
    is_frame = place <= last
    if not is_dense:
        changes = np.diff(bits, axis=1, prepend=-1) != 0
        is_frame = (changes & is_frame) | (has_end & (place == last))
    order = np.argsort(~is_frame, axis=1, kind="stable")
    num_frames = is_frame.sum(axis=1)[:, None]
    times = np.where(place < num_frames, order, last)
    return Events(
        inputs=torch.from_numpy(np.take_along_axis(bits, order, axis=1))[..., None].float(),
        dt_s=torch.from_numpy(bit_s * np.diff(times, axis=1, prepend=-1)).float(),
        is_last=torch.from_numpy(place == num_frames - 1),
    )
