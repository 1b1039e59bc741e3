"""Feed-forward actors of stable-baselines3 as policies of this project.

A teacher is trained with a library and runs without it: two ReLU layers, a linear layer, and

    a = tanh(mean)          SAC and TQC, whose mean is squashed
    a = clip(mean, −1, 1)   PPO, on observations shifted and scaled by VecNormalize
"""

from typing import Any

import numpy as np
import torch

from policies.locomotion import LocomotionPolicy
from policies.reinforced import feedforward_from_layers

_EPSILON = 1e-8  # VecNormalize adds it to the variance
_RAW_SCALE = 16.0  # SB3 clips no raw observation, our policy at ten deviations: 160 is never seen


@torch.no_grad()
def policy_from_sb3(
    model: Any, *, frame_s: float, normalization: Any | None = None
) -> LocomotionPolicy:
    """Copy the actor of a trained SAC, TQC or PPO model.

    Args:
        model: The model; its actor has two ReLU layers of equal width.
        frame_s: Control interval [s], for the record.
        normalization: The VecNormalize around its training environments, if there was one.

    Returns:
        A policy with the actions of `model.predict(..., deterministic=True)`.

    Raises:
        ValueError: If the actions do not lie in [-1, 1].
    """
    bounds = model.action_space
    if not (np.all(bounds.low == -1.0) and np.all(bounds.high == 1.0)):
        raise ValueError(
            f"`model` must have actions in [-1, 1], got {bounds!r}. Rescale them while it trains."
        )
    actor = getattr(model.policy, "actor", None)
    if actor is not None:
        cell = feedforward_from_layers(actor.latent_pi, actor.mu, frame_s=frame_s)
    else:
        layers = model.policy.mlp_extractor.policy_net
        cell = feedforward_from_layers(layers, model.policy.action_net, frame_s=frame_s)
    hidden = cell.hidden[0]
    assert isinstance(hidden, torch.nn.Linear)
    squash = "clip" if actor is None else "tanh"
    policy = LocomotionPolicy(cell, observation_size=cell.input_size, squash=squash)
    if normalization is not None:
        statistics = normalization.obs_rms
        policy.observation_mean.copy_(torch.as_tensor(statistics.mean))
        policy.observation_std.copy_(torch.as_tensor(np.sqrt(statistics.var + _EPSILON)))
    else:
        policy.observation_std.fill_(_RAW_SCALE)
        hidden.weight.mul_(_RAW_SCALE)  # exact: a power of two
    return policy.eval()
