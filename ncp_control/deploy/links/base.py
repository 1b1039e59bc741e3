"""Links, which join a loop to a world, a simulator or a robot, and how they are found by name.

    --link NAME            or            --link NAME:TARGET

A link converts between its counterpart and the policy's contract: what part of an image is seen,
colours, signs, units. It refuses a policy whose contract it cannot serve, before anything moves.
A link of your own is a function registered with `register_link`; see `LinkKind`.
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

LAST_PORT = 65_535
"""Highest port of a computer."""


@dataclass(frozen=True, kw_only=True)
class LinkKind:
    """A link that can be opened by name."""

    open: Callable[..., Link]
    """Takes the policy's contract, the target (a text after the colon, perhaps empty), `clock`, and
    options as keywords. Raises ValueError if the contract does not fit."""
    meaning: str
    """What it joins to, in a few words."""
    is_hosted: bool = True
    """Whether it runs in a process of its own, which stops the body when the loop's process dies or
    hangs. False for links that move nothing."""


LINKS: Registry[LinkKind] = Registry("link")
"""Links by name."""


def register_link(
    name: str, open: Callable[..., Link], *, meaning: str = "", is_hosted: bool = True
) -> None:
    """Make a link known by a name; arguments as the fields of `LinkKind`.

    Raises:
        ValueError: If the name is taken.
    """
    LINKS.register(name, LinkKind(open=open, meaning=meaning, is_hosted=is_hosted), source=open)


def open_here(
    name: str, contract: Contract, target: str, options: Mapping[str, Any], clock: Clock
) -> Link:
    """Open a link in this process.

    Raises:
        ValueError: If there is no such link or option, one that the link needs is missing, or the
            contract does not fit.
        LinkLost: If the counterpart does not come.
    """
    kind = LINKS.find(name)
    bound = inspect.signature(kind.open).bind_partial(contract, target, clock=clock)
    given = [*bound.arguments, "clock"]
    check_options("link_options", options, kind.open, given=given)
    check_needed("link_options", options, kind.open, given=given)
    return kind.open(contract, target, clock=clock, **options)


def check_address(host: str, port: int, *, least_port: int = 1) -> None:
    """Refuse an address at which no computer can be.

    Args:
        host: Name or number of the computer.
        port: Its port.
        least_port: Lowest port; at 0, the system chooses one.

    Raises:
        ValueError: If one of them is not valid.
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
    """Return how a policy's only action, steering, is turned into an angle.

    Args:
        contract: The policy's.
        where: What the link joins to, for the error.

    Returns:
        The sign that makes it positive to the right; and the angle of the action 1 [rad], None if
        it is the largest one of the counterpart.

    Raises:
        ValueError: If the policy commands something else, or does not say the sign or the unit.
    """
    steering = steering_of(contract, where)
    return -1.0 if steering.is_left_positive else 1.0, steering.scale
