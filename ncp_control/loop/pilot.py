"""A policy behind its monitor and its command limits: what a loop decides in every tick.

`GuardedPilot.decide` checks a reading, asks the policy with the time that really passed since it
last saw something, and limits the command in range and rate. Our own loop (`realtime`) drives with
it, and so does the part for Donkeycar's loop (`ncp_control.deploy.links.donkeycar`).
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ncp_control.contract import Contract
from ncp_control.loop.clocks import Clock
from ncp_control.loop.levels import Fault, Level
from ncp_control.loop.link import Reading
from ncp_control.loop.monitor import Monitor, certified_state
from ncp_control.loop.profile import InputProfile
from ncp_control.loop.settings import LoopSettings, MonitorSettings
from ncp_control.loop.ticks import is_usable
from ncp_control.policy import Policy

_MOST_PERIODS = 2.0
"""Most time for which one command may change, in periods of the loop: after it hung for longer it
does not catch up with a jump."""


class ControllerLost(ConnectionError):
    """What acts is gone or hangs, e.g. an exported controller whose process was killed."""


class Controller(Protocol):
    """What acts: a `Policy`, or its C or ONNX controller.

    If it has `state`, a NumPy array of what it remembers or None, the monitor checks that.
    """

    def act(self, observation: np.ndarray, dt_s: float | None = None) -> np.ndarray:
        """Act on one observation; see `Policy.act`.

        Raises:
            ControllerLost: If it cannot act any more.
        """
        ...

    def reset(self) -> None:
        """Forget everything seen."""
        ...


def needed_contract(policy: Policy) -> Contract:
    """Return the contract of a policy that is to be run.

    Raises:
        ValueError: If it has none.
    """
    if policy.contract is None:
        raise ValueError(
            "`policy` must carry a contract to be run, got none: nobody knows its units and signs."
            " Set policy.contract and save it again."
        )
    return policy.contract


def make_monitor(policy: Policy, folder: Path, settings: MonitorSettings | None = None) -> Monitor:
    """Return the monitor of a saved policy.

    Args:
        policy: The policy.
        folder: Its folder, which holds the `InputProfile` if the monitor was calibrated.
        settings: Thresholds.

    Raises:
        ValueError: If the policy has no contract, or the profile is damaged or of another policy.
    """
    profile, bounds = InputProfile.load(folder), certified_state(policy)
    return Monitor(needed_contract(policy), settings, profile=profile, bounds=bounds)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a pilot decided about one reading."""

    level: Level
    """What the body does; at STOP the command does not matter."""
    command: np.ndarray
    """What to command, in range and within the rate."""
    action: np.ndarray | None
    """What the policy said; None if it was not asked, or what it said was of no use."""
    elapsed_s: float | None
    """What the policy was told of the time [s]; None if it was not asked."""
    is_reset: bool
    """Whether the policy remembered nothing."""
    time_s: float
    """When it was decided, on the clock [s]."""


class GuardedPilot:
    """Decides what to command.

    Args:
        controller: Who acts.
        contract: What it senses and commands.
        clock: What tells the time.
        monitor: Makes it fail safe; without one, what cannot be acted on is held, and nothing
            stops.
        settings: How to run.

    Raises:
        ValueError: If the settings let the policy forget everything at each tick.

    Attributes:
        period_s: Time between two ticks [s].
        command: What was commanded last.
    """

    def __init__(
        self,
        controller: Controller,
        contract: Contract,
        *,
        clock: Clock,
        monitor: Monitor | None = None,
        settings: LoopSettings | None = None,
    ) -> None:
        settings = LoopSettings() if settings is None else settings
        self._controller, self._clock, self._monitor = controller, clock, monitor
        self.period_s = settings.period_s(contract.frame_s)
        if contract.dt_s[1] < self.period_s:
            raise ValueError(
                f"`rate_hz` must give ticks of at most {contract.dt_s[1]:g} s, the longest time"
                f" between frames in the policy's contract, got {settings.rate_hz!r}. At a lower"
                " rate the policy would forget everything at each tick."
            )
        self._longest_s = min(settings.pause_s(contract.frame_s), contract.dt_s[1])
        self._limits = CommandLimits(contract, settings)
        self.begin(clock.now_s())

    @property
    def command(self) -> np.ndarray:
        """What was commanded last; what lies nearest to zero when a drive begins."""
        return self._limits.command

    def begin(self, now_s: float) -> None:
        """Forget what was seen, as before a drive or after a person has driven."""
        self._forget()
        self._limits.restart()
        self._decided_s: float | None = None  # when it was decided last
        if self._monitor is not None:
            self._monitor.restart(now_s)

    def _forget(self) -> None:
        """Clear the controller's memory; the next thing that it sees is its first."""
        self._seen_s: float | None = None  # when it last saw something
        self._controller.reset()

    def decide(self, reading: Reading | None, now_s: float) -> Decision:
        """Check a reading, and act on it if the policy may see it.

        Args:
            reading: What was read, not while a person drives; None if nothing came.
            now_s: When it was read [s].
        """
        monitor, limits = self._monitor, self._limits
        faults: list[Fault] = []
        level, action, elapsed_s, is_reset = Level.DRIVE, None, None, False
        if monitor is not None:
            faults = monitor.check(reading, now_s, limits.command)
            level = monitor.judge(faults, now_s, is_new=reading is not None)
        if is_usable(reading) and (monitor is None or monitor.shows(faults)):
            assert reading is not None and reading.observation is not None
            elapsed_s = math.inf if self._seen_s is None else reading.time_s - self._seen_s
            if not 0.0 <= elapsed_s <= self._longest_s:
                self._controller.reset()
                elapsed_s, is_reset = self.period_s, True
            action, fault = self._ask(reading.observation, elapsed_s)
            if action is None:
                self._forget()
            else:
                self._seen_s = reading.time_s
            if fault is not None and monitor is not None:
                level = monitor.judge([fault], now_s)
        before_s, decided_s = self._decided_s, self._clock.now_s()
        self._decided_s = decided_s
        if action is not None and level < Level.HOLD:
            # Time in which the body was held counts for nothing: it is that since the last tick.
            dt_s = self.period_s if before_s is None else decided_s - before_s
            dt_s = min(dt_s, _MOST_PERIODS * self.period_s)
            limits.follow(action, dt_s, is_degraded=level == Level.DEGRADE)
        return Decision(level=level, command=limits.command, action=action, elapsed_s=elapsed_s,
                        is_reset=is_reset, time_s=decided_s)  # fmt: skip

    def _ask(self, observation: np.ndarray, dt_s: float) -> tuple[np.ndarray | None, Fault | None]:
        """Return what the policy does; or None and a fault, and then its memory is of no use."""
        try:
            action = np.atleast_1d(self._controller.act(observation, dt_s))
        except ValueError as error:
            return None, Fault("state", f"the policy refuses: {str(error)[:200]}")
        fault = None
        if self._monitor is not None:
            fault = self._monitor.check_state(getattr(self._controller, "state", None))
            if fault is None and not np.isfinite(action).all():
                fault = Fault("state", "the action is not finite")
        return (action, None) if fault is None else (None, fault)


class CommandLimits:
    """Keeps commands in their range, and their changes below a rate.

    Args:
        contract: What is commanded. Choices are numbers of a list: they have no limits.
        settings: The rates.

    Attributes:
        command: What was commanded last; at first what stands for the value nearest to zero.
    """

    command: np.ndarray

    def __init__(self, contract: Contract, settings: LoopSettings) -> None:
        self._is_choice = bool(contract.choices)
        ranges = [entry.range for entry in contract.action]
        self._low, self._high = np.array(ranges, np.float32).T
        neutral = [entry.neutral for entry in contract.action]
        self._neutral = np.array(neutral, np.int64 if self._is_choice else np.float32)
        self._rates = settings.command_rate_per_s, settings.degraded_rate_per_s
        self.restart()

    def restart(self) -> None:
        """Begin from what stands for the value nearest to zero, whatever was commanded before."""
        self.command = self._neutral.copy()

    def follow(self, action: np.ndarray, dt_s: float, *, is_degraded: bool = False) -> np.ndarray:
        """Move the command towards an action, as far as the limits let it.

        Args:
            action: What is wanted, shape (action,).
            dt_s: Time in which the command may change [s]; below 0 it counts as 0.
            is_degraded: Whether the lower of the two rates counts.

        Returns:
            The new command.
        """
        if self._is_choice:
            self.command = np.array(action)
            return self.command
        wanted = np.clip(action, self._low, self._high)
        rates = [r for r in self._rates[: 1 + is_degraded] if r is not None]
        if rates:
            step = min(rates) * max(dt_s, 0.0)
            wanted = np.clip(wanted, self.command - step, self.command + step)
        self.command = wanted.astype(np.float32)
        return self.command
