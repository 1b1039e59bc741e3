"""Conv heads: a camera frame in, 32 sensory features out.

Both heads standardise each image by its own mean and deviation, so overall brightness and contrast
are gone before the first convolution, and end in 8 maps of 10 × 25 of which each feeds its own four
features. ReLU throughout.

Source: Lechner et al. 2020 (Nature Machine Intelligence 2:642), methods, for the paper's head.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

FRAME_HEIGHT, FRAME_WIDTH = 78, 200
NUM_FEATURES = 32
NUM_MAPS = 8
MAP_HEIGHT, MAP_WIDTH = 10, 25


class ConvHead(nn.Module):
    """A stack of convolutions and one dense layer for each of the last maps.

    Args:
        convolutions: The layers that turn (frames, 3, 78, 200) into (frames, 8, 10, 25).
    """

    def __init__(self, convolutions: nn.Sequential) -> None:
        super().__init__()
        self.convolutions = convolutions
        map_size = MAP_HEIGHT * MAP_WIDTH
        features_per_map = NUM_FEATURES // NUM_MAPS
        limit = map_size**-0.5  # torch's own initial range of a dense layer
        weight = torch.empty(NUM_MAPS, map_size, features_per_map).uniform_(-limit, limit)
        bias = torch.empty(NUM_MAPS, 1, features_per_map).uniform_(-limit, limit)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)

    def forward(
        self, frames: UInt8[Tensor, "frames height width 3"]
    ) -> Float[Tensor, "frames features"]:
        """Return the features of each frame.

        Raises:
            ValueError: If the frames are not 78 × 200 × 3.
        """
        if frames.shape[1:] != (FRAME_HEIGHT, FRAME_WIDTH, 3):
            raise ValueError(
                f"`observation` must hold frames of shape ({FRAME_HEIGHT}, {FRAME_WIDTH}, 3), got"
                f" {tuple(frames.shape[1:])}. Resize the camera's frames."
            )
        pixels = standardize(frames.to(self.weight.dtype))
        # (frames, height, width, 3) seen as (frames, 3, height, width): already channels_last.
        maps = self.convolutions(pixels.permute(0, 3, 1, 2))
        # Each map has a dense layer of its own: (maps, frames, 250) @ (maps, 250, 4).
        features = torch.baddbmm(self.bias, maps.flatten(2).transpose(0, 1), self.weight)
        return torch.relu(features.transpose(0, 1).flatten(1))


def standardize(images: Float[Tensor, "frames height width 3"]) -> Tensor:
    """Give each image mean 0 and deviation 1; a flat image becomes zeros."""
    flat = images.flatten(1)
    mean = flat.mean(1)
    deviation = ((flat * flat).mean(1) - mean**2).clamp_min(1.0).sqrt()  # of pixels from 0 to 255
    return (images - mean[:, None, None, None]) / deviation[:, None, None, None]


def paper_head() -> ConvHead:
    """Return the head of the NCP paper: 79,420 parameters."""
    return ConvHead(
        nn.Sequential(
            *_convolution(3, 24, 5, stride=2),
            *_convolution(24, 36, 5, stride=2),
            *_convolution(36, 48, 3, stride=2),
            *_convolution(48, 64, 3),
            *_convolution(64, NUM_MAPS, 3),
        )
    )


def light_head() -> ConvHead:
    """Return a head an order of magnitude cheaper: three convolutions, the first with stride 4."""
    return ConvHead(
        nn.Sequential(
            nn.Conv2d(3, 16, 8, stride=4, padding=3),
            nn.ReLU(),
            *_convolution(16, 32, 3, stride=2),
            *_convolution(32, NUM_MAPS, 3),
        )
    )


HEADS = {"paper": paper_head, "light": light_head}
"""Conv heads by the name that settings and files use."""


def _convolution(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
) -> tuple[nn.Module, nn.Module]:
    padding = kernel_size // 2
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding), nn.ReLU()
