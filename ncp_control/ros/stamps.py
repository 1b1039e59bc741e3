"""The times in the headers of messages, on the clock of a loop.

A camera's driver stamps an image when it is taken, on the clock of its own computer or of a
simulation. The difference of the two clocks is unknown; it is taken from the message that came
fastest, which is thus counted as if it had needed no time.
"""

DRIFT = 1e-3
"""How much faster or slower one clock may go than the other."""
LONGEST_S = 1.0
"""A message cannot be older; if it seems so, its clock was set anew [s]."""


class StampClock:
    """Turns stamps into times of the loop's clock."""

    def __init__(self) -> None:
        self._offset_s: float | None = None
        self._received_s = 0.0

    def time_s(self, stamp_s: float, received_s: float) -> float:
        """Return when a message was stamped, on the loop's clock [s].

        Args:
            stamp_s: Its stamp [s]; 0 if it has none, and then it counts as just made.
            received_s: When it came, on the loop's clock [s].
        """
        if stamp_s == 0.0:
            return received_s
        offset_s = received_s - stamp_s
        elapsed_s, self._received_s = received_s - self._received_s, received_s
        if self._offset_s is None or abs(offset_s - self._offset_s) > LONGEST_S:
            self._offset_s = offset_s
        else:
            self._offset_s = min(offset_s, self._offset_s + DRIFT * elapsed_s)
        return stamp_s + self._offset_s
