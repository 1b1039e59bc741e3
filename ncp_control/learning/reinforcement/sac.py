"""Soft actor-critic (SAC) of circuits over sequences, also with quantile critics (TQC).

The updates are the unchanged code of stable-baselines3 and sb3-contrib: sample a batch from the
replay buffer, compute the actor's actions at its steps and at the next steps, and evaluate them
with the critics. Here the batch consists of sequences (`replay`), and the actor runs through each
sequence in one call (`soft_actor`).

Sources: Haarnoja et al. 2018 (arXiv 1812.05905), SAC; Kuznetsov et al. 2020 (arXiv 2005.04269),
TQC; Kapturowski et al. 2019, stored hidden states and burn-in.
"""

from typing import Any, ClassVar

import numpy as np
import torch
from sb3_contrib import TQC
from stable_baselines3 import SAC
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from ncp_control.learning.reinforcement.guard import GuardedLearning
from ncp_control.learning.reinforcement.replay import SequenceReplay
from ncp_control.learning.reinforcement.soft_actor import CircuitSAC, CircuitTQC, check_spaces
from ncp_control.ranges import check_count


class _OverSequences(GuardedLearning, OffPolicyAlgorithm):
    """Off-policy learning over sequences, the common base of SAC and TQC.

    Args:
        env: Environments with observations in Box(n) and actions in Box(-1, 1, (n,)).
        sequence_length: Number of steps through which gradients flow.
        burn_in: Number of frames before each sequence that bring its stored hidden state up to
            date.
        critic_frames: Number of successive observations that the critics see; more than 1 if a
            single observation is incomplete, e.g. lacks velocities.
        batch_size: Number of steps per batch, a multiple of `sequence_length`.
        learning_starts: Number of steps with random actions before the first update.
        policy: The policy class.
        policy_kwargs: Arguments of the policy class, e.g. {"cell": ...}; only sb3's own `load` may
            omit them.
        **kwargs: Further arguments of sb3's algorithm.

    Raises:
        ValueError: If `sequence_length` does not divide `batch_size`, the buffer or
            `learning_starts` is too small for a sequence, or a space is not supported.
    """

    default_policy: ClassVar[Any]
    actor: Any
    policy_kwargs: dict[str, Any]
    replay_buffer: Any
    _last_obs: Any

    def __init__(
        self,
        env: Any,
        *,
        sequence_length: int = 8,
        burn_in: int = 8,
        critic_frames: int = 1,
        batch_size: int = 512,
        learning_starts: int = 10_000,
        policy: Any = None,
        policy_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if policy_kwargs is None and kwargs.get("_init_setup_model", True):
            raise ValueError(
                "`policy_kwargs` must hold the circuit, got None."
                ' Give {"cell": ...}, e.g. one of policies.motor_circuits.make_motor_cell.'
            )
        self.sequence_length, self.burn_in = sequence_length, burn_in
        self.critic_frames = critic_frames
        super().__init__(
            policy or self.default_policy,
            env,
            batch_size=batch_size,
            learning_starts=learning_starts,
            replay_buffer_class=SequenceReplay,
            policy_kwargs=policy_kwargs,
            **kwargs,
        )

    def _setup_model(self) -> None:
        """Build policy and buffer; check the settings, also those restored by sb3's `load`."""
        length = check_count("sequence_length", self.sequence_length)
        check_count("burn_in", self.burn_in, least=0)
        frames = check_count("critic_frames", self.critic_frames)
        batch_size = check_count("batch_size", self.batch_size)
        check_spaces(self.observation_space, self.action_space)
        if batch_size % length:
            raise ValueError(
                f"`sequence_length` must divide the {batch_size} steps of a batch, got {length!r}."
                " Choose a divisor of it."
            )
        least = (max(self.burn_in, frames - 1) + length) * self.n_envs
        for name in ("learning_starts", "buffer_size"):
            if getattr(self, name) < least:
                raise ValueError(
                    f"`{name}` must be at least {least}, so that every environment has taken a"
                    f" sequence and its burn-in, got {getattr(self, name)!r}. Raise it."
                )
        self.policy_kwargs = self.policy_kwargs | {"critic_frames": frames}
        self.replay_buffer_kwargs = {
            "state_size": self.policy_kwargs["cell"].state_size,
            "sequence_length": length,
            "burn_in": self.burn_in,
            "critic_frames": frames,
        }
        super()._setup_model()

    def _setup_learn(
        self, total_timesteps: int, callback: Any, reset_num_timesteps: bool, *args: Any
    ) -> Any:
        """Start learning; if sb3 resets the environments, reset the hidden states as well."""
        if reset_num_timesteps or self._last_obs is None:
            self._memory: Any = None
            self._episode_starts = np.ones(self.n_envs, dtype=bool)
        return super()._setup_learn(total_timesteps, callback, reset_num_timesteps, *args)

    def _sample_action(
        self, learning_starts: int, action_noise: Any = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose actions in all environments, and store the hidden states before the frame.

        The circuits also run while the first actions are random.
        """
        cell = self.actor.core.circuit.cell
        before = self._memory or (cell.initial_state(n_envs).numpy(force=True),)
        actions, self._memory = self.policy.predict(self._last_obs, before, self._episode_starts)
        self.replay_buffer.add_memory(before[0], self._episode_starts)
        if self.num_timesteps < learning_starts:
            # Drawn from torch's generator, since checkpoints do not store the action space's.
            actions = (2.0 * torch.rand(actions.shape) - 1.0).numpy()
        if action_noise is not None:
            actions = np.clip(actions + action_noise(), -1.0, 1.0)
        return actions, actions

    def _store_transition(
        self,
        replay_buffer: Any,
        buffer_action: Any,
        new_obs: Any,
        reward: Any,
        dones: Any,
        infos: Any,
    ) -> None:
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
        self._episode_starts = np.asarray(dones, dtype=bool)

    def _update_learning_rate(self, optimizers: Any) -> None:
        super()._update_learning_rate(optimizers)
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            for group in optimizer.param_groups:
                group["lr"] *= group.get("lr_scale", 1.0)


class SequenceSAC(_OverSequences, SAC):
    """SAC for `CircuitSAC`."""

    __doc__ = f"{__doc__}\n{_OverSequences.__doc__}"
    default_policy = CircuitSAC


class SequenceTQC(_OverSequences, TQC):
    """TQC for `CircuitTQC`."""

    __doc__ = f"{__doc__}\n{_OverSequences.__doc__}"
    default_policy = CircuitTQC
