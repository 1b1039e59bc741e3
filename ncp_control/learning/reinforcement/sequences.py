"""Rollout buffers that yield sequences of equal length instead of sb3's padded sequences.

A rollout of T steps in N environments is cut into N · T/L sequences of L steps, in random order,
each with the circuit's hidden state before its first step. Episodes may begin inside a sequence;
the reset mask clears the hidden state there. There is no padding, so a minibatch is a full block
for the fused kernel, whatever the lengths of the episodes.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from sb3_contrib.common.recurrent.buffers import (
    RecurrentDictRolloutBuffer,
    RecurrentRolloutBuffer,
)
from sb3_contrib.common.recurrent.type_aliases import (
    RecurrentDictRolloutBufferSamples,
    RecurrentRolloutBufferSamples,
    RNNStates,
)
from torch import Tensor


class SequenceBuffer(RecurrentRolloutBuffer):
    """Rollout buffer that yields whole sequences of `sequence_length` steps."""

    sequence_length: int
    samples: Any = RecurrentRolloutBufferSamples
    features: Callable[[], Any] | None = None
    """Returns the features to store in place of the observations; if None: store observations."""

    def add(self, obs: Any, *args: Any, **kwargs: Any) -> None:
        """Add a step of all environments."""
        if self.features is not None:
            obs = self.features().cpu().numpy()
        super().add(obs, *args, **kwargs)

    def get(self, batch_size: int | None = None) -> Iterator[Any]:
        """Yield minibatches of `batch_size` steps in a new random order."""
        return _minibatches(self, batch_size)


class SequenceDictBuffer(RecurrentDictRolloutBuffer):
    """`SequenceBuffer` for dictionary observations, e.g. with elapsed time."""

    sequence_length: int
    samples: Any = RecurrentDictRolloutBufferSamples

    def get(self, batch_size: int | None = None) -> Iterator[Any]:
        """Yield minibatches of `batch_size` steps in a new random order."""
        return _minibatches(self, batch_size)


def _minibatches(
    buffer: SequenceBuffer | SequenceDictBuffer, batch_size: int | None
) -> Iterator[Any]:
    length = buffer.sequence_length
    num_sequences = buffer.buffer_size * buffer.n_envs // length
    per_batch = num_sequences if batch_size is None else batch_size // length
    order = torch.randperm(num_sequences)
    observations: Any = buffer.observations
    names = ("actions", "values", "log_probs", "advantages", "returns", "episode_starts")
    steps: dict[str, Any] = {name: torch.from_numpy(getattr(buffer, name)) for name in names}
    if isinstance(observations, dict):
        steps["observations"] = {
            key: torch.from_numpy(value) for key, value in observations.items()
        }
    else:
        steps["observations"] = torch.from_numpy(observations)
    states = []
    for of in ("pi", "vf"):
        hidden = getattr(buffer, f"hidden_states_{of}"), getattr(buffer, f"cell_states_{of}")
        h, c = (torch.from_numpy(values[::length]) for values in hidden)
        states.append((h, c))
    for start in range(0, num_sequences, per_batch):
        chosen = order[start : start + per_batch]
        yield minibatch(buffer.samples, steps, states, chosen, length, buffer.device)


def minibatch(
    kind: Any,
    steps: dict[str, Any],
    states: Sequence[tuple[Tensor, Tensor]],
    chosen: Tensor,
    length: int,
    device: torch.device,
) -> Any:
    """Return the chosen sequences of a rollout as a minibatch.

    Args:
        kind: Class of the minibatch.
        steps: Tensors of the rollout, each of shape (time, environments, …).
        states: sb3's (h, c) of actor and critic before the first step of each sequence, each of
            shape (time / length, 1, environments, hidden).
        chosen: Indices of sequences, ordered by time block, then by environment.
        length: Number of steps per sequence.
        device: Device of the minibatch.
    """

    def pick(values: Tensor) -> Tensor:
        """Return values of the chosen sequences as (sequences · length, …)."""
        time, num_envs = values.shape[:2]
        blocks = values.reshape(time // length, length, *values.shape[1:])
        picked = blocks[chosen // num_envs, :, chosen % num_envs]
        return picked.reshape(-1, *values.shape[2:]).to(device)

    def first(values: Tensor) -> Tensor:
        """Return the states (1, sequences, hidden) before the chosen sequences."""
        num_envs = values.shape[2]
        picked = values[chosen // num_envs, :, chosen % num_envs]
        return picked.swapaxes(0, 1).contiguous().to(device)

    values = steps["observations"]
    is_dict = isinstance(values, dict)
    return kind(
        observations={key: pick(values[key]) for key in values} if is_dict else pick(values),
        actions=pick(steps["actions"]),
        old_values=pick(steps["values"]),
        old_log_prob=pick(steps["log_probs"]),
        advantages=pick(steps["advantages"]),
        returns=pick(steps["returns"]),
        lstm_states=RNNStates(*((first(h), first(c)) for h, c in states)),
        episode_starts=pick(steps["episode_starts"]),
        mask=torch.ones(len(chosen) * length, device=device),
    )
