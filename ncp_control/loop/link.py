"""`Link`: interface of the loop to a world, a simulator or a robot; `Reading`: one sensor reading.

The implementations are in `ncp_control.deploy.links`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from ncp_control.contract import Contract


class LinkLost(ConnectionError):
    """The connection to the robot or simulator was lost."""


class LinkEnded(Exception):
    """The link has no more readings, e.g. at the end of a video or of an episode."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One reading of a link."""

    observation: np.ndarray | None
    """Observation, normally as the policy's contract defines it; None if it was not readable."""
    time_s: float
    """Time at which it was taken, or arrived, on the loop's clock [s]."""
    info: Mapping[str, float] = field(default_factory=dict)
    """Further reported values, by name with unit, e.g. speed_mps."""
    is_manual: bool = False
    """Whether a person drives; then the loop sends no command."""
    command: np.ndarray | None = None
    """What the person commands, as the contract defines it, shape (action,); None if it is not
    known. The loop records it, for policies that learn from corrections."""


def with_unread(reading: Reading, unread: Reading | None) -> Reading:
    """Return a reading that also carries the one-time values of the unread reading before it.

    Rewards are added up, and `is_hit` stays set.

    Args:
        reading: The newest reading.
        unread: The reading before it; None if it was read.
    """
    if unread is None:
        return reading
    kept = {}
    if "reward" in unread.info:
        kept["reward"] = unread.info["reward"] + reading.info.get("reward", 0.0)
    if "is_hit" in unread.info:
        kept["is_hit"] = max(unread.info["is_hit"], reading.info.get("is_hit", 0.0))
    return replace(reading, info={**reading.info, **kept})


class Link(Protocol):
    """Interface of the loop to a robot, a simulator or a world."""

    contract: Contract
    """Observations that the link offers and actions that it takes."""

    def read(self, timeout_s: float) -> Reading | None:
        """Return the newest reading that was not returned yet; None if none comes in time.

        Raises:
            LinkLost: If the connection is lost.
            LinkEnded: If no more readings will come.
        """
        ...

    def send(self, command: np.ndarray) -> None:
        """Send a command; it also ends a stop.

        Args:
            command: Command as defined by the contract, shape (action,).

        Raises:
            LinkLost: If the connection is lost.
        """
        ...

    def stop(self) -> None:
        """Bring the robot to a safe stop and keep it stopped until `send` is called.

        If `read` or `send` hangs, this may be called in another thread.
        """
        ...

    def close(self) -> None:
        """Close the connection."""
        ...
