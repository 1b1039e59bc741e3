"""Clocks of a loop: the machine's own, and one that only moves when somebody waits."""

import time
from typing import Protocol


class Clock(Protocol):
    """What tells a loop the time and lets it wait."""

    def now_s(self) -> float:
        """Return the time [s]; only differences mean something."""
        ...

    def sleep_until(self, time_s: float) -> None:
        """Return when it is `time_s`, or at once if that is over."""
        ...


class RealClock:
    """The machine's monotonic clock, which all its processes share."""

    def now_s(self) -> float:
        """Return the time [s]."""
        return time.monotonic()

    def sleep_until(self, time_s: float) -> None:
        """Sleep until it is `time_s`."""
        time.sleep(max(time_s - time.monotonic(), 0.0))


class SimulatedClock:
    """A clock that jumps: waiting takes no time, and computing takes none on it."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def now_s(self) -> float:
        """Return the simulated time [s]."""
        return self._now_s

    def sleep_until(self, time_s: float) -> None:
        """Jump to `time_s`."""
        self._now_s = max(self._now_s, time_s)
