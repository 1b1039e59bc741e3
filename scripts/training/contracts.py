"""Contract of a trained policy: that of its environment, with provenance."""

from dataclasses import replace

from ncp_control.contract import Contract
from ncp_control.learning.run import describe_environment, typed_command
from ncp_control.worlds import World


def trained_in(world: World, before: Contract | None = None) -> Contract:
    """Return the contract of a policy that is trained in an environment.

    Args:
        world: The environment.
        before: Contract of the saved policy whose training continues; None for a new policy.
    """
    return with_origin(world.contract, before=before)


def with_origin(contract: Contract, data: str = "", before: Contract | None = None) -> Contract:
    """Return a contract with the provenance of a training run.

    Its command, commit and data, and if a saved policy is trained further, the SHA-256 hash of its
    weights, as `continues`.
    """
    origin = {"command": typed_command(), "commit": describe_environment()["commit"], "data": data}
    if before is not None:
        origin["continues"] = before.provenance.get("weights_sha256", "")
    return replace(
        contract, provenance={name: str(value) for name, value in origin.items() if value}
    )
