"""`SequencePPO` in thousands of worlds on a device, without a copy to the host inside a rollout.

| part                       | where it is from                                                |
|----------------------------|-----------------------------------------------------------------|
| actor, critic              | `CircuitActorCritic`, as in `SequencePPO`                       |
| loss, optimizer, schedules | sb3-contrib's `RecurrentPPO.train`, as in `SequencePPO`         |
| minibatches                | `sequences.minibatch`, as in `SequencePPO`                      |
| rollout, advantages        | here, as tensors; a test holds them to `SequencePPO`'s          |
| worlds, running averages   | `tensor_env`                                                    |

A step of all worlds is a call of the actor, the critic and the worlds, in a stream of the device.
The host waits for it between rollouts, when it learns of the episodes that ended, and in the
update, where sb3-contrib reads each minibatch's losses, and the values of the rollout once.

Differs from `SequencePPO` in what is kept: a circuit's state only at the first step of each
sequence, since nothing else is read.
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
    """A rollout of T steps in N worlds, as tensors on a device.

    Args:
        num_steps: T, a multiple of `length`.
        num_worlds: N.
        observation_space: Space of one world's observations; frames are kept in their 8 bits.
        action_size: Numbers in an action.
        length: Steps of a sequence.
        gamma: Discount a step.
        gae_lambda: λ of the advantages.
        device: Where it is.
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
        """Begin again at the first step."""
        self._pos = 0
        self._states.clear()

    def add(self, states: RNNStates, **values: Tensor) -> None:
        """Add a step of all worlds.

        Args:
            states: The states before it.
            **values: What `steps` holds of it, each of shape (worlds, …).
        """
        if self._pos % self.length == 0:
            self._states.append(states)
        for name, value in values.items():
            self.steps[name][self._pos] = value
        self._pos += 1

    def compute_returns_and_advantage(self, last_values: Tensor, dones: Tensor) -> None:
        """Estimate advantages, A(t) = δ(t) + γλ A(t+1) within an episode.

        Args:
            last_values: Values of what is seen after the last step, shape (worlds,).
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
        """Values of all steps on the host, for sb3's explained variance, once an update."""
        return self.steps["values"].cpu().numpy()

    @property
    def returns(self) -> np.ndarray:
        """Returns of all steps on the host, for the same."""
        return self.steps["returns"].cpu().numpy()


@contextmanager
def _without_waiting(device: torch.device) -> Iterator[None]:
    """Keep torch from reading the parameters of distributions on an accelerator.

    It would wait for the device at each step. What is not finite is found between two rollouts; see
    `guard`.
    """
    is_checked = Distribution._validate_args
    Distribution.set_default_validate_args(is_checked and device.type == "cpu")
    try:
        yield
    finally:
        Distribution.set_default_validate_args(is_checked)


class TensorPPO(SequencePPO):
    """`SequencePPO` in a `TensorNormalize`; takes the same arguments.

    Raises:
        TypeError: If `env` is another one.
        ValueError: If a head is not to learn: a rollout keeps frames, not its features.
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
        seen, done = (cast(spaces.Box, s) for s in (self.observation_space, self.action_space))
        return TensorRollout(
            num_steps=self.n_steps,
            num_worlds=self.n_envs,
            observation_space=seen,
            action_size=done.shape[0],
            length=self.sequence_length,
            gamma=self.gamma,
            gae_lambda=self.gae_lambda,
            device=self.device,
        )

    @torch.no_grad()
    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: Any, n_rollout_steps: int
    ) -> bool:
        """Act for `n_rollout_steps` in every world; tell the callback once, at the end.

        Returns:
            Whether the training is to go on.
        """
        worlds, rollout = cast(TensorNormalize, env), cast(TensorRollout, rollout_buffer)
        policy = cast(CircuitActorCritic, self.policy)
        policy.set_training_mode(False)
        rollout.reset()
        callback.on_rollout_start()
        seen: Any = self._last_obs
        starts = torch.as_tensor(self._last_episode_starts, device=self.device).float()
        states: Any = self._last_lstm_states
        no_start = torch.zeros_like(starts)
        for _ in range(n_rollout_steps):
            with _without_waiting(self.device):
                actions, values, log_probs, after = policy(seen, states, starts)
            step = worlds.step_tensors(actions.clamp(-1.0, 1.0))
            self.num_timesteps += worlds.num_envs
            # A world whose time was over would have gone on: its last value stands for that.
            cut = policy.predict_values(step.last_observation, after.vf, no_start).flatten()
            is_cut = step.truncated & ~step.terminated
            rollout.add(
                states,
                observations=seen,
                actions=actions,
                rewards=step.reward + self.gamma * cut * is_cut,
                values=values.flatten(),
                log_probs=log_probs,
                episode_starts=starts,
            )
            seen, states = step.observation, after
            starts = (step.terminated | step.truncated).float()
        self._last_obs, self._last_lstm_states = seen, states
        self._last_episode_starts = starts  # type: ignore[assignment]
        last_values = policy.predict_values(seen, states.vf, starts).flatten()
        rollout.compute_returns_and_advantage(last_values, starts)
        infos = worlds.take_episodes()
        self._update_info_buffer(infos)
        callback.update_locals(locals())
        is_on = callback.on_step()
        callback.on_rollout_end()
        return is_on

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> Any:
        """Act as sb3's algorithms do, also for observations on a device."""
        if isinstance(observation, Tensor):
            observation = observation.cpu().numpy()
        return super().predict(observation, *args, **kwargs)
