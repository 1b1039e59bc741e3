"""Levels: how the robot reacts to faults, and how long it tolerates them.

| level   | what the robot does                    | begins when the input is                |
|---------|----------------------------------------|-----------------------------------------|
| drive   | the policy's commands                  | good for a while                        |
| degrade | the policy's commands, at a lower rate | doubtful                                |
| hold    | the last good command                  | unusable, or doubtful `hold_after_s`    |
| stop    | a safe stop                            | bad for `stop_after_s`, or again and    |
|         |                                        | again                                   |

While the input is bad, the level can only rise. It falls back to drive after the input was good for
`resume_s` without a break, or for `recover_s` after a stop.

A fault that comes and goes, e.g. a loose contact, may never last for `stop_after_s`. So the time on
hold adds up, and the time of driving is subtracted from it. If the sum exceeds three times
`stop_after_s`, bad input stops the robot.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from ncp_control.loop.settings import MonitorSettings

_HOLDS = 3.0
"""Largest time on hold, less the time of driving, as a multiple of `stop_after_s`."""
_ROUNDING_S = 1e-9  # tolerance for rounding in sums of frame intervals


class Level(IntEnum):
    """Reaction of the robot, from normal driving to a safe stop."""

    DRIVE = 0
    DEGRADE = 1
    HOLD = 2
    STOP = 3


@dataclass(frozen=True)
class Fault:
    """A fault of a reading or of the policy's state."""

    kind: str
    """Name of the fault in the table of `monitor`."""
    reason: str
    """Short description with numbers."""
    is_unusable: bool = True
    """Whether the policy must not see the reading; if False, the reading is only doubtful."""


@dataclass(frozen=True)
class Event:
    """A change of the level, or a new kind of fault."""

    time_s: float
    """Time on the loop's clock; since the loop's start in a `LoopRecord` [s]."""
    level: Level
    """The level from then on."""
    kind: str
    """Kind of the fault, "recovered", or "end"."""
    reason: str
    """Short description of the cause."""

    def __str__(self) -> str:
        return f"{self.time_s:8.3f} s  {self.level.name.lower():8s} {self.kind}: {self.reason}"


class Levels:
    """Chooses the level from the faults of each tick.

    Args:
        settings: Times for which bad input is tolerated.

    Attributes:
        level: The current level.
        events: All events up to now, also those before a restart.
    """

    def __init__(self, settings: MonitorSettings) -> None:
        self.settings = settings
        self.events: list[Event] = []
        self.restart()

    def restart(self) -> None:
        """Return to the level drive and forget earlier faults."""
        self.level = Level.DRIVE
        self._bad_since_s: float | None = None
        self._good_since_s: float | None = None
        self._judged_s: float | None = None
        self._held_s = 0.0  # time on hold, less the time at other levels; at least 0
        self._kinds: set[str] = set()

    def leave_out(self, now_s: float) -> None:
        """Let the time since the last judgement count for nothing, e.g. if a person drove."""
        if self._judged_s is None:
            return
        left_out_s, self._judged_s = now_s - self._judged_s, now_s
        if self._bad_since_s is not None:
            self._bad_since_s += left_out_s
        if self._good_since_s is not None:
            self._good_since_s += left_out_s

    def judge(self, faults: Sequence[Fault], now_s: float, *, is_new: bool = True) -> Level:
        """Choose the level.

        Args:
            faults: Faults of this tick.
            now_s: The time [s].
            is_new: Whether a new reading came; time without one does not count as good input.
        """
        s, before = self.settings, self.level
        elapsed_s = 0.0 if self._judged_s is None else now_s - self._judged_s
        self._judged_s = now_s
        self._held_s = max(self._held_s + (elapsed_s if before == Level.HOLD else -elapsed_s), 0.0)
        if faults:
            self._good_since_s = None
            self._bad_since_s = now_s if self._bad_since_s is None else self._bad_since_s
            bad_s = now_s - self._bad_since_s + _ROUNDING_S
            wanted = Level.DEGRADE
            if any(fault.is_unusable for fault in faults) or bad_s >= s.hold_after_s:
                wanted = Level.HOLD
            if bad_s >= s.stop_after_s or self._held_s > _HOLDS * s.stop_after_s:
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
                    reason = f"good for {good_s:.2f} s"
                    self.events.append(Event(now_s, Level.DRIVE, "recovered", reason))
                self.level, self._bad_since_s = Level.DRIVE, None
                self._kinds.clear()
        return self.level


def tolerated(
    values: np.ndarray, time_s: np.ndarray, settings: MonitorSettings | None = None
) -> float:
    """Return the lowest limit on a value at which a drive would never be held or stopped.

    An input whose value is above the limit is doubtful. Input that is doubtful for less than
    `hold_after_s` only slows the commands, so the limit may lie below the largest value of the
    drive. For a drive shorter than `hold_after_s`, in which nothing could be held, the limit is the
    largest value.

    Args:
        values: Value of each input, shape (time,).
        time_s: Time of each input [s], shape (time,), increasing.
        settings: Times for which bad input is tolerated.

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

    candidates = np.unique(values)  # sorted; no input is above the last one
    if time_s[-1] - time_s[0] + _ROUNDING_S < settings.hold_after_s:
        return float(candidates[-1])
    # A higher limit never holds where a lower one does not.
    lowest = bisect_left(candidates[:-1], True, key=lambda limit: not is_held(limit))
    return float(candidates[lowest])
