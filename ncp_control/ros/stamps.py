"""Convert the time stamps of message headers to the clock of a loop.

A camera driver stamps an image when it is taken, by the clock of its own computer or of a
simulation. The offset between the two clocks is unknown. It is estimated from the message with the
shortest delay, whose delay is taken as zero.
"""

DRIFT = 1e-3
"""Largest relative difference between the rates of the two clocks."""
LONGEST_S = 1.0
"""Longest delay of a message [s]; if the offset changes by more, the sender's clock was reset."""


class StampClock:
    """Converts time stamps to the loop's clock."""

    def __init__(self) -> None:
        self._offset_s: float | None = None
        self._received_s = 0.0

    def time_s(self, stamp_s: float, received_s: float) -> float:
        """Return the time at which a message was stamped, on the loop's clock [s].

        Args:
            stamp_s: Time stamp of the message on the sender's clock [s]; if 0: no stamp, and
                `received_s` is returned.
            received_s: Time at which the message arrived, on the loop's clock [s].
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
