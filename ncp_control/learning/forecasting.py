"""Training of sequence models on recorded or generated sequences: forecasting, classification.

Adam on shuffled sequences; the weights with the best validation error, or the last ones, are kept.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ncp_control.cells.base import reference_tensor
from ncp_control.devices import find_device
from ncp_control.learning.forecasters import Forecaster
from ncp_control.learning.schedule import half_cosine
from ncp_control.learning.sequences import Sequences
from ncp_control.learning.trainer import Lessons, Trainer, TrainerConfig
from ncp_control.names import check_name
from ncp_control.ranges import check_at_least, check_positive


class Objective(NamedTuple):
    """Training loss and reported error, both element by element."""

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
"""Objectives by name. `forecast`: squared error. `classify`: binary cross-entropy of one logit per
output. `categories`: cross-entropy over all outputs with one-hot targets. The last two report the
error rate."""


Score = Callable[[Tensor, Sequences], float]
"""Returns an error of the outputs for all sequences (lower is better), for errors that are not a
mean over frames."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of a training run."""

    epochs: int = 200
    """Number of passes over the training sequences."""
    batch_size: int = 16
    """Number of sequences per batch."""
    learning_rate: float = 1e-3
    """Adam's initial learning rate."""
    final_rate_fraction: float = 1.0
    """Fraction of the learning rate left at the end of half a cosine; 1 keeps it constant."""
    epoch_decay: float = 1.0
    """Factor of the learning rate per epoch, in addition to the cosine."""
    gradient_clip: float | None = None
    """Maximum norm of the gradient; if None: no clipping."""
    keeps: str = "best"
    """Weights to keep: best (lowest validation error) or last."""
    objective: str = "forecast"
    """Objective: forecast, classify or categories."""
    device: str = "auto"
    """Device: cpu, cuda, or auto (cuda if available)."""
    seed: int = 0
    """Seed of the order of the sequences."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "epochs", "batch_size")
        check_positive(self, "learning_rate", "final_rate_fraction", "epoch_decay", "gradient_clip")
        if self.epoch_decay > 1.0:
            raise ValueError(
                f"`epoch_decay` must be at most 1, got {self.epoch_decay!r}."
                " The learning rate would grow in every epoch."
            )
        check_name("keeps", self.keeps, ("best", "last"))
        check_name("objective", self.objective, OBJECTIVES)

    def rate_share(self, epoch: int, step: int = 0) -> float:
        """Return the factor of the learning rate in an epoch, counted from 0."""
        return half_cosine(epoch, self.epochs, self.final_rate_fraction) * self.epoch_decay**epoch


@dataclass(frozen=True, kw_only=True)
class Training:
    """Result of a training run."""

    epochs: int
    """Number of epochs; fewer than configured if training stopped early."""
    best_epoch: int
    """Epoch of the kept weights, counted from 1."""
    validation_error: float
    """Error of the kept weights on the validation sequences."""
    seconds_per_epoch: float
    """Wall time per epoch, including validation [s]."""


def train(
    model: Forecaster,
    training: Sequences | Callable[[int], Sequences],
    validation: Sequences,
    config: TrainingConfig,
    *,
    description: str = "",
    is_silent: bool = False,
    checkpoint: Path | None = None,
    score: Score | None = None,
) -> Training:
    """Train a model in place and keep the weights with the lowest validation error.

    With `config.keeps` "last", the weights of the last epoch are kept instead. Training stops early
    when the validation error is 0 or when it diverges; the best weights are then kept. The model is
    on the CPU afterwards.

    Args:
        model: The model.
        training: Training sequences, or a function that returns the sequences of an epoch, counted
            from 0. A resumed run calls the function again for all epochs, in order.
        validation: Validation sequences.
        config: Settings.
        description: Text of the progress bar.
        is_silent: Whether to hide the progress bar.
        checkpoint: File of the training checkpoint, from which a stopped run resumes with the same
            result. It is not removed at the end. If None: no checkpoint.
        score: Validation error that selects the best weights; if None: the objective's error.

    Raises:
        ValueError: If there are no data, data are not finite or do not fit the model, the
            checkpoint is damaged or belongs to another training run, or no epoch ends with a finite
            validation error; the model then has its initial weights.
    """
    if isinstance(training, Sequences):
        _check_data("training", training, model)
    _check_data("validation", validation, model)
    device = find_device(config.device)
    model, validation = model.to(device), validation.to(device)
    trainer = Trainer(
        model,
        TrainerConfig(
            epochs=config.epochs,
            learning_rates=(config.learning_rate,),
            rate_share=config.rate_share,
            gradient_clip=config.gradient_clip,
            ends_at=0.0,
            seed=config.seed,
        ),
        checkpoint=checkpoint,
        description=description,
        is_silent=is_silent,
    )
    state = trainer.state
    keeps_last = False
    try:
        trainer.learn(_Lessons(training, validation, config, score, first=state.epoch))
        keeps_last = config.keeps == "last" and state.epoch == config.epochs
    finally:
        if not keeps_last:
            model.load_state_dict(state.best)
        model.cpu()
    epochs = state.epoch + (state.step > 0)  # includes the epoch in which training diverged
    error = state.best_score
    if keeps_last:
        error = _score(model, validation.to(torch.device("cpu")), config, score)
    return Training(
        epochs=epochs,
        best_epoch=epochs if keeps_last else state.best_epoch,
        validation_error=error,
        seconds_per_epoch=state.seconds / epochs,
    )


class _Lessons(Lessons[Sequences]):
    """Shuffled training sequences; the score is the error on the validation sequences."""

    def __init__(
        self,
        training: Sequences | Callable[[int], Sequences],
        validation: Sequences,
        config: TrainingConfig,
        score: Score | None,
        *,
        first: int,
    ) -> None:
        self.training, self.validation = training, validation
        self.config, self.score = config, score
        if not isinstance(training, Sequences):
            for epoch in range(first):
                training(epoch)  # the function may use one generator for all epochs

    def begin_epoch(
        self, epoch: int, kept: Forecaster, generator: torch.Generator
    ) -> tuple[Iterator[Sequences], int]:
        data = self.training
        if not isinstance(data, Sequences):
            data = data(epoch)
            _check_data("training", data, kept)
        size = min(self.config.batch_size, len(data))
        return data.to(self.validation.inputs.device).shuffled_batches(size, generator), (
            len(data) // size
        )

    def loss(self, model: Forecaster, batch: Sequences) -> Tensor:
        return _mean(OBJECTIVES[self.config.objective].loss, model(batch.inputs, batch.dt_s), batch)

    def judge(self, kept: Forecaster, epoch: int) -> tuple[float, dict[str, float]]:
        return _score(kept, self.validation, self.config, self.score), {}


def _score(
    model: Forecaster, validation: Sequences, config: TrainingConfig, score: Score | None
) -> float:
    """Return the validation error that selects the best weights."""
    if score is None:
        return mean_error(model, validation, config.objective)
    return score(predict(model, validation), validation)


def _check_data(name: str, data: Sequences, model: Forecaster) -> None:
    """Raise ValueError if data are empty, masked out, not finite, or of another dtype."""
    if not isinstance(data, Sequences):
        raise ValueError(f"`{name}` must be Sequences, got {data!r}. Return those of the epoch.")
    if len(data) == 0:
        raise ValueError(f"`{name}` must hold at least one sequence, got 0. Give some.")
    dtype = reference_tensor(model).dtype
    if data.inputs.dtype != dtype:
        raise ValueError(
            f"`{name}` must hold {dtype} as the model does, got {data.inputs.dtype}."
            " Convert the traces."
        )
    if data.mask is not None and not data.mask.any():
        raise ValueError(f"`{name}` must have a frame that counts, got none. Correct the mask.")
    data.check_finite(name)


@torch.inference_mode()
def predict(model: Forecaster, sequences: Sequences, *, batch_size: int = 256) -> Tensor:
    """Return the outputs for all sequences, shape (samples, time, output)."""
    model.eval()
    return torch.cat([model(batch.inputs, batch.dt_s) for batch in sequences.batches(batch_size)])


def mean_error(model: Forecaster, sequences: Sequences, objective: str = "forecast") -> float:
    """Return the objective's error, averaged over the frames that count and all outputs.

    It is NaN if one of these outputs is not finite; an error rate would not show that.
    """
    check_name("objective", objective, OBJECTIVES)
    return error_of(predict(model, sequences), sequences, objective)


def error_of(outputs: Tensor, sequences: Sequences, objective: str) -> float:
    """Return the same error as `mean_error`, from given outputs."""
    outputs = outputs.double()
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
    # Masked frames are removed first, since their targets may hold any values.
    return measure(outputs[sequences.mask], sequences.targets[sequences.mask]).mean()
