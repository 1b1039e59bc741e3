"""The loop that runs a policy on a robot: at a fixed rate, measured, limited, and failing safe.

Every tick, `drive` reads the newest observation of a link, lets the monitor check it, asks the
policy with the time that really passed since it last saw something, limits the command in range and
rate, and sends it. What cannot be trusted is not acted on: see `monitor`. However the loop ends (a
lost link, Ctrl-C, an error), the link is told to stop.
"""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ncp_control.contract import Contract
from ncp_control.deploy.links.base import Link, LinkEnded, LinkLost, Reading
from ncp_control.episode import Episode
from ncp_control.loop.clocks import Clock
from ncp_control.loop.monitor import Event, Fault, Level, Monitor
from ncp_control.loop.settings import LoopSettings
from ncp_control.loop.ticks import TickLog, is_usable

_SLACK_S = 1e-9


class Controller(Protocol):
    """What acts: a `Policy`, or its C or ONNX controller.

    If it has `state`, a NumPy array of what it remembers or None, the monitor checks that.
    """

    def act(self, observation: np.ndarray, dt_s: float | None = None) -> np.ndarray:
        """Act on one observation; see `Policy.act`."""
        ...

    def reset(self) -> None:
        """Forget everything seen."""
        ...


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
class Drive:
    """What a loop did."""

    episode: Episode
    """Tick by tick: `told` holds what the link told, the `level`, and `model_s`."""
    events: list[Event]
    """What the monitor found."""
    ended: str
    """Why the loop ended."""
    is_safe_stop: bool
    """Whether it ended in a safe stop before its time: a lost link or an interrupt."""
    timing: Mapping[str, float]
    """Ticks, missed deadlines, jitter, age of readings, model time."""
    interrupt: KeyboardInterrupt | None = None
    """Ctrl-C or a signal that ended it."""

    def to_json(self) -> dict[str, Any]:
        """Return all but the episode as JSON values."""
        names = {level: level.name.lower() for level in Level}
        events = [{"time_s": round(e.time_s, 4), "level": names[e.level], "kind": e.kind,
                   "reason": e.reason} for e in self.events]  # fmt: skip
        shares = np.bincount(self.episode.told.get("level", np.zeros(0, int)), minlength=4)
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
) -> Drive:
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
    period_s = contract.frame_s if settings.rate_hz is None else 1.0 / settings.rate_hz
    limits = CommandLimits(contract, settings)
    log = TickLog(contract, name, keeps_observations)
    longest_s = min(settings.longest_s, contract.dt_s[1])
    controller.reset()
    start_s = tick_s = clock.now_s()
    seen_s: float | None = None  # when the policy last saw something
    is_manual, ended, interrupt, is_safe_stop = False, "its time is over", None, False
    is_cleared = False  # whether the policy's memory was cleared after a fault of its state
    if monitor is not None:
        monitor.restart(start_s)
    if recorder is not None:
        recorder.begin(start_s)
    try:
        while tick_s - start_s < settings.seconds - _SLACK_S:
            begun_s = clock.now_s()
            reading = link.read(0.5 * period_s)
            now_s = clock.now_s()

            if reading is not None and reading.is_manual:  # a person drives: begin anew after them
                is_manual, tick_s = True, max(tick_s + period_s, now_s)
                clock.sleep_until(tick_s)
                continue
            if is_manual and reading is not None:
                is_manual, seen_s = False, None
                controller.reset()
                if monitor is not None:
                    monitor.restart(now_s)

            # Check the reading, and act on it if it may be seen.
            faults: list[Fault] = []
            level, action, elapsed_s, is_reset = Level.DRIVE, None, None, False
            if monitor is not None:
                faults = monitor.check(reading, now_s)
                level = monitor.judge(faults, now_s, is_new=reading is not None)
            if is_usable(reading) and (monitor is None or monitor.shows(faults)):
                assert reading is not None and reading.observation is not None
                elapsed_s = math.inf if seen_s is None else reading.time_s - seen_s
                is_reset = is_cleared
                if not 0.0 <= elapsed_s <= longest_s:
                    controller.reset()
                    elapsed_s, is_reset = period_s, True
                seen_s = reading.time_s
                action, fault = _ask(controller, reading.observation, elapsed_s, monitor)
                is_cleared = action is None
                if fault is not None and monitor is not None:
                    level = monitor.judge([fault], now_s)
            acted_s = clock.now_s()

            # Command the body.
            if level == Level.STOP:
                link.stop()
            else:
                if action is not None and level < Level.HOLD:
                    limits.follow(action, acted_s, is_degraded=level == Level.DEGRADE)
                link.send(limits.command)
            sent_s = clock.now_s()

            log.add(reading, limits.command, level, now_s - start_s, acted_s - now_s,
                    begun_s - tick_s, is_late=sent_s > tick_s + period_s + _SLACK_S,
                    action=action, elapsed_s=elapsed_s, is_reset=is_reset)  # fmt: skip
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
    return Drive(
        episode=log.episode(),
        events=events,
        ended=ended,
        is_safe_stop=is_safe_stop,
        timing=log.timing(),
        interrupt=interrupt,
    )


def _ask(
    controller: Controller, observation: np.ndarray, dt_s: float, monitor: Monitor | None
) -> tuple[np.ndarray | None, Fault | None]:
    """Return what a policy does, or None and why that cannot be used; then its memory is clear."""
    try:
        action = np.atleast_1d(controller.act(observation, dt_s))
    except ValueError as error:
        return None, Fault("state", f"the policy refuses: {str(error)[:200]}")
    fault = None
    if monitor is not None:
        fault = monitor.check_state(getattr(controller, "state", None))
        if fault is None and not np.isfinite(action).all():
            fault = Fault("state", "the action is not finite")
    if fault is not None:
        controller.reset()
        return None, fault
    return action, None


class CommandLimits:
    """Keeps commands in their range, and their changes below a rate.

    Args:
        contract: What is commanded. Choices are numbers of a list: they have no limits.
        settings: The rates.

    Attributes:
        command: What was commanded last; at first what lies nearest to zero.
    """

    def __init__(self, contract: Contract, settings: LoopSettings) -> None:
        self._is_choice = bool(contract.choices)
        ranges = [entry.range for entry in contract.action]
        self._low, self._high = np.array(ranges, np.float32).T
        self._rates = settings.command_rate_per_s, settings.degraded_rate_per_s
        self._time_s: float | None = None
        neutral = np.zeros(len(ranges), np.float32).clip(self._low, self._high)
        self.command = neutral.astype(np.int64) if self._is_choice else neutral

    def follow(self, action: np.ndarray, now_s: float, *, is_degraded: bool = False) -> np.ndarray:
        """Move the command towards an action, as far as the limits let it."""
        before_s, self._time_s = self._time_s, now_s
        if self._is_choice:
            self.command = np.array(action)
            return self.command
        wanted = np.clip(action, self._low, self._high)
        rates = [r for r in self._rates[: 1 + is_degraded] if r is not None]
        if rates and before_s is not None:
            step = min(rates) * max(now_s - before_s, 0.0)
            wanted = np.clip(wanted, self.command - step, self.command + step)
        self.command = wanted.astype(np.float32)
        return self.command
