"""Environments on a device with stable-baselines3's interface and `VecNormalize`'s scaling.

`TensorPPO` steps them with `step_tensors`, so no data passes through the host. The method `step`,
which uses NumPy arrays in stable-baselines3, is not supported.
"""

from typing import Any, NoReturn, cast

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch import Tensor

from ncp_control.learning.reinforcement.perception import frame_shape
from ncp_control.tensor_worlds import TensorStep, TensorWorlds


class TensorEnv(VecEnv):
    """Environments on a device, with a record of the returns of finished episodes.

    Args:
        worlds: The environments.
    """

    def __init__(self, worlds: TensorWorlds) -> None:
        self.worlds = worlds  # first, since the base class's constructor uses them
        super().__init__(worlds.num_worlds, worlds.observation_space, worlds.action_space)
        self._return = torch.zeros(worlds.num_worlds, device=worlds.device)
        self._length = torch.zeros(worlds.num_worlds, device=worlds.device)
        self._step_records: list[Tensor] = []

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Seed the environments at the next reset; they share one generator."""
        return [*super().seed(seed)]

    def reset(self) -> Any:
        """Start an episode in every environment; return the observations (worlds, observation)."""
        (seed, *_) = self._seeds
        if seed is not None:
            self.worlds.seed(seed)
        self._reset_seeds()
        self._return.zero_()
        self._length.zero_()
        self._step_records.clear()
        return self.worlds.reset()

    def step_tensors(self, actions: Tensor) -> TensorStep:
        """Step every environment once; see `TensorWorlds.step`."""
        step = self.worlds.step(actions)
        self._return += step.reward
        self._length += 1
        ended = step.terminated | step.truncated
        self._step_records.append(torch.stack([ended.float(), self._return, self._length]))
        self._return *= ~ended
        self._length *= ~ended
        return step

    def take_episodes(self) -> list[dict[str, Any]]:
        """Return the episodes that ended since the last call, in the format of sb3's `Monitor`.

        This is the only place where the host waits for the device.
        """
        if not self._step_records:
            return []
        ended, total, length = torch.stack(self._step_records, dim=1).cpu()
        self._step_records.clear()
        which = ended > 0
        pairs = zip(total[which].tolist(), length[which].tolist(), strict=True)
        return [{"episode": {"r": r, "l": int(steps), "t": 0.0}} for r, steps in pairs]

    def step_async(self, actions: Any) -> NoReturn:
        """Raise NotImplementedError: use `step_tensors`."""
        raise NotImplementedError("Worlds on a device are stepped with `step_tensors`.")

    def step_wait(self) -> NoReturn:
        """Raise NotImplementedError: use `step_tensors`."""
        raise NotImplementedError("Worlds on a device are stepped with `step_tensors`.")

    def close(self) -> None:
        """Do nothing: the environments hold no resources except memory."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the environments, once for each."""
        value = None if attr_name == "render_mode" else getattr(self.worlds, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of all environments."""
        setattr(self.worlds, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        """Call a method once for all environments; return its result once for each."""
        value = getattr(self.worlds, method_name)(*args, **kwargs)
        return [value for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return False for each environment: none is wrapped."""
        return [False for _ in self._get_indices(indices)]


class TensorAverage(RunningMeanStd):
    """Running mean and variance in float64 on a device; read and set as NumPy arrays.

    Args:
        shape: Shape of one value.
        device: Device of the averages.
    """

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self._device = device
        super().__init__(shape=shape)

    @property
    def mean(self) -> np.ndarray:
        """The mean, copied to the host."""
        return self._mean.cpu().numpy()

    @mean.setter
    def mean(self, value: Any) -> None:
        self._mean = torch.as_tensor(value, dtype=torch.float64, device=self._device)

    @property
    def var(self) -> np.ndarray:
        """The variance, copied to the host."""
        return self._var.cpu().numpy()

    @var.setter
    def var(self, value: Any) -> None:
        self._var = torch.as_tensor(value, dtype=torch.float64, device=self._device)

    def update(self, arr: Any) -> None:
        """Update the averages with values of shape (batch, …)."""
        values = cast(Tensor, arr).double()
        mean, variance = values.mean(0), values.var(0, unbiased=False)
        before, batch = self.count, len(values)
        total = before + batch
        delta = mean - self._mean
        self._mean = self._mean + delta * (batch / total)
        squares = self._var * before + variance * batch + delta.square() * (before * batch / total)
        self._var = squares / total
        self.count = total

    def scale(self, values: Tensor, epsilon: float, limit: float, *, centre: bool) -> Tensor:
        """Divide values by their deviation and clip at ±limit; if `centre`, subtract the mean."""
        values = values.double() - self._mean if centre else values.double()
        return (values / (self._var + epsilon).sqrt()).clamp(-limit, limit).float()


class TensorNormalize(VecNormalize):
    """sb3's `VecNormalize` for environments on a device: the same averages, as tensors.

    Frames are not scaled, since heads take pixels.

    Args:
        env: The environments.
        gamma: Discount of the returns; rewards are divided by the deviation of these returns.
    """

    def __init__(self, env: TensorEnv, *, gamma: float) -> None:
        is_numbers = frame_shape(env.observation_space) is None
        super().__init__(env, gamma=gamma, norm_obs=is_numbers)
        self._worlds = env
        device = env.worlds.device
        if is_numbers:
            shape = cast(spaces.Box, env.observation_space).shape
            self.obs_rms: Any = TensorAverage(shape, device)
        self.ret_rms: Any = TensorAverage((), device)
        self.returns: Any = torch.zeros(env.num_envs, dtype=torch.float64, device=device)

    def reset(self) -> Any:
        """Start an episode in every environment; return scaled observations (worlds, …)."""
        observations: Any = self._worlds.reset()
        self.old_obs = observations
        self.returns = torch.zeros_like(self.returns)
        if self.training and self.norm_obs:
            self.obs_rms.update(observations)
        return self.normalize_obs(observations)

    def step_tensors(self, actions: Tensor) -> TensorStep:
        """Step every environment once; observations and rewards of the result are scaled."""
        step = self._worlds.step_tensors(actions)
        self.old_obs: Any = step.observation
        if self.training and self.norm_obs:
            self.obs_rms.update(step.observation)
        if self.training:
            self.returns = self.returns * self.gamma + step.reward
            self.ret_rms.update(self.returns)
        self.returns = self.returns * ~(step.terminated | step.truncated)
        return step._replace(
            observation=self.normalize_obs(step.observation),
            reward=self.normalize_reward(step.reward),
            last_observation=self.normalize_obs(step.last_observation),
        )

    def take_episodes(self) -> list[dict[str, Any]]:
        """Return the episodes that ended since the last call; see `TensorEnv`."""
        return self._worlds.take_episodes()

    def normalize_obs(self, obs: Any) -> Any:
        """Return scaled observations: numbers in float32, frames unchanged."""
        if not self.norm_obs:
            return obs
        return self.obs_rms.scale(obs, self.epsilon, self.clip_obs, centre=True)

    def normalize_reward(self, reward: Any) -> Any:
        """Return scaled rewards, float32."""
        return self.ret_rms.scale(reward, self.epsilon, self.clip_reward, centre=False)
