"""Training loop with backpropagation through time for imitation, distillation and forecasting.

`Lessons` provide the batches of an epoch, the loss and the score. The trainer takes one optimizer
step per batch, scores the model after each epoch, and keeps the weights with the best score. The
complete training state is written to a checkpoint after each epoch and about twice a minute within
one. A training run that finds its checkpoint resumes from it and ends with bit-identical weights,
as if it had never been stopped: the batches of the epoch are drawn again, and the batches that
were already used are skipped.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from ncp_control.generators import set_generators
from ncp_control.learning.divergence import DivergenceError, first_not_finite, has_diverged
from ncp_control.learning.run import Run
from ncp_control.learning.team import Shared, team
from ncp_control.learning.training_state import CHECKPOINT, TrainingState

Batch = TypeVar("Batch")
CHECKPOINT_S = 30.0
"""Time between checkpoints within an epoch [s]."""


class Lessons(Generic[Batch]):
    """Base class of what a `Trainer` learns from: batches, loss and score."""

    shared: Shared | None = None
    """Loss of a batch that several processes can share; None if `loss` is defined instead."""

    def begin_epoch(
        self, epoch: int, kept: Any, generator: torch.Generator
    ) -> tuple[Iterable[Batch], int]:
        """Return the batches of an epoch and their number.

        Draw all randomness from the generator or from seeds, so that a resumed training run gets
        the same batches again.

        Args:
            epoch: Index of the epoch, counted from 0.
            kept: The model as `judge` gets it: the averaged weights, if there is an average.
            generator: Source of randomness.
        """
        raise NotImplementedError

    def loss(self, model: Any, batch: Batch) -> Tensor:
        """Return the loss of a batch, a scalar."""
        if self.shared is None:
            raise NotImplementedError
        return self.shared.loss(model, batch)

    def judge(self, kept: Any, epoch: int) -> tuple[float, dict[str, float]]:
        """Return the score (lower is better) and the metrics that are logged beside the loss.

        A resumed training run may call this again for its last epoch.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """Settings of a `Trainer`."""

    epochs: int
    """Number of epochs; the model is scored after each."""
    learning_rates: Sequence[float]
    """Adam's learning rate of each group of parameters."""
    rate_share: Callable[[int, int], float]
    """Factor of the learning rates as a function of epoch and step within it, counted from 0."""
    gradient_clip: float | None = None
    """Maximum norm of the gradient; if None: no clipping."""
    weight_average: float = 0.0
    """Decay per step of a running average of the weights. The average is scored and saved; 0 uses
    the current weights."""
    ends_at: float = -math.inf
    """Score at which training stops, since no later epoch can be better."""
    patience: int | None = None
    """Number of epochs without a better score after which training stops; if None: never."""
    seed: int = 0
    """Seed of the generator that is passed to the lessons."""
    unit: str = "epoch"
    """Name of an epoch in messages, e.g. "round"."""


class Trainer:
    """Trains a model from scratch, or resumes from its checkpoint.

    Args:
        model: The model, trained in place; the best weights are in `state.best`.
        config: Settings.
        groups: Groups of parameters, each with its own learning rate; if None: one group with all.
        run: Run that logs each epoch and saves the last and the best policy. The training
            checkpoint is then in its folder.
        checkpoint: File of the training checkpoint if there is no run; if None: no checkpoint.
        description: Text of the progress bar.
        is_silent: Whether to hide the progress bar.

    Raises:
        ValueError: If the checkpoint is damaged or belongs to another training run.
    """

    def __init__(
        self,
        model: nn.Module,
        config: TrainerConfig,
        *,
        groups: Sequence[Sequence[nn.Parameter]] | None = None,
        run: Run | None = None,
        checkpoint: Path | None = None,
        description: str = "",
        is_silent: bool = False,
    ) -> None:
        self.config, self.run = config, run
        self._checkpoint = checkpoint if run is None else run.checkpoints / CHECKPOINT
        self._description, self._is_silent = description, is_silent
        self._saved_s = 0.0
        groups = [list(model.parameters())] if groups is None else groups
        decay = config.weight_average
        self.state = TrainingState(
            model=model,
            averaged=AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
            if decay
            else None,
            optimizer=torch.optim.Adam([{"params": list(group)} for group in groups]),
            generator=torch.Generator().manual_seed(config.seed),
        )
        if self._checkpoint is not None and self._checkpoint.is_file():
            self.state.load(self._checkpoint, config.epochs)

    def learn(self, lessons: Lessons[Any]) -> None:
        """Train until the last epoch, until `patience` runs out, or until the score is `ends_at`.

        If training diverges, it stops and the best weights before that are kept. If the user
        interrupts it, the policy of a run is saved as `last` unless it has diverged. The training
        checkpoint is not written then, since the current step may be half done.

        Raises:
            ValueError: If no epoch ends with a finite score.
            DivergenceError: If training diverges before any epoch ends with a finite score.
        """
        state, config = self.state, self.config
        self._saved_s = time.monotonic()
        try:
            while state.epoch < config.epochs and not self._has_nothing_to_gain():
                loss = self._learn_epoch(lessons)
                if not math.isfinite(loss):
                    self._end_diverged(loss)
                    break
                self._judge(lessons, loss)
                state.epoch += 1
                state.step, state.loss = 0, 0.0
                state.epoch_began = state.generator.get_state()
                self._save()
        except KeyboardInterrupt:
            if self.run is not None and not has_diverged(state.kept):
                self.run.save_checkpoint(cast(Any, state.kept), "last")
            raise
        self._restore_generators()
        if state.best_epoch == 0:
            raise ValueError(
                f"`score` must become finite in some {config.unit}, got none in {state.epoch}."
                " Lower the learning rate."
            )

    def _learn_epoch(self, lessons: Lessons[Any]) -> float:
        """Take one optimizer step per batch and return the mean loss of the epoch.

        At the first batch with a non-finite loss, stop and return that loss. Return NaN if the
        model, its average, its optimizer or its outputs are not finite after the last step.
        """
        state = self.state
        state.generator.set_state(state.epoch_began)
        batches, count = lessons.begin_epoch(state.epoch, state.kept.eval(), state.generator)
        state.model.train()
        steps_done, batch = state.step, None
        with self._bar(batches, count) as bar:
            for k, batch in enumerate(bar):
                if k < steps_done:
                    continue  # used before the training run was stopped
                self._restore_generators()
                value = self._step(lessons, batch)
                if not math.isfinite(value):
                    return value
                bar.set_postfix(loss=f"{state.loss / state.step:.5g}", refresh=False)
                if time.monotonic() - self._saved_s >= CHECKPOINT_S and not self._has_diverged():
                    self._save()
        self._restore_generators()
        if self._has_diverged():
            return math.nan
        if batch is not None:
            with torch.no_grad():
                if not torch.isfinite(lessons.loss(state.kept.eval(), batch)):
                    return math.nan
        return state.loss / max(state.step, 1)

    def _step(self, lessons: Lessons[Any], batch: Any) -> float:
        """Take one optimizer step if the loss is finite; return the loss."""
        state, config = self.state, self.config
        share = config.rate_share(state.epoch, state.step)
        for group, rate in zip(state.optimizer.param_groups, config.learning_rates, strict=True):
            group["lr"] = rate * share
        value = self._take_gradient(lessons, batch)
        state.step += 1
        if not math.isfinite(value):
            return value
        if config.gradient_clip is not None:
            clip_grad_norm_(state.model.parameters(), config.gradient_clip)
        state.optimizer.step()
        if state.averaged is not None:
            state.averaged.update_parameters(state.model)
        state.loss += value
        return value

    def _take_gradient(self, lessons: Lessons[Any], batch: Any) -> float:
        """Return the loss of a batch; if it is finite, fill the `grad` of the parameters.

        Under torchrun, other processes compute their shares of the batch.
        """
        leader = team()
        if leader is not None:
            if lessons.shared is None:
                raise ValueError(
                    "`lessons` must say how a batch is shared under torchrun, got lessons that do"
                    " not. Train in one process."
                )
            return leader.take_gradient(lessons.shared, self.state.model, batch)[0]
        loss = lessons.loss(self.state.model, batch)
        value = loss.item()
        if math.isfinite(value):
            self.state.optimizer.zero_grad(set_to_none=True)
            loss.backward()
        return value

    def _judge(self, lessons: Lessons[Any], loss: float) -> None:
        """Score the model, log the metrics, and keep the weights if they are the best so far."""
        state, number = self.state, self.state.epoch + 1
        kept: Any = state.kept.eval()
        score, measured = lessons.judge(kept, state.epoch)
        if self.run is not None:
            text = "  ".join(f"{name} {value:.5g}" for name, value in measured.items())
            tqdm.write(f"  {self.config.unit} {number}  loss {loss:.5f}  {text}")
            self.run.log(number, loss=loss, **measured)
            self.run.save_checkpoint(kept, "last")
        if math.isfinite(score) and score < state.best_score:
            state.best_score, state.best_epoch = float(score), number
            state.best = {name: value.clone() for name, value in kept.state_dict().items()}
            if self.run is not None:
                self.run.save_checkpoint(kept, "best")

    def _end_diverged(self, loss: float) -> None:
        """Print where training diverged and which epoch is kept.

        Raises:
            DivergenceError: If no epoch can be kept.
        """
        state, unit = self.state, self.config.unit
        where = f"step {state.step} of {unit} {state.epoch + 1}"
        if state.best_epoch == 0:
            raise DivergenceError(
                f"The training must stay finite, but diverged in {where}, with a loss of {loss:g}."
                " Lower the learning rate."
            )
        tqdm.write(
            f"warning: {self._description or 'training'} diverged in {where}, with a loss of"
            f" {loss:g}: the best before it, of {unit} {state.best_epoch}, is kept. Lower the"
            " learning rate."
        )

    def _has_nothing_to_gain(self) -> bool:
        """Return whether the score has reached `ends_at` or `patience` has run out."""
        state, config = self.state, self.config
        waited = state.epoch - state.best_epoch
        is_late = config.patience is not None and waited >= config.patience
        return is_late or state.best_score <= config.ends_at

    def _has_diverged(self) -> bool:
        """Return whether a weight, its average or a moment of the optimizer is not finite."""
        state = self.state
        is_lost = first_not_finite(state.optimizer.state_dict()) is not None
        return is_lost or has_diverged(state.model) or has_diverged(state.kept)

    def _restore_generators(self) -> None:
        """Restore torch's global generators to their state when the training run was stopped."""
        set_generators(self.state.stopped_at, self.state.device)
        self.state.stopped_at = {}

    def _save(self) -> None:
        now_s = time.monotonic()
        self.state.seconds += now_s - self._saved_s
        self._saved_s = now_s
        if self._checkpoint is not None:
            self.state.save(self._checkpoint)

    def _bar(self, batches: Iterable[Batch], count: int) -> tqdm:
        state, config = self.state, self.config
        shows_best = state.best_epoch and self.run is None  # a run has a line for each epoch
        best = f", best {state.best_score:.4g}" if shows_best else ""
        description = f"{self._description} {config.unit} {state.epoch + 1}/{config.epochs}{best}"
        return tqdm(
            batches,
            desc=description.strip(),
            total=count,
            unit="step",
            leave=False,
            disable=self._is_silent,
        )
