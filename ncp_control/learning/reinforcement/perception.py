"""Features of an observation for actor and critic: numbers unchanged, frames through a conv head.

| observation space                                  | features                                   |
|----------------------------------------------------|--------------------------------------------|
| `Box(n)`                                           | the n numbers                              |
| `Box(height, width, channels)` of uint8            | the features of the head                   |
| `Dict(observation=one of these, ...)`              | the same, and behind them                  |
| `... numbers=Box(k)`, only beside frames           | k numbers                                  |
| `... dt_s=Box(1)`                                  | the elapsed time [s]                       |

Actor and critic share one head, as in stable-baselines3's own policies for images, and it learns
from both. Frames stay uint8, with the channels last, up to the head.
"""

from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from ncp_control.policy.heads import FrameShape, make_head

OBSERVATION, NUMBERS, ELAPSED = "observation", "numbers", "dt_s"
"""Keys of a dictionary observation: numbers or frame, numbers beside a frame, and the time since
the previous observation [s]."""


class Perception(BaseFeaturesExtractor):
    """Turn observations into features; if there is an elapsed time [s], it is the last feature.

    Args:
        observation_space: A space in the table above.
        head: Network that turns frames into features; None for numbers.
    """

    def __init__(self, observation_space: spaces.Space, head: nn.Module | None = None) -> None:
        self.is_timed = is_timed(observation_space)
        self.has_numbers = num_numbers(observation_space) > 0
        width = observation_size(observation_space) if head is None else _width(head)
        width += num_numbers(observation_space)
        super().__init__(observation_space, width + self.is_timed)
        self.head = head

    @property
    def size(self) -> int:
        """Number of features without the elapsed time."""
        return self.features_dim - self.is_timed

    def forward(self, observations: Any) -> Tensor:
        """Return features (batch, features) of a tensor or a dictionary of tensors."""
        is_dict = self.is_timed or self.has_numbers
        observation = observations[OBSERVATION] if is_dict else observations
        features = [observation if self.head is None else self.head(observation)]
        features += [observations[NUMBERS]] if self.has_numbers else []
        features += [observations[ELAPSED]] if self.is_timed else []
        return torch.cat(features, dim=1) if is_dict else features[0]


def build_head(head: str | nn.Module | None, space: spaces.Space) -> nn.Module | None:
    """Return the head for an observation space; None for numbers.

    Args:
        head: A name in `ncp_control.policy.heads.HEADS`, or a head.
        space: The observation space.

    Raises:
        ValueError: If a head is missing for frames or given for numbers, its name is unknown, or it
            was built for frames of another shape.
    """
    check_observation_space(space)
    shape = frame_shape(space)
    if shape is None:
        if head is not None:
            raise ValueError(
                "`head` must be None for numbers, got one. Give the widths of dense layers as"
                " `encoder`."
            )
        return None
    if head is None:
        raise ValueError(
            f"`head` must be given for frames of {shape}, got None. Name one, e.g. 'light'."
        )
    if isinstance(head, str):
        return make_head(head, shape)
    own = getattr(head, "frame_shape", shape)
    if own != shape:
        raise ValueError(
            f"`head` must be built for frames of {shape}, got one for {own}. Build it with"
            " ncp_control.policy.heads.make_head."
        )
    return head


def check_observation_space(space: spaces.Space) -> None:
    """Raise ValueError if a space is not in the table above."""
    if frame_shape(space) is None:
        observation_size(space)


def is_timed(space: spaces.Space) -> bool:
    """Whether observations carry the elapsed time."""
    return isinstance(space, spaces.Dict) and ELAPSED in space.spaces


def num_numbers(space: spaces.Space) -> int:
    """Return the number of numbers beside frames; 0 if there are none."""
    has_some = isinstance(space, spaces.Dict) and NUMBERS in space.spaces
    return int(space[NUMBERS].shape[0]) if has_some else 0  # type: ignore[index]


def frame_shape(space: spaces.Space) -> FrameShape | None:
    """Return height, width and channels of frames; None if observations are numbers."""
    box = _observation_box(space)
    if box.dtype != np.uint8 or len(box.shape) != 3:
        return None
    height, width, channels = box.shape
    return height, width, channels


def observation_size(space: spaces.Space) -> int:
    """Return how many numbers an observation without frames has, without the elapsed time.

    Raises:
        ValueError: If the space is not in the table above, or has frames.
    """
    return _observation_box(space, frames=False).shape[0]


def _observation_box(space: spaces.Space, *, frames: bool = True) -> spaces.Box:
    """Return the space of "observation", without the extra numbers and the elapsed time.

    Raises:
        ValueError: If it is not a Box of numbers on one axis, or of frames if `frames` is True.
    """
    parts = dict(space.spaces) if isinstance(space, spaces.Dict) else {OBSERVATION: space}
    box, numbers = parts.pop(OBSERVATION, None), parts.pop(NUMBERS, None)
    elapsed = parts.pop(ELAPSED, None)
    axes = len(box.shape) if isinstance(box, spaces.Box) else 0
    is_known = axes == 1 or (axes == 3 and frames)
    is_known &= elapsed is None or elapsed.shape == (1,)
    is_known &= numbers is None or (axes == 3 and len(numbers.shape or ()) == 1)
    if is_known and not parts:
        return cast(spaces.Box, box)
    kinds = "Box(n) or uint8 frames Box(height, width, channels)" if frames else "Box(n)"
    raise ValueError(
        f"`observation_space` must be {kinds}, or a Dict(observation=..., dt_s=Box(1)) of it, with"
        f" numbers=Box(k) beside frames, got {space}. Wrap the environment, e.g. with"
        " gymnasium.wrappers.FlattenObservation."
    )


def _width(head: nn.Module) -> int:
    return int(head.num_features)  # type: ignore[arg-type]
