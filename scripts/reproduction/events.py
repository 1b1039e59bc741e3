"""Rows of bits as events: a frame whenever the bit changes, and one at the end if asked for.

How long the bit before lasted is told by elapsed time alone.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Events(NamedTuple):
    """Frames at the front, padding behind."""

    inputs: Float[Tensor, "samples time 1"]
    """The bit."""
    dt_s: Float[Tensor, "samples time"]
    """Time since the frame before [s]; the first is one bit after the beginning."""
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
        num_bits: Bits that count in each row, >= 1, shape (samples,).
        bit_s: Duration of a bit [s].
        is_dense: Whether every bit has a frame of its own.
        has_end: Whether there is a frame at the last bit even if it does not change.
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
