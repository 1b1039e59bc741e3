"""Link in its own process, with a watchdog that stops the body if the loop dies or hangs.

The host process holds the link. The loop's process sends it a message at every tick: a command, a
stop, or a request for the newest reading. If no message comes for `watchdog_s`, or the loop's
process is gone (even by `kill -9`, which closes its end of the pipe), the host stops the body. If
the process is gone, the host keeps the body stopped for `STANDSTILL_S` and then ends.

If the link's own code hangs, e.g. in a camera's driver, a second thread of the host stops the body
after `watchdog_s`, and after `HANG_S` the link counts as lost. A link's `stop` may therefore be
called while its `read` or `send` has not returned.

See `messages` for the format. At most one reading is in the pipe, and only after the loop asked for
it, so a hanging loop never blocks the host.
"""

import json
import multiprocessing
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np

from ncp_control.contract import Contract
from ncp_control.deploy.links.base import open_here
from ncp_control.deploy.links.hang_guard import HangGuard
from ncp_control.deploy.links.messages import receive_message, send_message
from ncp_control.imports import import_modules
from ncp_control.loop.clocks import Clock, RealClock
from ncp_control.loop.link import Link, LinkEnded, LinkLost, Reading, with_unread

WATCHDOG_S = 0.3
"""Silence of the loop after which the host stops the body, unless two ticks take longer [s]."""
STANDSTILL_S = 4.0
"""Time for which the host keeps braking after the loop's process is gone [s]."""
HANG_S = 5.0
"""Time for which the link's own code may hang before the link counts as lost [s]."""
_POLL_S = 0.002
_REPEAT_S = 0.03
"""Interval at which the host repeats the stop while the loop is gone [s]."""
_OPEN_S = 120.0
"""Longest time for opening a link [s]."""
_Value = TypeVar("_Value")


class HostedLink:
    """Link that runs in another process; this object is the loop's end.

    Args:
        name: Name of the link.
        contract: The policy's contract.
        target: Target of the link.
        options: Options of the link.
        modules: Modules for the process to import first, which register worlds and links.
        log: File to which the host appends its events, one JSON object per line; None for no log.
        watchdog_s: Silence of the loop after which the body is stopped [s]; longer than a tick.

    Raises:
        ValueError: If the link refuses the policy or its options.
        LinkLost: If the counterpart does not answer.
    """

    def __init__(
        self,
        name: str,
        contract: Contract,
        target: str = "",
        options: Mapping[str, Any] | None = None,
        *,
        modules: Sequence[str] = (),
        log: Path | None = None,
        watchdog_s: float = WATCHDOG_S,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        wanted = {"name": name, "contract": contract.to_json(), "target": target,
                  "options": dict(options or {}), "modules": list(modules),
                  "log": None if log is None else str(log), "watchdog_s": watchdog_s}  # fmt: skip
        self._process = context.Process(target=_host, args=(theirs,), name=f"link {name}")
        self._process.start()
        theirs.close()
        self._has_asked = False
        self._full_s: float | None = None
        try:
            self._tell("open", wanted)
            late = ("lost", f"not open after {_OPEN_S:g} s", None)
            word, value, _ = self._receive(_OPEN_S) or late
            if word == "refused":
                raise ValueError(value)
            if word != "open":
                raise LinkLost(value)
        except BaseException:
            self.close()
            raise
        self.contract = Contract.from_json(value)

    @property
    def process_id(self) -> int | None:
        """Process id of the host."""
        return self._process.pid

    def read(self, timeout_s: float) -> Reading | None:
        """Request the newest reading and wait for it."""
        self._has_asked = self._has_asked or self._tell("ask")
        found = self._receive(timeout_s)
        if found is None:
            self._tell("alive")
            return None
        word, value, observation = found
        if word == "reading":
            self._has_asked = False
            command = value.pop("command")
            return Reading(
                observation=observation,
                command=None if command is None else np.array(command, np.float64),
                **value,
            )
        raise _end_of(word, value)

    def send(self, command: np.ndarray) -> None:
        """Send a command."""
        self._tell("send", array=np.asarray(command))

    def stop(self) -> None:
        """Make the host stop the body."""
        self._tell("stop")

    def close(self) -> None:
        """Make the host stop the body and end; kill it if it does not end."""
        self._pipe.close()
        self._process.join(STANDSTILL_S + 10.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _tell(self, word: str, value: Any = None, array: np.ndarray | None = None) -> bool:
        """Send a message, unless the pipe is full because the host hangs; return whether it went.

        Raises:
            LinkEnded, LinkLost: If the host ended, or the pipe is full for more than `HANG_S`.
        """
        try:
            is_full = not select.select([], [self._pipe], [], 0.0)[1]
            if not is_full:
                send_message(self._pipe, word, value, array)
        except (OSError, ValueError) as error:
            raise self._last_words() from error
        now_s = time.monotonic()
        self._full_s = (self._full_s or now_s) if is_full else None
        if self._full_s is not None and now_s - self._full_s > HANG_S:
            raise self._last_words(f"its process took no messages for {HANG_S:g} s")
        return not is_full

    def _last_words(self, otherwise: str = "the link's process is gone") -> LinkEnded | LinkLost:
        """Return the reason why the host ended, if it sent one."""
        with suppress(OSError, EOFError):
            while self._pipe.poll(0.0):
                word, value, _ = receive_message(self._pipe)
                if word in ("ended", "lost"):
                    return _end_of(word, value)
        return LinkLost(otherwise)

    def _receive(self, timeout_s: float) -> tuple[str, Any, np.ndarray | None] | None:
        try:
            return receive_message(self._pipe) if self._pipe.poll(timeout_s) else None
        except (OSError, EOFError) as error:
            raise LinkLost("the link's process is gone") from error


def _end_of(word: str, reason: str) -> LinkEnded | LinkLost:
    """Return the exception for a host's last message, "ended" or "lost"."""
    return LinkEnded(reason) if word == "ended" else LinkLost(reason)


def _host(pipe: Connection) -> None:
    """Open the link named by the first message, and hold it until the loop's process is gone."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        # These signals are for the loop, which stops the body. The host ends after the loop.
        signal.signal(number, signal.SIG_IGN)
    clock = RealClock()
    try:
        _, wanted, _ = receive_message(pipe)
    except (OSError, EOFError):
        return
    try:
        import_modules(wanted["modules"])
        contract = Contract.from_json(wanted["contract"])
        link = open_here(wanted["name"], contract, wanted["target"], wanted["options"], clock)
    except ValueError as error:
        _tell(pipe, "refused", str(error))
        return
    except LinkLost as error:
        _tell(pipe, "lost", str(error))
        return
    _tell(pipe, "open", link.contract.to_json())
    try:
        log = None if wanted["log"] is None else Path(wanted["log"])
        Host(pipe, link, wanted["watchdog_s"], log, clock).run()
    except Exception as error:  # a bug in the link's own code, which Python also prints
        with suppress(Exception):
            link.stop()
        _tell(pipe, "lost", f"its own code failed with {type(error).__name__}: {error}")
        raise
    finally:
        with suppress(LinkEnded, LinkLost):  # a link may stop the body again
            link.close()


def _tell(pipe: Connection, kind: str, content: Any) -> None:
    """Send a message to the loop; if the loop is gone, the host detects that elsewhere."""
    with suppress(OSError):
        send_message(pipe, kind, content)


class Host:
    """Host process: passes messages between link and loop, and watches the loop.

    Args:
        pipe: Connection to the loop.
        link: The link.
        watchdog_s: Silence of the loop after which the body is stopped [s].
        log: File for the host's events; None for no log.
        clock: Clock of the host.
    """

    def __init__(
        self, pipe: Connection, link: Link, watchdog_s: float, log: Path | None, clock: Clock
    ) -> None:
        self._pipe, self._link, self._watchdog_s, self._log = pipe, link, watchdog_s, log
        self._clock = clock
        self._latest: Reading | None = None
        self._is_asked, self._is_stopped, self._has_loop = False, False, True
        self._heard_s = self._stopped_s = clock.now_s()
        self._info: Mapping[str, float] = {}
        self._guard = HangGuard(self._stop_while_hanging, watchdog_s)
        self._stopper: threading.Thread | None = None
        self._has_noted_hang = self._has_given_up = False

    def run(self) -> None:
        """Hold the link until the loop is gone and the body has stopped."""
        with self._guard:
            self._run()

    def _run(self) -> None:
        gone_s: float | None = None
        while gone_s is None or self._clock.now_s() - gone_s < STANDSTILL_S:
            self._read()
            self._listen()
            if not self._has_loop and gone_s is None:  # the pipe may break in either of them
                gone_s = self._clock.now_s()
                self._note("the loop's process is gone")
                self._stop()
            if self._clock.now_s() - self._heard_s > self._watchdog_s and not self._is_stopped:
                self._note("watchdog: the loop is silent")
                self._stop()
            if not self._has_loop:
                if self._clock.now_s() - self._stopped_s > _REPEAT_S:
                    self._stop()  # a simulator's brake depends on its speed
                if abs(self._info.get("speed_mps", 1.0)) < 0.05:
                    break
        self._note("the host ends")

    def _read(self) -> None:
        try:
            reading = self._in_link(self._link.read, _POLL_S)
        except (LinkEnded, LinkLost) as end:
            self._leave(end)
        if reading is not None:
            reading = replace(reading, info=self._numbers(reading.info))
            self._latest = with_unread(reading, self._latest)
            self._info = self._latest.info
        if self._is_asked and self._latest is not None:
            self._answer()

    def _in_link(self, call: Callable[..., _Value], *values: Any) -> _Value:
        """Call the link's own code; do not come back if the guard has given it up meanwhile."""
        self._guard.begin_call()
        try:
            return call(*values)
        finally:
            self._guard.end_call()
            self._has_noted_hang = False
            if self._has_given_up:
                threading.Event().wait()  # the guard ends this process

    def _stop_while_hanging(self, hung_s: float) -> None:
        """Stop the body while the link's own code hangs; called in the guard's thread."""
        if not self._has_noted_hang:
            self._has_noted_hang = True
            self._note("watchdog: the link's own code hangs")
        self._stop_aside()
        if hung_s > HANG_S:
            self._has_given_up = True
            self._end_while_hanging()

    def _stop_aside(self) -> None:
        """Stop the body in a thread of its own, because `stop` may wait for what hangs."""
        if self._stopper is not None and self._stopper.is_alive():
            return

        def stop() -> None:
            with suppress(Exception):  # whatever it raises, it is tried again
                self._link.stop()

        self._stopper = threading.Thread(target=stop, name="stopper", daemon=True)
        self._stopper.start()

    def _end_while_hanging(self) -> NoReturn:
        """Send the loop the reason, keep the body stopped until the loop ends, end the process."""
        _tell(self._pipe, "lost", f"its own code did not return for {HANG_S:g} s")
        gone_s = None
        while gone_s is None or time.monotonic() - gone_s < STANDSTILL_S:
            time.sleep(_REPEAT_S)
            self._stop_aside()
            while self._has_loop and self._pipe.poll(0.0):
                self._receive()
            if gone_s is None and not self._has_loop:
                gone_s = time.monotonic()
        os._exit(1)  # nothing else ends a process whose main thread hangs

    def _numbers(self, info: Mapping[str, Any]) -> dict[str, float]:
        """Return reported values as plain numbers; stop the body and leave if one is not."""
        numbers = {}
        for name, value in info.items():
            try:
                numbers[name] = float(value)
            except (TypeError, ValueError, OverflowError):
                self._stop()
                self._leave(LinkLost(f"it told {name} = {value!r}, which is no number"))
        return numbers

    def _leave(self, end: LinkEnded | LinkLost) -> NoReturn:
        """Send the loop the reason, wait until it closes the pipe, and end the process."""
        word = "ended" if isinstance(end, LinkEnded) else "lost"
        self._note(f"{word}: {end}")
        if self._latest is not None and self._is_asked:
            self._answer()
        with suppress(OSError):
            send_message(self._pipe, word, str(end))
        while self._has_loop:  # until the loop closes the pipe
            self._receive()
        raise SystemExit from None

    def _answer(self) -> None:
        assert self._latest is not None
        r = self._latest
        self._latest, self._is_asked = None, False
        command = None if r.command is None else np.asarray(r.command, np.float64).tolist()
        values = {"time_s": float(r.time_s), "info": self._info, "is_manual": r.is_manual,
                  "command": command}  # fmt: skip
        try:
            send_message(self._pipe, "reading", values, r.observation)
        except OSError:
            self._has_loop = False

    def _listen(self) -> None:
        order, command = "", None
        while self._has_loop and self._pipe.poll(0.0):
            word, array = self._receive()
            self._heard_s = self._clock.now_s()
            if word == "ask":
                self._is_asked = True
            elif word in ("send", "stop"):  # only the newest order counts
                order, command = word, array
        if order == "send" and command is not None:
            self._is_stopped = False
            try:
                self._in_link(self._link.send, command)
            except (LinkEnded, LinkLost) as end:
                self._leave(end)
        elif order == "stop":
            self._stop()

    def _receive(self) -> tuple[str, np.ndarray | None]:
        try:
            word, _, command = receive_message(self._pipe)
        except (OSError, EOFError):
            self._has_loop = False
            return "gone", None
        return word, command

    def _stop(self) -> None:
        if not self._is_stopped:
            self._note("stop")
        self._is_stopped, self._stopped_s = True, self._clock.now_s()
        try:
            self._in_link(self._link.stop)
        except (LinkEnded, LinkLost) as end:
            self._leave(end)

    def _note(self, event: str) -> None:
        if self._log is None:
            return
        now_s = self._clock.now_s()
        line = {"time_s": now_s, "event": event, "silent_s": round(now_s - self._heard_s, 4),
                "speed_mps": self._info.get("speed_mps")}  # fmt: skip
        with suppress(OSError), self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
