"""What the body does about faults, and for how long it goes on with them.

| level   | what the body does                     | begins when the input is                |
|---------|----------------------------------------|-----------------------------------------|
| drive   | what the policy says                   | good for a while                        |
| degrade | what the policy says, at a lower rate  | doubtful                                |
| hold    | the last good command                  | unusable, or doubtful `hold_after_s`    |
| stop    | a safe stop                            | bad for `stop_after_s`                  |

A level only rises while the input is bad. It falls back to drive when the input was good without a
break for `resume_s`, or after a stop for `recover_s`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from ncp_control.loop.settings import MonitorSettings

_ROUNDING_S = 1e-9  # sums of frames' intervals that are a time but for their rounding


class Level(IntEnum):
    """What the body does."""

    DRIVE = 0
    DEGRADE = 1
    HOLD = 2
    STOP = 3


@dataclass(frozen=True)
class Fault:
    """Something wrong with a reading or with the policy's state."""

    kind: str
    """One of those in `monitor`."""
    reason: str
    """What was found, in a few words with numbers."""
    is_unusable: bool = True
    """Whether the policy must not see the reading; otherwise it is doubtful."""


@dataclass(frozen=True)
class Event:
    """A change of the level, or a new kind of fault."""

    time_s: float
    """When, on the clock of the loop; since it began in a `Drive` [s]."""
    level: Level
    """The level from then on."""
    kind: str
    """The kind of the fault, or "recovered"."""
    reason: str
    """Why."""

    def __str__(self) -> str:
        return f"{self.time_s:8.3f} s  {self.level.name.lower():8s} {self.kind}: {self.reason}"


class Levels:
    """Chooses the level, from the faults of one tick after the other.

    Args:
        settings: How long the body goes on with a bad input.

    Attributes:
        level: What the body does.
        events: All changes up to now, also of before a restart.
    """

    def __init__(self, settings: MonitorSettings) -> None:
        self.settings = settings
        self.events: list[Event] = []
        self.restart()

    def restart(self) -> None:
        """Forget what was bad up to now."""
        self.level = Level.DRIVE
        self._bad_since_s: float | None = None
        self._good_since_s: float | None = None
        self._kinds: set[str] = set()

    def judge(self, faults: Sequence[Fault], now_s: float, *, is_new: bool = True) -> Level:
        """Choose the level.

        Args:
            faults: What is wrong now.
            now_s: The time [s].
            is_new: Whether there is a new reading: without one, no time counts as good.
        """
        s, before = self.settings, self.level
        if faults:
            self._good_since_s = None
            self._bad_since_s = now_s if self._bad_since_s is None else self._bad_since_s
            bad_s = now_s - self._bad_since_s + _ROUNDING_S
            wanted = Level.DEGRADE
            if any(fault.is_unusable for fault in faults) or bad_s >= s.hold_after_s:
                wanted = Level.HOLD
            if bad_s >= s.stop_after_s:
                wanted = Level.STOP
            self.level = max(self.level, wanted)
            for fault in faults:
                if self.level != before or fault.kind not in self._kinds:
                    self.events.append(Event(now_s, self.level, fault.kind, fault.reason))
                self._kinds.add(fault.kind)
        elif is_new:
            self._good_since_s = now_s if self._good_since_s is None else self._good_since_s
            good_s = now_s - self._good_since_s + _ROUNDING_S
            needed_s = s.recover_s if self.level == Level.STOP else s.resume_s
            if good_s >= needed_s:
                if self.level != Level.DRIVE:
                    told = f"good for {good_s:.2f} s"
                    self.events.append(Event(now_s, Level.DRIVE, "recovered", told))
                self.level, self._bad_since_s = Level.DRIVE, None
                self._kinds.clear()
        return self.level


def tolerated(
    values: np.ndarray, time_s: np.ndarray, settings: MonitorSettings | None = None
) -> float:
    """Return the lowest limit on a number with which a drive would never be held or stopped.

    Above the limit an input is doubtful. Inputs that are above it for less than `hold_after_s`
    slow the commands and no more, so the limit may lie below the largest number of the drive. Of a
    drive that is over before `hold_after_s` it is the largest: nothing could have been held.

    Args:
        values: The number of each input, shape (time,).
        time_s: When each was read [s], shape (time,), increasing.
        settings: How long the body goes on with a bad input.

    Returns:
        The limit, one of the values.
    """
    settings = MonitorSettings() if settings is None else settings
    doubtful = [Fault("far", "", is_unusable=False)]

    def is_held(limit: float) -> bool:
        levels = Levels(settings)
        return any(
            levels.judge(doubtful if value > limit else [], now_s) >= Level.HOLD
            for value, now_s in zip(values.tolist(), time_s.tolist(), strict=True)
        )

    candidates = np.unique(values)  # no input is above the last
    if time_s[-1] - time_s[0] + _ROUNDING_S < settings.hold_after_s:
        return float(candidates[-1])
    lowest, highest = 0, len(candidates) - 1
    while lowest < highest:  # a higher limit never holds where a lower one does not
        middle = (lowest + highest) // 2
        if is_held(candidates[middle]):
            lowest = middle + 1
        else:
            highest = middle
    return float(candidates[lowest])
