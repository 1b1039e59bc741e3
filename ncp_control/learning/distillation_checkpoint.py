"""What a stopped distillation goes on from: one safetensors file, written after every round.

It holds the student, the running average of its weights, the moments of Adam, and as JSON how far
the training has come. All of it is compared with the training before anything is changed.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from ncp_control import files
from ncp_control.learning.divergence import first_not_finite
from ncp_control.learning.stored import difference, optimizer_difference
from ncp_control.policy import Policy

CHECKPOINT = "training.safetensors"
"""Name of the file in a run's checkpoints."""


@dataclass(kw_only=True)
class Training:
    """All that changes during a distillation."""

    policy: Policy
    averaged: AveragedModel
    optimizer: torch.optim.Optimizer
    round: int = 0
    best_return: float = -math.inf
    loss: float = math.nan

    @property
    def student(self) -> Policy:
        """The running average, which acts."""
        module = self.averaged.module
        assert isinstance(module, Policy)
        return module.eval()


def save_training(training: Training, path: Path) -> None:
    """Write weights, their average and the optimizer to one file, whole or not at all."""
    optimizer = training.optimizer.state_dict()["state"]
    tensors = {f"policy.{name}": t for name, t in training.policy.state_dict().items()}
    tensors |= {f"averaged.{name}": t for name, t in training.averaged.state_dict().items()}
    for index, entries in optimizer.items():
        tensors |= {f"optimizer.{index}.{name}": t for name, t in entries.items()}
    # Before the first student was measured, its best return is not a number of JSON.
    best = training.best_return if math.isfinite(training.best_return) else None
    state = {"round": training.round, "best_return": best, "loss": training.loss}
    data = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    files.write_file(path, safetensors.torch.save(data, metadata={"state": json.dumps(state)}))


def load_training(training: Training, path: Path, rounds: int) -> None:
    """Read what `save_training` wrote.

    Raises:
        ValueError: If the file is damaged, of a training with other settings or of one that
            diverged.
    """
    state = _read_state(path)
    try:
        tensors = safetensors.torch.load(path.read_bytes())
    except SafetensorError as error:
        raise _damaged(path) from error
    parts: dict[str, dict[str, Tensor]] = {"policy": {}, "averaged": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part not in parts:
            raise _unfit(path, f"`{name}`")
        parts[part][rest] = tensor
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in parts["optimizer"].items():
        index, _, entry = name.partition(".")
        moments.setdefault(int(index) if index.isdecimal() else -1, {})[entry] = tensor
    groups = training.optimizer.state_dict()["param_groups"]
    optimizer = {"state": moments, "param_groups": groups}
    told = (
        difference(parts["policy"], training.policy.state_dict(), "policy")
        or difference(parts["averaged"], training.averaged.state_dict(), "averaged")
        or optimizer_difference(optimizer, training.optimizer, "optimizer")
    )
    if told is None and state["round"] > rounds:
        told = f"{state['round']} rounds instead of at most {rounds}"
    if told is not None:
        raise _unfit(path, told)
    found = first_not_finite([state["best_return"], state["loss"], tensors])
    if found is not None:
        raise ValueError(
            f"{path} must hold finite numbers, got NaN or infinity: the training had diverged."
            " Start it anew with a lower learning rate."
        )
    training.policy.load_state_dict(parts["policy"])
    training.averaged.load_state_dict(parts["averaged"])
    training.optimizer.load_state_dict(optimizer)
    best = state["best_return"]
    training.best_return = -math.inf if best is None else best
    training.round, training.loss = state["round"], state["loss"]


def rounds_done(run_folder: Path) -> int:
    """Return the number of the last round that a stopped run has logged and need not repeat.

    Raises:
        ValueError: If the checkpoint is damaged.
    """
    path = run_folder / "checkpoints" / CHECKPOINT
    return _read_state(path)["round"] - 1 if path.is_file() else -1


def _read_state(path: Path) -> dict[str, Any]:
    """Read where a training stands: round, best return, loss."""
    try:
        with safe_open(path, "pt") as file:
            state = json.loads(file.metadata()["state"])
        best = None if state["best_return"] is None else 0.0
        told = difference(state, {"round": 0, "best_return": best, "loss": 0.0}, "state")
        is_whole = told is None and type(state["round"]) is int and state["round"] >= 0
    except (SafetensorError, TypeError, KeyError, ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if not is_whole:
        raise _damaged(path)
    return state


def _damaged(path: Path) -> ValueError:
    return ValueError(
        f"{path} must be a checkpoint of a distillation, got a damaged file or another one. Start"
        " the training anew."
    )


def _unfit(path: Path, told: str) -> ValueError:
    return ValueError(
        f"{path} does not fit this training: it has {told}. Resume it with its own settings."
    )
