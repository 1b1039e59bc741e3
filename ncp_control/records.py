"""Observations of several parts as one array, as stores, windows, rollouts and policies hold them.

| observation of        | array                       | contract |
|-----------------------|-----------------------------|----------|
| frames                | uint8 (height, width, channels) | frames |
| numbers, in any number of parts | real numbers (n,) | vector   |
| one frame and numbers | a **record**, uint8 (bytes,) | dict    |

A record holds the bytes of the frame, then those of the numbers of all parts, in the order of the
contract, as float32 in the processor's byte order. Its frame and numbers are found again by the
shape of the frame alone.
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
    """Return the shape of the frame in a record; None if the observation is none."""
    frames = frames_part(observation)
    return frames.shape if frames is not None and entries_of(observation) else None


def frames_part(observation: ObservationContract) -> FramesContract | None:
    """Return the frames of an observation; None if it is of numbers alone."""
    parts = observation.parts.values() if isinstance(observation, DictContract) else [observation]
    return next((part for part in parts if isinstance(part, FramesContract)), None)


def entries_of(observation: ObservationContract) -> tuple[Entry, ...]:
    """Return all numbers of an observation; those of a part have its name before their own."""
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
    """Return name and unit of each number that is sensed; None if there are none."""
    named = [
        f"{one.name} [{one.unit}]" if one.unit else one.name for one in entries_of(observation)
    ]
    return named or None


def array_of(observation: ObservationContract) -> tuple[tuple[int, ...], type[np.generic]]:
    """Return shape and type of the array that holds an observation."""
    frames, size = frames_part(observation), len(entries_of(observation))
    if frames is None:
        return (size,), np.float32
    if not size:
        return frames.shape, np.uint8
    return (record_size(frames.shape, size),), np.uint8


def sizes_of(observation: ObservationContract) -> Any:
    """Return what two observations must have in common, whatever the names of their numbers."""
    if isinstance(observation, VectorContract):
        return observation.size
    if isinstance(observation, FramesContract):
        return observation.shape
    return {name: sizes_of(part) for name, part in observation.parts.items()}


def record_size(frame_shape: Sequence[int], numbers: int) -> int:
    """Return the bytes of a record."""
    return math.prod(frame_shape) + _NUMBER_BYTES * numbers


def pack(observation: Mapping[str, Any], parts: ObservationContract | None) -> np.ndarray:
    """Return an observation of several parts as one array.

    Args:
        observation: What is seen, by the name of the part.
        parts: What each part is; at most one of them is frames.

    Raises:
        ValueError: If no parts are told, or one is missing, or of another size or type.
    """
    if not isinstance(parts, DictContract):
        raise ValueError(
            f"`observation` must be an array, got a dictionary of {sorted(map(str, observation))}:"
            " no contract tells these parts. Put them into one array, in the order of the contract."
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
    with np.errstate(over="ignore"):  # what overflows is refused where a policy reads it
        values = [one.astype(np.float32) for one in numbers]
    if frame is None:
        return np.concatenate(values)
    return join(frame, np.concatenate(values)) if values else frame


def join(frames: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return records of frames (…, height, width, channels) and numbers float32 (…, numbers)."""
    pixels = frames.reshape(*frames.shape[:-3], -1)
    return np.concatenate([pixels, np.ascontiguousarray(numbers).view(np.uint8)], axis=-1)


def frames_in(records: _Array, frame_shape: Sequence[int]) -> _Array:
    """Return the frames (…, height, width, channels) in records (…, bytes).

    Records of floating numbers, one for each byte, have frames of such, through which gradients
    flow.
    """
    pixels = records[..., : math.prod(frame_shape)]
    return pixels.reshape((*records.shape[:-1], *frame_shape))  # type: ignore[return-value]


def numbers_in(records: _Array, frame_shape: Sequence[int]) -> _Array:
    """Return the numbers (…, numbers), float32, in records (…, bytes)."""
    behind = records[..., math.prod(frame_shape) :]
    # Copied, because numbers have to begin at a multiple of their size.
    if isinstance(behind, np.ndarray):
        return np.array(behind, np.uint8, order="C").view(np.float32)
    import torch  # not before: worlds are named without it

    return behind.to(torch.uint8).clone(memory_format=torch.contiguous_format).view(torch.float32)


def with_frames(records: _Array, frames: _Array) -> _Array:
    """Return records with other frames."""
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
    """Return an observation whose frame was changed.

    Args:
        observation: A frame, or a record.
        change: Makes a frame of the same shape of one.
        frame_shape: Shape of the frame in a record; None if the observation is a frame.
    """
    if frame_shape is None:
        return change(observation)
    return with_frames(observation, change(frames_in(observation, frame_shape)))
