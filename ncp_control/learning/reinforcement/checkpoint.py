"""What a stopped training goes on from: one file, written whole or not at all.

It holds the policy, its optimizers, the experience replayed (SAC, TQC) or the running averages of
observations and returns (in a `VecNormalize`), the number of steps, and the state of every random
generator (torch, NumPy, Python, each environment and the wrappers around it). Episodes that were
under way are not kept: every environment begins a new one. The file is read with
`weights_only=True`: nothing in it is executed.
"""

import io
import json
import random
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize
from torch import Tensor

from ncp_control import files

FORMAT_VERSION = 3
_EXPERIENCE = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def save_checkpoint(path: Path | str, model: BaseAlgorithm) -> None:
    """Write the training as it is between two updates.

    Args:
        path: The file.
        model: An algorithm over environments: PPO and what derives from it, SAC or TQC.
    """
    env = _environments(model)
    averages = {name: _average_to_dict(rms) for name, rms in _averages(model).items()}
    content = {
        "format_version": FORMAT_VERSION,
        "parameters": model.get_parameters(),
        "temperature": _temperature(model),
        "experience": _experience_to_dict(model),
        "num_timesteps": model.num_timesteps,
        "num_updates": model._n_updates,  # type: ignore[attr-defined]
        "averages": averages,
        "torch_generator": torch.get_rng_state(),
        "generators": json.dumps(
            {
                "numpy": np.random.get_state(legacy=False),  # noqa: NPY002 - sb3 draws from it
                "python": random.getstate(),
                "environments": [g.bit_generator.state for g in _generators(env)],
            },
            default=np.ndarray.tolist,
        ),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    files.write_file(path, buffer.getvalue())


def load_checkpoint(path: Path | str, model: BaseAlgorithm) -> None:
    """Set a training built with the same settings to where `save_checkpoint` left it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or of a training with other settings.
    """
    content = _read(path)
    env = _environments(model)
    # The first reset applies the seeds; all that it changes is put right below.
    env.reset()
    try:
        model.set_parameters(content["parameters"])
        _set_experience(model, content["experience"])
        for name, average in _averages(model).items():
            _set_average(average, content["averages"][name])
    except (RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path} does not fit this training: {reason} Resume it with its own settings."
        ) from error
    temperature = _temperature(model)
    if temperature is not None:
        temperature.copy_(content["temperature"])
    model.num_timesteps = content["num_timesteps"]
    model._n_updates = content["num_updates"]  # type: ignore[attr-defined]
    _set_generators(env, content)


def steps_done(path: Path | str) -> int:
    """Return how many steps a training had taken when its checkpoint was written.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged.
    """
    return _read(path, mmap=True)["num_timesteps"]  # leaves the experience on the disk


def normalized_env(model: BaseAlgorithm) -> VecNormalize:
    """Return the environments with their running averages.

    Raises:
        ValueError: If the model's environments are not in a `VecNormalize`.
    """
    env = model.get_vec_normalize_env()
    if env is None:
        raise ValueError(
            f"`model` must act in a VecNormalize, got {model.env!r}. Wrap its environments."
        )
    return env


def observation_scale(model: BaseAlgorithm) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation by which `VecNormalize` scales the observation."""
    env = normalized_env(model)
    average = env.obs_rms["observation"] if isinstance(env.obs_rms, dict) else env.obs_rms
    return average.mean, np.sqrt(average.var + env.epsilon)


def _read(path: Path | str, *, mmap: bool = False) -> dict[str, Any]:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"`path` must be a checkpoint, got {str(path)!r}. Name a run folder whose training"
            " has written one."
        )
    try:
        content = torch.load(path, weights_only=True, mmap=mmap)
    except Exception as error:  # torch raises what its reader happened to meet
        raise ValueError(f"{path} must be a whole checkpoint. Start the training anew.") from error
    if not isinstance(content, dict) or content.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path} must be a checkpoint of format version {FORMAT_VERSION}."
            " Resume it with the version of ncp-control that wrote it."
        )
    return content


def _environments(model: BaseAlgorithm) -> VecEnv:
    env = model.get_env()
    assert env is not None
    return env


def _averages(model: BaseAlgorithm) -> dict[str, RunningMeanStd]:
    """Return every running average by name; none where nothing is normalised."""
    env = model.get_vec_normalize_env()
    if env is None:
        return {}
    if not env.norm_obs:
        seen = {}
    elif isinstance(env.obs_rms, dict):
        seen = {f"observation.{key}": average for key, average in env.obs_rms.items()}
    else:
        seen = {"observation": env.obs_rms}
    return seen | {"return": env.ret_rms}


def _temperature(model: BaseAlgorithm) -> Tensor | None:
    """Return the logarithm of the weight of the entropy, where it is learned."""
    logarithm = getattr(model, "log_ent_coef", None)
    return None if logarithm is None else logarithm.detach()


def _experience_to_dict(model: BaseAlgorithm) -> dict[str, Any] | None:
    """Return what has been put into the buffer so far."""
    if not isinstance(model, OffPolicyAlgorithm):
        return None
    buffer = model.replay_buffer
    assert isinstance(buffer, ReplayBuffer)
    filled = {
        name: torch.from_numpy(getattr(buffer, name)[: buffer.size()]) for name in _EXPERIENCE
    }
    return {"pos": buffer.pos, "full": buffer.full, **filled}


def _set_experience(model: BaseAlgorithm, values: dict[str, Any] | None) -> None:
    if not isinstance(model, OffPolicyAlgorithm) or values is None:
        return
    buffer = model.replay_buffer
    assert isinstance(buffer, ReplayBuffer)
    for name in _EXPERIENCE:
        getattr(buffer, name)[: len(values[name])] = values[name].numpy()
    buffer.pos, buffer.full = values["pos"], values["full"]


def _average_to_dict(average: RunningMeanStd) -> dict[str, Any]:
    return {
        "mean": torch.as_tensor(average.mean).clone(),
        "var": torch.as_tensor(average.var).clone(),
        "count": float(average.count),
    }


def _set_average(average: RunningMeanStd, values: dict[str, Any]) -> None:
    if values["mean"].shape != np.shape(average.mean):
        raise ValueError(
            f"observations of shape {np.shape(average.mean)} for averages of shape"
            f" {tuple(values['mean'].shape)}."
        )
    average.mean = values["mean"].numpy()
    average.var = values["var"].numpy()
    average.count = values["count"]


def _generators(env: VecEnv) -> list[np.random.Generator]:
    """Return the generators of all worlds and of the wrappers around them, outermost first."""
    found: list[np.random.Generator] = []
    for world in cast(DummyVecEnv, env.unwrapped).envs:
        layer: Any = world
        while True:
            held = vars(layer).values()
            found += [value for value in held if isinstance(value, np.random.Generator)]
            if layer is world.unwrapped:
                break
            layer = layer.env
    return found


def _set_generators(env: VecEnv, content: dict[str, Any]) -> None:
    """Put every random generator where it was."""
    states = json.loads(content["generators"])
    for generator, state in zip(_generators(env), states["environments"], strict=True):
        generator.bit_generator.state = state
    key = np.array(states["numpy"]["state"]["key"], dtype=np.uint32)
    states["numpy"]["state"]["key"] = key
    np.random.set_state(states["numpy"])  # noqa: NPY002
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    torch.set_rng_state(content["torch_generator"])
