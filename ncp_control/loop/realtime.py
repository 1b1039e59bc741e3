"""The control loop that runs a policy on a robot: fixed rate, measured, limited, and fail-safe.

In every tick, `drive` reads the newest observation of a link, checks it with the monitor, runs the
policy with the measured time since its last observation, limits the command in range and rate, and
sends it. The policy does not act on untrusted readings: see `monitor`. However the loop ends (a
lost link or controller, Ctrl-C, an error), it stops the robot through the link.
"""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ncp_control.contract import Contract
from ncp_control.episode import Episode
from ncp_control.loop.clocks import Clock
from ncp_control.loop.levels import Event, Level
from ncp_control.loop.link import Link, LinkEnded, LinkLost, Reading
from ncp_control.loop.monitor import Monitor
from ncp_control.loop.pilot import Controller, ControllerLost, GuardedPilot
from ncp_control.loop.settings import LoopSettings
from ncp_control.loop.ticks import TickLog

_SLACK_S = 1e-9


class TickRecorder(Protocol):
    """Interface of an object that records a drive while it happens; see `recording`."""

    def begin(self, start_s: float) -> None:
        """Begin the recording at the time `start_s` of the loop's clock [s]."""
        ...

    def add(
        self,
        reading: Reading | None,
        row: Mapping[str, Any],
        controller: Controller,
        events: Sequence[Event],
    ) -> None:
        """Record one tick.

        Args:
            reading: The reading; None if none came.
            row: Row of this tick in the loop's log; see `TickLog.add`.
            controller: The controller that acted.
            events: All events up to now, on the loop's clock.
        """
        ...

    def end(self, events: Sequence[Event]) -> None:
        """Record the remaining events, whose times count from the loop's start, and finish."""
        ...


@dataclass(frozen=True, kw_only=True)
class LoopRecord:
    """Result of a run of the loop."""

    episode: Episode
    """All ticks; `infos` holds the values reported by the link, the `level`, and `model_s`."""
    events: list[Event]
    """Events of the monitor and, after a safe stop, the end; times count from the loop's start."""
    ended: str
    """Reason why the loop ended."""
    is_safe_stop: bool
    """Whether the loop ended early in a safe stop: a lost link or controller, or an interrupt."""
    timing: Mapping[str, float]
    """Number of ticks, missed deadlines, jitter, model time; see `TickLog.timing`."""
    manual_ticks: int = 0
    """Number of ticks in which a person drove; they are not in `episode`."""
    interrupt: KeyboardInterrupt | None = None
    """Ctrl-C or the signal that ended the loop."""

    def to_json(self) -> dict[str, Any]:
        """Return all but the episode as JSON values."""
        names = {level: level.name.lower() for level in Level}
        events = [{"time_s": round(e.time_s, 4), "level": names[e.level], "kind": e.kind,
                   "reason": e.reason} for e in self.events]  # fmt: skip
        levels = np.asarray(self.episode.infos.get("level", ()), int)  # none if it ended at once
        shares = np.bincount(levels, minlength=4)
        spent = {names[level]: int(shares[level]) for level in Level}
        return {"ended": self.ended, "timing": dict(self.timing), "ticks_at_level": spent,
                "manual_ticks": self.manual_ticks, "events": events}  # fmt: skip


def drive(
    controller: Controller,
    contract: Contract,
    link: Link,
    *,
    clock: Clock,
    monitor: Monitor | None = None,
    settings: LoopSettings | None = None,
    keeps_observations: bool = False,
    recorder: TickRecorder | None = None,
    name: str = "",
) -> LoopRecord:
    """Run a policy on a link until its time is over, the link ends, or it is interrupted.

    Args:
        controller: The policy or its exported controller.
        contract: Its contract.
        link: Link to the robot or simulator; it is stopped at the end, but not closed.
        clock: Clock of the loop.
        monitor: Makes the loop fail safe. Without a monitor, the last command is held when no
            usable reading comes, and faults never stop the robot.
        settings: Rates and limits.
        keeps_observations: Whether the episode keeps the observations.
        recorder: Records every tick after its command was sent, and those in which a person drives
            and the link knows the person's command.
        name: Name of the policy, for the episode.

    Raises:
        ValueError: If the contract does not fit that of the link; the robot has not moved then. Or
            if a person's command has another shape than the contract's.
    """
    contract.check_offer(link.contract, "the link")
    settings = LoopSettings() if settings is None else settings
    pilot = GuardedPilot(controller, contract, clock=clock, monitor=monitor, settings=settings)
    period_s, log = pilot.period_s, TickLog(contract, name, keeps_observations)
    start_s = tick_s = clock.now_s()
    is_manual, ended, interrupt, is_safe_stop = False, "its time is over", None, False
    manual_ticks = 0
    if recorder is not None:
        recorder.begin(start_s)
    try:
        while tick_s - start_s < settings.seconds - _SLACK_S:
            begun_s = clock.now_s()
            reading = link.read(0.5 * period_s)
            now_s = clock.now_s()

            was_manual = is_manual
            if reading is not None:
                is_manual = reading.is_manual
            if is_manual:  # a person drives: missing readings are no fault; the policy resets later
                manual_ticks += 1
                if recorder is not None and reading is not None and reading.command is not None:
                    row = log.add_manual(reading.command, time_s=now_s - start_s)
                    recorder.add(reading, row, controller, _events_of(monitor))
                tick_s = max(tick_s + period_s, now_s)
                clock.sleep_until(tick_s)
                continue
            if was_manual:
                pilot.begin(now_s)

            decision = pilot.decide(reading, now_s)
            if decision.level == Level.STOP:
                link.stop()
            else:
                link.send(decision.command)
            sent_s = clock.now_s()

            log.add(
                reading,
                decision,
                time_s=now_s - start_s,
                model_s=decision.time_s - now_s,
                jitter_s=begun_s - tick_s,
                is_late=sent_s > tick_s + period_s + _SLACK_S,
            )
            if recorder is not None:
                recorder.add(reading, log.rows[-1], controller, _events_of(monitor))
                sent_s = clock.now_s()
            # Skip ticks whose time is over: do not catch up with several ticks at once.
            missed = max(math.floor((sent_s - tick_s) / period_s + _SLACK_S), 1)
            tick_s += missed * period_s
            clock.sleep_until(tick_s)
    except LinkEnded as end:
        ended = str(end)
    except ControllerLost as error:
        ended, is_safe_stop = f"the controller was lost: {error}", True
    except (LinkLost, OSError) as error:
        ended, is_safe_stop = f"the link was lost: {error}", True
    except KeyboardInterrupt as stop:
        ended, is_safe_stop, interrupt = "stopped by hand or by a signal", True, stop
    finally:
        with contextlib.suppress(OSError):
            link.stop()
    events = [Event(e.time_s - start_s, e.level, e.kind, e.reason) for e in _events_of(monitor)]
    if is_safe_stop:
        events.append(Event(clock.now_s() - start_s, Level.STOP, "end", ended))
    if recorder is not None:
        recorder.end(events)
    return LoopRecord(
        episode=log.episode(),
        events=events,
        ended=ended,
        is_safe_stop=is_safe_stop,
        timing=log.timing(),
        manual_ticks=manual_ticks,
        interrupt=interrupt,
    )


def _events_of(monitor: Monitor | None) -> Sequence[Event]:
    """Return all events up to now, on the loop's clock."""
    return () if monitor is None else monitor.events
