"""Links connect the loop to a world, a simulator or a robot, and are found by name.

    --link NAME            or            --link NAME:TARGET

A link converts between its counterpart and the policy's contract: crop of the image, colours,
signs, units. It refuses a policy whose contract it cannot serve, before anything moves. Your own
link is a function registered with `register_link`; see `LinkKind`.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ncp_control.contract import Contract
from ncp_control.keyword_options import check_needed, check_options
from ncp_control.loop.clocks import Clock
from ncp_control.loop.link import Link
from ncp_control.registry import Registry
from ncp_control.steering import steering_of

HOW_MUCH_THROTTLE = "Give a share of the full throttle, e.g. 0.2."
"""Advice of the error about a throttle."""
LAST_PORT = 65_535
"""Highest TCP port."""


@dataclass(frozen=True, kw_only=True)
class LinkKind:
    """Link that can be opened by name."""

    open: Callable[..., Link]
    """Function that opens the link. It takes the policy's contract, the target (the text after the
    colon, possibly empty), `clock`, and options as keywords. It raises ValueError if the contract
    does not fit."""
    meaning: str
    """Short description of the link's counterpart."""
    is_hosted: bool = True
    """Whether the link runs in its own process, which stops the body if the loop's process dies or
    hangs. False for links that move nothing."""


LINKS: Registry[LinkKind] = Registry("link")
"""Links by name."""


def register_link(
    name: str, open: Callable[..., Link], *, meaning: str = "", is_hosted: bool = True
) -> None:
    """Register a link by name; arguments as the fields of `LinkKind`.

    Raises:
        ValueError: If the name is taken.
    """
    LINKS.register(name, LinkKind(open=open, meaning=meaning, is_hosted=is_hosted), source=open)


def open_here(
    name: str, contract: Contract, target: str, options: Mapping[str, Any], clock: Clock
) -> Link:
    """Open a link in this process.

    Raises:
        ValueError: If there is no such link or option, a required option is missing, or the
            contract does not fit.
        LinkLost: If the counterpart does not answer.
    """
    kind = LINKS.find(name)
    bound = inspect.signature(kind.open).bind_partial(contract, target, clock=clock)
    passed = [*bound.arguments, "clock"]
    check_options("link_options", options, kind.open, given=passed)
    check_needed("link_options", options, kind.open, given=passed)
    return kind.open(contract, target, clock=clock, **options)


def check_address(host: str, port: int, *, least_port: int = 1) -> None:
    """Raise an error if host or port cannot be valid.

    Args:
        host: Name or address of the computer.
        port: TCP port.
        least_port: Lowest valid port; port 0 lets the system choose one.

    Raises:
        ValueError: If host or port is not valid.
    """
    if not isinstance(host, str) or not host:
        raise ValueError(
            f"`host` must be a computer's name or number, got {host!r}. Give e.g. 127.0.0.1."
        )
    if not (isinstance(port, int) and least_port <= port <= LAST_PORT):
        raise ValueError(
            f"`port` must be a whole number from {least_port} to {LAST_PORT}, got {port!r}."
            " Choose one of these."
        )


def check_steering(contract: Contract, where: str) -> tuple[float, float | None]:
    """Return how to convert a policy's only action, steering, into an angle.

    Args:
        contract: The policy's contract.
        where: Name of the link's counterpart, for error messages.

    Returns:
        The sign that makes the action positive to the right, and the angle for the action 1 [rad].
        The angle is None if it is the largest angle of the counterpart.

    Raises:
        ValueError: If the policy commands anything else, or its contract lacks sign or unit.
    """
    steering = steering_of(contract, where)
    return -1.0 if steering.is_left_positive else 1.0, steering.scale
