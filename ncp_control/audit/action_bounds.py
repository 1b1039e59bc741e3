"""Certified bounds of a policy's actions, before they are clipped to the range of the contract.

They are those of the circuit's outputs (`bounds`), mapped by the policy. Contracts carry them: they
are computed again whenever a policy is saved, loaded or exported.
"""

import math
from dataclasses import replace

import numpy as np
import torch

from ncp_control.audit.bounds import ROUNDING, certified_output
from ncp_control.audit.interval_circuit import Interval
from ncp_control.contract import ActionContract, Contract
from ncp_control.policy import Policy, VectorPolicy


def with_bounds(policy: Policy) -> Contract | None:
    """Return a policy's contract with the certified bounds of its actions; None if it has none.

    The entries of a policy that has no certificate have no bounds.
    """
    contract = policy.contract
    if contract is None:
        return None
    actions = _bounds_of(policy)
    bounds = [None] * len(contract.action)
    if actions is not None:
        bounds = [(float(low), float(high)) for low, high in zip(*actions, strict=True)]
    entries = zip(contract.action, bounds, strict=True)
    return replace(contract, action=tuple(replace(one, bounds=ends) for one, ends in entries))


def _bounds_of(policy: Policy) -> Interval | None:
    """Return the certified bounds of the actions, or None."""
    try:
        with np.errstate(all="ignore"):  # damaged weights may be too large
            output = certified_output(policy.circuit.cell)
    except ValueError:
        return None
    actions = None if output is None else to_actions(policy, output)
    return actions if actions is not None and np.isfinite(actions).all() else None


def to_actions(policy: Policy, output: Interval) -> Interval | None:
    """Map bounds of the circuit's outputs to bounds of the actions, before clipping.

    Returns:
        The bounds; None for choices, or if a class of your own maps outputs to actions in its own
        way, which may not be monotonic.
    """
    if policy.choices or type(policy).respond not in (Policy.respond, VectorPolicy.respond):
        return None
    return Interval(*policy.respond(torch.from_numpy(np.stack(output))).numpy())


def first_wrong(stated: Contract | None, certified: Contract | None) -> str | None:
    """Describe the first stated bounds that are not the certified ones; None if all are.

    Bounds that are not stated are not wrong.
    """
    if stated is None or certified is None:
        return None
    for entry, right in zip(stated.action, certified.action, strict=True):
        if entry.bounds is None:
            continue
        if right.bounds is None:
            return f"bounds of {entry.name}, and nothing is certified of it"
        allowance = ROUNDING * max(right.bounds[1] - right.bounds[0], 1e-6)
        if not all(
            math.isclose(one, other, rel_tol=0.0, abs_tol=allowance)
            for one, other in zip(entry.bounds, right.bounds, strict=True)
        ):
            return f"bounds of {entry.name} of {_text(entry)}, and its weights have {_text(right)}"
    return None


def _text(entry: ActionContract) -> str:
    assert entry.bounds is not None
    return f"[{entry.bounds[0]:.6g}, {entry.bounds[1]:.6g}]"
