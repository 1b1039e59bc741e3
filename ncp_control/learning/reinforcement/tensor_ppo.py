"""`SequencePPO` in thousands of environments on a device; rollouts are not copied to the host.

| part                       | where it is from                                                |
|----------------------------|-----------------------------------------------------------------|
| actor, critic              | `CircuitActorCritic`, as in `SequencePPO`                       |
| loss, optimizer, schedules | sb3-contrib's `RecurrentPPO.train`, as in `SequencePPO`         |
| minibatches                | `sequences.minibatch`, as in `SequencePPO`                      |
| rollout, advantages        | here, as tensors; a test holds them to `SequencePPO`'s          |
| worlds, running averages   | `tensor_env`                                                    |

A step of all environments calls the actor, the critic and the environments on the device. The host
waits for the device only between rollouts, to read the episodes that ended, and in the update,
where sb3-contrib reads the losses of each minibatch and, once, the values of the rollout.

Differs from `SequencePPO`: a circuit's hidden state is stored only at the first step of each
sequence, since the others are never read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.type_aliases import (
    RecurrentRolloutBufferSamples,
    RNNStates,
)
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor
from torch.distributions import Distribution

from ncp_control.learning.reinforcement.actor_critic import CircuitActorCritic
from ncp_control.learning.reinforcement.ppo import SequencePPO
from ncp_control.learning.reinforcement.sequences import minibatch
from ncp_control.learning.reinforcement.tensor_env import TensorNormalize


class TensorRollout:
    """Rollout of T steps in N environments, as tensors on a device.

    Args:
        num_steps: T, a multiple of `length`.
        num_worlds: N.
        observation_space: Observation space of one environment; frames are stored as uint8.
        action_size: Number of entries of an action.
        length: Number of steps per sequence.
        gamma: Discount factor per step.
        gae_lambda: λ of the advantages.
        device: Device of the tensors.
    """

    def __init__(
        self,
        *,
        num_steps: int,
        num_worlds: int,
        observation_space: spaces.Box,
        action_size: int,
        length: int,
        gamma: float,
        gae_lambda: float,
        device: torch.device,
    ) -> None:
        self.buffer_size, self.n_envs, self.length = num_steps, num_worlds, length
        self.gamma, self.gae_lambda, self.device = gamma, gae_lambda, device
        names = ("rewards", "values", "log_probs", "episode_starts", "advantages", "returns")
        shapes = {"observations": observation_space.shape, "actions": (action_size,)}
        shapes |= dict.fromkeys(names, ())
        is_frame = observation_space.dtype == np.uint8
        self.steps = {
            name: torch.zeros(
                (num_steps, num_worlds, *shape),
                dtype=torch.uint8 if is_frame and name == "observations" else torch.float32,
                device=device,
            )
            for name, shape in shapes.items()
        }
        self._states: list[RNNStates] = []
        self._pos = 0

    def reset(self) -> None:
        """Empty the rollout."""
        self._pos = 0
        self._states.clear()

    def add(self, states: RNNStates, **values: Tensor) -> None:
        """Add a step of all environments.

        Args:
            states: Hidden states before the step.
            **values: Tensors of shape (worlds, …), with the names in `steps`.
        """
        if self._pos % self.length == 0:
            self._states.append(states)
        for name, value in values.items():
            self.steps[name][self._pos] = value
        self._pos += 1

    def compute_returns_and_advantage(self, last_values: Tensor, dones: Tensor) -> None:
        """Compute returns and advantages, A(t) = δ(t) + γλ A(t+1) within an episode.

        Args:
            last_values: Values of the observations after the last step, shape (worlds,).
            dones: 1 where the last step ended an episode, shape (worlds,).

        Source: Schulman et al. 2016, "High-dimensional continuous control using generalized
        advantage estimation", as in stable-baselines3's `RolloutBuffer`.
        """
        steps = self.steps
        advantage = torch.zeros_like(last_values)
        goes_on, next_values = 1.0 - dones, last_values
        for t in reversed(range(self.buffer_size)):
            delta = steps["rewards"][t] + self.gamma * next_values * goes_on - steps["values"][t]
            advantage = delta + self.gamma * self.gae_lambda * goes_on * advantage
            steps["advantages"][t] = advantage
            goes_on, next_values = 1.0 - steps["episode_starts"][t], steps["values"][t]
        torch.add(steps["advantages"], steps["values"], out=steps["returns"])

    def get(self, batch_size: int | None = None) -> Iterator[RecurrentRolloutBufferSamples]:
        """Yield minibatches of `batch_size` steps in a new random order."""
        num_sequences = self.buffer_size * self.n_envs // self.length
        per_batch = num_sequences if batch_size is None else batch_size // self.length
        order = torch.randperm(num_sequences).to(self.device)
        kept = [state.pi for state in self._states], [state.vf for state in self._states]
        states = [
            (torch.stack([h for h, _ in pairs]), torch.stack([c for _, c in pairs]))
            for pairs in kept
        ]
        for start in range(0, num_sequences, per_batch):
            chosen = order[start : start + per_batch]
            yield minibatch(
                RecurrentRolloutBufferSamples, self.steps, states, chosen, self.length, self.device
            )

    @property
    def values(self) -> np.ndarray:
        """Values of all steps on the host, read once per update for sb3's explained variance."""
        return self.steps["values"].cpu().numpy()

    @property
    def returns(self) -> np.ndarray:
        """Returns of all steps on the host, read for the same purpose."""
        return self.steps["returns"].cpu().numpy()


@contextmanager
def _without_waiting(device: torch.device) -> Iterator[None]:
    """Disable torch's check of distribution parameters on an accelerator.

    The check would wait for the device at each step. Non-finite values are found between rollouts
    instead; see `guard`.
    """
    is_checked = Distribution._validate_args
    Distribution.set_default_validate_args(is_checked and device.type == "cpu")
    try:
        yield
    finally:
        Distribution.set_default_validate_args(is_checked)


class TensorPPO(SequencePPO):
    """`SequencePPO` for environments in a `TensorNormalize`; takes the same arguments.

    Raises:
        TypeError: If `env` is not a `TensorNormalize`.
        ValueError: If `head_learns` is False, since a rollout stores frames instead of features.
    """

    def __init__(self, env: VecEnv, **kwargs: Any) -> None:
        if not isinstance(env, TensorNormalize):
            raise TypeError(
                f"`env` must be a TensorNormalize, got {type(env).__name__}."
                " Use SequencePPO for worlds on the host."
            )
        super().__init__(env, **kwargs)

    def _make_buffer(self, hidden_state_shape: tuple[int, int, int, int]) -> Any:
        if cast(CircuitActorCritic, self.policy).keeps_features:
            raise ValueError(
                "`head_learns` must be True for worlds on a device, got False. Use SequencePPO to"
                " leave a head as it is."
            )
        observation_space, action_space = (
            cast(spaces.Box, s) for s in (self.observation_space, self.action_space)
        )
        return TensorRollout(
            num_steps=self.n_steps,
            num_worlds=self.n_envs,
            observation_space=observation_space,
            action_size=action_space.shape[0],
            length=self.sequence_length,
            gamma=self.gamma,
            gae_lambda=self.gae_lambda,
            device=self.device,
        )

    @torch.no_grad()
    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: Any, n_rollout_steps: int
    ) -> bool:
        """Collect `n_rollout_steps` steps per environment; call the callback once at the end.

        Returns:
            Whether training should continue.
        """
        worlds, rollout = cast(TensorNormalize, env), cast(TensorRollout, rollout_buffer)
        policy = cast(CircuitActorCritic, self.policy)
        policy.set_training_mode(False)
        rollout.reset()
        callback.on_rollout_start()
        observations: Any = self._last_obs
        starts = torch.as_tensor(self._last_episode_starts, device=self.device).float()
        states: Any = self._last_lstm_states
        no_start = torch.zeros_like(starts)
        for _ in range(n_rollout_steps):
            with _without_waiting(self.device):
                actions, values, log_probs, after = policy(observations, states, starts)
            step = worlds.step_tensors(actions.clamp(-1.0, 1.0))
            self.num_timesteps += worlds.num_envs
            # A truncated episode would have continued: add the value of its last observation.
            cut = policy.predict_values(step.last_observation, after.vf, no_start).flatten()
            is_cut = step.truncated & ~step.terminated
            rollout.add(
                states,
                observations=observations,
                actions=actions,
                rewards=step.reward + self.gamma * cut * is_cut,
                values=values.flatten(),
                log_probs=log_probs,
                episode_starts=starts,
            )
            observations, states = step.observation, after
            starts = (step.terminated | step.truncated).float()
        self._last_obs, self._last_lstm_states = observations, states
        self._last_episode_starts = starts  # type: ignore[assignment]
        last_values = policy.predict_values(observations, states.vf, starts).flatten()
        rollout.compute_returns_and_advantage(last_values, starts)
        infos = worlds.take_episodes()
        self._update_info_buffer(infos)
        callback.update_locals(locals())
        is_on = callback.on_step()
        callback.on_rollout_end()
        return is_on

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> Any:
        """Return actions as sb3's algorithms do, also for observations on a device."""
        if isinstance(observation, Tensor):
            observation = observation.cpu().numpy()
        return super().predict(observation, *args, **kwargs)
