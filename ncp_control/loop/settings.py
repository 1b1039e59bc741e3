"""Settings of the loop and of its monitor."""

import math
from dataclasses import dataclass

from ncp_control.ranges import check_above_zero, check_not_negative, check_positive

_LONGEST_S = 0.5
_PATIENCE_S = 0.12


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """Settings of the control loop on a robot."""

    rate_hz: float | None = None
    """Ticks per second of the loop; if None: the frame rate of the policy's contract."""
    seconds: float = math.inf
    """Duration of the drive [s]."""
    command_rate_per_s: float | None = None
    """Largest change of a command per second, in the unit of the command, from the first command
    on; if None: no limit. At 1, a command in [-1, 1] takes 2 s from one end to the other."""
    degraded_rate_per_s: float = 1.0
    """Largest change of a command per second while the input is doubtful."""
    longest_s: float | None = None
    """Longest time without a good reading after which the policy keeps its hidden state [s]; after
    a longer time it is reset. If None: 0.5 s, or three ticks if they take longer."""

    def __post_init__(self) -> None:
        check_positive(self, "rate_hz", "command_rate_per_s", "degraded_rate_per_s", "longest_s")
        if not self.seconds == math.inf:
            check_above_zero("seconds", self.seconds)

    def period_s(self, frame_s: float) -> float:
        """Return the time between two ticks [s], for a policy with this frame interval [s]."""
        return frame_s if self.rate_hz is None else 1.0 / self.rate_hz

    def pause_s(self, frame_s: float) -> float:
        """Return `longest_s` [s], or its default for a policy with this frame interval [s].

        Raises:
            ValueError: If it is shorter than a tick: every tick would reset the hidden state.
        """
        period_s = self.period_s(frame_s)
        if self.longest_s is None:
            return max(_LONGEST_S, 3.0 * period_s)
        if self.longest_s < period_s:
            raise ValueError(
                f"`longest_s` must be at least the {period_s:g} s of a tick, got"
                f" {self.longest_s:g}. With less, every tick would reset the policy."
            )
        return self.longest_s


@dataclass(frozen=True, kw_only=True)
class MonitorSettings:
    """Settings of the monitor: when an input is bad, and how long the robot tolerates it."""

    missing_s: float | None = None
    """Time without a new reading after which readings count as missing [s]; if None: 0.12 s, or
    2.5 frames if they take longer."""
    late_s: float | None = None
    """Age beyond which a reading counts as late [s]; if None: as for `missing_s`."""
    frozen_s: float | None = None
    """Time after which bitwise identical readings count as frozen [s]; if None: as for
    `missing_s`."""
    standing_mps: float = 0.1
    """Speed below which the robot stands [m/s]. While it stands and is not commanded to go faster,
    its readings may stay the same; 0 if they never may. Without effect unless the contract names
    the speed and the commands that raise it; see `standing`."""
    black_below: float = 12.0
    """A frame is black if 99 % of its pixel values are at most this, on the scale from 0 to 255."""
    white_above: float = 243.0
    """A frame is white if 99 % of its pixel values are at least this, on the same scale."""
    hold_after_s: float = 0.1
    """Duration of doubtful input after which the robot holds its last good command [s]."""
    stop_after_s: float = 0.3
    """Duration of bad (doubtful or unusable) input after which the robot makes a safe stop [s].
    For faults that come and go, see `levels`."""
    resume_s: float = 0.1
    """Duration of good input after which a degraded or holding robot drives again [s]."""
    recover_s: float = 1.0
    """Duration of good input after which a stopped robot drives again [s]."""

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
        """Return `missing_s`, `late_s` or `frozen_s` (as `asked_s`), or their default [s].

        Args:
            asked_s: Value of the setting [s]; None for the default.
            frame_s: Frame interval of the policy [s].
        """
        return max(_PATIENCE_S, 2.5 * frame_s) if asked_s is None else asked_s
