"""Head that also measures how far the picture moved sideways since the previous frame.

When a car turns, its whole picture moves to one side. A network does not learn to compare two
pictures from a few thousand frames of a person's driving. So this head compares them by
correlation, which needs no training:

    g    = x-derivative of the grey frame, averaged to 24 rows          edges, without brightness
    e    = g / (|g| + 4)                                                strong and weak edges alike
    r(k) = Σ e(x + k) e_before(x) / √(Σ e² Σ e_before²)                 over the 4 rows of a band
    shift = Σ_k k softmax(r(k) / 0.05),  k = −12 … 12 pixels            6 bands, top to bottom

A shift is positive if the picture moves to the right, as in a turn to the left. The features are
the 32 features of the light head for the latest frame at half its size, then the 6 shifts.

Sources: correlation of two frames as a layer: Dosovitskiy et al. 2015 (FlowNet); the expected lag
in place of the largest: Kendall et al. 2017 (soft argmin). The rest is ours.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import pad

from ncp_control.policy.heads import (
    NUM_FEATURES,
    FrameShape,
    Head,
    check_frames,
    light_head,
    register_head,
)

NUM_BANDS = 6
ROWS_PER_BAND = 4
LARGEST_SHIFT = 12
"""Largest shift to either side that is measured [pixels]."""
EDGE_SCALE = 4.0
"""Difference of grey, from 0 to 255, over two pixels at which an edge gets the value 1/2."""
SHARPNESS = 0.05
"""Temperature of the softmax: a correlation that is higher by this weighs e times as much."""


class MotionHead(Head):
    """Light head on the latest of two frames, with the shift of the picture between the frames.

    Args:
        frame_shape: Height, width and channels of two stacked frames, the older one first.

    Raises:
        ValueError: If the number of channels is odd, or a frame is too small.
    """

    num_features = NUM_FEATURES + NUM_BANDS
    num_frames = 2

    def __init__(self, frame_shape: FrameShape) -> None:
        super().__init__()
        height, width, channels = frame_shape
        rows = NUM_BANDS * ROWS_PER_BAND
        if channels % 2 or height < rows or width <= 2 * LARGEST_SHIFT:
            raise ValueError(
                f"`frame_shape` must be that of two frames together, of at least {rows} rows and"
                f" {2 * LARGEST_SHIFT + 1} columns, got {tuple(frame_shape)}. Give a world the"
                " option stack=2, or choose the head 'light' or 'paper'."
            )
        self.frame_shape = frame_shape
        self.latest = light_head((height // 2, width // 2, channels // 2))
        self.gain = nn.Parameter(torch.ones(NUM_BANDS))

    def forward(
        self, frames: UInt8[Tensor, "frames height width channels"]
    ) -> Float[Tensor, "frames features"]:
        """Return the features of each pair of frames.

        Raises:
            ValueError: If the frames have another shape.
        """
        check_frames(frames, self.frame_shape, what="two frames")
        pixels = frames.to(self.gain.dtype)
        features = self.latest(_halved(pixels[..., self.frame_shape[2] // 2 :]))
        return torch.cat([features, self.gain * picture_shifts(pixels)], dim=1)


def picture_shifts(
    frames: Float[Tensor, "frames height width channels"],
) -> Float[Tensor, "frames bands"]:
    """Return how far each band of the picture moved to the right from the older frame [pixels]."""
    edges = _edges(frames)  # (frames, 2, rows, width)
    before, latest = edges[:, 0], edges[:, 1]
    width, k = latest.shape[-1], LARGEST_SHIFT
    padded = pad(latest, (k, k))
    products = [(padded[..., i : i + width] * before).sum(-1) for i in range(2 * k + 1)]
    # (frames, rows, lags) to (frames, bands, lags)
    agreement = torch.stack(products, -1).unflatten(1, (NUM_BANDS, ROWS_PER_BAND)).sum(2)
    power = (edges * edges).sum(-1).unflatten(2, (NUM_BANDS, ROWS_PER_BAND)).sum(3)
    likeness = agreement / power.prod(1).clamp_min(1.0).sqrt()[..., None]
    lags = torch.arange(-k, k + 1, dtype=frames.dtype, device=frames.device)
    return torch.softmax(likeness / SHARPNESS, dim=-1) @ lags


def _halved(pixels: Tensor) -> Tensor:
    """Return pixels (frames, height, width, channels) at half the height and width."""
    height, width = (size // 2 * 2 for size in pixels.shape[1:3])
    rows = pixels[:, 0:height:2] + pixels[:, 1:height:2]
    return 0.25 * (rows[:, :, 0:width:2] + rows[:, :, 1:width:2])


def _edges(frames: Tensor) -> Tensor:
    """Return the edges of both frames as (frames, 2, rows, width), each in (-1, 1)."""
    num_rows = NUM_BANDS * ROWS_PER_BAND
    averaged = frames.shape[1] // num_rows
    top = (frames.shape[1] - averaged * num_rows) // 2
    bottom = top + averaged * num_rows
    # Sums of slices: far faster than a mean over an axis of three.
    rows = frames[:, top:bottom:averaged]
    for i in range(1, averaged):
        rows = rows + frames[:, top + i : bottom : averaged]
    channels = rows.unflatten(-1, (2, -1))  # (frames, rows, width, 2, channels)
    grey = channels[..., 0]
    for i in range(1, channels.shape[-1]):
        grey = grey + channels[..., i]
    grey = grey.permute(0, 3, 1, 2) / (averaged * channels.shape[-1])
    slope = pad(grey[..., 2:] - grey[..., :-2], (1, 1)).contiguous()
    return slope / (slope.abs() + EDGE_SCALE)


register_head("motion", MotionHead)
