"""Update of `SequencePPO` in which the processes of torchrun share each minibatch.

Each process takes whole sequences of a minibatch; see `ncp_control.learning.team`. With
r = π(a|s) / π_old(a|s), normalised advantages A, clip range c, values V and returns R, the loss is
that of sb3-contrib's `RecurrentPPO.train`,

    L = −mean min(A r, A clip(r, 1 − c, 1 + c)) + k_V mean (R − V)² − k_H mean H

Advantages are normalized over the whole minibatch before it is split, so every term is a mean over
steps. Training in a single process uses sb3-contrib's own code; a test compares the two.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.utils import explained_variance
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from ncp_control.learning.team import Team
from ncp_control.workers import even_shares


@dataclass(frozen=True, kw_only=True)
class MinibatchSequences:
    """Sequences of a minibatch, concatenated, of `length` steps each."""

    length: int
    steps: dict[str, Any]
    """Tensors of shape (sequences · length, …); observations may be a dictionary of tensors."""
    states: list[Tensor]
    """h and c of actor and critic before the sequences, each of shape (1, sequences, hidden)."""
    clip_range: float
    """Clip range c of the probability ratio."""
    value_clip_range: float | None
    """Maximum change of a value in an update; if None: unlimited."""

    def part(self, share: slice) -> "MinibatchSequences":
        """Return copies of a slice of the sequences."""
        rows = slice(share.start * self.length, share.stop * self.length)
        picked = {
            name: {key: one[rows].clone() for key, one in values.items()}
            if isinstance(values, dict)
            else values[rows].clone()
            for name, values in self.steps.items()
        }
        states = [state[:, share].clone() for state in self.states]
        return replace(self, steps=picked, states=states)


@dataclass(frozen=True, kw_only=True)
class ClippedLoss:
    """Clipped PPO loss over sequences."""

    value_weight: float
    """Weight k_V of the value loss."""
    entropy_weight: float
    """Weight k_H of the entropy."""
    metric_names: ClassVar[tuple[str, ...]] = (
        *("policy_gradient_loss", "value_loss", "entropy_loss"),
        *("clip_fraction", "approx_kl"),
    )

    def loss(self, model: Any, batch: MinibatchSequences) -> Tensor:
        """Return the loss and the metrics that sb3 logs, in one tensor: `metric_names` last."""
        steps, clip = batch.steps, batch.clip_range
        actions = steps["actions"]
        if isinstance(model.action_space, spaces.Discrete):
            actions = actions.long().flatten()
        states = RNNStates((batch.states[0], batch.states[1]), (batch.states[2], batch.states[3]))
        values, log_prob, entropy = model.evaluate_actions(
            steps["observations"], actions, states, steps["episode_starts"]
        )
        values = values.flatten()
        log_ratio = log_prob - steps["old_log_prob"]
        ratio = log_ratio.exp()
        gain = steps["advantages"] * ratio
        policy_loss = -torch.min(gain, steps["advantages"] * ratio.clamp(1 - clip, 1 + clip)).mean()
        if (limit := batch.value_clip_range) is not None:
            values = steps["old_values"] + (values - steps["old_values"]).clamp(-limit, limit)
        value_loss = (steps["returns"] - values).square().mean()
        entropy_loss = log_prob.mean() if entropy is None else -entropy.mean()
        loss = policy_loss + self.entropy_weight * entropy_loss + self.value_weight * value_loss
        clipped = ((ratio - 1).abs() > clip).float().mean()
        distance = (ratio - 1 - log_ratio).mean()
        return torch.stack([loss, policy_loss, value_loss, entropy_loss, clipped, distance])

    def weight(self, model: Any, batch: MinibatchSequences) -> Tensor:
        """Return the number of steps."""
        return torch.tensor(len(batch.steps["actions"]))

    def split(self, batch: MinibatchSequences, count: int) -> list[MinibatchSequences | None]:
        """Split a batch into `count` shares of whole sequences, in order; None if too few."""
        shares = even_shares(batch.states[0].shape[1], count)
        return [batch.part(one) if one.start < one.stop else None for one in shares]


def update(model: RecurrentPPO, leader: Team, length: int) -> None:
    """Update the model from its rollout, as sb3-contrib's `RecurrentPPO.train` does.

    Args:
        model: The algorithm.
        leader: The processes that share the minibatches.
        length: Number of steps per sequence.
    """
    policy, remaining = cast(Any, model.policy), model._current_progress_remaining
    policy.set_training_mode(True)
    model._update_learning_rate(policy.optimizer)
    clip_range = cast(Any, model.clip_range)(remaining)
    value_clip = cast(Any, model.clip_range_vf)
    value_clip = None if value_clip is None else value_clip(remaining)
    loss = ClippedLoss(value_weight=model.vf_coef, entropy_weight=model.ent_coef)
    metrics: dict[str, list[float]] = defaultdict(list)
    value, goes_on = 0.0, True
    for _ in range(model.n_epochs):
        metrics["approx_kl"] = []  # sb3 logs the value of the last pass
        for rollout in cast(Any, model.rollout_buffer).get(model.batch_size):
            batch = _sequences(rollout, length, clip_range, value_clip)
            if model.normalize_advantage:
                advantages = batch.steps["advantages"]
                scaled = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
                batch.steps["advantages"] = scaled
            value, means = leader.take_gradient(loss, policy, batch)
            for name, mean in means.items():
                metrics[name].append(mean)
            if model.target_kl is not None and means["approx_kl"] > 1.5 * model.target_kl:
                goes_on = False
                break
            clip_grad_norm_(policy.parameters(), model.max_grad_norm)
            policy.optimizer.step()
        model._n_updates += 1
        if not goes_on:
            break
    policy.optimizer.zero_grad()
    _tell(model, {name: float(np.mean(values)) for name, values in metrics.items()}, value)


def _sequences(
    rollout: Any, length: int, clip_range: float, value_clip_range: float | None
) -> MinibatchSequences:
    """Convert a minibatch of sb3 without padded steps."""
    names = ("observations", "actions", "old_values", "old_log_prob")
    names += ("advantages", "returns", "episode_starts")
    return MinibatchSequences(
        length=length,
        steps={name: getattr(rollout, name) for name in names},
        states=[*rollout.lstm_states.pi, *rollout.lstm_states.vf],
        clip_range=clip_range,
        value_clip_range=value_clip_range,
    )


def _tell(model: RecurrentPPO, means: dict[str, float], loss: float) -> None:
    """Log the same metrics as sb3."""
    buffer = model.rollout_buffer
    explained = explained_variance(buffer.values.flatten(), buffer.returns.flatten())
    for name, mean in {**means, "loss": loss, "explained_variance": float(explained)}.items():
        model.logger.record(f"train/{name}", mean)
    model.logger.record("train/n_updates", model._n_updates, exclude="tensorboard")
