"""Rollouts cut into sequences of equal length, instead of sb3's padded ones.

A rollout of T steps in N environments becomes N · T/L sequences of L steps, in random order, each
with the state that the circuit had before its first step. Episodes may begin inside a sequence:
the reset mask clears the state there. Nothing is padded and nothing is cut at random, so a
minibatch is a full block for the fused kernel, whatever the lengths of the episodes.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
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


class SequenceBuffer(RecurrentRolloutBuffer):
    """A rollout buffer that yields whole sequences of `sequence_length` steps."""

    sequence_length: int
    samples: Any = RecurrentRolloutBufferSamples
    features: Callable[[], Any] | None = None
    """Returns the features to be kept in place of the observations, if they are."""

    def add(self, obs: Any, *args: Any, **kwargs: Any) -> None:
        """Add a step of all environments."""
        if self.features is not None:
            obs = self.features().cpu().numpy()
        super().add(obs, *args, **kwargs)

    def get(self, batch_size: int | None = None) -> Iterator[Any]:
        """Yield minibatches of `batch_size` steps in a new random order."""
        return _minibatches(self, batch_size)


class SequenceDictBuffer(RecurrentDictRolloutBuffer):
    """The same for observations that carry their elapsed time."""

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
    order = torch.randperm(num_sequences).numpy()
    cut = _Cut(buffer, length)
    for start in range(0, num_sequences, per_batch):
        yield cut.samples(order[start : start + per_batch])


class _Cut:
    """A rollout seen as (sequences, length, …)."""

    def __init__(self, buffer: SequenceBuffer | SequenceDictBuffer, length: int) -> None:
        self.buffer = buffer
        self.length = length

    def steps(self, values: np.ndarray, chosen: np.ndarray) -> Any:
        """Return (time, env, …) values of the chosen sequences as (sequences · length, …)."""
        time, num_envs = values.shape[:2]
        part, env = np.divmod(chosen, num_envs)
        blocks = values.reshape(time // self.length, self.length, *values.shape[1:])
        picked = blocks[part, :, env]
        return self.buffer.to_torch(picked.reshape(-1, *values.shape[2:]))

    def states(self, values: np.ndarray, chosen: np.ndarray) -> Any:
        """Return the states (1, sequences, hidden) before the first step of each sequence."""
        part, env = np.divmod(chosen, values.shape[2])
        return self.buffer.to_torch(values[part * self.length, :, env].swapaxes(0, 1).copy())

    def samples(self, chosen: np.ndarray) -> Any:
        """Return a minibatch of the chosen sequences."""
        buffer = self.buffer
        seen: Any = buffer.observations
        if isinstance(seen, dict):
            observations: Any = {key: self.steps(value, chosen) for key, value in seen.items()}
        else:
            observations = self.steps(seen, chosen)
        names = ("values", "log_probs", "advantages", "returns", "episode_starts")
        values, log_probs, advantages, returns, starts = (
            self.steps(getattr(buffer, name), chosen) for name in names
        )
        return buffer.samples(
            observations=observations,
            actions=self.steps(buffer.actions, chosen),
            old_values=values,
            old_log_prob=log_probs,
            advantages=advantages,
            returns=returns,
            lstm_states=RNNStates(
                (
                    self.states(buffer.hidden_states_pi, chosen),
                    self.states(buffer.cell_states_pi, chosen),
                ),
                (
                    self.states(buffer.hidden_states_vf, chosen),
                    self.states(buffer.cell_states_vf, chosen),
                ),
            ),
            episode_starts=starts,
            mask=buffer.to_torch(np.ones(len(chosen) * self.length, dtype=np.float32)),
        )
