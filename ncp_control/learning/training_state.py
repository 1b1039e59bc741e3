"""Complete state of a training run, and the checkpoint file from which a stopped run resumes.

The checkpoint is a safetensors file, written atomically. It holds the weights, their running
average, the weights of the best epoch, Adam's moments and the states of the random generators: of
the batches, of torch, and of the GPU if the model is on one. Its metadata holds the progress of the
run as JSON. When a file is loaded, it is checked completely before anything is changed.
"""

import copy
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ncp_control import files
from ncp_control.cells.base import reference_tensor
from ncp_control.generators import drawn_from, generator_states
from ncp_control.learning.divergence import first_not_finite
from ncp_control.learning.stored import difference, optimizer_difference

CHECKPOINT = "training.safetensors"
"""Name of the file in a run's `checkpoints/`."""
_PROGRESS = {"epoch": 0, "step": 0, "best_epoch": 0, "best_score": 0.0, "loss": 0.0, "seconds": 0.0}
"""Names and example values of the JSON metadata. The best score is infinite before the first."""


@dataclass(kw_only=True)
class TrainingState:
    """Everything that changes during a training run."""

    model: nn.Module
    averaged: AveragedModel | None
    """Running average of the weights, if there is one."""
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    """Source of all randomness in the batches."""
    epoch_began: Tensor = field(init=False)
    """State of the generator at the beginning of the current epoch."""
    stopped_at: dict[str, Tensor] = field(default_factory=dict)
    """States of torch's global generators when the run was stopped, see `generator_states`; empty
    if the run was not resumed."""
    best: dict[str, Tensor] = field(init=False)
    """Weights with the best score; the initial weights before there is a score."""
    best_epoch: int = 0
    """Epoch of the best score, counted from 1; 0 before there is a score."""
    best_score: float = math.inf
    epoch: int = 0
    """Number of completed epochs, including their score."""
    step: int = 0
    """Number of optimizer steps taken in the current epoch."""
    loss: float = 0.0
    """Sum of the losses of these steps."""
    seconds: float = 0.0
    """Wall time of all epochs so far [s]."""

    def __post_init__(self) -> None:
        self.epoch_began = self.generator.get_state()
        self.best = copy.deepcopy(self.kept.state_dict())

    @property
    def kept(self) -> nn.Module:
        """Model that is scored and saved: the one with averaged weights, or the model itself."""
        return self.model if self.averaged is None else self.averaged.module

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return reference_tensor(self.model).device

    @property
    def has_begun(self) -> bool:
        """Whether at least one optimizer step or epoch is done."""
        return self.epoch + self.step > 0

    def _parts(self) -> dict[str, dict[str, Tensor]]:
        """Return all tensors except the optimizer's, by part and name."""
        averaged = {} if self.averaged is None else self.averaged.state_dict()
        generators = {"epoch": self.epoch_began} | generator_states(self.device)
        return {
            "model": self.model.state_dict(),
            "averaged": averaged,
            "best": self.best,
            "generator": generators,
        }

    def save(self, path: Path) -> None:
        """Write the complete state to one file, atomically."""
        moments = self.optimizer.state_dict()["state"]
        parts = self._parts() | {
            "optimizer": {
                f"{index}.{name}": tensor
                for index, entries in moments.items()
                for name, tensor in entries.items()
            }
        }
        tensors = {
            f"{part}.{name}": tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for part, entries in parts.items()
            for name, tensor in entries.items()
        }
        progress = {name: getattr(self, name) for name in _PROGRESS}
        files.write_file(path, safetensors.torch.save(tensors, {"state": json.dumps(progress)}))

    def load(self, path: Path, epochs: int) -> None:
        """Restore the state from a file written by `save`.

        Args:
            path: The file.
            epochs: Number of epochs of this training run; the file must not be further.

        Raises:
            ValueError: If the file is damaged, belongs to other settings, or holds non-finite
                values.
        """
        progress = _read_progress(path)
        try:
            tensors = safetensors.torch.load(path.read_bytes())
        except SafetensorError as error:
            raise _damaged(path) from error
        wanted = self._parts()
        found: dict[str, dict[str, Tensor]] = {part: {} for part in (*wanted, "optimizer")}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            if part not in found:
                raise _unfit(path, f"`{name}`")
            found[part][rest] = tensor
        generators = found["generator"]
        if generators.keys() ^ wanted["generator"].keys() == {"cuda"}:
            # Saved on another device, or by a version that did not save the GPU's generator.
            generators.pop("cuda", None)
            wanted["generator"].pop("cuda", None)
        optimizer = self._read_optimizer(found["optimizer"])
        unfit = optimizer_difference(optimizer, self.optimizer, "optimizer") or next(
            filter(None, (difference(found[part], wanted[part], part) for part in wanted)), None
        )
        if unfit is None and progress["epoch"] > epochs:
            unfit = f"{progress['epoch']} epochs instead of at most {epochs}"
        if unfit is not None:
            raise _unfit(path, unfit)
        numbers = [
            progress["loss"],
            progress["best_score"] if progress["best_epoch"] else 0.0,
            tensors,
        ]
        if first_not_finite(numbers) is not None:
            raise ValueError(
                f"{path} must hold finite numbers, got NaN or infinity: the training had diverged."
                " Start it anew with a lower learning rate."
            )
        epoch_began = generators.pop("epoch")
        try:
            torch.Generator().set_state(epoch_began)
            with drawn_from(generators, self.device):
                pass
        except RuntimeError as error:
            raise _damaged(path) from error
        self.model.load_state_dict(found["model"])
        if self.averaged is not None:
            self.averaged.load_state_dict(found["averaged"])
        self.optimizer.load_state_dict(optimizer)
        self.best = {name: found["best"][name] for name in self.best}
        self.epoch_began, self.stopped_at = epoch_began, generators
        for name in _PROGRESS:
            setattr(self, name, progress[name])

    def _read_optimizer(self, tensors: dict[str, Tensor]) -> dict[str, Any]:
        """Return the optimizer's state dict; each moment gets the memory layout of its weight."""
        weights = [w for group in self.optimizer.param_groups for w in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            index, _, entry = name.partition(".")
            number = int(index) if index.isdecimal() else -1
            if 0 <= number < len(weights) and tensor.shape == weights[number].shape:
                # Another memory layout may round differently.
                tensor = torch.empty_like(weights[number], dtype=tensor.dtype).copy_(tensor)
            moments.setdefault(number, {})[entry] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        return {"state": moments, "param_groups": groups}


def epochs_done(run_folder: Path) -> int:
    """Return the number of completed epochs of a stopped run; later rows must be dropped.

    It is -1 if there is no checkpoint.

    Raises:
        ValueError: If the checkpoint is damaged.
    """
    path = run_folder / "checkpoints" / CHECKPOINT
    return _read_progress(path)["epoch"] if path.is_file() else -1


def seconds_learned(run_folder: Path) -> float:
    """Return the wall time of training [s], summed over all resumptions of a run.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If the checkpoint is damaged.
    """
    return _read_progress(run_folder / "checkpoints" / CHECKPOINT)["seconds"]


def _read_progress(path: Path) -> dict[str, Any]:
    """Read the progress of a training run from the metadata of its checkpoint."""
    try:
        with safe_open(path, "pt") as file:
            progress = json.loads(file.metadata()["state"])
        is_whole = difference(progress, _PROGRESS, "state") is None and all(
            type(progress[name]) is type(example)
            and (type(example) is float or progress[name] >= 0)
            for name, example in _PROGRESS.items()
        )
    except (SafetensorError, TypeError, KeyError, ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if not is_whole:
        raise _damaged(path)
    return progress


def _damaged(path: Path) -> ValueError:
    return ValueError(
        f"{path} must be a checkpoint of a training, got a damaged file or another one. Start the"
        " training anew."
    )


def _unfit(path: Path, mismatch: str) -> ValueError:
    return ValueError(
        f"{path} does not fit this training: it has {mismatch}. Resume it with its own settings."
    )
