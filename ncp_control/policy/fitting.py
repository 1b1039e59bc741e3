"""Whether a contract fits the policy that is to carry it."""

import math
from typing import TYPE_CHECKING

from ncp_control.contract import FRAME_TOLERANCE, Contract, check_contract
from ncp_control.policy.choices import check_same_choices
from ncp_control.records import array_of

if TYPE_CHECKING:
    from ncp_control.policy.base import Policy


def check_fits(policy: "Policy", contract: Contract) -> None:
    """Check that a contract has a policy's choices, actions, and shape of observations.

    Raises:
        TypeError: If it is not a Contract.
        ValueError: If it has others.
    """
    check_same_choices(policy.choices, check_contract(contract).action)
    if len(contract.action) != policy.action_size:
        raise ValueError(
            f"`contract` must have an entry for each of the policy's {policy.action_size}"
            f" actions, got {len(contract.action)}. Give each action an entry, or build a"
            " policy with that many outputs."
        )
    taken, offered = policy.observed_shape, array_of(contract.observation)[0]
    if taken is not None and taken != offered:
        raise ValueError(
            f"`contract` must have observations of shape {taken}, which the policy takes,"
            f" got {offered}. Correct one of the two."
        )


def has_rate_of(policy: "Policy", contract: Contract) -> bool:
    """True if the policy's circuit decides at the frame interval of a contract."""
    return math.isclose(policy.circuit.frame_s, contract.frame_s, rel_tol=FRAME_TOLERANCE)
