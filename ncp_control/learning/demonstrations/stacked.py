"""Stacks of the latest frames of a recording, for policies that see several frames at once.

A store holds each frame once. A policy whose contract has `stack` > 1 sees the latest frames
together, oldest first, stacked along the channels. At the beginning of an episode, copies of its
first frame fill the stack. Frames are stacked when they are read, so a store does not get larger.
"""

import dataclasses
from typing import Any, cast

import numpy as np

from ncp_control.contract import Contract, FramesContract
from ncp_control.learning.demonstrations.store import Demonstrations
from ncp_control.ranges import check_count


def stacked(demonstrations: Demonstrations, count: int) -> Demonstrations:
    """Return demonstrations whose observations are stacks of the latest `count` frames.

    Args:
        demonstrations: Demonstrations with frames (height, width, channels), uint8.
        count: Number of frames per stack, >= 1; 1 changes nothing.

    Raises:
        ValueError: If the observations are not frames.
    """
    if check_count("count", count) == 1:
        return demonstrations
    frames = demonstrations.observations
    if frames.dtype != np.uint8 or frames.ndim != 4:
        raise ValueError(
            "`demonstrations` must hold uint8 frames (height, width, channels) to be seen together,"
            f" got {frames.dtype} of shape {frames.shape[1:]}. Choose a head that sees one frame."
        )
    together = FramesTogether(frames, demonstrations.episode_starts, count)
    return dataclasses.replace(demonstrations, observations=cast(np.ndarray, together))


def as_seen(demonstrations: Demonstrations, contract: Contract | None) -> Demonstrations:
    """Return demonstrations with stacks of as many frames as a policy's contract requires.

    They are returned unchanged if they already have the contract's shape, if the policy has no
    contract, or if its observations are not frames alone.
    """
    wanted = None if contract is None else contract.observation
    if not isinstance(wanted, FramesContract) or demonstrations.observation_shape == wanted.shape:
        return demonstrations
    return stacked(demonstrations, wanted.view.stack)


class FramesTogether:
    """Array-like of stacked frames, shape (N, height, width, count * channels).

    Args:
        frames: Single frames, shape (N, height, width, channels).
        episode_starts: Index of the first frame of each episode.
        count: Number of frames per stack.
    """

    def __init__(self, frames: np.ndarray, episode_starts: np.ndarray, count: int) -> None:
        self._frames, self._count = frames, count
        lengths = np.diff(np.append(episode_starts, len(frames)))
        self._first = np.repeat(episode_starts, lengths)
        self.dtype = frames.dtype
        self.shape = (*frames.shape[:-1], count * frames.shape[-1])
        self.ndim = frames.ndim

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, key: Any) -> np.ndarray:
        latest = np.arange(len(self))[key]
        first = self._first[key]
        parts = [
            self._frames[np.maximum(latest - back, first)] for back in reversed(range(self._count))
        ]
        return np.concatenate(parts, axis=-1)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)
