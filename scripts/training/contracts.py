"""The contract that a training gives its policy: that of its world, and where it comes from."""

from dataclasses import replace

import torch

from ncp_control.audit.bounds import certify
from ncp_control.cells import SynapticCell
from ncp_control.contract import Contract
from ncp_control.learning.run import describe_environment, typed_command
from ncp_control.policy import Policy
from ncp_control.worlds import World


def trained_in(world: World, policy: Policy | None = None) -> Contract:
    """Return the contract of a policy that is trained in a world.

    Args:
        world: The world.
        policy: The trained policy, whose actions get their certified bounds where it has any.
    """
    contract = with_origin(world.contract)
    return contract if policy is None else with_bounds(contract, policy)


def with_origin(contract: Contract, data: str = "") -> Contract:
    """Return a contract that tells the command, the commit and the data of a training."""
    told = {"command": typed_command(), "commit": describe_environment()["commit"], "data": data}
    return replace(contract, provenance={name: str(value) for name, value in told.items() if value})


def with_bounds(contract: Contract, policy: Policy) -> Contract:
    """Return a contract with the certified bounds of a policy's actions.

    Only LTC, STC and LRC circuits of an integrator that cannot overshoot have any; others are left
    as they are.
    """
    cell = policy.circuit.cell
    if not isinstance(cell, SynapticCell) or len(contract.action) != cell.output_size:
        return contract
    try:
        output = certify(cell).output
    except ValueError:
        return contract
    # What follows the circuit keeps the order of its values, so its ends are those of the action.
    low, high = (
        policy.respond(torch.as_tensor(end, dtype=torch.float32)).tolist()
        for end in (output.low, output.high)
    )
    entries = zip(contract.action, low, high, strict=True)
    action = tuple(replace(entry, bounds=(lo, hi)) for entry, lo, hi in entries)
    return replace(contract, action=action)
