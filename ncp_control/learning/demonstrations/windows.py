"""Windows of demonstrations for truncated backpropagation through time.

In an epoch, every labelled frame of every episode counts in the loss exactly once. An episode of n
frames is cut at offset, offset + length, ... with a new random offset in each epoch, so that no
frame is always the first one after the initial state:

    frame      0    offset                                      n
    window     |¹----|--length--|--length--|--length--|----------²|

The pieces at the two ends are shorter than `length`. They are extended with neighbouring frames of
the episode (¹ to the right, ² to the left, where they warm up the hidden state). `mask` is False on
these frames, since they count in another window. An episode thus needs at most one extra window. An
episode shorter than `length` is one window, padded with copies of its last frame at dt = 0 and mask
False. No window crosses an episode boundary, so the hidden state starts fresh in each window.
`mask` is also False on frames without a label; a window without any label is left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ncp_control.learning.demonstrations.store import Demonstrations, check_observations
from ncp_control.ranges import check_count


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Batch of B windows of T frames; the last batch of an epoch may have fewer windows."""

    observations: Tensor
    """Observations, shape (B, T, ...), in the dtype of the store; the policy scales them."""
    actions: Tensor
    """Actions of the expert, shape (B, T, action_size), float32."""
    dt_s: Tensor
    """Time since the previous frame [s], shape (B, T), float32."""
    mask: Tensor
    """True for frames that count in the loss, shape (B, T), bool; each labelled frame once per
    epoch."""


@dataclass(frozen=True)
class _Window:
    store: Demonstrations
    start: int
    stop: int
    """Frames of the window: [start, stop), at most `length` of them."""
    first: int
    last: int
    """Frames that count in the loss: [first, last), within [start, stop)."""


class Windows:
    """Iterable over the shuffled batches of one epoch; can be iterated several times.

    Observations on disk are read and checked only during iteration.

    Args:
        demonstrations: One store, or several (e.g. from DAgger) that are used as if they were one,
            without copying.
        length: Number of frames per window.
        batch_size: Number of windows per batch.
        seed: Seed of the run.
        epoch: Index of the epoch. The same seed and epoch give the same batches.

    Raises:
        ValueError: If a number is out of range, there is no store, or the stores differ in shape or
            dtype; during iteration, if an observation is not finite.

    Example:
        >>> for batch in Windows(store, length=16, batch_size=32, seed=0, epoch=epoch):
        ...     actions, _ = policy(batch.observations, dt_s=batch.dt_s)
    """

    def __init__(
        self,
        demonstrations: Demonstrations | Sequence[Demonstrations],
        length: int,
        batch_size: int,
        seed: int,
        epoch: int = 0,
    ) -> None:
        check_count("length", length)
        check_count("batch_size", batch_size)
        check_count("seed", seed, 0)
        check_count("epoch", epoch, 0)
        if isinstance(demonstrations, Demonstrations):
            demonstrations = [demonstrations]
        stores = list(demonstrations)
        _check_stores(stores)
        self.length = length
        self.batch_size = batch_size
        self.num_frames = sum(len(store) for store in stores)
        generator = np.random.default_rng([seed, epoch])
        plan = [
            window
            for store in stores
            for window in _cut(store, length, generator)
            if store.is_labelled[window.first : window.last].any()
        ]
        self._windows = [plan[i] for i in generator.permutation(len(plan))]

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self._windows) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self._windows), self.batch_size):
            yield _gather(self._windows[start : start + self.batch_size], self.length)


def _check_stores(stores: Sequence[Demonstrations]) -> None:
    if not stores:
        raise ValueError(
            "`demonstrations` must hold at least one store, got []. Record demonstrations first."
        )
    kinds = {(s.observation_shape, s.observations.dtype.name, s.action_size) for s in stores}
    if len(kinds) > 1:
        raise ValueError(
            "`demonstrations` must agree in observation shape, dtype and action size, got"
            f" {sorted(kinds)!r}. Convert them to one shape first."
        )


def _cut(store: Demonstrations, length: int, generator: np.random.Generator) -> Iterator[_Window]:
    """Cut every episode of a store into windows at a random offset."""
    offsets = generator.integers(0, length, size=store.num_episodes)
    for begin, end, offset in zip(
        store.episode_starts.tolist(), store.episode_stops.tolist(), offsets.tolist(), strict=True
    ):
        if end - begin <= length:
            yield _Window(store, begin, end, begin, end)
            continue
        cuts = [begin, *range(begin + (offset or length), end, length), end]
        for first, last in pairwise(cuts):
            # A short first piece is extended to the right, a short last piece to the left.
            start = min(first, end - length)
            yield _Window(store, start, start + length, first, last)


def _gather(chosen: Sequence[_Window], length: int) -> Batch:
    """Copy windows into a batch."""
    store = chosen[0].store
    shape = (len(chosen), length)
    # New arrays for each batch: a reused buffer would change batches that are still in use.
    observations = np.empty((*shape, *store.observation_shape), store.observations.dtype)
    actions = np.empty((*shape, store.action_size), np.float32)
    dt_s = np.zeros(shape, np.float32)
    mask = np.zeros(shape, np.bool_)
    for row, window in enumerate(chosen):
        source, frames = window.store, slice(window.start, window.stop)
        count = window.stop - window.start
        observations[row, :count] = source.observations[frames]
        check_observations(observations[row, :count], first=window.start)
        actions[row, :count] = source.actions[frames]
        dt_s[row, :count] = source.dt_s[frames]
        for block in (observations, actions):
            block[row, count:] = block[row, count - 1]
        counted = source.is_labelled[window.first : window.last]
        mask[row, window.first - window.start : window.last - window.start] = counted
    return Batch(
        observations=torch.from_numpy(observations),
        actions=torch.from_numpy(actions),
        dt_s=torch.from_numpy(dt_s),
        mask=torch.from_numpy(mask),
    )
