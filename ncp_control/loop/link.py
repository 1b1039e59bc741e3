"""`Link`: what the loop asks of a world, a simulator or a robot; `Reading`: what it is told.

The links themselves are in `ncp_control.deploy.links`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from ncp_control.contract import Contract


class LinkLost(ConnectionError):
    """The counterpart is gone without a word."""


class LinkEnded(Exception):
    """There is nothing more to come, e.g. at the end of a video or of an episode."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a link has read at one moment."""

    observation: np.ndarray | None
    """As the policy's contract wants it, if all is well; None if what came cannot be read."""
    time_s: float
    """When it was taken, or came in, on the loop's clock [s]."""
    told: Mapping[str, float] = field(default_factory=dict)
    """What else the counterpart tells, by name and unit, e.g. speed_mps."""
    is_manual: bool = False
    """Whether a person drives; then nothing is commanded."""


def with_unread(reading: Reading, unread: Reading | None) -> Reading:
    """Return a reading with what is told once and was told by the one before, which nobody read.

    Rewards are added up, and a hit stays a hit.

    Args:
        reading: The newest.
        unread: The one before; None if it was read.
    """
    if unread is None:
        return reading
    kept = {}
    if "reward" in unread.told:
        kept["reward"] = unread.told["reward"] + reading.told.get("reward", 0.0)
    if "is_hit" in unread.told:
        kept["is_hit"] = max(unread.told["is_hit"], reading.told.get("is_hit", 0.0))
    return replace(reading, told={**reading.told, **kept})


class Link(Protocol):
    """The counterpart of a loop."""

    contract: Contract
    """What the link offers and takes."""

    def read(self, timeout_s: float) -> Reading | None:
        """Return the newest reading that was not returned yet; None if none comes in time.

        Raises:
            LinkLost: If the counterpart is gone.
            LinkEnded: If nothing more will come.
        """
        ...

    def send(self, command: np.ndarray) -> None:
        """Command the body; it goes on from a stop as well.

        Args:
            command: As the contract has it, shape (action,).

        Raises:
            LinkLost: If the counterpart is gone.
        """
        ...

    def stop(self) -> None:
        """Bring the body to a safe stop and keep it there, until `send` is called."""
        ...

    def close(self) -> None:
        """Let the counterpart go."""
        ...
