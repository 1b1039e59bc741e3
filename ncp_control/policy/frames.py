"""Policies that see: a conv head turns frames into features, a circuit of a few neurons acts.

Numbers that are sensed beside the frames, e.g. the own speed, are scaled and join the features; an
observation is then a record, see `ncp_control.records`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ncp_control.cells import Cell, cell_from_config, cell_to_config
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
"""Frames that the head sees at once on the CPU."""


class FramesPolicy(Policy):
    """Camera frames (height, width, channels) uint8 in, actions in [-1, 1] or choices out.

    Args:
        cell: The recurrent part; its inputs are the head's features, as many as `head_width`
            says, and then the numbers.
        head: A name in `HEADS`.
        frame_shape: Height, width and channels of a frame.
        choices: How many choices each entry of the action has; see `Policy`.
        numbers: How many numbers are sensed beside a frame.
        observation_limit: Where the scaled numbers are clipped, > 0; infinity for nowhere.

    Raises:
        ValueError: If the head is unknown, the frame too small for it, the cell does not take the
            head's features and the numbers, or has not one output for each choice.
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

    def read_observations(self, observations: np.ndarray) -> Tensor:
        """Check frames or records and turn them into a tensor, as `Policy.read_observations`.

        Raises:
            ValueError: If they are not uint8 frames of the head's size, or records of them with
                finite numbers. Pixels of another type do not tell their range, e.g. whether 1 is
                white or nearly black.
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
        """Turn frames into the head's features, in the circuit's dtype; numbers join them."""
        if self.numbers:
            self._check_records(observation)
        features = self.head(self.frames_of(observation))
        if features.shape[-1] != self.head.num_features:
            raise ValueError(
                f"`head` {self.head_name!r} must give {self.head.num_features} features of a frame,"
                f" got shape {tuple(features.shape)}. Mend it, or its `num_features`."
            )
        return self._join(features, observation)

    def _join(self, features: Tensor, observation: Tensor) -> Tensor:
        """Return features of frames in the circuit's dtype, with the scaled numbers behind them."""
        features = features.to(next(self.circuit.parameters()).dtype)
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
        """Return observations (batch, …) with other frames."""
        return with_frames(observations, frames) if self.numbers else frames

    def fit_scale(self, numbers: Tensor) -> None:
        """Take mean and deviation of numbers (…, numbers) for those that scale them.

        Raises:
            ValueError: If one of them is not a finite number in the policy's dtype; those in use
                stay.
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
        """Turn one frame into features, on a kernel where one applies; see `Policy.sense`."""
        seen = self.read_observations(observation)
        step = self._find_head_step()
        if step is None:
            return self.perceive(seen)
        features = torch.from_numpy(step(self.frames_of(seen)[0].numpy()))[None]
        return self._join(features, seen)

    def _find_head_step(self) -> HeadStep | None:
        """Return what turns single frames into features faster than `perceive`, if it may."""
        if getattr(self.perceive, "__func__", None) is not FramesPolicy.perceive:
            return None  # a subclass perceives in its own way
        step = self._head_step
        if step is None or step.head is not self.head or not step.is_current:
            step = self._head_step = self.head.control_step()
        return step

    def features(self, observation: Tensor) -> Tensor:
        """Apply `perceive` to frames (batch, time, …): features (batch, time, input).

        On the CPU the head sees `BLOCK_FRAMES` at a time: what it then allocates is small enough to
        be used again for the next block, while larger memory comes from the system page by page,
        which takes longer than the arithmetic. The features stay the same; gradients of the head
        are summed in another order.
        """
        if observation.device.type != "cpu":
            return super().features(observation)
        blocks = observation.flatten(0, 1).split(BLOCK_FRAMES)
        features = torch.cat([self.perceive(block) for block in blocks])
        return features.unflatten(0, observation.shape[:2])

    def to_config(self) -> dict[str, Any]:
        """Return the head's name, the frame, the choices and the cell's settings."""
        module = HEADS.module_of(self.head_name)
        return {
            "head": self.head_name,
            **({"head_module": module} if module else {}),
            "frame_shape": list(self.frame_shape),
            "choices": list(self.choices),
            **self._numbers_to_config(),
            "cell": cell_to_config(self.circuit.cell),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "FramesPolicy":
        """Build the policy that `to_config` described; older ones do not tell their frame."""
        HEADS.find(config["head"], module=config.get("head_module"))
        return cls(
            cell_from_config(config["cell"]),
            head=config["head"],
            frame_shape=config.get("frame_shape", DRIVING_FRAME),
            choices=config.get("choices", ()),
            numbers=config.get("numbers", 0),
            observation_limit=limit_from_json(config.get("observation_limit", OBSERVATION_LIMIT)),
        )

    def _numbers_to_config(self) -> dict[str, Any]:
        """Return the settings of the numbers, where there are some."""
        if not self.numbers:
            return {}
        return {
            "numbers": self.numbers,
            "observation_limit": limit_to_json(self.observation_limit),
        }
