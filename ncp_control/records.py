"""Observations as single arrays; a frame and numbers are packed into a record.

Demonstrations, training windows, rollouts and policies hold every observation as one array:

| observation of        | array                       | contract |
|-----------------------|-----------------------------|----------|
| frames                | uint8 (height, width, channels) | frames |
| numbers, in any number of parts | real numbers (n,) | vector   |
| one frame and numbers | a **record**, uint8 (bytes,) | dict    |

A record holds the bytes of the frame, then the numbers of all parts in the order of the contract,
as float32 in the processor's byte order. The shape of the frame suffices to take it apart.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ncp_control.contract_parts import (
    DictContract,
    Entry,
    FramesContract,
    ObservationContract,
    VectorContract,
)

if TYPE_CHECKING:
    from torch import Tensor

_NUMBER_BYTES = 4
_Array = TypeVar("_Array", np.ndarray, "Tensor")


def record_frame(observation: ObservationContract) -> tuple[int, int, int] | None:
    """Return the shape of the frame in a record; None if the observation is not a record."""
    frames = frames_part(observation)
    return frames.shape if frames is not None and entries_of(observation) else None


def frames_part(observation: ObservationContract) -> FramesContract | None:
    """Return the contract of an observation's frames; None if it has only numbers."""
    parts = observation.parts.values() if isinstance(observation, DictContract) else [observation]
    return next((part for part in parts if isinstance(part, FramesContract)), None)


def entries_of(observation: ObservationContract) -> tuple[Entry, ...]:
    """Return the entries of all numbers of an observation, named `part: name` if in a part."""
    if isinstance(observation, VectorContract):
        return observation.entries
    if isinstance(observation, FramesContract):
        return ()
    return tuple(
        entry if entry.name == name else replace(entry, name=f"{name}: {entry.name}")
        for name, part in observation.parts.items()
        if isinstance(part, VectorContract)
        for entry in part.entries
    )


def sensor_names(observation: ObservationContract) -> list[str] | None:
    """Return name and unit of each observed number; None if there are no numbers."""
    named = [
        f"{one.name} [{one.unit}]" if one.unit else one.name for one in entries_of(observation)
    ]
    return named or None


def array_of(observation: ObservationContract) -> tuple[tuple[int, ...], type[np.generic]]:
    """Return shape and dtype of the array that holds an observation."""
    frames, size = frames_part(observation), len(entries_of(observation))
    if frames is None:
        return (size,), np.float32
    if not size:
        return frames.shape, np.uint8
    return (record_size(frames.shape, size),), np.uint8


def sizes_of(observation: ObservationContract) -> Any:
    """Return the shape of frames and the count of numbers, by part, to compare observations."""
    if isinstance(observation, VectorContract):
        return observation.size
    if isinstance(observation, FramesContract):
        return observation.shape
    return {name: sizes_of(part) for name, part in observation.parts.items()}


def record_size(frame_shape: Sequence[int], numbers: int) -> int:
    """Return the size of a record [bytes]."""
    return math.prod(frame_shape) + _NUMBER_BYTES * numbers


def pack(observation: Mapping[str, Any], parts: ObservationContract | None) -> np.ndarray:
    """Pack an observation of several parts into one array.

    Args:
        observation: Values of the parts, by name.
        parts: Contract of the parts; at most one part is frames.

    Returns:
        A record, or just the frame or the numbers if there is nothing else.

    Raises:
        ValueError: If `parts` is not a DictContract, or a part is missing or has another size or
            dtype.
    """
    if not isinstance(parts, DictContract):
        got = f"a dictionary of {sorted(map(str, observation))}"
        if parts is None:
            raise ValueError(
                f"`observation` must be an array, got {got}: no contract names these parts. Put"
                " them into one array, in the order of the contract."
            )
        sensed = "frames" if isinstance(parts, FramesContract) else f"{parts.size} numbers"
        raise ValueError(
            f"`observation` must be an array, because the policy senses only {sensed}, got {got}."
            " Give it that part alone."
        )
    frame, numbers = None, []
    for name, part in parts.parts.items():
        if name not in observation:
            raise ValueError(
                f"`observation` must have the parts {sorted(parts.parts)}, got"
                f" {sorted(map(str, observation))}. Give each of them."
            )
        value = np.asarray(observation[name])
        if isinstance(part, FramesContract):
            if value.dtype != np.uint8 or (*value.shape, 1)[:3] != part.shape:
                raise ValueError(
                    f"`observation` must have a uint8 frame of shape {part.shape} as {name!r}, got"
                    f" {value.dtype} of shape {value.shape}. Convert the camera's frames."
                )
            frame = value.reshape(part.shape)
        else:
            if value.dtype.kind not in "biuf" or value.size != part.size:
                raise ValueError(
                    f"`observation` must have {part.size} numbers as {name!r}, got {value.dtype}"
                    f" of shape {value.shape}. Convert them first."
                )
            numbers.append(value.reshape(-1))
    with np.errstate(over="ignore"):  # policies refuse values that overflow
        values = [one.astype(np.float32) for one in numbers]
    if frame is None:
        return np.concatenate(values)
    return join(frame, np.concatenate(values)) if values else frame


def join(frames: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Pack frames (…, height, width, channels) and numbers (…, n), float32, into records."""
    pixels = frames.reshape(*frames.shape[:-3], -1)
    return np.concatenate([pixels, np.ascontiguousarray(numbers).view(np.uint8)], axis=-1)


def frames_in(records: _Array, frame_shape: Sequence[int]) -> _Array:
    """Return the frames (…, height, width, channels) in records (…, bytes).

    If the records are floating-point tensors with one number per byte, so are the frames, and
    gradients flow through them.
    """
    pixels = records[..., : math.prod(frame_shape)]
    return pixels.reshape((*records.shape[:-1], *frame_shape))  # type: ignore[return-value]


def numbers_in(records: _Array, frame_shape: Sequence[int]) -> _Array:
    """Return the numbers (…, numbers), float32, in records (…, bytes)."""
    behind = records[..., math.prod(frame_shape) :]
    # Copied, because float32 numbers must be aligned to 4 bytes.
    if isinstance(behind, np.ndarray):
        return np.array(behind, np.uint8, order="C").view(np.float32)
    import torch  # imported late: worlds do not need it

    return behind.to(torch.uint8).clone(memory_format=torch.contiguous_format).view(torch.float32)


def with_frames(records: _Array, frames: _Array) -> _Array:
    """Return records with their frames replaced by `frames`."""
    pixels = frames.reshape((*records.shape[:-1], -1))
    behind = records[..., pixels.shape[-1] :]
    if isinstance(records, np.ndarray):
        return np.concatenate([pixels, behind], axis=-1)  # type: ignore[list-item]
    import torch

    return torch.cat([pixels, behind], dim=-1)  # type: ignore[list-item]


def change_frame(
    observation: np.ndarray,
    change: Callable[[np.ndarray], np.ndarray],
    frame_shape: tuple[int, int, int] | None,
) -> np.ndarray:
    """Apply a function to the frame of an observation.

    Args:
        observation: A frame, or a record.
        change: Function that returns a changed frame of the same shape.
        frame_shape: Shape of the frame in a record; None if the observation is a frame.
    """
    if frame_shape is None:
        return change(observation)
    return with_frames(observation, change(frames_in(observation, frame_shape)))
