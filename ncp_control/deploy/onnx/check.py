"""Compare an ONNX model in ONNX Runtime with its policy, step by step."""

import copy

import numpy as np
import torch
from torch import Tensor

from ncp_control.cells.base import reference_tensor
from ncp_control.deploy.c.self_test import draw_observations, draw_times
from ncp_control.deploy.onnx.controller import open_session
from ncp_control.deploy.sensed import Sensed
from ncp_control.policy import Policy
from ncp_control.policy.choices import choose

NUM_STEPS, BATCH = 16, 3
TOLERANCE = 1e-5
"""Largest allowed difference from double precision, relative for numbers beyond 1. If torch in
single precision differs more than a quarter of this, four times its difference."""


@torch.no_grad()
def plain_step(
    policy: Policy, observation: np.ndarray, state: np.ndarray, dt_s: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Take one step in plain PyTorch, in the policy's precision.

    Args:
        policy: The policy.
        observation: Observations, shape (batch, …).
        state: States, shape (batch, state).
        dt_s: Elapsed times [s], shape (batch,).

    Returns:
        Actions (batch, action) within [-1, 1], or scores of choices; and the next states.
    """
    cell = policy.circuit.cell
    dtype = reference_tensor(cell).dtype
    features = policy.perceive(torch.from_numpy(observation))
    before, elapsed_s = (torch.from_numpy(x).to(dtype) for x in (state, dt_s))
    after: Tensor = cell(features, before, elapsed_s)
    actions = policy.limit(policy.respond(cell.readout(after)))
    return actions.numpy(), after.numpy()


def check_model(policy: Policy, content: bytes) -> float:
    """Compare a model with its policy on random observations and irregular times, including 0.

    Each step starts from the state that the policy in double precision has reached.

    Args:
        policy: The policy.
        content: Content of the model file.

    Returns:
        The largest difference of actions and states.

    Raises:
        ModuleNotFoundError: If onnxruntime is not installed.
        ValueError: If the model and the policy differ.
    """
    session = open_session(content)
    single = copy.deepcopy(policy).cpu().float().eval()
    exact = copy.deepcopy(single).double()
    observations = draw_observations(single, NUM_STEPS * BATCH)
    times = draw_times(policy.circuit.frame_s, NUM_STEPS * BATCH)
    state = np.zeros((BATCH, policy.circuit.cell.state_size), np.float32)
    worst = rounding = 0.0
    for k in range(NUM_STEPS):
        here = slice(k * BATCH, (k + 1) * BATCH)
        inputs = observations[here], state, times[here]
        feed = Sensed.of(policy).inputs(inputs[0]) | {"state": inputs[1], "dt_s": inputs[2]}
        action, after = session.run(["action", "next_state"], feed)
        wanted, exact_after = plain_step(exact, *inputs)
        own, own_after = plain_step(single, *inputs)
        worst = max(worst, _distance(exact_after, after))
        rounding = max(rounding, _distance(exact_after, own_after), _distance(wanted, own))
        if policy.choices:
            worst = max(worst, _regret(wanted, action, policy.choices))
        else:
            worst = max(worst, _distance(wanted, action))
        state = exact_after.astype(np.float32)
    if not worst <= max(TOLERANCE, 4.0 * rounding):
        raise ValueError(
            "`policy` must act in ONNX as it does here, got actions or states that differ by"
            f" {worst:g}. Please report this."
        )
    return worst


def _distance(wanted: np.ndarray, found: np.ndarray) -> float:
    """Return the largest difference, relative beyond 1; infinite if a number is not finite."""
    share = np.abs(wanted - found) / np.maximum(1.0, np.abs(wanted))
    return float(np.where(np.isfinite(share), share, np.inf).max())


def _regret(scores: np.ndarray, chosen: np.ndarray, choices: tuple[int, ...]) -> float:
    """Return how far scores of chosen entries are below the best; ties may be chosen freely."""
    first = np.cumsum([0, *choices[:-1]])
    rows = np.arange(len(scores))[:, None]
    lost = scores[rows, first + choose(scores, choices)] - scores[rows, first + chosen]
    return float(lost.max())
