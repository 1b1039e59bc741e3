"""Wrappers of stable-baselines3 between the environments and a model.

A model's observations have passed through every `VecEnvWrapper` around the environments. A policy
that is exported to act without these wrappers must apply the same scaling, and a training
checkpoint must contain their running averages.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import (
    VecCheckNan,
    VecEnv,
    VecEnvWrapper,
    VecMonitor,
    VecNormalize,
    VecVideoRecorder,
)

from ncp_control.learning.reinforcement.perception import NUMBERS, OBSERVATION
from ncp_control.learning.reinforcement.tensor_env import TensorNormalize

UNCHANGING: tuple[type[VecEnvWrapper], ...] = (VecMonitor, VecCheckNan, VecVideoRecorder)
"""Wrappers that change neither observations nor actions."""
SCALING: tuple[type[VecEnvWrapper], ...] = (VecNormalize, TensorNormalize)
"""Wrappers that scale observations by a running average."""


@dataclass(frozen=True, kw_only=True)
class ObservationScale:
    """Scaling of an observation x for a model: clip((x - mean) / std, -limit, limit)."""

    mean: np.ndarray
    """Running mean, float64, shape (observation,)."""
    std: np.ndarray
    """Square root of (running variance + epsilon), same shape."""
    limit: float
    """Limit at which the scaled observation is clipped; may be infinite."""


def environments(model: BaseAlgorithm) -> VecEnv:
    """Return the environments of a model.

    Raises:
        ValueError: If the model has no environments.
    """
    env = model.get_env()
    if env is None:
        raise ValueError(
            "`model` must have the environments it was trained in, got none. Load it with env=...,"
            " or give them to it with set_env."
        )
    return env


def wrappers_around(env: VecEnv | None) -> list[VecEnvWrapper]:
    """Return the wrappers around environments, outermost first."""
    wrappers: list[VecEnvWrapper] = []
    while isinstance(env, VecEnvWrapper):
        wrappers.append(env)
        env = env.venv
    return wrappers


def observation_scale(model: BaseAlgorithm) -> ObservationScale | None:
    """Return the scaling of observations by the wrappers; None if they are not scaled.

    Raises:
        ValueError: If the model has no environments, if there is more than one scaling
            `VecNormalize`, or another wrapper that may change observations or actions.
    """
    env = environments(model)
    check_time_is_not_scaled(env)
    scaling = None
    for wrapper in wrappers_around(env):
        if type(wrapper) in UNCHANGING or _scales_nothing(wrapper):
            continue
        if type(wrapper) not in SCALING or scaling is not None:
            again = " once more" if type(wrapper) in SCALING else ""
            raise ValueError(
                "`model` must act in environments with at most one VecNormalize around them, got"
                f" {type(wrapper).__name__}{again}. Do what it does inside each environment, with a"
                " gymnasium wrapper; or take it off with set_env if it changes no observation."
            )
        scaling = cast(VecNormalize, wrapper)
    return None if scaling is None else _scale_of(scaling, model.num_timesteps)


def check_time_is_not_scaled(env: VecEnv | None) -> None:
    """Check that a `VecNormalize` over a dictionary scales the observed numbers and nothing else.

    Raises:
        ValueError: If it scales the elapsed time [s] or frames, or does not scale the numbers.
    """
    for wrapper in wrappers_around(env):
        space = wrapper.observation_space
        is_dict = isinstance(space, spaces.Dict)
        if not is_dict or not isinstance(wrapper, VecNormalize) or not wrapper.norm_obs:
            continue
        scaled = scaled_key(space)
        if wrapper.norm_obs_keys != [scaled]:
            raise ValueError(
                f"`norm_obs_keys` must be [{scaled!r}] for observations of {sorted(space.spaces)},"
                f" got {wrapper.norm_obs_keys!r}: a circuit needs dt_s in seconds and a head pixels"
                f" as they are. Make it VecNormalize(env, norm_obs_keys=[{scaled!r}])."
            )


def scaled_key(space: spaces.Dict) -> str:
    """Return the key of the part of a dictionary observation that must be scaled."""
    return NUMBERS if NUMBERS in space.spaces else OBSERVATION


def running_averages(env: VecEnv) -> dict[str, RunningMeanStd]:
    """Return the running averages of all `VecNormalize` wrappers by name, outermost first."""
    averages: dict[str, RunningMeanStd] = {}
    scaling = [wrapper for wrapper in wrappers_around(env) if isinstance(wrapper, VecNormalize)]
    for depth, wrapper in enumerate(scaling):
        inside = f"{depth}." if depth else ""
        if wrapper.norm_obs:
            statistics: Any = wrapper.obs_rms
            statistics = statistics if isinstance(statistics, dict) else {"": statistics}
            for key, average in statistics.items():
                averages[f"{inside}observation.{key}".removesuffix(".")] = average
        averages[f"{inside}return"] = wrapper.ret_rms
    return averages


def _scales_nothing(wrapper: VecEnvWrapper) -> bool:
    return type(wrapper) in SCALING and not cast(VecNormalize, wrapper).norm_obs


def _scale_of(env: VecNormalize, num_steps: int) -> ObservationScale:
    average: Any = env.obs_rms
    if isinstance(average, dict):
        average = average[scaled_key(cast(spaces.Dict, env.observation_space))]
    if env.training and num_steps and average.count < 1.0:
        raise ValueError(
            f"`model` must have the VecNormalize of its {num_steps} steps of training, got one that"
            " has seen nothing. Load its averages with VecNormalize.load."
        )
    return ObservationScale(
        mean=average.mean, std=np.sqrt(average.var + env.epsilon), limit=float(env.clip_obs)
    )
