"""Contract of a trained policy: that of its environment, with provenance."""

from dataclasses import replace

from ncp_control.contract import Contract
from ncp_control.learning.run import describe_environment, typed_command
from ncp_control.worlds import World


def trained_in(world: World) -> Contract:
    """Return the contract of a policy that is trained in an environment."""
    return with_origin(world.contract)


def with_origin(contract: Contract, data: str = "") -> Contract:
    """Return a contract with the provenance of a training run: command, commit and data."""
    origin = {"command": typed_command(), "commit": describe_environment()["commit"], "data": data}
    return replace(
        contract, provenance={name: str(value) for name, value in origin.items() if value}
    )
