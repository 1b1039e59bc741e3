"""Training checkpoint of a reinforcement learning run: one file, written atomically.

It holds the policy, its optimizers, the replay buffer (SAC, TQC), the running averages of
observations and returns (of every `VecNormalize`), the number of steps, and the state of every
random generator (torch, NumPy, Python, each environment and its wrappers). The generators of
environments in a SubprocVecEnv or on a device cannot be read; these environments get new seeds when
training resumes. Unfinished episodes are not saved: every environment starts a new episode.

Checkpoints with non-finite values are not written. The file is read with `weights_only=True`, so no
code in it is executed, and its content is checked against the model before anything is changed.
"""

import io
import json
import operator
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from ncp_control import files
from ncp_control.learning.divergence import DivergenceError, first_not_finite
from ncp_control.learning.reinforcement.replay import EXPERIENCE
from ncp_control.learning.reinforcement.shared_worlds import SharedWorlds, generators
from ncp_control.learning.reinforcement.wrappers import environments, running_averages
from ncp_control.learning.stored import difference, optimizer_difference

FORMAT_VERSION = 3
_NOT_SETTABLE = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""Errors that the setters of random generators raise for an invalid state."""


def save_checkpoint(path: Path | str, model: BaseAlgorithm) -> None:
    """Save the training state; call this between two updates.

    Args:
        path: The file.
        model: Algorithm with its environments: PPO or a subclass of it, SAC or TQC.

    Raises:
        DivergenceError: If a learned or stored value is NaN or infinite; an existing file is kept.
    """
    env = environments(model)
    learned = learned_state(model)
    experience = _experience_to_dict(model)
    _check_finite({**learned, "experience": experience}, model.num_timesteps)
    content = {
        "format_version": FORMAT_VERSION,
        **learned,
        "experience": experience,
        "num_timesteps": model.num_timesteps,
        "num_updates": model._n_updates,  # type: ignore[attr-defined]
        "torch_generator": torch.get_rng_state(),
        "generators": json.dumps(
            {
                "numpy": np.random.get_state(legacy=False),  # noqa: NPY002 - sb3 draws from it
                "python": random.getstate(),
                "environments": _generator_states(env),
            },
            default=np.ndarray.tolist,
        ),
    }
    if model.device.type == "cuda":
        content["cuda_generator"] = torch.cuda.get_rng_state(model.device)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    files.write_file(path, buffer.getvalue())


def load_checkpoint(path: Path | str, model: BaseAlgorithm) -> None:
    """Restore the training state into a model that was built with the same settings.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, belongs to other settings, or holds non-finite values.
    """
    content = _read(path)
    env = environments(model)
    mismatch = next(filter(None, _differences(content, model)), None)
    if mismatch is not None:
        raise ValueError(
            f"{path} does not fit this training: it has {mismatch}. Resume it with its own"
            " settings."
        )
    found = first_not_finite(
        {name: content[name] for name in ("experience", *learned_state(model))}
    )
    if found is not None:
        raise ValueError(
            f"{path} must hold finite numbers, got NaN or infinity in `{found}`: the training had"
            " diverged. Start it anew with a lower learning rate."
        )
    # The first reset applies the seeds; the state that it changes is restored below.
    env.reset()
    model.set_parameters(content["parameters"])
    _set_experience(model, content["experience"])
    for name, average in running_averages(env).items():
        values = content["averages"][name]
        average.mean, average.var = values["mean"].numpy(), values["var"].numpy()
        average.count = values["count"]
    temperature = _temperature(model)
    if temperature is not None:
        temperature.copy_(content["temperature"])
    model.num_timesteps = content["num_timesteps"]
    model._n_updates = content["num_updates"]  # type: ignore[attr-defined]
    try:
        _set_generators(env, content, model)
    except _NOT_SETTABLE as error:
        raise ValueError(
            f"{path} does not fit this training: its random generators are not those of the"
            f" {env.num_envs} environments. Resume it with its own settings."
        ) from error


def steps_done(path: Path | str) -> int:
    """Return the number of training steps at which a checkpoint was written.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged.
    """
    return _read(path, mmap=True)["num_timesteps"]  # mmap does not load the replay buffer


def learned_state(model: BaseAlgorithm) -> dict[str, Any]:
    """Return all values that updates change: weights, optimizer moments, running averages."""
    return {
        "parameters": model.get_parameters(),
        "temperature": _temperature(model),
        "averages": {
            name: {
                "mean": torch.as_tensor(average.mean).clone(),
                "var": torch.as_tensor(average.var).clone(),
                "count": float(average.count),
            }
            for name, average in running_averages(environments(model)).items()
        },
    }


def check_learned(model: BaseAlgorithm) -> None:
    """Raise DivergenceError if a learned value of a model is not finite.

    Raises:
        DivergenceError: If a weight, a moment of an optimizer or a running average is not finite.
    """
    _check_finite(learned_state(model), model.num_timesteps)


def _check_finite(values: dict[str, Any], num_steps: int) -> None:
    found = first_not_finite(values)
    if found is not None:
        raise DivergenceError(
            f"The training must stay finite, got NaN or infinity in `{found}` after {num_steps}"
            " steps. Begin it anew with a lower learning rate."
        )


def _read(path: Path | str, *, mmap: bool = False) -> dict[str, Any]:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"`path` must be a checkpoint, got {str(path)!r}. Name a run folder whose training"
            " has written one."
        )
    try:
        _check_archive(path)
        content = torch.load(path, weights_only=True, map_location="cpu", mmap=mmap)
    except OSError:
        raise
    except Exception as error:  # torch raises many kinds of errors for damaged files
        raise ValueError(
            f"{path} must be a whole checkpoint, got a damaged file or another one. Start the"
            " training anew."
        ) from error
    if not isinstance(content, dict) or content.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path} must be a checkpoint of format version {FORMAT_VERSION}."
            " Resume it with the version of ncp-control that wrote it."
        )
    steps = content.get("num_timesteps")
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 0:
        raise ValueError(
            f"{path} must be a whole checkpoint, got one without its number of steps. Start the"
            " training anew."
        )
    return content


def _check_archive(path: Path) -> None:
    """Raise ValueError for a compressed archive or one that unpacks to more than its size.

    torch does not compress its files.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    is_packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if is_packed or sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise ValueError("The archive claims more than the file holds.")


def _differences(content: dict[str, Any], model: BaseAlgorithm) -> Iterator[str | None]:
    """Yield for each part of a checkpoint how it differs from the model's; None if it fits."""
    wanted, found = learned_state(model), content.get("parameters")
    networks, found = wanted.pop("parameters"), dict(found) if isinstance(found, dict) else {}
    for name in list(networks):
        part = operator.attrgetter(name)(model)
        if isinstance(part, torch.optim.Optimizer):
            del networks[name]
            yield optimizer_difference(found.pop(name, None), part, name)
    yield difference(found, networks, "parameters")
    wanted |= {"num_updates": 0, "torch_generator": torch.get_rng_state(), "generators": ""}
    for name, values in wanted.items():
        yield difference(content.get(name), values, name)
    yield _experience_difference(model, content.get("experience"))


def _temperature(model: BaseAlgorithm) -> Tensor | None:
    """Return the logarithm of the entropy coefficient if it is learned, else None."""
    logarithm = getattr(model, "log_ent_coef", None)
    return None if logarithm is None else logarithm.detach()


def _replay_buffer(model: BaseAlgorithm) -> ReplayBuffer | None:
    if not isinstance(model, OffPolicyAlgorithm):
        return None
    buffer = model.replay_buffer
    assert isinstance(buffer, ReplayBuffer)
    return buffer


def _kept(buffer: ReplayBuffer) -> tuple[str, ...]:
    """Return the names of the arrays that hold a buffer's steps."""
    return getattr(buffer, "kept", EXPERIENCE)


def _experience_to_dict(model: BaseAlgorithm) -> dict[str, Any] | None:
    """Return the filled part of the replay buffer; None if there is no replay buffer."""
    buffer = _replay_buffer(model)
    if buffer is None:
        return None
    filled = {
        name: torch.from_numpy(getattr(buffer, name)[: buffer.size()]) for name in _kept(buffer)
    }
    return {"pos": buffer.pos, "full": buffer.full, **filled}


def _experience_difference(model: BaseAlgorithm, found: Any) -> str | None:
    """Return how stored experience does not fit the replay buffer; None if it fits."""
    buffer = _replay_buffer(model)
    if buffer is None:
        return None if found is None else "experience, which this algorithm does not replay"
    own = {name: torch.from_numpy(getattr(buffer, name)) for name in _kept(buffer)}
    mismatch = difference(found, {"pos": 0, "full": False, **own}, "experience", any_length=True)
    if mismatch is not None:
        return mismatch
    pos, size, capacity = found["pos"], len(found["observations"]), len(buffer.observations)
    is_possible = isinstance(pos, int) and size <= capacity
    is_possible &= 0 <= pos < max(size, 1) if found["full"] else pos == size
    if not is_possible or any(len(found[name]) != size for name in own):
        return f"experience of {size} steps, written up to {pos}, for a buffer of {capacity}"
    return None


def _set_experience(model: BaseAlgorithm, values: dict[str, Any] | None) -> None:
    buffer = _replay_buffer(model)
    if buffer is None or values is None:
        return
    size, pos, full, oldest = len(values["observations"]), values["pos"], values["full"], 0
    if full and size < len(buffer.observations):  # a longer run has a larger buffer
        pos, full, oldest = size, False, pos
    for name in _kept(buffer):
        stored = values[name].numpy()
        getattr(buffer, name)[:size] = np.roll(stored, -oldest, axis=0) if oldest else stored
    buffer.pos, buffer.full = pos, full


def _generator_states(env: VecEnv) -> list[Any] | None:
    """Return the generator states of all environments; None if they cannot be read."""
    worlds: Any = env.unwrapped
    if isinstance(worlds, SharedWorlds):
        return worlds.generator_states()
    if not hasattr(worlds, "envs"):
        return None
    return [one.bit_generator.state for one in generators(worlds.envs)]


def _set_generators(env: VecEnv, content: dict[str, Any], model: BaseAlgorithm) -> None:
    """Restore all random generators; reseed environments whose generators cannot be set."""
    states = json.loads(content["generators"])
    worlds: Any = env.unwrapped
    if states["environments"] is None or _generator_states(env) is None:
        # Applied by the next reset; differs from the seeds at the beginning of training.
        entropy = [model.seed or 0, content["num_timesteps"]]
        env.seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]) // 2)
    elif isinstance(worlds, SharedWorlds):
        worlds.set_generator_states(states["environments"])
    else:
        for one, state in zip(generators(worlds.envs), states["environments"], strict=True):
            one.bit_generator.state = state
    key = np.array(states["numpy"]["state"]["key"], dtype=np.uint32)
    states["numpy"]["state"]["key"] = key
    np.random.set_state(states["numpy"])  # noqa: NPY002
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    torch.set_rng_state(content["torch_generator"])
    if model.device.type == "cuda" and "cuda_generator" in content:
        torch.cuda.set_rng_state(content["cuda_generator"], model.device)
