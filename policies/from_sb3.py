"""Actors of stable-baselines3 as policies of this project, which run without it.

| model                           | its actor                        | action               |
|---------------------------------|----------------------------------|----------------------|
| `SequencePPO`                   | encoder and circuit              | clip(output, −1, 1)  |
| PPO                             | two ReLU layers, a linear layer  | clip(mean, −1, 1)    |
| SAC, TQC                        | the same                         | tanh(mean)           |

Observations are shifted and scaled as by the `VecNormalize` around the training environments.
"""

import copy
from typing import Any

import torch
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from ncp_control.cells import Feedforward
from ncp_control.learning.divergence import has_diverged
from ncp_control.learning.reinforcement.actor_critic import (
    CircuitActorCritic,
    SequenceCore,
    check_action_space,
)
from ncp_control.learning.reinforcement.checkpoint import observation_scale
from policies.locomotion import OBSERVATION_LIMIT, LocomotionPolicy

_RAW_SCALE = 2.0**40  # sb3 clips no raw observation, our policy at ten deviations, here 1e13


@torch.no_grad()
def policy_from_sb3(model: BaseAlgorithm, *, frame_s: float | None = None) -> LocomotionPolicy:
    """Copy the actor of a trained SequencePPO, PPO, SAC or TQC model.

    Args:
        model: The model, with the environments it was trained in.
        frame_s: Control interval [s] of an actor without memory, for the record; a circuit knows
            its own.

    Returns:
        A policy with the actions of `model.predict(..., deterministic=True)`.

    Raises:
        ValueError: If the weights are not finite, the actions do not lie in [-1, 1], the actor is
            sb3-contrib's own LSTM or a feed-forward one of other layers, a circuit's environments
            are not in a `VecNormalize`, or in one that scales or clips otherwise.
    """
    check_finite(model)
    assert model.action_space is not None
    check_action_space(model.action_space)
    actor_critic: Any = model.policy
    is_circuit = isinstance(actor_critic, CircuitActorCritic)
    if isinstance(actor_critic, RecurrentActorCriticPolicy) and not is_circuit:
        raise ValueError(
            f"`model` must hold a circuit or no memory, got {type(actor_critic).__name__}."
            " Train an LSTM as the cell of a SequencePPO."
        )
    if is_circuit:
        policy = _circuit_policy(actor_critic.actor)
    else:
        policy = _feedforward_policy(actor_critic, frame_s)
    env = model.get_vec_normalize_env()
    if env is None and not is_circuit:
        _leave_unscaled(policy)
        return policy.eval()
    if env is not None and not (env.norm_obs and env.clip_obs == OBSERVATION_LIMIT):
        raise ValueError(
            f"`model` must act in a VecNormalize with norm_obs=True and"
            f" clip_obs={OBSERVATION_LIMIT}, got norm_obs={env.norm_obs} and"
            f" clip_obs={env.clip_obs}. Train it there."
        )
    mean, std = observation_scale(model)
    policy.observation_mean.copy_(torch.as_tensor(mean))
    policy.observation_std.copy_(torch.as_tensor(std))
    return policy.eval()


def check_finite(model: BaseAlgorithm) -> None:
    """Refuse what a training that diverged has left.

    Raises:
        ValueError: If a weight is NaN or infinite.
    """
    if has_diverged(model.policy):
        raise ValueError(
            "`model` must have finite weights, got NaN or infinity. It diverged: lower its"
            " learning rate."
        )


def _circuit_policy(core: SequenceCore) -> LocomotionPolicy:
    policy = LocomotionPolicy(
        copy.deepcopy(core.circuit.cell).cpu(),
        observation_size=core.observation_size,
        encoder=core.encoder_widths,
    )
    policy.encoder.load_state_dict(core.encoder.state_dict())
    return policy


def _feedforward_policy(actor_critic: Any, frame_s: float | None) -> LocomotionPolicy:
    actor = getattr(actor_critic, "actor", None)
    hidden: Any
    if actor is not None:  # SAC and TQC; a TD3 has no `latent_pi`
        hidden, output, squash = getattr(actor, "latent_pi", ()), actor.mu, "tanh"
    else:
        hidden, output = actor_critic.mlp_extractor.policy_net, actor_critic.action_net
        squash = "tanh" if actor_critic.squash_output else "clip"
    kinds = [type(layer) for layer in hidden]
    linear = [layer for layer in hidden if isinstance(layer, nn.Linear)]
    widths = {layer.out_features for layer in linear}
    is_direct = bool(linear) and actor_critic.observation_space.shape == (linear[0].in_features,)
    is_plain = is_direct and isinstance(output, nn.Linear)  # SAC with gSDE has more behind it
    if kinds != [nn.Linear, nn.ReLU] * 2 or len(widths) != 1 or not is_plain:
        raise ValueError(
            "`model` must have an actor of two ReLU layers of equal width on the observation, got"
            f" {[str(layer) for layer in hidden]}. Train it with policy_kwargs ="
            " dict(net_arch=[256, 256], activation_fn=torch.nn.ReLU)."
        )
    first = hidden[0]
    record = {} if frame_s is None else {"frame_s": frame_s}
    cell = Feedforward(first.in_features, first.out_features, output.out_features, **record)
    cell.hidden.load_state_dict(hidden.state_dict())
    cell.output.load_state_dict(output.state_dict())
    return LocomotionPolicy(cell, observation_size=cell.input_size, squash=squash)


def _leave_unscaled(policy: LocomotionPolicy) -> None:
    """Let observations through as they are."""
    cell = policy.circuit.cell
    assert isinstance(cell, Feedforward)
    first = cell.hidden[0]
    assert isinstance(first, nn.Linear)
    policy.observation_std.fill_(_RAW_SCALE)
    first.weight.mul_(_RAW_SCALE)  # exact: a power of two
