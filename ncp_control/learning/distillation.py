"""Distillation: a small recurrent student learns to do what a large teacher does.

DAgger over rounds. In each, student and teacher act in many worlds side by side, the teacher says
at every step what it would have done, and the student learns from all rounds so far by truncated
backpropagation through time:

    loss = mean over steps and joints of (student action − teacher action)²

over windows at random places; the first `burn_in` steps of a window fill the student's memory and
do not count, unless an episode begins in them. What acts, is measured and kept is a running
average of the student's weights.

Sources: Ross, Gordon & Bagnell 2011 (arXiv 1011.0686), DAgger; burn-in: Kapturowski et al. 2019,
"Recurrent experience replay in distributed reinforcement learning".
"""

import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import trange

from ncp_control.learning.closed_loop import World
from ncp_control.learning.distillation_checkpoint import (
    CHECKPOINT,
    Training,
    load_training,
    save_training,
)
from ncp_control.learning.divergence import DivergenceError, first_not_finite, has_diverged
from ncp_control.learning.rollouts import MixedPilot, Rollouts, collect
from ncp_control.learning.run import Run
from ncp_control.learning.schedule import half_cosine
from ncp_control.learning.settings import DistillationConfig
from ncp_control.learning.stored import difference
from ncp_control.policy import Policy

_VALIDATION_SEED = 500_000


def distill(
    policy: Policy,
    teacher: Policy,
    worlds: Sequence[World],
    config: DistillationConfig,
    run: Run,
    *,
    frame_s: float,
    fit_scale: Callable[[Tensor], None],
) -> Policy:
    """Distill a teacher into a policy and return the best of its checkpoints.

    A run that was stopped goes on from the last whole round, and ends with the same weights as if
    it had not been stopped. One that diverges ends there.

    Args:
        policy: The student, trained in place.
        teacher: Sees `info["full_observation"]`.
        worlds: `config.worlds` worlds of the student; `info` carries `time_s` as well.
        config: Settings.
        run: Where metrics, rollouts and checkpoints go, or were left.
        frame_s: Control interval [s].
        fit_scale: Given the observations of the teacher's first round, sets the student's scale.

    Returns:
        The policy with the highest return, loaded from its checkpoint.

    Raises:
        ValueError: If no round ends with a finite return, or what a stopped run left is damaged.
        DivergenceError: If the training diverges before a round has ended with a finite return.
    """
    training = Training(
        policy=policy,
        averaged=AveragedModel(policy, multi_avg_fn=get_ema_multi_avg_fn(config.weight_average)),
        optimizer=torch.optim.Adam(policy.parameters(), lr=config.learning_rate),
    )
    checkpoint = run.checkpoints / CHECKPOINT
    if checkpoint.is_file():
        load_training(training, checkpoint, config.rounds)
    folder = run.folder / "rollouts"
    is_trained = training.round == config.rounds  # the rollouts may be gone
    done = 0 if is_trained else training.round
    parts = _load_rollouts(folder, done, config)
    while True:
        i = training.round
        part, returns = _act(training.student, teacher, worlds, config, i, frame_s)
        alone = returns[: config.worlds // 2] if i else returns
        _report(run, training, i, float(alone.mean()))
        if i == config.rounds:
            break
        part.save(_rollouts_file(folder, i))
        parts.append(part)
        if i == 0:
            fit_scale(part.observations)
        training.loss = _learn(training, Rollouts.join(parts), config, i)
        if _has_diverged(training):
            told = f"diverged in round {i + 1}, with a loss of {training.loss:g}"
            if not math.isfinite(training.best_return):
                raise DivergenceError(
                    f"The training must stay finite, but {told}. Lower the learning rate."
                )
            print(f"  {told}: the best before it is kept. Lower the learning rate.", flush=True)
            break
        training.round += 1
        save_training(training, checkpoint)
    if not math.isfinite(training.best_return):
        raise ValueError(
            f"`student_return` must become finite in some round, got none in {config.rounds}."
            " Lower the learning rate."
        )
    if training.round == config.rounds:
        shutil.rmtree(folder, ignore_errors=True)
    return Policy.load(run.checkpoints / "best")


def _act(
    student: Policy,
    teacher: Policy,
    worlds: Sequence[World],
    config: DistillationConfig,
    i: int,
    frame_s: float,
) -> tuple[Rollouts, np.ndarray]:
    """Let student and teacher act for a round; in the first one the teacher acts alone."""
    share = np.zeros(config.worlds)
    share[config.worlds // 2 :] = max(1.0 - i / max(config.mixed_rounds, 1), 0.0)
    if i == 0:
        share[:] = 1.0
    first_seed = _VALIDATION_SEED + (config.seed * (config.rounds + 1) + i) * config.worlds
    return collect(
        worlds,
        MixedPilot(student, teacher, share, np.random.default_rng([config.seed, i])),
        num_steps=config.steps_per_round,
        frame_s=frame_s,
        seeds=range(first_seed, first_seed + config.worlds),
    )


def _learn(training: Training, data: Rollouts, config: DistillationConfig, i: int) -> float:
    """Take the optimizer steps of a round and return the mean loss.

    It ends with a loss that is not finite at the first batch that has one, or with NaN if the
    student's actions have become so by the last step.
    """
    generator = torch.Generator().manual_seed(config.seed * 10_000 + i)
    policy, total = training.policy.train(), 0.0
    bar = trange(config.updates_per_round, desc=f"round {i + 1}/{config.rounds}", unit="step")
    num_updates = config.rounds * config.updates_per_round
    for k in bar:
        rate = half_cosine(i * config.updates_per_round + k, num_updates, final=0.01)
        for group in training.optimizer.param_groups:
            group["lr"] = config.learning_rate * rate
        batch = data.windows(config.batch_size, config.window, generator)
        actions, _ = policy(batch.observations, dt_s=batch.dt_s, reset=batch.reset)
        loss = distillation_loss(actions, batch, config.burn_in)
        value = loss.item()
        if not math.isfinite(value):
            return value
        training.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        clip_grad_norm_(policy.parameters(), config.gradient_clip)
        training.optimizer.step()
        training.averaged.update_parameters(policy)
        total += value
        if k % 50 == 0:
            bar.set_postfix(loss=f"{total / (k + 1):.5f}")
    with torch.no_grad():
        actions, _ = training.student(batch.observations, dt_s=batch.dt_s, reset=batch.reset)
    return total / config.updates_per_round if torch.isfinite(actions).all() else math.nan


def _has_diverged(training: Training) -> bool:
    """Return whether the loss, a weight, its average or a moment of the optimizer is not finite."""
    values = [training.loss, training.optimizer.state_dict()]
    is_lost = first_not_finite(values) is not None
    return is_lost or has_diverged(training.policy) or has_diverged(training.averaged)


def distillation_loss(actions: Tensor, batch: Rollouts, burn_in: int) -> Tensor:
    """Return the mean squared error over the steps at which the student's memory is its own.

    Args:
        actions: The student's actions, shape (windows, time, action).
        batch: The windows.
        burn_in: Steps that do not count unless an episode has begun in the window.
    """
    counts = torch.cumsum(batch.reset, dim=1) > 0
    counts[:, burn_in:] = True
    error = (actions - batch.actions.clamp(-1.0, 1.0)).square().mean(dim=2)
    return (error * counts).sum() / counts.sum()


def _report(run: Run, training: Training, i: int, mean_return: float) -> None:
    """Log a round and keep the student if it is the best so far."""
    if i == 0:
        run.log(0, teacher_return=mean_return)
        print(f"  round 0  teacher's return {mean_return:.0f}")
        return
    run.log(i, loss=training.loss, student_return=mean_return)
    print(f"  round {i}  loss {training.loss:.5f}  return {mean_return:.0f}", flush=True)
    run.save_checkpoint(training.student, "last")
    if math.isfinite(mean_return) and mean_return > training.best_return:
        training.best_return = mean_return
        run.save_checkpoint(training.student, "best")


def _rollouts_file(folder: Path, i: int) -> Path:
    return folder / f"round-{i:03d}.safetensors"


def _load_rollouts(folder: Path, rounds: int, config: DistillationConfig) -> list[Rollouts]:
    """Read the rollouts of the rounds so far."""
    parts = [Rollouts.load(_rollouts_file(folder, i)) for i in range(rounds)]
    for i, part in enumerate(parts):
        told = difference(vars(part), vars(parts[0]), "rollouts")
        steps = (config.worlds, config.steps_per_round)
        if told is None and part.reset.shape != steps:
            told = f"worlds and steps {tuple(part.reset.shape)} instead of {steps}"
        if told is not None:
            raise ValueError(
                f"{_rollouts_file(folder, i)} must be rollouts of this training, got {told}. Start"
                " the training anew."
            )
    return parts
