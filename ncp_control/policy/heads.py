"""Convolutional heads: compute features of camera frames, 32 for most heads.

A head is built for the size and channels of the frames. The heads `paper` and `light` standardise
each image by its own mean and standard deviation, which removes overall brightness and contrast.
Their convolutions end in 8 feature maps (10 × 25 for frames of 78 × 200); a dense layer per map
computes four features. All activations are ReLU.

Source: Lechner et al. 2020 (Nature Machine Intelligence 2:642), methods, for the paper's head.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ncp_control.kernels.head_step import HeadStep
from ncp_control.ranges import check_count
from ncp_control.registry import Registry

FrameShape = tuple[int, int, int]
"""Height, width, channels."""

DRIVING_FRAME: FrameShape = (78, 200, 3)
"""Shape of the frames in the NCP paper and in the driving world."""
NUM_FEATURES = 32
NUM_MAPS = 8


class Head(nn.Module):
    """Base class of heads, which compute features of frames.

    A head of your own is built from the shape of a frame, `Mine(frame_shape)`, and maps uint8
    frames (frames, height, width, channels) to features (frames, num_features) in the dtype of its
    parameters. `register_head("mine", Mine)` registers it.
    """

    num_features = NUM_FEATURES
    """Number of features of a frame; a subclass may have more or fewer."""
    num_frames = 1
    """Number of frames stacked along the channels of its input, the latest last."""
    name = ""
    """Name in `HEADS`, for saved files."""
    frame_shape: FrameShape
    """Height, width and channels of a frame."""

    def control_step(self) -> HeadStep | None:
        """Return a kernel that processes single frames faster than `forward`, or None."""
        return None


class ConvHead(Head):
    """Stack of convolutions, then a dense layer for each of the last feature maps.

    Args:
        convolutions: Layers that map images (frames, channels, height, width) to 8 feature maps.
        frame_shape: Height, width and channels of a frame.

    Raises:
        ValueError: If the frame is too small for the convolutions.
    """

    def __init__(self, convolutions: nn.Sequential, frame_shape: FrameShape) -> None:
        super().__init__()
        self.convolutions = convolutions
        self.frame_shape = frame_shape
        height, width, _ = _map_sizes(convolutions, frame_shape)[-1]
        if min(height, width) < 1:
            raise ValueError(
                f"`frame_shape` must be large enough for the head, got {frame_shape}."
                " Take larger frames, or a head with fewer strides."
            )
        map_size = height * width
        features_per_map = NUM_FEATURES // NUM_MAPS
        limit = map_size**-0.5  # torch's own initial range of a dense layer
        weight = torch.empty(NUM_MAPS, map_size, features_per_map).uniform_(-limit, limit)
        bias = torch.empty(NUM_MAPS, 1, features_per_map).uniform_(-limit, limit)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)

    def forward(
        self, frames: UInt8[Tensor, "frames height width channels"]
    ) -> Float[Tensor, "frames features"]:
        """Return the features of each frame.

        Raises:
            ValueError: If the frames have another shape.
        """
        check_frames(frames, self.frame_shape)
        pixels = standardize(frames.to(self.weight.dtype))
        # The permuted view (frames, channels, height, width) is already in channels_last format.
        maps = self.convolutions(pixels.permute(0, 3, 1, 2))
        # One dense layer per feature map: (maps, frames, map) @ (maps, map, 4).
        features = torch.baddbmm(self.bias, maps.flatten(2).transpose(0, 1), self.weight)
        return torch.relu(features.transpose(0, 1).flatten(1))

    def control_step(self) -> HeadStep | None:
        """Return the kernel that runs this head frame by frame; None if no kernel supports it."""
        return HeadStep(self) if HeadStep.supports(self) else None

    def map_sizes(self) -> list[tuple[int, int, int]]:
        """Return height, width and channels of the frame and of each convolution's output."""
        return _map_sizes(self.convolutions, self.frame_shape)


def square_convolutions(head: nn.Module) -> list[nn.Conv2d]:
    """Return the convolutions of a head that kernels and exports support.

    Raises:
        ValueError: If it is not a ConvHead, or one of its convolutions is not square, has no bias,
            or is not followed by a ReLU.
    """
    layers = list(head.convolutions) if isinstance(head, ConvHead) else []
    found = [layer for layer in layers[::2] if isinstance(layer, nn.Conv2d)]
    is_known = len(layers) == 2 * len(found) > 0
    is_known &= all(isinstance(layer, nn.ReLU) for layer in layers[1::2])
    for layer in found:
        is_known &= len({*layer.kernel_size}) == len({*layer.stride}) == len({*layer.padding}) == 1
        is_known &= layer.dilation == (1, 1) and layer.groups == 1 and layer.bias is not None
        is_known &= layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    if not is_known:
        raise ValueError(
            "`head` must be a ConvHead of square convolutions, each with a bias and a ReLU behind"
            f" it, got {type(head).__name__!r}. Choose 'light' or 'paper'."
        )
    return found


def check_frames(frames: Tensor, frame_shape: FrameShape, *, what: str = "frames") -> None:
    """Raise ValueError unless frames (frames, height, width, channels) have the head's shape."""
    if frames.shape[1:] != frame_shape:
        raise ValueError(
            f"`observation` must hold {what} of shape {frame_shape}, got"
            f" {tuple(frames.shape[1:])}. Resize the camera's frames."
        )


def standardize(images: Float[Tensor, "frames height width channels"]) -> Tensor:
    """Scale each image to mean 0 and standard deviation 1; a uniform image becomes zeros."""
    flat = images.flatten(1)
    mean = flat.mean(1)
    deviation = ((flat * flat).mean(1) - mean**2).clamp_min(1.0).sqrt()  # pixels are 0 to 255
    return (images - mean[:, None, None, None]) / deviation[:, None, None, None]


def paper_head(frame_shape: FrameShape = DRIVING_FRAME) -> ConvHead:
    """Build the head of the NCP paper: 79,420 parameters for frames of `DRIVING_FRAME`."""
    layers = nn.Sequential(
        *_convolution(frame_shape[2], 24, 5, stride=2),
        *_convolution(24, 36, 5, stride=2),
        *_convolution(36, 48, 3, stride=2),
        *_convolution(48, 64, 3),
        *_convolution(64, NUM_MAPS, 3),
    )
    return ConvHead(layers, frame_shape)


def light_head(frame_shape: FrameShape = DRIVING_FRAME) -> ConvHead:
    """Build a head about 10 times cheaper than `paper`: 3 convolutions, the first with stride 4."""
    layers = nn.Sequential(
        nn.Conv2d(frame_shape[2], 16, 8, stride=4, padding=3),
        nn.ReLU(),
        *_convolution(16, 32, 3, stride=2),
        *_convolution(32, NUM_MAPS, 3),
    )
    return ConvHead(layers, frame_shape)


HEADS: Registry[Callable[[FrameShape], Head]] = Registry("head")
"""Functions that build a head for a frame shape, by the name that settings and files use."""


def register_head(name: str, build: Callable[[FrameShape], Head]) -> None:
    """Register a head under a name, for settings and files.

    Args:
        name: Name of the head.
        build: Builds the head for height, width and channels of a frame, e.g. a subclass of `Head`.

    Raises:
        ValueError: If the name is taken.
    """
    HEADS.register(name, build)


def make_head(name: str, frame_shape: Sequence[int]) -> Head:
    """Build a head; its weights are drawn from torch's random generator.

    Args:
        name: Name in `HEADS`; it is stored as `head.name`.
        frame_shape: Height, width and channels of a frame.

    Raises:
        TypeError: If the registered function does not return a Head.
        ValueError: If the name is unknown, or the frame too small for the head.
    """
    build = HEADS.find(name)
    height, width, channels = (check_count("frame_shape", size) for size in frame_shape)
    head = build((height, width, channels))
    if not isinstance(head, Head):
        raise TypeError(
            f"`build` of head {name!r} must return a Head, got {type(head).__name__!r}. Derive it"
            " from ncp_control.policy.heads.Head."
        )
    head.name, head.frame_shape = name, (height, width, channels)
    return head


def head_width(name: str, frame_shape: Sequence[int]) -> int:
    """Return the number of features of a head; torch's random generator is not advanced.

    Args:
        name: Name in `HEADS`.
        frame_shape: Height, width and channels of a frame.

    Raises:
        ValueError: As in `make_head`.
    """
    with torch.random.fork_rng(devices=[]):
        return make_head(name, frame_shape).num_features


def frames_together(name: str) -> int:
    """Return the number of stacked frames that a head takes.

    Args:
        name: Name in `HEADS`.

    Raises:
        ValueError: If the name is unknown.
    """
    return getattr(HEADS.find(name), "num_frames", 1)  # 1 for functions, which have no attribute


register_head("paper", paper_head)
register_head("light", light_head)


def _convolution(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
) -> tuple[nn.Module, nn.Module]:
    padding = kernel_size // 2
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding), nn.ReLU()


def _map_sizes(convolutions: nn.Sequential, frame_shape: FrameShape) -> list[tuple[int, int, int]]:
    """Return height, width and channels of the frame and of each convolution's output."""
    sizes = [frame_shape]
    for layer in convolutions:
        if isinstance(layer, nn.Conv2d):
            kernel, stride, padding = layer.kernel_size, layer.stride, layer.padding
            assert not isinstance(padding, str)
            height, width = (
                (n + 2 * padding[i] - kernel[i]) // stride[i] + 1
                for i, n in enumerate(sizes[-1][:2])
            )
            sizes.append((height, width, layer.out_channels))
    return sizes
