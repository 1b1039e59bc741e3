"""Clocks of the loop: the machine's clock, and a simulated clock that advances only in waits."""

import time
from typing import Protocol


class Clock(Protocol):
    """Interface of a clock."""

    def now_s(self) -> float:
        """Return the time [s]; only differences between times are meaningful."""
        ...

    def sleep_until(self, time_s: float) -> None:
        """Wait until the time is `time_s`; return at once if it has passed."""
        ...


class RealClock:
    """The machine's monotonic clock, shared by all its processes."""

    def now_s(self) -> float:
        """Return the time [s]."""
        return time.monotonic()

    def sleep_until(self, time_s: float) -> None:
        """Sleep until the time is `time_s`."""
        time.sleep(max(time_s - time.monotonic(), 0.0))


class SimulatedClock:
    """A clock that jumps: a wait returns at once, and computation takes no simulated time."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def now_s(self) -> float:
        """Return the simulated time [s]."""
        return self._now_s

    def sleep_until(self, time_s: float) -> None:
        """Jump to `time_s`."""
        self._now_s = max(self._now_s, time_s)
