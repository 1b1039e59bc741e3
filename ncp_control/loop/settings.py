"""Settings of the loop and of its monitor."""

import math
from dataclasses import dataclass

from ncp_control.ranges import check_above_zero, check_not_negative, check_positive

_LONGEST_S = 0.5
_PATIENCE_S = 0.12


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How a policy is run on a robot."""

    rate_hz: float | None = None
    """Ticks a second; one for each frame of the policy's contract if None."""
    seconds: float = math.inf
    """How long to drive [s]."""
    command_rate_per_s: float | None = None
    """Largest change of a command a second, in the unit of the command, from the first command on;
    no limit if None. At 1, a command in [-1, 1] takes 2 s from one end to the other."""
    degraded_rate_per_s: float = 1.0
    """The same while the input is doubtful."""
    longest_s: float | None = None
    """After a longer time without a good reading the policy's memory is of no use and is
    cleared [s]; 0.5 s if None, or three ticks where those take longer."""

    def __post_init__(self) -> None:
        check_positive(self, "rate_hz", "command_rate_per_s", "degraded_rate_per_s", "longest_s")
        if not self.seconds == math.inf:
            check_above_zero("seconds", self.seconds)

    def period_s(self, frame_s: float) -> float:
        """Return the time between two ticks of a policy with this interval of frames [s]."""
        return frame_s if self.rate_hz is None else 1.0 / self.rate_hz

    def pause_s(self, frame_s: float) -> float:
        """Return the `longest_s` of a policy with this interval of frames.

        Raises:
            ValueError: If it is shorter than a tick, so that the memory would never last.
        """
        period_s = self.period_s(frame_s)
        if self.longest_s is None:
            return max(_LONGEST_S, 3.0 * period_s)
        if self.longest_s < period_s:
            raise ValueError(
                f"`longest_s` must be at least the {period_s:g} s of a tick, got"
                f" {self.longest_s:g}. In less the policy would forget everything at each."
            )
        return self.longest_s


@dataclass(frozen=True, kw_only=True)
class MonitorSettings:
    """When an input is bad, and how long the body goes on with it."""

    missing_s: float | None = None
    """Time without a new reading after which readings are missing [s]; this and the next two are
    0.12 s if None, or two and a half frames where those take longer."""
    late_s: float | None = None
    """Age of a reading beyond which it is late [s]."""
    frozen_s: float | None = None
    """Time over which readings that stay the same bit by bit are frozen [s]."""
    standing_mps: float = 0.1
    """Own speed below which a body stands, and may see the same until it is told to go faster
    [m/s]; 0 if it never may. Without effect unless the contract tells both; see `standing`."""
    black_below: float = 12.0
    """A frame is black if 99 % of its pixels are at most this, on the scale of the contract."""
    white_above: float = 243.0
    """A frame is white if 99 % of its pixels are at least this."""
    hold_after_s: float = 0.1
    """Doubtful input for so long lets the body hold its last good command [s]."""
    stop_after_s: float = 0.3
    """Bad input for so long brings the body to a safe stop [s]."""
    resume_s: float = 0.1
    """Good input for so long lets a degraded or held body drive again [s]."""
    recover_s: float = 1.0
    """Good input for so long lets a stopped body drive again [s]."""

    def __post_init__(self) -> None:
        check_positive(self, "missing_s", "late_s", "frozen_s", "stop_after_s")
        for name in ("standing_mps", "hold_after_s", "resume_s", "recover_s", "black_below",
                     "white_above"):  # fmt: skip
            check_not_negative(name, getattr(self, name))
        if self.hold_after_s > self.stop_after_s:
            raise ValueError(
                f"`hold_after_s` must be at most `stop_after_s`, got {self.hold_after_s!r} and"
                f" {self.stop_after_s!r}. Hold before you stop."
            )

    def patience_s(self, asked_s: float | None, frame_s: float) -> float:
        """Return one of the first three times at an interval of frames, all in s."""
        return max(_PATIENCE_S, 2.5 * frame_s) if asked_s is None else asked_s
