"""Detection of a robot at rest, from its speed and commands as its contract names them.

While a robot stands, its readings may stay the same, and a frozen camera does no harm.

| what            | how the contract names it                                                  |
|-----------------|----------------------------------------------------------------------------|
| own speed       | the only observed number with the name `speed` and the unit `m/s`, in any  |
|                 | part of the observation                                                    |
| speed commands  | each commanded number whose `positive` is `faster`: above 0 it accelerates |
|                 | the robot, at 0 or below it never starts a movement                        |

Both are needed: a link that repeats the same record may report a speed of 0 while the robot starts
to move, and only the commands show the movement. A throttle that also drives backwards must not be
called `faster`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ncp_control.contract import Contract
from ncp_control.records import entries_of

SPEED, SPEED_UNIT = "speed", "m/s"
"""Name and unit of the own speed."""
FASTER = "faster"
"""Value of `positive` in the contract that marks a speed command."""
LEAST_COMMAND = 0.01
"""Largest excess of a command over its value at rest that does not start a movement: it may be the
noise of a braking policy."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Detects a robot at rest by its speed and its last command."""

    speed: int
    """Index of the speed among the numbers of the observation."""
    pedals: Mapping[int, float]
    """Indices of the speed commands, at least one, each with its value at rest."""

    def is_at_rest(self, numbers: np.ndarray, command: np.ndarray, standing_mps: float) -> bool:
        """True if the robot stands and was not commanded to accelerate.

        Args:
            numbers: Numbers of the observation, without the frame, shape (numbers,).
            command: The last command, shape (actions,).
            standing_mps: Speed below which the robot stands [m/s].
        """
        is_told_to_move = any(command[i] - rest > LEAST_COMMAND for i, rest in self.pedals.items())
        return bool(abs(numbers[self.speed]) < standing_mps and not is_told_to_move)


def find_standing(contract: Contract) -> Standing | None:
    """Return the detector for a contract; None if it does not name speed and speed commands."""
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
