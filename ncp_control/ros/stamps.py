"""Convert the time stamps of message headers to the clock of a loop.

A camera driver stamps an image when it is taken, by the clock of its own computer or of a
simulation. The offset between the two clocks is unknown. It is estimated from the message with the
shortest delay, whose delay is taken as zero.

If the offset grows, the messages are delayed, or the sender's clock was set back. The stamps of
delayed messages still increase, so only a stamp far before the previous one shows that the clock
was set back. If the clock was set back while no messages came, the stamps may increase as well:
such messages count as delayed.
"""

DRIFT = 1e-3
"""Largest relative difference between the rates of the two clocks."""
SET_BACK_S = 1.0
"""If a stamp is earlier than the previous one by more than this [s], the sender's clock was set
back or began anew."""


class StampClock:
    """Converts time stamps to the loop's clock."""

    def __init__(self) -> None:
        self._offset_s: float | None = None
        self._stamp_s = self._received_s = 0.0

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
        before_s, self._stamp_s = self._stamp_s, stamp_s
        if self._offset_s is None or stamp_s < before_s - SET_BACK_S:
            self._offset_s = offset_s
        else:  # a clock that was set forward gives the shortest delay so far
            self._offset_s = min(offset_s, self._offset_s + DRIFT * elapsed_s)
        return stamp_s + self._offset_s
