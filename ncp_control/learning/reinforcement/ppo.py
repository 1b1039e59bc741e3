"""Proximal policy optimization (PPO) of circuits over whole sequences.

Source: Schulman et al. 2017 (arXiv 1707.06347) as implemented by sb3-contrib's RecurrentPPO.
Differs: minibatches are sequences of equal length (`sequences`), the actor can have its own
learning rate, and the running average of observations is part of the training checkpoint instead of
a separate file.
"""

import math
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.preprocessing import check_for_nested_spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from ncp_control.learning.reinforcement.actor_critic import CircuitActorCritic
from ncp_control.learning.reinforcement.guard import GuardedLearning
from ncp_control.learning.reinforcement.sequences import SequenceBuffer, SequenceDictBuffer
from ncp_control.learning.reinforcement.shared_update import update
from ncp_control.learning.reinforcement.wrappers import check_time_is_not_scaled
from ncp_control.learning.team import team
from ncp_control.ranges import check_count


class SequencePPO(GuardedLearning, RecurrentPPO):
    """RecurrentPPO for a `CircuitActorCritic`.

    Args:
        env: Environments; see `CircuitActorCritic` for their spaces.
        sequence_length: Number of steps through which gradients flow; divides `n_steps`.
        n_steps: Number of steps per environment and rollout.
        batch_size: Number of steps per minibatch, a multiple of `sequence_length`.
        critic_first_steps: Number of steps at the beginning in which only the critic learns, so
            that its poor first estimates do not spoil an already trained actor.
        policy: The policy class.
        policy_kwargs: Arguments of the policy class; only sb3's own `load` may omit them.
        **kwargs: Arguments of `RecurrentPPO`.

    Raises:
        ValueError: If `sequence_length` does not divide `n_steps` and `batch_size`, a space is not
            supported, the learning rate is invalid, or a `VecNormalize` scales the elapsed time.
    """

    def __init__(
        self,
        env: VecEnv,
        *,
        sequence_length: int = 32,
        n_steps: int = 256,
        batch_size: int = 512,
        critic_first_steps: int = 0,
        policy: type[CircuitActorCritic] = CircuitActorCritic,
        policy_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        is_loading = not kwargs.get("_init_setup_model", True)
        if policy is CircuitActorCritic and policy_kwargs is None and not is_loading:
            raise ValueError(
                "`policy_kwargs` must hold the circuit, got None."
                ' Give {"cell": ...}, e.g. one of policies.motor_circuits.make_motor_cell.'
            )
        self.sequence_length = sequence_length
        self.critic_first_steps = critic_first_steps
        super().__init__(
            policy,
            env,
            n_steps=n_steps,
            batch_size=batch_size,
            policy_kwargs=policy_kwargs,
            **kwargs,
        )

    def _setup_model(self) -> None:
        """Build policy and buffer; check the settings, also those restored by sb3's `load`."""
        self._check_settings()
        super()._setup_model()
        hidden_state_shape = self.rollout_buffer.hidden_state_shape  # type: ignore[attr-defined]
        self.rollout_buffer = self._make_buffer(hidden_state_shape)

    def _make_buffer(self, hidden_state_shape: tuple[int, int, int, int]) -> Any:
        policy = cast(CircuitActorCritic, self.policy)
        space = self.observation_space
        if policy.keeps_features:
            space = spaces.Box(-np.inf, np.inf, (policy.perception.features_dim,), np.float32)
        is_dict = isinstance(space, spaces.Dict)
        buffer: Any = (SequenceDictBuffer if is_dict else SequenceBuffer)(
            self.n_steps,
            space,
            self.action_space,
            hidden_state_shape,
            self.device,
            gamma=self.gamma,
            gae_lambda=self.gae_lambda,
            n_envs=self.n_envs,
        )
        buffer.sequence_length = self.sequence_length
        if isinstance(buffer, SequenceBuffer) and policy.keeps_features:
            buffer.features = lambda: policy.kept_features
        return buffer

    @staticmethod
    def _wrap_env(env: Any, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        """Put an environment into a `VecEnv`; frames keep their channels last, as heads need them.

        Differs: sb3 moves the channels first.
        """
        if not isinstance(env, VecEnv):
            one = env if is_wrapped(env, Monitor) or not monitor_wrapper else Monitor(env)
            env = DummyVecEnv([lambda: one])
        check_for_nested_spaces(env.observation_space)
        return env

    def train(self) -> None:
        """Update from the rollout; under torchrun, the processes share each minibatch."""
        leader = team()
        if leader is None:
            super().train()
        else:
            update(self, leader, self.sequence_length)

    def _check_settings(self) -> None:
        length = check_count("sequence_length", self.sequence_length)
        n_steps = check_count("n_steps", self.n_steps)
        batch_size = check_count("batch_size", cast(int, self.batch_size))
        check_count("critic_first_steps", self.critic_first_steps, least=0)
        most = math.gcd(n_steps, batch_size)
        if most % length:
            raise ValueError(
                f"`sequence_length` must divide the {n_steps} steps of a rollout and the"
                f" {batch_size} of a minibatch, got {length!r}. Choose {most} or a divisor of it."
            )
        check_time_is_not_scaled(self.env)

    def _update_learning_rate(self, optimizers: Any) -> None:
        super()._update_learning_rate(optimizers)
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            assert isinstance(optimizer, torch.optim.Optimizer)
            critic_alone = self.num_timesteps <= self.critic_first_steps
            for group in optimizer.param_groups:
                waits = critic_alone and not group["is_critic"]
                group["lr"] *= 0.0 if waits else group["lr_scale"]
