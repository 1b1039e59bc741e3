"""Actors of stable-baselines3 as policies of this project, which run without it.

| model                           | its actor                        | action               |
|---------------------------------|----------------------------------|----------------------|
| `SequencePPO`                   | encoder and circuit              | clip(output, −1, 1)  |
| PPO                             | two ReLU layers, a linear layer  | clip(mean, −1, 1)    |
| SAC, TQC                        | the same                         | tanh(mean)           |

Observations are shifted, scaled and clipped as by the one `VecNormalize` around the training
environments, or not at all without one. A model in any other wrapper that may change observations
or actions is refused, and so is one that acts otherwise than its copy.
"""

import copy
import math
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from ncp_control.cells import Feedforward
from ncp_control.learning.divergence import first_not_finite, has_diverged
from ncp_control.learning.reinforcement.actor_critic import (
    CircuitActorCritic,
    ObservationAndTime,
    SequenceCore,
    check_action_space,
    is_timed,
)
from ncp_control.learning.reinforcement.wrappers import (
    ObservationScale,
    environments,
    observation_scale,
    running_averages,
)
from ncp_control.policy import VectorPolicy

_TOLERANCE = 1e-2
"""Largest difference of actions that rounding may make."""


@torch.no_grad()
def policy_from_sb3(model: BaseAlgorithm, *, frame_s: float | None = None) -> VectorPolicy:
    """Copy the actor of a trained SequencePPO, PPO, SAC or TQC model.

    Args:
        model: The model, with the environments it was trained in.
        frame_s: Control interval [s] of an actor without memory, for the record; a circuit knows
            its own.

    Returns:
        A policy with the actions of `model.predict(..., deterministic=True)`, for observations as
        the environments give them before any wrapper of stable-baselines3.

    Raises:
        ValueError: If the weights are not finite, the actions do not lie in [-1, 1], the actor is
            sb3-contrib's own LSTM or a feed-forward one of other layers, the environments are in
            wrappers that the policy cannot repeat, or the model acts otherwise than its copy.
    """
    check_finite(model)
    scale = observation_scale(model)
    assert model.action_space is not None
    check_action_space(model.action_space)
    actor_critic: Any = model.policy
    is_circuit = isinstance(actor_critic, CircuitActorCritic)
    if isinstance(actor_critic, RecurrentActorCriticPolicy) and not is_circuit:
        raise ValueError(
            f"`model` must hold a circuit or no memory, got {type(actor_critic).__name__}."
            " Train an LSTM as the cell of a SequencePPO."
        )
    _check_extractor(actor_critic)
    limit = math.inf if scale is None else scale.limit
    if is_circuit:
        policy = _circuit_policy(actor_critic.actor, limit)
    else:
        policy = _feedforward_policy(actor_critic, frame_s, limit)
    if scale is not None:
        policy.observation_mean.copy_(torch.as_tensor(scale.mean))
        policy.observation_std.copy_(torch.as_tensor(scale.std))
    policy.eval()
    _check_same_actions(model, policy, scale)
    return policy


def check_finite(model: BaseAlgorithm) -> None:
    """Refuse what a training that diverged has left.

    Raises:
        ValueError: If a weight or a running average is NaN or infinite.
    """
    if has_diverged(model.policy):
        raise ValueError(
            "`model` must have finite weights, got NaN or infinity. It diverged: lower its"
            " learning rate."
        )
    for name, average in running_averages(environments(model)).items():
        if first_not_finite([average.mean, average.var]) is not None:
            raise ValueError(
                f"`model` must have finite running averages, got NaN or infinity in {name}. Look"
                " for observations or rewards that are not finite."
            )


def _check_extractor(actor_critic: Any) -> None:
    """Refuse layers in front of the actor that would not be copied."""
    holder = getattr(actor_critic, "actor", actor_critic)
    for name in ("pi_features_extractor", "features_extractor"):
        extractor = getattr(holder, name, None)
        extractor = getattr(actor_critic, name, None) if extractor is None else extractor
        known = (FlattenExtractor, ObservationAndTime)
        if extractor is not None and type(extractor) not in known:
            raise ValueError(
                "`model` must have no features extractor of its own, got"
                f" {type(extractor).__name__}. Do what it does inside each environment, with a"
                " gymnasium wrapper."
            )


def _circuit_policy(core: SequenceCore, limit: float) -> VectorPolicy:
    policy = VectorPolicy(
        copy.deepcopy(core.circuit.cell).cpu(),
        observation_size=core.observation_size,
        encoder=core.encoder_widths,
        observation_limit=limit,
    )
    policy.encoder.load_state_dict(core.encoder.state_dict())
    return policy


def _feedforward_policy(actor_critic: Any, frame_s: float | None, limit: float) -> VectorPolicy:
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
    seen = actor_critic.observation_space
    is_number = isinstance(seen, spaces.Box | spaces.MultiBinary)  # others become one-hot
    is_direct = bool(linear) and is_number and seen.shape == (linear[0].in_features,)
    is_plain = is_direct and isinstance(output, nn.Linear)  # SAC with gSDE has more behind it
    if kinds != [nn.Linear, nn.ReLU] * 2 or len(widths) != 1 or not is_plain:
        raise ValueError(
            "`model` must have an actor of two ReLU layers of equal width on the observation, got"
            f" {[str(layer) for layer in hidden]} on {seen}. Train it with policy_kwargs ="
            " dict(net_arch=[256, 256], activation_fn=torch.nn.ReLU)."
        )
    first = hidden[0]
    record = {} if frame_s is None else {"frame_s": frame_s}
    cell = Feedforward(first.in_features, first.out_features, output.out_features, **record)
    cell.hidden.load_state_dict(hidden.state_dict())
    cell.output.load_state_dict(output.state_dict())
    return VectorPolicy(
        cell, observation_size=cell.input_size, squash=squash, observation_limit=limit
    )


def _check_same_actions(
    model: BaseAlgorithm, policy: VectorPolicy, scale: ObservationScale | None
) -> None:
    """Let model and policy act on a few made-up observations and refuse if they differ.

    Raises:
        ValueError: If the actions differ by more than rounding can explain.
    """
    space: Any = model.observation_space
    dtype = (space["observation"] if is_timed(space) else space).dtype
    generator = np.random.default_rng(0)
    state, is_first, largest = None, np.ones(1, dtype=bool), 0.0
    for _ in range(4):
        seen = generator.standard_normal(policy.observation_size)
        if scale is not None:
            seen = scale.mean + scale.std * seen
        seen = seen.astype(dtype)
        shown: Any = seen
        if scale is not None:
            shown = np.clip((seen - scale.mean) / scale.std, -scale.limit, scale.limit)
            shown = shown.astype(np.float32)
        dt_s = None
        if is_timed(space):
            dt_s = policy.circuit.frame_s * generator.uniform(0.5, 1.5)
            shown = {"observation": shown, "dt_s": np.array([dt_s], dtype=np.float32)}
        expected, state = model.predict(shown, state, is_first, deterministic=True)
        is_first = np.zeros(1, dtype=bool)
        largest = max(largest, float(np.abs(policy.act(seen, dt_s) - expected).max()))
    policy.reset()
    if largest > _TOLERANCE:
        raise ValueError(
            "`model` must act as its layers do, got actions that differ by up to"
            f" {largest:.2g} from those of its copy. Train it with a policy class of the library as"
            " it is, on observations whose mean is less than 1e5 times their deviation."
        )
