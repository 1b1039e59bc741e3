"""Contract of a trained policy: that of its environment, with provenance and certified bounds."""

from dataclasses import replace

import torch

from ncp_control.audit.bounds import certify
from ncp_control.cells import SynapticCell
from ncp_control.contract import Contract
from ncp_control.learning.run import describe_environment, typed_command
from ncp_control.policy import Policy
from ncp_control.worlds import World


def trained_in(world: World, policy: Policy | None = None) -> Contract:
    """Return the contract of a policy that is trained in an environment.

    Args:
        world: The environment.
        policy: The trained policy; its certified bounds of actions are added, if it has any.
    """
    contract = with_origin(world.contract)
    return contract if policy is None else with_bounds(contract, policy)


def with_origin(contract: Contract, data: str = "") -> Contract:
    """Return a contract with the provenance of a training run: command, commit and data."""
    origin = {"command": typed_command(), "commit": describe_environment()["commit"], "data": data}
    return replace(
        contract, provenance={name: str(value) for name, value in origin.items() if value}
    )


def with_bounds(contract: Contract, policy: Policy) -> Contract:
    """Return a contract with the certified bounds of a policy's actions.

    Only LTC, STC and LRC circuits with an integrator that cannot overshoot have bounds. For other
    policies the contract is returned unchanged.
    """
    cell = policy.circuit.cell
    if not isinstance(cell, SynapticCell) or len(contract.action) != cell.output_size:
        return contract
    try:
        output = certify(cell).output
    except ValueError:
        return contract
    # The layers after the circuit are monotonic: they map its bounds to the bounds of the action.
    low, high = (
        policy.respond(torch.as_tensor(end, dtype=torch.float32)).tolist()
        for end in (output.low, output.high)
    )
    entries = zip(contract.action, low, high, strict=True)
    action = tuple(replace(entry, bounds=(lo, hi)) for entry, lo, hi in entries)
    return replace(contract, action=action)
