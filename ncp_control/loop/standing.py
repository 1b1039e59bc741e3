"""Where a contract tells that the body stands, and that it is told to move.

A body that stands may see the same all the time, and a camera that is frozen then does no harm.

| what            | how the contract names it                                                  |
|-----------------|----------------------------------------------------------------------------|
| the own speed   | the only number sensed that is called `speed` and has the unit `m/s`; in a |
|                 | part of an observation, whatever that is called                            |
| what asks for   | each number commanded whose `positive` is `faster`: above 0 it speeds up,  |
| speed           | at 0 or below it never sets the body moving                                |

Both are needed. A throttle that also drives backwards must not be called `faster`. A link that
gives the same record again and again may hold a speed of 0 while the body begins to move, and only
the commands tell that.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ncp_control.contract import Contract
from ncp_control.records import entries_of

SPEED, SPEED_UNIT = "speed", "m/s"
"""Name and unit of the own speed."""
FASTER = "faster"
"""Where a positive command leads that asks for speed."""
LEAST_COMMAND = 0.01
"""A command up to this does not set a body moving: it may be the noise of a policy that brakes."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Tells a body that stands by its own speed and its last command."""

    speed: int
    """Place of the own speed among the numbers that are sensed."""
    pedals: Mapping[int, float]
    """Places of what asks for speed in the command, at least one, with the command at rest."""

    def is_at_rest(self, numbers: np.ndarray, command: np.ndarray, standing_mps: float) -> bool:
        """True if the body stands, and was not told to speed up.

        Args:
            numbers: What is sensed beside the frame, shape (numbers,).
            command: What was commanded last, shape (actions,).
            standing_mps: Speed below which it stands [m/s].
        """
        is_told_to_move = any(command[i] - rest > LEAST_COMMAND for i, rest in self.pedals.items())
        return bool(abs(numbers[self.speed]) < standing_mps and not is_told_to_move)


def find_standing(contract: Contract) -> Standing | None:
    """Return what tells a body that stands; None if the contract does not name it."""
    speeds = [
        i
        for i, entry in enumerate(entries_of(contract.observation))
        if entry.name.rpartition(": ")[2] == SPEED and entry.unit == SPEED_UNIT
    ]
    pedals = {
        i: entry.neutral
        for i, entry in enumerate(contract.action)
        if entry.positive == FASTER and not entry.choices
    }
    if len(speeds) != 1 or not pedals:
        return None
    return Standing(speed=speeds[0], pedals=pedals)
