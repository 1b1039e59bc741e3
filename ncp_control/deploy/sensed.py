"""Observations of an exported controller: their format, checks and error messages."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ncp_control.contract import Contract
from ncp_control.policy import FramesPolicy, Policy, VectorPolicy
from ncp_control.records import frames_in, numbers_in, pack, record_size

OK, BAD_INPUT, BAD_STATE = 0, 1, 2
"""Status codes of a controller's step in C."""
_LARGEST_S = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True)
class Sensed:
    """Shape and type of one observation."""

    shape: tuple[int, ...]
    """Shape of an observation; for a record, its size in bytes."""
    dtype: Any
    """np.uint8 for frames and records, np.float32 for numbers."""
    frame_shape: tuple[int, ...] | None = None
    """Shape of the frame in a record; None if observations are not records."""
    contract: Contract | None = None
    """Contract of the policy, whose parts a dictionary names."""

    @classmethod
    def of(cls, policy: Policy) -> "Sensed":
        """Return the format of a policy's observations."""
        if isinstance(policy, FramesPolicy):
            return cls.frames(policy.frame_shape, policy.numbers, policy.contract)
        assert isinstance(policy, VectorPolicy)
        shape = (policy.observation_size,)
        return cls(shape=shape, dtype=np.float32, contract=policy.contract)

    @classmethod
    def frames(
        cls, shape: tuple[int, ...], numbers: int, contract: Contract | None = None
    ) -> "Sensed":
        """Return the format of a frame, with `numbers` numbers beside it."""
        if not numbers:
            return cls(shape=shape, dtype=np.uint8, contract=contract)
        size = record_size(shape, numbers)
        return cls(shape=(size,), dtype=np.uint8, frame_shape=shape, contract=contract)

    @property
    def num_bytes(self) -> int:
        """Size of an observation [bytes]."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def read(self, observation: np.ndarray | dict[str, Any]) -> np.ndarray:
        """Convert an observation to the controller's type, as a contiguous array.

        Args:
            observation: An array, or the parts of the contract by name.

        Raises:
            ValueError: If its shape or type is wrong, or a part is missing.
        """
        if isinstance(observation, dict):
            observation = pack(observation, self.contract and self.contract.observation)
        observation = np.atleast_1d(observation)
        if observation.shape != self.shape or (
            self.dtype == np.uint8 and observation.dtype != np.uint8
        ):
            raise ValueError(
                f"`observation` must be {np.dtype(self.dtype)} of shape {self.shape}, got"
                f" {observation.dtype} of shape {observation.shape}. Convert it first."
            )
        with np.errstate(over="ignore"):  # numbers too large for single precision become infinite
            return np.ascontiguousarray(observation.astype(self.dtype, copy=False))

    def can_act(self, seen: np.ndarray, dt_s: float) -> bool:
        """True if all numbers are finite and the elapsed time is finite and >= 0."""
        numbers = seen if self.frame_shape is None else self.parts(seen)[1]
        is_finite = numbers.dtype == np.uint8 or bool(np.isfinite(numbers).all())
        return is_finite and 0.0 <= dt_s <= _LARGEST_S

    def inputs(self, observations: np.ndarray) -> dict[str, np.ndarray]:
        """Return observations (batch, …) as inputs of an ONNX model, by name."""
        if self.frame_shape is None:
            return {"observation": observations}
        return dict(zip(("observation", "numbers"), self.parts(observations), strict=True))

    def parts(self, records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the frames and the numbers of records (…, bytes)."""
        assert self.frame_shape is not None
        return frames_in(records, self.frame_shape), numbers_in(records, self.frame_shape)

    def check_status(self, status: int, observation: np.ndarray, dt_s: float) -> None:
        """Raise ValueError if the status of a step in C is not `OK`."""
        if status != OK:
            raise self.refusal(observation, dt_s, is_state=status != BAD_INPUT)

    def refusal(
        self, observation: np.ndarray, dt_s: float, *, is_state: bool = False
    ) -> ValueError:
        """Return the error for an observation that cannot be acted on.

        Args:
            observation: The observation.
            dt_s: The elapsed time [s].
            is_state: Whether the state is invalid and not the input: it is not finite, or outside
                of its certified bounds.
        """
        rule = "finite numbers, and a time >= 0"
        if is_state:
            rule = "such that the state stays finite and within its certified bounds"
        return ValueError(
            f"`observation` and `dt_s` must be {rule}, got {dt_s:g} s and an observation from"
            f" {observation.min():g} to {observation.max():g}."
        )


def action_of(values: np.ndarray) -> np.ndarray:
    """Convert an action from C to a policy's format: numbers, or indices of choices as int64."""
    return values.astype(np.int64 if values.dtype == np.int32 else values.dtype)
