"""Convert actors of stable-baselines3 to policies of this project, which run without it.

| model                           | actor                            | action               |
|---------------------------------|----------------------------------|----------------------|
| `SequencePPO`                   | encoder or head, and circuit     | clip(output, −1, 1)  |
| PPO                             | two ReLU layers, a linear layer  | clip(mean, −1, 1)    |
| SAC, TQC                        | the same                         | tanh(mean)           |
| `SequenceSAC`, `SequenceTQC`    | encoder and circuit              | tanh(output)         |

For discrete actions, the policy takes the choice with the highest output. A model with a conv head
becomes a `FramesPolicy`, any other a `VectorPolicy`.

Numbers are shifted, scaled and clipped as by the `VecNormalize` wrapper of the training
environments, if there is one. A model in any other wrapper that may change observations or actions
is refused, and so is a model whose actions differ from those of its copy.
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
    SequenceCore,
    check_action_space,
    choices_of,
)
from ncp_control.learning.reinforcement.perception import (
    ELAPSED,
    NUMBERS,
    OBSERVATION,
    Perception,
    frame_shape,
    is_timed,
    num_numbers,
)
from ncp_control.learning.reinforcement.soft_actor import CircuitSAC, CircuitTQC
from ncp_control.learning.reinforcement.wrappers import (
    ObservationScale,
    environments,
    observation_scale,
    running_averages,
)
from ncp_control.policy import FramesPolicy, Policy, VectorPolicy, to_numpy
from ncp_control.policy.heads import HEADS
from ncp_control.records import join

_TOLERANCE = 1e-2
"""Largest difference of actions that can come from rounding."""


@torch.no_grad()
def policy_from_sb3(model: BaseAlgorithm, *, frame_s: float | None = None) -> Policy:
    """Copy the actor of a trained PPO, SAC or TQC model, or of its sequence variant.

    Args:
        model: The model, with its training environments.
        frame_s: Control interval [s] to store in an actor without memory; a circuit has its own.

    Returns:
        A policy with the actions of `model.predict(..., deterministic=True)`, for observations of
        the environments before any wrapper of stable-baselines3.

    Raises:
        ValueError: If the weights are not finite, the actions are neither in [-1, 1] nor discrete,
            the actor is sb3-contrib's LSTM or has other feed-forward layers, the conv head is not
            registered, the environments have wrappers that the policy cannot reproduce, or the
            actions of the model differ from those of its copy.
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
    choices = choices_of(model.action_space)
    if is_circuit and actor_critic.perception.head is not None:
        policy: Policy = _frames_policy(actor_critic, limit, choices)
    elif is_circuit:
        policy = _circuit_policy(actor_critic.actor, limit, choices)
    elif isinstance(actor_critic, CircuitSAC | CircuitTQC):
        policy = _circuit_policy(actor_critic.actor.core, limit, squash="tanh")
    else:
        policy = _feedforward_policy(actor_critic, frame_s, limit, choices)
    if scale is not None and (not isinstance(policy, FramesPolicy) or policy.numbers):
        assert isinstance(policy, VectorPolicy | FramesPolicy)
        policy.observation_mean.copy_(torch.as_tensor(scale.mean))
        policy.observation_std.copy_(torch.as_tensor(scale.std))
    policy.eval()
    _check_same_actions(model, policy, scale)
    return policy


def check_finite(model: BaseAlgorithm) -> None:
    """Refuse a model whose training diverged.

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
    """Refuse feature extractors before the actor, which would not be copied."""
    holder = getattr(actor_critic, "actor", actor_critic)
    for name in ("pi_features_extractor", "features_extractor"):
        extractor = getattr(holder, name, None)
        extractor = getattr(actor_critic, name, None) if extractor is None else extractor
        known = (FlattenExtractor, Perception)
        if extractor is not None and type(extractor) not in known:
            raise ValueError(
                "`model` must have no features extractor of its own, got"
                f" {type(extractor).__name__}. Do what it does inside each environment, with a"
                " gymnasium wrapper."
            )


def _frames_policy(
    actor_critic: CircuitActorCritic, limit: float, choices: tuple[int, ...]
) -> FramesPolicy:
    head: Any = actor_critic.perception.head
    shape = frame_shape(actor_critic.observation_space)
    assert shape is not None
    name = getattr(head, "name", "")
    if name not in HEADS:
        raise ValueError(
            f"`head` must be one of {sorted(HEADS)} to be saved with a policy, got"
            f" {type(head).__name__} named {name!r}. Register what builds it with register_head,"
            " and build it with make_head."
        )
    policy = FramesPolicy(
        copy.deepcopy(actor_critic.actor.circuit.cell).cpu(),
        head=name,
        frame_shape=shape,
        choices=choices,
        numbers=num_numbers(actor_critic.observation_space),
        observation_limit=limit,
    )
    policy.head.load_state_dict(head.state_dict())
    return policy


def _circuit_policy(
    core: SequenceCore, limit: float, choices: tuple[int, ...] = (), squash: str = "clip"
) -> VectorPolicy:
    policy = VectorPolicy(
        copy.deepcopy(core.circuit.cell).cpu(),
        observation_size=core.observation_size,
        encoder=core.encoder_widths,
        squash=squash,
        observation_limit=limit,
        choices=choices,
    )
    policy.encoder.load_state_dict(core.encoder.state_dict())
    return policy


def _feedforward_policy(
    actor_critic: Any, frame_s: float | None, limit: float, choices: tuple[int, ...]
) -> VectorPolicy:
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
    space = actor_critic.observation_space
    is_number = isinstance(space, spaces.Box | spaces.MultiBinary)  # others become one-hot
    is_direct = bool(linear) and is_number and space.shape == (linear[0].in_features,)
    is_plain = is_direct and isinstance(output, nn.Linear)  # SAC with gSDE has further layers
    if kinds != [nn.Linear, nn.ReLU] * 2 or len(widths) != 1 or not is_plain:
        raise ValueError(
            "`model` must have an actor of two ReLU layers of equal width on the observation, got"
            f" {[str(layer) for layer in hidden]} on {space}. Train it with policy_kwargs ="
            " dict(net_arch=[256, 256], activation_fn=torch.nn.ReLU)."
        )
    first = hidden[0]
    record = {} if frame_s is None else {"frame_s": frame_s}
    num_outputs = int(output.out_features)  # sb3 has a NumPy integer for several choices
    cell = Feedforward(first.in_features, first.out_features, num_outputs, **record)
    cell.hidden.load_state_dict(hidden.state_dict())
    cell.output.load_state_dict(output.state_dict())
    return VectorPolicy(
        cell,
        observation_size=cell.input_size,
        squash=squash,
        observation_limit=limit,
        choices=choices,
    )


def _check_same_actions(
    model: BaseAlgorithm, policy: Policy, scale: ObservationScale | None
) -> None:
    """Compare the actions of model and policy on a few random observations.

    Raises:
        ValueError: If the actions differ by more than `_TOLERANCE`.
    """
    space: Any = model.observation_space
    is_dict = isinstance(space, spaces.Dict)
    box = space[OBSERVATION] if is_dict else space
    generator = np.random.default_rng(0)
    state, is_first, largest = None, np.ones(1, dtype=bool), 0.0
    circuit_state = None
    for _ in range(4):
        asked: Any = {}
        if box.dtype == np.uint8 and isinstance(policy, FramesPolicy):
            observation = asked[OBSERVATION] = generator.integers(0, 256, box.shape, np.uint8)
            if policy.numbers:
                numbers, asked[NUMBERS] = _draw_numbers(space[NUMBERS], scale, generator)
                observation = join(observation, numbers)
        else:
            observation, asked[OBSERVATION] = _draw_numbers(box, scale, generator)
        dt_s = None
        if is_timed(space):
            dt_s = policy.circuit.frame_s * generator.uniform(0.5, 1.5)
            asked[ELAPSED] = np.array([dt_s], dtype=np.float32)
        asked = asked if is_dict else asked[OBSERVATION]
        expected, state = model.predict(asked, state, is_first, deterministic=True)
        is_first = np.zeros(1, dtype=bool)
        outputs, circuit_state = policy(
            policy.read_observations(observation[None])[:, None], circuit_state, dt_s=dt_s
        )
        largest = max(largest, _difference(policy, to_numpy(outputs)[0, 0], expected))
    if largest > _TOLERANCE:
        raise ValueError(
            "`model` must act as its layers do, got actions that differ by up to"
            f" {largest:.2g} from those of its copy. Train it with a policy class of the library as"
            " it is, on observations whose mean is less than 1e5 times their deviation."
        )


def _draw_numbers(
    box: Any, scale: ObservationScale | None, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return random numbers as observations of the policy, and normalised as those of the model."""
    numbers = generator.standard_normal(box.shape)
    if scale is None:
        return numbers.astype(box.dtype), numbers.astype(box.dtype)
    numbers = (scale.mean + scale.std * numbers).astype(box.dtype)
    normalised = np.clip((numbers - scale.mean) / scale.std, -scale.limit, scale.limit)
    return numbers, normalised.astype(np.float32)


def _difference(policy: Policy, outputs: np.ndarray, expected: np.ndarray) -> float:
    """Return the difference between the actions of model and policy.

    For discrete actions, it is by how much the model's choice scores lower than the policy's, since
    rounding may change which of two equal scores is higher.
    """
    if not policy.choices:
        return float(np.abs(policy.command(outputs) - expected).max())
    first, shortfall = 0, 0.0
    for count, chosen in zip(policy.choices, np.atleast_1d(expected), strict=True):
        scores = outputs[first : first + count]
        shortfall = max(shortfall, float(scores.max() - scores[chosen]))
        first += count
    return shortfall
