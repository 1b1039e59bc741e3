"""Replay buffer of sequences, for recurrent actors.

Steps are stored in the order in which they happened, separately for each environment, each with the
circuit's hidden state before it. A batch consists of whole sequences of L steps. The stored hidden
states were computed with older weights. The circuit therefore first runs through a few steps before
each sequence (the burn-in) with its present weights; these steps do not enter the loss.

| where                        | how it is treated                                                 |
|------------------------------|-------------------------------------------------------------------|
| an episode begins            | the state is reset, also inside a sequence                        |
| an episode is cut off        | its last step is followed by the frame observed after it, not by  |
|                              | the first frame of the next episode, and the state is kept        |
| the write position           | no sequence crosses it                                            |
| training was resumed         | new episodes begin; unfinished episodes count as cut off          |

A critic may see the last k observations and the k − 1 actions between them. At the beginning of an
episode, the first frame takes the place of missing observations, and zeros that of missing actions.

Source: Kapturowski et al. 2019, Recurrent experience replay in distributed reinforcement learning:
stored state and burn-in. Differs: sequences may begin at any step.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Int
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

EXPERIENCE = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
"""Names of the arrays of sb3's buffer, one entry per step."""


@dataclass(frozen=True, eq=False)
class ReplayWindows:
    """Windows of frames that a circuit runs through in one call."""

    frames: Float[Tensor, "windows time observation"]
    """Burn-in, the steps of a sequence, and the frame after its last step."""
    states: Float[Tensor, "windows state"]
    """Stored hidden state before the first frame."""
    reset: Bool[Tensor, "windows time"]
    """True for first frames of episodes."""
    burn_in: int
    """Number of frames before the sequence."""
    answers: dict[int, Any] = field(default_factory=dict)
    """Cache of the actor's outputs for these frames, by the version of its weights."""


@dataclass(frozen=True, eq=False)
class ReplaySteps:
    """Inputs of actor and critic at single steps."""

    windows: ReplayWindows
    """Windows that the actor runs through to reach the steps."""
    window: Int[Tensor, " steps"]
    """Index of the window that contains each step."""
    time: Int[Tensor, " steps"]
    """Index of the step within its window, counted after the burn-in."""
    for_critic: Float[Tensor, "steps feature"]
    """Input of the critic: last observations, newest first, then last actions, newest first."""


class SequenceReplay(ReplayBuffer):
    """Replay buffer of sb3 that yields sequences.

    Args:
        buffer_size: Capacity in steps of all environments together.
        observation_space: Box of one axis.
        action_space: Box of one axis.
        device: Device of the batches.
        n_envs: Number of environments.
        optimize_memory_usage: Must be False, since next observations are stored.
        state_size: Width of the circuit's hidden state.
        sequence_length: Number of steps per sequence.
        burn_in: Number of frames before a sequence.
        critic_frames: Number of successive observations that a critic sees.
    """

    kept: ClassVar[tuple[str, ...]] = (*EXPERIENCE, "states", "episode_starts")
    """Names of the arrays that a checkpoint must contain."""

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        device: torch.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        *,
        state_size: int,
        sequence_length: int,
        burn_in: int,
        critic_frames: int,
    ) -> None:
        super().__init__(
            buffer_size, observation_space, action_space, device, n_envs, optimize_memory_usage
        )
        self.sequence_length = sequence_length
        self.lead = max(burn_in, critic_frames - 1)
        self.critic_frames = critic_frames
        self.states = np.zeros((self.buffer_size, n_envs, state_size), dtype=np.float32)
        self.episode_starts = np.zeros((self.buffer_size, n_envs), dtype=bool)

    @property
    def window(self) -> int:
        """Number of steps of a sequence and the frames before it."""
        return self.lead + self.sequence_length

    def add_memory(self, states: np.ndarray, episode_starts: np.ndarray) -> None:
        """Store hidden states and episode starts of the step that is added next.

        Args:
            states: Hidden states before the step, shape (environments, state).
            episode_starts: Whether the step is the first of an episode, so that its hidden state is
                reset, shape (environments,).
        """
        self.states[self.pos] = states
        self.episode_starts[self.pos] = episode_starts

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """Draw random sequences with `batch_size` steps in total; all positions are equally likely.

        Args:
            batch_size: Number of steps, a multiple of `sequence_length`.
            env: Scales observations and rewards.
        """
        num_sequences = batch_size // self.sequence_length
        oldest = self.pos if self.full else 0
        first = torch.randint(self.size() - self.window + 1, (num_sequences,)).numpy()
        envs = torch.randint(self.n_envs, (num_sequences,)).numpy()
        at = (oldest + first[:, None] + np.arange(self.window)) % self.buffer_size
        return self._sequences(at, envs[:, None], env)

    def _sequences(
        self, at: np.ndarray, envs: np.ndarray, env: VecNormalize | None
    ) -> ReplayBufferSamples:
        """Return the sequences at positions `at` (sequences, window) of environments `envs`."""
        lead = self.lead
        current = self._numbers(self.observations[at, envs], env)
        after = self._numbers(self.next_observations[at, envs], env)
        begins, actions = self.episode_starts[at, envs], self.actions[at, envs]
        taken = at[:, lead:], envs
        is_over = self.dones[taken] * (1.0 - self.timeouts[taken])
        # Window and time of each step, and of the frame after it.
        num_sequences, length = is_over.shape
        window = np.repeat(np.arange(num_sequences), length).reshape(num_sequences, length)
        time = np.tile(np.arange(length), (num_sequences, 1))
        next_window, next_time = window.copy(), time + 1
        frames = np.concatenate([current, after[:, -1:]], axis=1)
        reset = np.concatenate([begins, np.zeros((num_sequences, 1), dtype=bool)], axis=1)
        # An episode that is cut off continues for one frame, in a separate window.
        cut_window, cut_time = np.nonzero(begins[:, lead + 1 :] & (is_over[:, :-1] == 0.0))
        own, last = np.arange(len(cut_window)), lead + cut_time
        frames_of_cut, reset_of_cut = frames[cut_window], reset[cut_window]
        frames_of_cut[own, last + 1] = after[cut_window, last]
        reset_of_cut[own, last + 1] = False
        next_window[cut_window, cut_time] = num_sequences + own
        states = self.states[at[:, 0], envs[:, 0]]
        windows = ReplayWindows(
            frames=self.to_torch(np.concatenate([frames, frames_of_cut])),
            states=self.to_torch(np.concatenate([states, states[cut_window]])),
            reset=self.to_torch(np.concatenate([reset, reset_of_cut])),
            burn_in=lead,
        )
        now, then = self._for_critic(current, after, begins, actions)
        observations: Any = self._steps(windows, window, time, now)
        next_observations: Any = self._steps(windows, next_window, next_time, then)
        rewards = self._normalize_reward(self.rewards[taken].reshape(-1, 1), env)
        return ReplayBufferSamples(
            observations=observations,
            actions=self.to_torch(actions[:, lead:].reshape(-1, self.action_dim)),
            next_observations=next_observations,
            dones=self.to_torch(is_over.reshape(-1, 1)),
            rewards=self.to_torch(rewards),
        )

    def _steps(
        self, windows: ReplayWindows, window: np.ndarray, time: np.ndarray, for_critic: np.ndarray
    ) -> ReplaySteps:
        """Return `ReplaySteps` from arrays of shape (sequences, length, ...)."""
        return ReplaySteps(
            windows=windows,
            window=self.to_torch(window.reshape(-1)),
            time=self.to_torch(time.reshape(-1)),
            for_critic=self.to_torch(for_critic.reshape(-1, for_critic.shape[2])),
        )

    def _for_critic(
        self, current: np.ndarray, after: np.ndarray, begins: np.ndarray, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the critic's inputs at the steps of sequences, and at the next steps."""
        lead, past = self.lead, self.critic_frames - 1
        rows, time = np.arange(len(current))[:, None], np.arange(current.shape[1])
        first = np.maximum.accumulate(np.where(begins, time, 0), axis=1)[:, lead:]
        observations, before = [current[:, lead:]], []
        for steps_ago in range(1, past + 1):
            place = time[lead:] - steps_ago
            observations.append(current[rows, np.maximum(place, first)])
            before.append(actions[rows, place] * (place >= first)[..., None])
        later = [after[:, lead:], *observations[:-1], *[actions[:, lead:], *before][:past]]
        now = np.concatenate([*observations, *before], axis=2, dtype=np.float32)
        return now, np.concatenate(later, axis=2, dtype=np.float32)

    @staticmethod
    def _numbers(observations: np.ndarray, env: VecNormalize | None) -> np.ndarray:
        return np.asarray(ReplayBuffer._normalize_obs(observations, env), dtype=np.float32)
