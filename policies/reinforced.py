"""What reinforcement learned, as a policy that needs no reinforcement library to run."""

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from ncp_control.cells import Cell, Feedforward
from policies.locomotion import LocomotionPolicy


@torch.no_grad()
def policy_from_actor(
    cell: Cell,
    encoder: nn.Sequential,
    mean: np.ndarray,
    std: np.ndarray,
) -> LocomotionPolicy:
    """Copy a trained actor and the scale of its observations.

    Args:
        cell: The actor's cell.
        encoder: Its encoder: dense layers with tanh behind each, or empty.
        mean: Mean of the observations, shape (observation,).
        std: Their deviation.

    Returns:
        A policy whose actions, clipped to [-1, 1], are the actor's most likely ones.
    """
    widths = [layer.out_features for layer in encoder if isinstance(layer, nn.Linear)]
    policy = LocomotionPolicy(copy.deepcopy(cell), observation_size=len(mean), encoder=widths)
    policy.encoder.load_state_dict(encoder.state_dict())
    policy.observation_mean.copy_(torch.as_tensor(mean))
    policy.observation_std.copy_(torch.as_tensor(std))
    return policy.eval()


@torch.no_grad()
def feedforward_from_layers(hidden: nn.Sequential, output: Any, *, frame_s: float) -> Feedforward:
    """Copy the two ReLU layers and the output layer of a feed-forward actor into a cell.

    Args:
        hidden: Linear, ReLU, Linear, ReLU; both linear layers equally wide.
        output: Linear layer from the last of them to the actions.
        frame_s: Control interval [s], for the record.
    """
    first = hidden[0]
    assert isinstance(first, nn.Linear)
    cell = Feedforward(first.in_features, first.out_features, output.out_features, frame_s=frame_s)
    cell.hidden.load_state_dict(hidden.state_dict())
    cell.output.load_state_dict(output.state_dict())
    return cell
