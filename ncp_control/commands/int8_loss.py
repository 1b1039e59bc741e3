"""How far int8 weights of a conv head move a policy's actions, for `ncp export`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ncp_control.audit.excerpt import read_excerpt
from ncp_control.contract import ActionContract
from ncp_control.deploy.c.self_test import NUM_STEPS, draw_observations, draw_times, expected
from ncp_control.deploy.sensed import Sensed
from ncp_control.policy import Policy
from ncp_control.policy.folder import EXCERPT_FILE

LARGEST_SHARE = 0.05
"""Share of an action's range, or of the choices, above which `loss_by_int8` warns."""


def loss_by_int8(policy: Policy, folder: Path) -> str:
    """Compare a policy's actions with int8 and with float32 weights; describe the differences.

    Args:
        policy: A policy with a conv head.
        folder: Folder of the policy. The excerpt in it is what both see, or, if there is none that
            fits the policy, noise.

    Raises:
        ValueError: If the excerpt is damaged.
    """
    path = folder / EXCERPT_FILE
    excerpt = read_excerpt(path) if path.is_file() else None
    if excerpt is not None and excerpt.observations.shape[1:] == Sensed.of(policy).shape:
        observations, dt_s = excerpt.observations, excerpt.dt_s
        seen = f"the {len(dt_s)} frames of {EXCERPT_FILE}"
    else:
        observations = draw_observations(policy, NUM_STEPS)
        dt_s = draw_times(policy.circuit.frame_s, NUM_STEPS)
        seen = (
            f"{NUM_STEPS} frames of noise, which say little about real ones (scripts/audit.py"
            " --excerpt stores such beside the policy)"
        )
    exact, rounded = (
        policy.command(expected(policy, observations, dt_s, weights)[0])
        for weights in ("float32", "int8")
    )
    losses = [
        _loss(entry, *actions)
        for entry, *actions in zip(_entries(policy), exact.T, rounded.T, strict=True)
    ]
    lines = [f"int8 against float32 weights, on {seen}:"]
    lines += [f"  {text}" for _, text in losses]
    if max(share for share, _ in losses) > LARGEST_SHARE:
        lines.append(
            f"warning: int8 weights change an action by more than {LARGEST_SHARE:.0%} of its range,"
            f" or more than {LARGEST_SHARE:.0%} of the choices. Compare both in the policy's world"
            " with evaluate.py --backend c c:int8, or keep float32."
        )
    return "\n".join(lines)


def _entries(policy: Policy) -> Sequence[ActionContract]:
    if policy.contract is not None:
        return policy.contract.action
    return [ActionContract(name=f"action {k}") for k in range(policy.action_size)]


def _loss(entry: ActionContract, exact: np.ndarray, rounded: np.ndarray) -> tuple[float, str]:
    """Return the loss of an action as a share of its range or of the choices, and as a text."""
    if exact.dtype == np.int64:
        share = float((exact != rounded).mean())
        return share, f"{entry.name}: {share:.2%} of the choices differ"
    largest = float(np.abs(exact - rounded).max())
    low, high = np.clip(entry.range, -1.0, 1.0)
    in_unit = largest if entry.scale is None else largest * abs(entry.scale[1])
    unit = f" ({entry.unit})" if entry.unit else ""
    share = largest / float(high - low or 2.0)
    return share, f"{entry.name}: at most {in_unit:.2g}{unit}, {share:.1%} of its range"
