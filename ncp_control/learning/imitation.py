"""Imitation learning: fit an expert's actions by backpropagation through time over windows.

The loss is the squared error weighted by exp(α |y|), so that the rare sharp turns count as much as
the long straights; for discrete choices it is the cross-entropy. With DAgger, the learner acts
before some of the epochs, and the expert labels the observations that the learner meets.

Sources: weighting and truncated windows: Lechner et al. 2020, methods; DAgger: Ross, Gordon &
Bagnell 2011 (arXiv 1011.0686).
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ncp_control.cells.base import reference_tensor
from ncp_control.learning.demonstrations import Batch, Demonstrations, Windows
from ncp_control.learning.losses import choice_cross_entropy
from ncp_control.learning.read_ahead import read_ahead
from ncp_control.learning.run import Run
from ncp_control.learning.schedule import half_cosine
from ncp_control.learning.settings import ImitationConfig
from ncp_control.learning.team import shares
from ncp_control.learning.trainer import Lessons, Trainer, TrainerConfig
from ncp_control.policy import Policy

Validate = Callable[[Policy], dict[str, float]]
"""Returns metrics of a policy; the checkpoint with the lowest `score` is the best one."""
Augment = Callable[[Batch, torch.Generator], Batch]
"""Augments a batch before it is used, e.g. changes the brightness of its images."""
Aggregate = Callable[[Policy, int], Demonstrations]
"""DAgger: runs the policy before the given epoch and returns demonstrations with the expert's
labels."""
Recall = Callable[[int], Demonstrations | None]
"""Returns the demonstrations that a stopped run aggregated before the given epoch, or None."""


def imitate(
    policy: Policy,
    demonstrations: Sequence[Demonstrations],
    config: ImitationConfig,
    run: Run,
    *,
    validate: Validate,
    augment: Augment | None = None,
    aggregate: Aggregate | None = None,
    recall: Recall | None = None,
) -> Policy:
    """Train a policy on demonstrations and return the best of its checkpoints.

    A stopped run, reopened with `Run.reopen`, resumes from its last checkpoint and ends with the
    same weights as if it had not been stopped. If training diverges, it stops.

    Args:
        policy: The policy, trained in place.
        demonstrations: Datasets, used as if they were one.
        config: Settings.
        run: Run folder for metrics and checkpoints.
        validate: Returns metrics of the policy after each epoch; its `score` selects the best.
        augment: Augments each batch before it is used.
        aggregate: Called before each of `config.asked_epochs` for further demonstrations.
        recall: Returns what `aggregate` returned for an epoch before this run was stopped.

    Returns:
        The policy with the best score, loaded from its checkpoint, on the CPU.

    Raises:
        ValueError: If the demonstrations do not fit the policy or the settings, there are DAgger
            epochs but no `aggregate`, or no epoch ends with a finite score.
        DivergenceError: If training diverges before any epoch ends with a finite score.
    """
    if aggregate is None and config.asked_epochs:
        raise ValueError(
            f"`dagger_epochs` must be empty without `aggregate`, got {config.asked_epochs!r}."
            " Say who is asked for further demonstrations."
        )
    if not policy.choices:
        _check_weights(demonstrations, config)
    policy.to(config.torch_device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    circuit = list(policy.circuit.parameters())
    in_circuit = {id(parameter) for parameter in circuit}
    rest = [p for p in policy.parameters() if id(p) not in in_circuit]
    trainer = Trainer(
        policy,
        TrainerConfig(
            epochs=config.epochs,
            learning_rates=(config.head_learning_rate, config.circuit_learning_rate),
            rate_share=lambda epoch, _: half_cosine(epoch, config.epochs, final=0.05),
            gradient_clip=config.gradient_clip,
            weight_average=config.weight_average,
            patience=config.patience,
            seed=config.seed,
        ),
        groups=(rest, circuit),
        run=run,
    )
    lessons = _Lessons(
        list(demonstrations), config, validate, augment, aggregate, recall, not policy.choices
    )
    lessons.recall_until(trainer.state.epoch, is_within=trainer.state.step > 0)
    trainer.learn(lessons)
    return Policy.load(run.checkpoints / "best")


@dataclass(frozen=True)
class ImitationLoss:
    """Imitation loss over a batch of windows."""

    config: ImitationConfig
    metric_names: ClassVar[tuple[str, ...]] = ()

    def loss(self, model: Policy, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of choices, or else `weighted_squared_error`."""
        predicted = predict(model, batch, self.config.precision)
        wanted, mask = (values.to(predicted.device) for values in (batch.actions, batch.mask))
        if model.choices:
            losses = choice_cross_entropy(predicted, wanted, model.choices)
            return (losses * mask).sum() / mask.sum().clamp_min(1)
        return weighted_squared_error(predicted, wanted, mask, self.config)

    def weight(self, model: Policy, batch: Batch) -> Tensor:
        """Return the sum of the weights of a batch, the divisor of its loss."""
        if model.choices:
            return batch.mask.sum()
        return _weights(batch.actions, batch.mask, self.config).sum()

    def split(self, batch: Batch, count: int) -> list[Batch | None]:
        """Split a batch into `count` shares of whole windows; None if there are too few windows."""
        return [None if share is None else Batch(**share) for share in shares(batch, count)]


@dataclass
class _Lessons(Lessons[Batch]):
    """Windows of the demonstrations, including the demonstrations that DAgger adds."""

    stores: list[Demonstrations]
    config: ImitationConfig
    validate: Validate
    augment: Augment | None
    aggregate: Aggregate | None
    recall: Recall | None
    is_weighted: bool
    """Whether large actions are weighted more: True unless actions are discrete choices."""
    _asked: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.shared = ImitationLoss(self.config)

    def recall_until(self, epoch: int, *, is_within: bool) -> None:
        """Add the demonstrations that DAgger collected before the run was stopped.

        Args:
            epoch: Index of the epoch in which the run was stopped.
            is_within: Whether this epoch had begun.
        """
        for asked in sorted(self.config.asked_epochs):
            if asked < epoch + is_within:
                store = None if self.recall is None else self.recall(asked)
                if store is None:
                    raise ValueError(
                        f"`recall` must return the demonstrations of epoch {asked} in a training"
                        " that goes on, got None. Start the training anew."
                    )
                self._add(asked, store)

    def begin_epoch(
        self, epoch: int, kept: Policy, generator: torch.Generator
    ) -> tuple[Iterator[Batch], int]:
        if self.aggregate is not None and epoch in {*self.config.asked_epochs} - self._asked:
            known = None if self.recall is None else self.recall(epoch)
            self._add(epoch, self.aggregate(kept, epoch) if known is None else known)
        config, augment = self.config, self.augment
        if config.epoch_steps is None:
            batches = Windows(self.stores, config.window, config.batch_size, config.seed, epoch)
            count = len(batches)
        else:
            batches, count = self._steps(config.epoch_steps, epoch), config.epoch_steps
        read = read_ahead(batches)
        changed = read if augment is None else (augment(batch, generator) for batch in read)
        return iter(changed), count

    def _steps(self, count: int, epoch: int) -> Iterator[Batch]:
        """Yield `count` batches, from as many passes over the demonstrations as needed.

        Each epoch starts with a new, reshuffled pass.
        """
        config, left = self.config, count
        for i in itertools.count():
            number = epoch * count + i  # of the pass; an epoch has at most `count`
            passed = Windows(self.stores, config.window, config.batch_size, config.seed, number)
            yield from itertools.islice(passed, left)
            left -= len(passed)
            if left <= 0:
                return

    def judge(self, kept: Policy, epoch: int) -> tuple[float, dict[str, float]]:
        measured = self.validate(kept)
        if "score" not in measured or "loss" in measured:
            raise ValueError(
                f"`validate` must measure a `score` and no `loss`, got {sorted(measured)}."
                " Rename what it returns."
            )
        return measured["score"], measured

    def _add(self, epoch: int, store: Demonstrations) -> None:
        if self.is_weighted:
            _check_weights([store], self.config)
        self.stores.append(store)
        self._asked.add(epoch)


def weighted_squared_error(
    predicted: Float[Tensor, "batch time action"],
    wanted: Float[Tensor, "batch time action"],
    mask: Bool[Tensor, "batch time"],
    config: ImitationConfig,
) -> Tensor:
    """Return the weighted squared error Σ w (ŷ − y)² / Σ w with w = m c exp(α |y|).

    Args:
        predicted: ŷ, the predicted actions.
        wanted: y, the demonstrated actions.
        mask: m, True for frames that count.
        config: α is `turn_weight`, and c are the `action_weights`, all 1 if empty. With
            `turn_entries`, the largest |y| among these entries is used for all entries of a frame.

    Raises:
        ValueError: If the numbers of predicted and demonstrated entries differ, if there is not one
            action weight per entry, or if `turn_entries` holds an index that does not exist.
    """
    _check_width(predicted.shape[-1], wanted.shape[-1])
    weight = _weights(wanted, mask, config)
    return (weight * (predicted - wanted) ** 2).sum() / weight.sum().clamp_min(1e-12)


def _weights(
    wanted: Float[Tensor, "batch time action"],
    mask: Bool[Tensor, "batch time"],
    config: ImitationConfig,
) -> Float[Tensor, "batch time action"]:
    """Return w = m c exp(α |y|); arguments as `weighted_squared_error`."""
    size = wanted.abs()
    if config.turn_entries:
        _check_entries(config.turn_entries, wanted.shape[-1])
        size = size[..., list(config.turn_entries)].amax(dim=-1, keepdim=True).expand_as(wanted)
    weight = torch.exp(config.turn_weight * size) * mask[..., None]
    if config.action_weights:
        if len(config.action_weights) != wanted.shape[-1]:
            raise ValueError(
                f"`action_weights` must be one for each of the {wanted.shape[-1]} entries of the"
                f" action, got {config.action_weights!r}."
            )
        weight = weight * weight.new_tensor(config.action_weights)
    return weight


def predict(policy: Policy, batch: Batch, precision: str = "float32") -> Tensor:
    """Return the policy's actions for a batch; `precision` is that of the head alone."""
    device = reference_tensor(policy).device
    enabled = precision == "bfloat16"
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled):
        features = policy.features(batch.observations.to(device))
    outputs, _ = policy.circuit(features, dt_s=batch.dt_s.to(device))
    return policy.respond(outputs)


@torch.inference_mode()
def predict_episode(
    policy: Policy, demonstrations: Demonstrations, episode: int, *, chunk: int = 256
) -> np.ndarray:
    """Return the policy's actions along one recorded episode, shape (frames, action).

    Args:
        policy: The policy; its hidden state runs from the first frame to the last.
        demonstrations: The dataset.
        episode: Index of the episode.
        chunk: Number of frames per call of the policy; limits the use of memory.
    """
    device, state, actions = reference_tensor(policy).device, None, []
    frames = demonstrations.episode(episode)
    for first in range(frames.start, frames.stop, chunk):
        part = slice(first, min(first + chunk, frames.stop))
        observations = torch.from_numpy(np.array(demonstrations.observations[part]))[None]
        dt_s = torch.from_numpy(np.array(demonstrations.dt_s[part]))[None]
        action, state = policy(observations.to(device), state, dt_s=dt_s.to(device))
        actions.append(action[0].cpu().numpy())
    return np.concatenate(actions)


def predict_all(policy: Policy, demonstrations: Demonstrations) -> np.ndarray:
    """Return the policy's actions along all recorded episodes (open loop), shape (frames, action).

    Raises:
        ValueError: If the policy has more or fewer action entries than the demonstrations.
    """
    _check_width(policy.action_size, demonstrations.actions.shape[1])
    episodes = range(demonstrations.num_episodes)
    return np.concatenate([predict_episode(policy, demonstrations, i) for i in episodes])


def imitation_error(policy: Policy, demonstrations: Demonstrations) -> float:
    """Return the `error_of` a policy over all labelled frames of the recorded episodes (open loop).

    Raises:
        ValueError: If the policy has more or fewer action entries than the demonstrations.
    """
    return error_of(policy, predict_all(policy, demonstrations), demonstrations)


def error_of(policy: Policy, predicted: np.ndarray, demonstrations: Demonstrations) -> float:
    """Return the mean squared error of actions that `predict_all` returned, over labelled frames.

    For a policy with discrete choices, return the fraction of choices that differ from the
    demonstrated ones.
    """
    is_labelled = demonstrations.is_labelled
    predicted, demonstrated = predicted[is_labelled], demonstrations.actions[is_labelled]
    if policy.choices:
        return float((policy.command(predicted) != demonstrated).mean(dtype=np.float64))
    return float(((predicted - demonstrated) ** 2).mean(dtype=np.float64))


def _check_width(found: int, wanted: int) -> None:
    """Raise ValueError if a policy has more or fewer action entries than the demonstrations."""
    if found != wanted:
        raise ValueError(
            f"`policy` must have the {wanted} actions that were demonstrated, got {found}."
            " Build its circuit with as many motor neurons."
        )


def _check_entries(entries: Sequence[int], num_entries: int) -> None:
    """Raise ValueError if `turn_entries` holds an index that does not exist."""
    if entries and max(entries) >= num_entries:
        raise ValueError(
            f"`turn_entries` must be below the {num_entries} entries of the action, got"
            f" {tuple(entries)!r}."
        )


def _check_weights(stores: Sequence[Demonstrations], config: ImitationConfig) -> None:
    """Raise ValueError if actions are so large that their weights overflow float32."""
    for store in stores:
        _check_entries(config.turn_entries, store.actions.shape[1])
    entries = list(config.turn_entries) or slice(None)
    largest = max((float(np.abs(store.actions[:, entries]).max()) for store in stores), default=0.0)
    if config.turn_weight * largest > 80.0:
        raise ValueError(
            f"`turn_weight` times the largest action must be at most 80, got"
            f" {config.turn_weight:g} times {largest:g}. Scale the actions to [-1, 1]."
        )
