"""Sequence models on recorded or generated sequences: forecasting and classification.

One trainer for all cells: Adam on shuffled windows, the checkpoint with the best validation error.
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from ncp_control.devices import find_device
from ncp_control.learning.divergence import has_diverged
from ncp_control.learning.forecasters import Forecaster
from ncp_control.learning.schedule import half_cosine
from ncp_control.learning.sequences import Sequences
from ncp_control.names import check_name
from ncp_control.ranges import check_at_least, check_positive


class Objective(NamedTuple):
    """What is minimised, and what is reported, both element by element."""

    loss: Callable[[Tensor, Tensor], Tensor]
    error: Callable[[Tensor, Tensor], Tensor]


OBJECTIVES = {
    "forecast": Objective(
        loss=lambda output, target: (output - target) ** 2,
        error=lambda output, target: (output - target) ** 2,
    ),
    "classify": Objective(
        loss=lambda output, target: F.binary_cross_entropy_with_logits(
            output, target, reduction="none"
        ),
        error=lambda output, target: ((output > 0.0) != (target > 0.5)).to(output.dtype),
    ),
    "categories": Objective(
        loss=lambda output, target: -(F.log_softmax(output, dim=-1) * target).sum(dim=-1),
        error=lambda output, target: (output.argmax(-1) != target.argmax(-1)).to(output.dtype),
    ),
}
"""`forecast`: squared error. Reported as error rate: `classify`, cross-entropy of one logit for
each output; `categories`, cross-entropy of all outputs as one distribution, targets one-hot."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of a training."""

    epochs: int = 200
    """Passes over the training sequences."""
    batch_size: int = 16
    """Sequences in a batch."""
    learning_rate: float = 1e-3
    """Adam's learning rate."""
    final_learning_rate: float = 1.0
    """Share of the learning rate left at the end of half a cosine; 1 keeps it constant."""
    gradient_clip: float | None = None
    """Largest norm of a step's gradient; not clipped if None."""
    objective: str = "forecast"
    """A name in `OBJECTIVES`."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""
    seed: int = 0
    """Seed of the order of the sequences."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "epochs", "batch_size")
        check_positive(self, "learning_rate", "final_learning_rate", "gradient_clip")
        check_name("objective", self.objective, OBJECTIVES)

    def learning_rate_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        return self.learning_rate * half_cosine(epoch, self.epochs, self.final_learning_rate)


@dataclass(frozen=True, kw_only=True)
class Training:
    """What came of a training."""

    epochs: int
    """Epochs trained: fewer than asked for if no error was left."""
    best_epoch: int
    """Epoch of the checkpoint kept, counted from 1."""
    validation_error: float
    """Its error on the validation sequences."""
    seconds_per_epoch: float
    """Wall time of an epoch with its validation [s]."""


def train(
    model: Forecaster,
    training: Sequences | Callable[[int], Sequences],
    validation: Sequences,
    config: TrainingConfig,
    *,
    description: str = "",
    is_silent: bool = False,
) -> Training:
    """Train a model in place and leave it as it was at its best on the validation sequences.

    It stops early once no error is left there, or once a loss or a weight is not finite: then the
    best state before is kept. The model ends on the CPU, wherever it was trained.

    Args:
        model: The model.
        training: Sequences to learn, or what returns those of an epoch, counted from 0.
        validation: Sequences that choose the checkpoint.
        config: Settings.
        description: What the progress bar says.
        is_silent: Whether to leave the progress bar out.

    Raises:
        ValueError: If there are no data, they are not finite or do not fit the model, or no epoch
            ends with a finite validation error; the model is then as it was before the training.
    """
    if isinstance(training, Sequences):
        _check_data("training", training, model)
    _check_data("validation", validation, model)
    device = find_device(config.device)
    model, validation = model.to(device), validation.to(device)
    generator = torch.Generator().manual_seed(config.seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    error = best_error = math.inf
    best_epoch, best = 0, copy.deepcopy(model.state_dict())
    start = time.perf_counter()
    bar = tqdm(range(1, config.epochs + 1), desc=description, unit="epoch", disable=is_silent)
    for epoch in bar:
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate_at(epoch - 1)
        lessons = training
        if not isinstance(lessons, Sequences):
            lessons = lessons(epoch - 1)
            _check_data("training", lessons, model)
        loss, steps = _train_epoch(model, optimizer, lessons.to(device), config, generator)
        if not math.isfinite(loss) or has_diverged(model):
            error = math.nan
            if best_epoch:
                bar.write(
                    f"  {description} diverged in step {steps} of epoch {epoch}: the best state, of"
                    f" epoch {best_epoch}, is kept. Lower the learning rate or clip the gradient."
                )
            break
        error = mean_error(model, validation, config.objective)
        if error < best_error:
            best_error, best_epoch, best = error, epoch, copy.deepcopy(model.state_dict())
        bar.set_postfix(loss=f"{loss:.4g}", validation=f"{error:.4g}", best=f"{best_error:.4g}")
        if best_error == 0.0:
            break  # no later epoch can be better
    model.load_state_dict(best)
    model.cpu()
    if best_epoch == 0:
        raise ValueError(
            f"`validation` error must become finite in some epoch, got {error!r} after step {steps}"
            f" of epoch {epoch}. Lower the learning rate or clip the gradient."
        )
    return Training(
        epochs=epoch,
        best_epoch=best_epoch,
        validation_error=best_error,
        seconds_per_epoch=(time.perf_counter() - start) / epoch,
    )


def _check_data(name: str, data: Sequences, model: Forecaster) -> None:
    """Refuse no data, numbers of another dtype than the model's, and NaN or infinity."""
    if not isinstance(data, Sequences):
        raise ValueError(f"`{name}` must be Sequences, got {data!r}. Return those of the epoch.")
    if len(data) == 0:
        raise ValueError(f"`{name}` must hold at least one sequence, got 0. Give some.")
    dtype = next(model.parameters()).dtype
    if data.inputs.dtype != dtype:
        raise ValueError(
            f"`{name}` must hold {dtype} as the model does, got {data.inputs.dtype}."
            " Convert the traces."
        )
    if data.mask is not None and not data.mask.any():
        raise ValueError(f"`{name}` must have a frame that counts, got none. Correct the mask.")
    data.check_finite(name)


def _train_epoch(
    model: Forecaster,
    optimizer: torch.optim.Optimizer,
    training: Sequences,
    config: TrainingConfig,
    generator: torch.Generator,
) -> tuple[float, int]:
    """Take one optimizer step a batch; return the mean loss and the number of steps.

    A loss that is not finite ends the epoch without a step, and is returned.
    """
    model.train()
    loss_of, losses = OBJECTIVES[config.objective].loss, []
    for batch in training.shuffled_batches(config.batch_size, generator):
        loss = _mean(loss_of, model(batch.inputs, batch.dt_s), batch)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            return losses[-1], len(losses)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if config.gradient_clip is not None:
            clip_grad_norm_(model.parameters(), config.gradient_clip)
        optimizer.step()
    return sum(losses) / max(len(losses), 1), len(losses)


@torch.inference_mode()
def predict(model: Forecaster, sequences: Sequences, *, batch_size: int = 256) -> Tensor:
    """Return the outputs for all sequences, shape (samples, time, output)."""
    model.eval()
    return torch.cat([model(batch.inputs, batch.dt_s) for batch in sequences.batches(batch_size)])


def mean_error(model: Forecaster, sequences: Sequences, objective: str = "forecast") -> float:
    """Return the objective's error, averaged over the frames that count and all outputs.

    It is NaN if one of these outputs is not finite, which an error rate would not show.
    """
    check_name("objective", objective, OBJECTIVES)
    outputs = predict(model, sequences).double()
    error = _mean(OBJECTIVES[objective].error, outputs, sequences).item()
    counted = outputs if sequences.mask is None else outputs[sequences.mask]
    return error if bool(torch.isfinite(counted).all()) else math.nan


def _mean(
    measure: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, sequences: Sequences
) -> Tensor:
    """Average a measure over the frames that count and all outputs."""
    if outputs.shape != sequences.targets.shape:
        raise ValueError(
            f"`model` must give outputs of the targets' shape {tuple(sequences.targets.shape)}, got"
            f" {tuple(outputs.shape)}. Build it with as many outputs."
        )
    if sequences.mask is None:
        return measure(outputs, sequences.targets).mean()
    # Frames that do not count are left out before they are measured: they may hold anything.
    return measure(outputs[sequences.mask], sequences.targets[sequences.mask]).mean()
