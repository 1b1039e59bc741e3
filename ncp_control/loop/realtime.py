"""The loop that runs a policy on a robot: at a fixed rate, measured, limited, and failing safe.

Every tick, `drive` reads the newest observation of a link, lets the monitor check it, asks the
policy with the time that really passed since it last saw something, limits the command in range and
rate, and sends it. What cannot be trusted is not acted on: see `monitor`. However the loop ends (a
lost link or controller, Ctrl-C, an error), the link is told to stop.
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
    """What writes a drive down as it happens; see `recording`."""

    def begin(self, start_s: float) -> None:
        """Take the time of the loop's clock at which it begins [s]."""
        ...

    def add(
        self,
        reading: Reading | None,
        row: Mapping[str, Any],
        controller: Controller,
        events: Sequence[Event],
    ) -> None:
        """Write one tick down.

        Args:
            reading: What was read.
            row: What the loop's log has of this tick; see `TickLog.add`.
            controller: Who acted.
            events: All events up to now, on the loop's clock.
        """
        ...

    def end(self, events: Sequence[Event]) -> None:
        """Take the last event, if the drive ended in one, and write the end of the recording."""
        ...


@dataclass(frozen=True, kw_only=True)
class LoopRecord:
    """What a loop did."""

    episode: Episode
    """Tick by tick: `told` holds what the link told, the `level`, and `model_s`."""
    events: list[Event]
    """What the monitor found."""
    ended: str
    """Why the loop ended."""
    is_safe_stop: bool
    """Whether it ended in a safe stop before its time: a lost link or controller, an interrupt."""
    timing: Mapping[str, float]
    """Ticks, missed deadlines, jitter, age of readings, model time."""
    interrupt: KeyboardInterrupt | None = None
    """Ctrl-C or a signal that ended it."""

    def to_json(self) -> dict[str, Any]:
        """Return all but the episode as JSON values."""
        names = {level: level.name.lower() for level in Level}
        events = [{"time_s": round(e.time_s, 4), "level": names[e.level], "kind": e.kind,
                   "reason": e.reason} for e in self.events]  # fmt: skip
        levels = np.asarray(self.episode.told.get("level", ()), int)  # none if it ended at once
        shares = np.bincount(levels, minlength=4)
        spent = {names[level]: int(shares[level]) for level in Level}
        return {"ended": self.ended, "timing": dict(self.timing), "ticks_at_level": spent,
                "events": events}  # fmt: skip


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
    """Run a policy against a link until its time is over, the link ends, or somebody stops it.

    Args:
        controller: Who acts.
        contract: Its contract.
        link: Its counterpart; it is told to stop at the end, and is not closed.
        clock: What tells the time.
        monitor: Makes it fail safe; without one, what cannot be acted on is held, and nothing
            stops.
        settings: How to run.
        keeps_observations: Whether the episode keeps what was seen.
        recorder: Writes every tick down after its command was sent.
        name: Who acts, for the episode.

    Raises:
        ValueError: If the contract does not fit the link's; nothing has moved then.
    """
    contract.check_offer(link.contract, "the link")
    settings = LoopSettings() if settings is None else settings
    pilot = GuardedPilot(controller, contract, clock=clock, monitor=monitor, settings=settings)
    period_s, log = pilot.period_s, TickLog(contract, name, keeps_observations)
    start_s = tick_s = clock.now_s()
    is_manual, ended, interrupt, is_safe_stop = False, "its time is over", None, False
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
            if is_manual:  # a person drives: silence is no fault, and the policy begins anew
                tick_s = max(tick_s + period_s, now_s)
                clock.sleep_until(tick_s)
                continue
            if was_manual:
                pilot.begin(now_s)

            done = pilot.decide(reading, now_s)
            if done.level == Level.STOP:
                link.stop()
            else:
                link.send(done.command)
            sent_s = clock.now_s()

            log.add(reading, done.command, done.level, now_s - start_s, done.time_s - now_s,
                    begun_s - tick_s, is_late=sent_s > tick_s + period_s + _SLACK_S,
                    action=done.action, elapsed_s=done.elapsed_s,
                    is_reset=done.is_reset)  # fmt: skip
            if recorder is not None:
                events = () if monitor is None else monitor.events
                recorder.add(reading, log.rows[-1], controller, events)
                sent_s = clock.now_s()
            # A tick that is over is left out: do not hurry to catch up.
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
    events = [] if monitor is None else list(monitor.events)
    events = [Event(e.time_s - start_s, e.level, e.kind, e.reason) for e in events]
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
        interrupt=interrupt,
    )
