"""Imitation: learn to do what an expert did, by backpropagation through time over windows.

The loss is the squared error weighted by exp(α |y|), so that the rare sharp turns count as much as
the long straights; with DAgger the learner itself chooses, at some epochs, where the expert is
asked next.

Sources: weighting and truncated windows: Lechner et al. 2020, methods; DAgger: Ross, Gordon &
Bagnell 2011 (arXiv 1011.0686).
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from ncp_control.learning.demonstrations import Batch, Demonstrations, windows
from ncp_control.learning.divergence import DivergenceError, has_diverged
from ncp_control.learning.run import Run
from ncp_control.learning.schedule import half_cosine
from ncp_control.learning.settings import ImitationConfig
from ncp_control.policy import Policy

Validate = Callable[[Policy], dict[str, float]]
"""Measures a policy; the entry `score` decides which checkpoint is best (lower is better)."""
Augment = Callable[[Batch, torch.Generator], Batch]
"""Changes a batch before it is learned, e.g. its light."""
Aggregate = Callable[[Policy, int], Demonstrations]
"""DAgger: lets the policy act, asks the expert, and returns what the expert would have done."""


def imitate(
    policy: Policy,
    demonstrations: Sequence[Demonstrations],
    config: ImitationConfig,
    run: Run,
    *,
    validate: Validate,
    augment: Augment | None = None,
    aggregate: Aggregate | None = None,
) -> Policy:
    """Train a policy on demonstrations and return the best of its checkpoints.

    A training that diverges ends there.

    Args:
        policy: The policy to train, in place.
        demonstrations: Stores used as if they were one.
        config: Settings.
        run: Where metrics and checkpoints go.
        validate: Measures the policy after each epoch; its `score` chooses the best.
        augment: Changes each batch before it is learned.
        aggregate: Called before each of `config.asked_epochs` for further demonstrations.

    Returns:
        The policy with the best score, loaded from its checkpoint, on the CPU.

    Raises:
        ValueError: If the demonstrations do not fit the policy or the settings, nobody can be asked
            for more, or no epoch ends with a finite score.
        DivergenceError: If the training diverges before an epoch has ended with a finite score.
    """
    if aggregate is None and config.asked_epochs:
        raise ValueError(
            f"`dagger_epochs` must be empty without `aggregate`, got {config.asked_epochs!r}."
            " Say who is asked for further demonstrations."
        )
    stores = list(demonstrations)
    _check_weights(stores, config)
    device = config.torch_device
    policy.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = _optimizer(policy, config)
    averaged = AveragedModel(policy, multi_avg_fn=get_ema_multi_avg_fn(config.weight_average))
    kept = cast(Policy, averaged.module)
    generator = torch.Generator().manual_seed(config.seed)
    best_score = math.inf
    with _checkpoint_on_interrupt(kept, run):
        for epoch in range(config.epochs):
            if aggregate is not None and epoch in config.asked_epochs:
                stores.append(aggregate(kept.eval(), epoch))
                _check_weights(stores[-1:], config)
            _set_learning_rates(optimizer, config, epoch)
            batches = windows(stores, config.window, config.batch_size, config.seed, epoch)
            bar = tqdm(batches, desc=f"epoch {epoch + 1}/{config.epochs}", unit="batch")
            loss = _train_epoch(
                policy.train(), averaged, optimizer, bar, config, augment, generator
            )
            if not math.isfinite(loss) or has_diverged(policy) or has_diverged(kept):
                told = f"diverged in epoch {epoch + 1}, with a loss of {loss:g}"
                if not math.isfinite(best_score):
                    raise DivergenceError(
                        f"The training must stay finite, but {told}. Lower the learning rates."
                    )
                bar.write(f"  {told}: the best before it is kept. Lower the learning rates.")
                break
            measured = validate(kept.eval())
            if "score" not in measured or "loss" in measured:
                raise ValueError(
                    f"`validate` must measure a `score` and no `loss`, got {sorted(measured)}."
                    " Rename what it returns."
                )
            bar.write(
                f"  loss {loss:.5f}  " + "  ".join(f"{k} {v:.5g}" for k, v in measured.items())
            )
            run.log(epoch + 1, loss=loss, **measured)
            run.save_checkpoint(kept, "last")
            if math.isfinite(measured["score"]) and measured["score"] < best_score:
                best_score = measured["score"]
                run.save_checkpoint(kept, "best")
    if not math.isfinite(best_score):
        raise ValueError(
            f"`score` must become finite in some epoch, got none in {config.epochs}."
            " Lower the learning rates."
        )
    return Policy.load(run.checkpoints / "best")


def weighted_squared_error(
    predicted: Float[Tensor, "batch time action"],
    wanted: Float[Tensor, "batch time action"],
    mask: Bool[Tensor, "batch time"],
    turn_weight: float,
) -> Tensor:
    """Return Σ m exp(α |y|) (ŷ − y)² / Σ m exp(α |y|) over the frames that count.

    Raises:
        ValueError: If more or fewer actions are predicted than wanted.
    """
    _check_width(predicted.shape[-1], wanted.shape[-1])
    weight = torch.exp(turn_weight * wanted.abs()) * mask[..., None]
    return (weight * (predicted - wanted) ** 2).sum() / weight.sum().clamp_min(1e-12)


def predict(policy: Policy, batch: Batch, precision: str = "float32") -> Tensor:
    """Return the policy's actions for a batch: head in the given precision, circuit in its own."""
    device = next(policy.parameters()).device
    enabled = precision == "bfloat16"
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled):
        features = policy.features(batch.observations.to(device))
    outputs, _ = policy.circuit(features, dt_s=batch.dt_s.to(device))
    return policy.respond(outputs)


@torch.inference_mode()
def predict_episode(
    policy: Policy, demonstrations: Demonstrations, episode: int, *, chunk: int = 256
) -> np.ndarray:
    """Return the policy's actions along one episode, shape (frames, action), in open loop.

    Args:
        policy: The policy; it remembers the episode from its first frame on.
        demonstrations: The store.
        episode: Number of the episode.
        chunk: Frames seen at once, which bounds the memory.
    """
    device, state, actions = next(policy.parameters()).device, None, []
    frames = demonstrations.episode(episode)
    for first in range(frames.start, frames.stop, chunk):
        part = slice(first, min(first + chunk, frames.stop))
        observations = torch.from_numpy(np.array(demonstrations.observations[part]))[None]
        dt_s = torch.from_numpy(np.array(demonstrations.dt_s[part]))[None]
        action, state = policy(observations.to(device), state, dt_s=dt_s.to(device))
        actions.append(action[0].cpu().numpy())
    return np.concatenate(actions)


def imitation_error(policy: Policy, demonstrations: Demonstrations) -> float:
    """Return the mean squared error over all frames, each episode in open loop.

    Raises:
        ValueError: If the policy has more or fewer actions than were demonstrated.
    """
    _check_width(policy.circuit.cell.output_size, demonstrations.actions.shape[1])
    errors = [
        (predict_episode(policy, demonstrations, i) - demonstrations.actions[frames]) ** 2
        for i, frames in enumerate(map(demonstrations.episode, range(demonstrations.num_episodes)))
    ]
    return float(np.concatenate(errors).mean(dtype=np.float64))


def _check_width(found: int, wanted: int) -> None:
    """Refuse a policy with more or fewer actions than were demonstrated."""
    if found != wanted:
        raise ValueError(
            f"`policy` must have the {wanted} actions that were demonstrated, got {found}."
            " Build its circuit with as many motor neurons."
        )


def _check_weights(stores: Sequence[Demonstrations], config: ImitationConfig) -> None:
    """Refuse actions so large that their weights leave the range of float32."""
    largest = max((float(np.abs(store.actions).max()) for store in stores), default=0.0)
    if config.turn_weight * largest > 80.0:
        raise ValueError(
            f"`turn_weight` times the largest action must be at most 80, got"
            f" {config.turn_weight:g} times {largest:g}. Scale the actions to [-1, 1]."
        )


def _train_epoch(
    policy: Policy,
    averaged: AveragedModel,
    optimizer: torch.optim.Optimizer,
    batches: tqdm,
    config: ImitationConfig,
    augment: Augment | None,
    generator: torch.Generator,
) -> float:
    """Take one optimizer step a batch and return the mean loss.

    It ends with a loss that is not finite at the first batch that has one, or with NaN if the
    policy's actions have become so by the last step.
    """
    total, count, batch = 0.0, 0, None
    for batch in batches:
        if augment is not None:
            batch = augment(batch, generator)
        predicted = predict(policy, batch, config.precision)
        device = predicted.device
        loss = weighted_squared_error(
            predicted, batch.actions.to(device), batch.mask.to(device), config.turn_weight
        )
        value = loss.item()
        if not math.isfinite(value):
            return value
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        clip_grad_norm_(policy.parameters(), config.gradient_clip)
        optimizer.step()
        averaged.update_parameters(policy)
        total, count = total + value, count + 1
        batches.set_postfix(loss=f"{total / count:.5f}")
    if batch is not None and not _acts(averaged.module, batch, config.precision):
        return math.nan
    return total / max(count, 1)


@torch.no_grad()
def _acts(policy: nn.Module, batch: Batch, precision: str) -> bool:
    """Return whether the policy's actions for a batch are finite."""
    assert isinstance(policy, Policy)
    return bool(torch.isfinite(predict(policy.eval(), batch, precision)).all())


def _optimizer(policy: Policy, config: ImitationConfig) -> torch.optim.Optimizer:
    """Return Adam with a learning rate of its own for the circuit."""
    circuit = list(policy.circuit.parameters())
    in_circuit = {id(parameter) for parameter in circuit}
    rest = [p for p in policy.parameters() if id(p) not in in_circuit]
    return torch.optim.Adam(
        [
            {"params": rest, "initial_lr": config.head_learning_rate},
            {"params": circuit, "initial_lr": config.circuit_learning_rate},
        ]
    )


def _set_learning_rates(
    optimizer: torch.optim.Optimizer, config: ImitationConfig, epoch: int
) -> None:
    """Lower the learning rates along half a cosine to a twentieth."""
    factor = half_cosine(epoch, config.epochs, final=0.05)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


@contextlib.contextmanager
def _checkpoint_on_interrupt(policy: Policy, run: Run) -> Iterator[None]:
    """Save the policy as `last` when the user stops the run, then let the stop go on.

    A policy that has diverged is not saved.
    """
    try:
        yield
    except KeyboardInterrupt:
        if not has_diverged(policy):
            run.save_checkpoint(policy, "last")
        raise
