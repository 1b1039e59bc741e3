"""Windows of demonstrations for truncated backpropagation through time.

In an epoch every frame of every episode is asked for exactly once. An episode of n frames is cut
at offset, offset + length, ... with an offset drawn anew each epoch, so that no frame is always
the first one after a blank state:

    frame      0    offset                                      n
    window     |¹----|--length--|--length--|--length--|----------²|

The pieces at the two ends are shorter than `length`. Each is widened with the episode's own
neighbouring frames (¹ to the right, ² to the left, where they warm up the state) and `mask` is
False on those, since another window asks for them. So at most one window an episode more than
needed is run. An episode shorter than `length` is one window, filled up with its last frame at
dt = 0 and mask False, so nothing is learned from them. No window crosses an episode boundary,
so a brain starts each with a blank state.
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
    """B windows of T frames; the last batch of an epoch may have fewer windows."""

    observations: Tensor
    """What was seen, shape (B, T, ...), in the store's dtype: scaling is the brain's job."""
    actions: Tensor
    """What the expert did, shape (B, T, action_size), float32."""
    dt_s: Tensor
    """Time since the previous frame [s], shape (B, T), float32."""
    mask: Tensor
    """Which frames the loss counts, shape (B, T), bool; over an epoch each frame once."""


@dataclass(frozen=True)
class _Window:
    store: Demonstrations
    start: int
    stop: int
    """Frames read: [start, stop), at most `length` of them."""
    first: int
    last: int
    """Frames counted: [first, last), within [start, stop)."""


class Windows:
    """The shuffled batches of one epoch; iterate over it, as often as needed.

    Observations are checked as they are read: what stands on disk is not read before.

    Args:
        demonstrations: One store, or several that are used as if they were one (as DAgger adds
            them), without copying.
        length: Frames in a window.
        batch_size: Windows in a batch.
        seed: Seed of the run.
        epoch: Number of the epoch. The same seed and epoch give the same batches.

    Raises:
        ValueError: If a number is out of range, there is no store, or the stores' shapes differ;
            on iteration, if an observation is not finite.
    """

    def __init__(
        self,
        demonstrations: Demonstrations | Sequence[Demonstrations],
        length: int,
        batch_size: int,
        seed: int,
        epoch: int = 0,
    ) -> None:
        for name, value, low in (
            ("length", length, 1),
            ("batch_size", batch_size, 1),
            ("seed", seed, 0),
            ("epoch", epoch, 0),
        ):
            check_count(name, value, low)
        if isinstance(demonstrations, Demonstrations):
            demonstrations = [demonstrations]
        stores = list(demonstrations)
        _check_stores(stores)
        self.length = length
        self.batch_size = batch_size
        self.num_frames = sum(len(store) for store in stores)
        generator = np.random.default_rng([seed, epoch])
        plan = [window for store in stores for window in _cut(store, length, generator)]
        self._windows = [plan[i] for i in generator.permutation(len(plan))]

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self._windows) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self._windows), self.batch_size):
            yield _gather(self._windows[start : start + self.batch_size], self.length)


def windows(
    demonstrations: Demonstrations | Sequence[Demonstrations],
    length: int,
    batch_size: int,
    seed: int,
    epoch: int = 0,
) -> Windows:
    """Return the shuffled batches of one epoch; see `Windows` for the arguments.

    Example:
        >>> for batch in windows(store, length=16, batch_size=32, seed=0, epoch=epoch):
        ...     actions, _ = policy(batch.observations, dt_s=batch.dt_s)
    """
    return Windows(demonstrations, length, batch_size, seed, epoch)


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
            # A short first piece looks ahead, a short last piece looks back.
            start = min(first, end - length)
            yield _Window(store, start, start + length, first, last)


def _gather(chosen: Sequence[_Window], length: int) -> Batch:
    """Copy windows into one block of each kind."""
    store = chosen[0].store
    shape = (len(chosen), length)
    # Allocated anew for each batch: a buffer used again would change batches still held.
    observations = np.empty((*shape, *store.observation_shape), store.observations.dtype)
    actions = np.empty((*shape, store.action_size), np.float32)
    dt_s = np.zeros(shape, np.float32)
    mask = np.zeros(shape, np.bool_)
    for row, window in enumerate(chosen):
        frames = slice(window.start, window.stop)
        count = window.stop - window.start
        for block, source in (
            (observations, window.store.observations),
            (actions, window.store.actions),
        ):
            block[row, :count] = source[frames]
            if block is observations:
                check_observations(block[row, :count], first=window.start)
            block[row, count:] = block[row, count - 1]
        dt_s[row, :count] = window.store.dt_s[frames]
        mask[row, window.first - window.start : window.last - window.start] = True
    return Batch(
        observations=torch.from_numpy(observations),
        actions=torch.from_numpy(actions),
        dt_s=torch.from_numpy(dt_s),
        mask=torch.from_numpy(mask),
    )
