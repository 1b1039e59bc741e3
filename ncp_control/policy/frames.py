"""Policies with a camera: a convolutional head computes features, and a small circuit acts on them.

An observation may also hold numbers, e.g. the robot's speed. They are normalised and appended to
the features; the observation is then a record, see `ncp_control.records`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ncp_control.cells import Cell, cell_from_config, cell_to_config
from ncp_control.cells.base import reference_tensor
from ncp_control.circuit import Circuit
from ncp_control.kernels.head_step import HeadStep
from ncp_control.policy.base import Policy
from ncp_control.policy.heads import DRIVING_FRAME, HEADS, make_head
from ncp_control.policy.scaling import (
    OBSERVATION_LIMIT,
    check_limit,
    fit_scale_,
    limit_from_json,
    limit_to_json,
    scale,
)
from ncp_control.ranges import check_count
from ncp_control.records import frames_in, numbers_in, record_size, with_frames

BLOCK_FRAMES = 32
"""Number of frames that the head processes at once on the CPU."""


class FramesPolicy(Policy):
    """Policy for camera frames: maps uint8 frames to actions in [-1, 1] or choices.

    Args:
        cell: The recurrent part; its inputs are the features of the head (`head_width` returns how
            many), then the numbers.
        head: Name of the head in `HEADS`.
        frame_shape: Height, width and channels of a frame.
        choices: Number of choices of each entry of the action; see `Policy`.
        numbers: Number of values that are observed beside each frame.
        observation_limit: Limit at which the normalised numbers are clipped, > 0; infinity for no
            clipping.

    Raises:
        ValueError: If the head is unknown, the frame is too small for it, the cell has not one
            input for each feature and number, or not one output for each choice.
    """

    positive_tensors: ClassVar[tuple[str, ...]] = ("observation_std",)

    observation_mean: Tensor
    observation_std: Tensor

    def __init__(
        self,
        cell: Cell,
        *,
        head: str = "paper",
        frame_shape: Sequence[int] = DRIVING_FRAME,
        choices: Sequence[int] = (),
        numbers: int = 0,
        observation_limit: float = OBSERVATION_LIMIT,
    ) -> None:
        super().__init__(Circuit(cell), choices)
        self.head = make_head(head, frame_shape)
        self.head_name = head
        self.frame_shape = self.head.frame_shape
        self._head_step: HeadStep | None = None
        self.numbers = check_count("numbers", numbers, least=0)
        self.observation_limit = check_limit(observation_limit)
        if self.numbers:
            self.register_buffer("observation_mean", torch.zeros(self.numbers))
            self.register_buffer("observation_std", torch.ones(self.numbers))
        width = self.head.num_features + self.numbers
        if cell.input_size != width:
            raise ValueError(
                f"`cell` must take {width} inputs, got {cell.input_size}."
                " Build its wiring with that many sensory neurons."
            )

    @property
    def observed_shape(self) -> tuple[int, ...]:
        """Shape of a frame, or of a record of a frame and numbers."""
        if self.numbers:
            return (record_size(self.frame_shape, self.numbers),)
        return tuple(self.frame_shape)

    def read_observations(self, observations: np.ndarray) -> Tensor:
        """Check frames or records and convert them to a tensor, as in `Policy.read_observations`.

        Raises:
            ValueError: If they are not uint8 frames of the head's size, or records of such frames
                and finite numbers. Other dtypes are refused, because their pixel range is unknown:
                1 may be white or nearly black.
        """
        size = self.frame_shape
        if self.numbers:
            self._check_records(observations)
            super().read_observations(numbers_in(observations, size))
        elif observations.dtype != np.uint8 or observations.shape[1:] != size:
            raise ValueError(
                f"`observation` must be a uint8 frame of shape {size} with pixels from 0 to 255,"
                f" got {observations.dtype} of shape {observations.shape[1:]}. Convert the"
                " camera's frames."
            )
        return super().read_observations(observations)

    def perceive(self, observation: Tensor) -> Tensor:
        """Compute features of frames, in the circuit's dtype, and append the normalised numbers."""
        if self.numbers:
            self._check_records(observation)
        features = self.head(self.frames_of(observation))
        if features.shape[-1] != self.head.num_features:
            raise ValueError(
                f"`head` {self.head_name!r} must give {self.head.num_features} features of a frame,"
                f" got shape {tuple(features.shape)}. Correct the head, or its `num_features`."
            )
        return self._join(features, observation)

    def _join(self, features: Tensor, observation: Tensor) -> Tensor:
        """Convert features to the circuit's dtype and append the normalised numbers."""
        features = features.to(reference_tensor(self.circuit).dtype)
        if not self.numbers:
            return features
        numbers = numbers_in(observation, self.frame_shape)
        mean, std = self.observation_mean, self.observation_std
        scaled = scale(numbers, mean, std, self.observation_limit)
        return torch.cat([features, scaled.to(features)], dim=1)

    def frames_of(self, observations: Any) -> Any:
        """Return the frames in observations (batch, …)."""
        return frames_in(observations, self.frame_shape) if self.numbers else observations

    def with_frames(self, observations: Any, frames: Any) -> Any:
        """Return observations (batch, …) with their frames replaced by `frames`."""
        return with_frames(observations, frames) if self.numbers else frames

    def fit_scale(self, numbers: Tensor) -> None:
        """Set the normalisation to the mean and standard deviation of numbers (…, numbers).

        Raises:
            ValueError: If one of them is not finite in the policy's dtype; the old values are kept
                then.
        """
        fit_scale_(self.observation_mean, self.observation_std, numbers)

    def _check_records(self, observations: np.ndarray | Tensor) -> None:
        """Raise ValueError unless observations are records of this policy's size."""
        size = record_size(self.frame_shape, self.numbers)
        is_bytes = not isinstance(observations, np.ndarray) or observations.dtype == np.uint8
        if not is_bytes or tuple(observations.shape[1:]) != (size,):
            raise ValueError(
                f"`observation` must be a record of {size} bytes, of a frame of shape"
                f" {self.frame_shape} and {self.numbers} numbers, got {observations.dtype} of shape"
                f" {tuple(observations.shape[1:])}. Give `act` a dictionary of the parts, or make"
                " the record with ncp_control.records.pack."
            )

    def sense(self, observation: np.ndarray) -> Tensor:
        """Compute features of one observation, with a kernel if possible; see `Policy.sense`."""
        observations = self.read_observations(observation)
        step = self._find_head_step()
        if step is None:
            return self.perceive(observations)
        features = torch.from_numpy(step(self.frames_of(observations)[0].numpy()))[None]
        return self._join(features, observations)

    def _find_head_step(self) -> HeadStep | None:
        """Return the kernel that computes features of single frames; None if there is none."""
        if getattr(self.perceive, "__func__", None) is not FramesPolicy.perceive:
            return None  # a subclass overrides `perceive`
        step = self._head_step
        if step is None or step.head is not self.head or not step.is_current:
            step = self._head_step = self.head.control_step()
        return step

    def features(self, observation: Tensor) -> Tensor:
        """Compute features (batch, time, input) of observations (batch, time, …).

        On the CPU the head processes `BLOCK_FRAMES` frames at a time. Their memory is small enough
        to be reused for the next block; larger memory comes from the system page by page, which
        takes longer than the arithmetic. The features are the same; gradients of the head are
        summed in another order.
        """
        if observation.device.type != "cpu":
            return super().features(observation)
        blocks = observation.flatten(0, 1).split(BLOCK_FRAMES)
        features = torch.cat([self.perceive(block) for block in blocks])
        return features.unflatten(0, observation.shape[:2])

    def to_config(self) -> dict[str, Any]:
        """Return the settings as JSON values: head, frame shape, choices, numbers and cell."""
        module = HEADS.module_of(self.head_name)
        limit = limit_to_json(self.observation_limit)
        return {
            "head": self.head_name,
            **({"head_module": module} if module else {}),
            "frame_shape": list(self.frame_shape),
            "choices": list(self.choices),
            **({"numbers": self.numbers, "observation_limit": limit} if self.numbers else {}),
            "cell": cell_to_config(self.circuit.cell),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "FramesPolicy":
        """Build an untrained policy from the values of `to_config`; old files lack some of them."""
        HEADS.find(config["head"], module=config.get("head_module"))
        return cls(
            cell_from_config(config["cell"]),
            head=config["head"],
            frame_shape=config.get("frame_shape", DRIVING_FRAME),
            choices=config.get("choices", ()),
            numbers=config.get("numbers", 0),
            observation_limit=limit_from_json(config.get("observation_limit", OBSERVATION_LIMIT)),
        )
