"""A policy with its monitor and command limits: the decision that a loop makes in every tick.

`GuardedPilot.decide` checks a reading, runs the policy with the measured time since its last
observation, and limits the command in range and rate. It is used by our own loop (`realtime`) and
by the part for Donkeycar's loop (`ncp_control.deploy.links.donkeycar`).
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
from ncp_control.policy import Policy

_MOST_PERIODS = 2.0
"""Largest time that counts for the change of one command [periods of the loop]: after the loop
hung for longer, the command does not jump."""


class ControllerLost(ConnectionError):
    """The controller is gone or hangs, e.g. an exported controller whose process was killed."""


class Controller(Protocol):
    """Interface of an object that computes actions: a `Policy`, or its C or ONNX controller.

    If it has an attribute `state` (its hidden state as a NumPy array, or None), the monitor checks
    that state.
    """

    def act(self, observation: np.ndarray, dt_s: float | None = None) -> np.ndarray:
        """Return the action for one observation; see `Policy.act`.

        Raises:
            ControllerLost: If the controller is gone or hangs.
        """
        ...

    def reset(self) -> None:
        """Reset the hidden state."""
        ...


def needed_contract(policy: Policy) -> Contract:
    """Return the contract of a policy, which running it requires.

    Raises:
        ValueError: If the policy has no contract.
    """
    if policy.contract is None:
        raise ValueError(
            "`policy` must carry a contract to be run, got none: its units and signs are unknown."
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
        ValueError: If the policy has no contract, or the profile is damaged or belongs to another
            policy.
    """
    profile, bounds = InputProfile.load(folder), certified_state(policy)
    return Monitor(needed_contract(policy), settings, profile=profile, bounds=bounds)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Decision of a pilot about one reading."""

    level: Level
    """The level; at STOP the command is not sent."""
    command: np.ndarray
    """Command to send, limited in range and rate, shape (actions,)."""
    action: np.ndarray | None
    """Action of the policy; None if the policy was not run or its result was not usable."""
    elapsed_s: float | None
    """Elapsed time that the policy was given [s]; None if it was not run."""
    is_reset: bool
    """Whether the hidden state of the policy was reset before this reading."""
    time_s: float
    """Time of the decision on the loop's clock [s]."""


class GuardedPilot:
    """Runs a controller behind its monitor and its command limits.

    Args:
        controller: The policy or its exported controller.
        contract: Its contract.
        clock: Clock of the loop.
        monitor: Makes the pilot fail safe. Without a monitor, the last command is held when no
            usable reading comes, and the robot is never stopped.
        settings: Rates and limits.

    Raises:
        ValueError: If `longest_s` is shorter than a tick, so that every tick resets the policy.

    Attributes:
        period_s: Time between two ticks [s].
        command: The last command.
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
        if monitor is not None:
            monitor.set_period(max(self.period_s, contract.frame_s))
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
        """The last command; at the start of a drive, the allowed command nearest to zero."""
        return self._limits.command

    def begin(self, now_s: float) -> None:
        """Reset controller, command and monitor: before a drive, or after manual driving."""
        self._forget()
        self._limits.restart()
        self._decided_s: float | None = None  # time of the last decision
        if self._monitor is not None:
            self._monitor.restart(now_s)

    def _forget(self) -> None:
        """Reset the controller; its next observation counts as the first."""
        self._observed_s: float | None = None  # time of its last observation
        self._controller.reset()

    def decide(self, reading: Reading | None, now_s: float) -> Decision:
        """Check a reading, and run the policy on it if the monitor allows it.

        Not to be called while a person drives.

        Args:
            reading: The new reading; None if none came.
            now_s: Time at which it was read [s].
        """
        monitor, limits = self._monitor, self._limits
        faults: list[Fault] = []
        level, action, elapsed_s, is_reset = Level.DRIVE, None, None, False
        if monitor is not None:
            faults = monitor.check(reading, now_s, limits.command)
            level = monitor.judge(faults, now_s, is_new=reading is not None)
        is_shown = monitor is None or monitor.shows(faults)
        if reading is not None and reading.observation is not None and is_shown:
            elapsed_s = math.inf if self._observed_s is None else reading.time_s - self._observed_s
            if not 0.0 <= elapsed_s <= self._longest_s:
                self._controller.reset()
                elapsed_s, is_reset = self.period_s, True
            action, fault = self._ask(reading.observation, elapsed_s)
            if action is None:
                self._forget()
            else:
                self._observed_s = reading.time_s
            if fault is None and monitor is not None:  # the policy may be slow
                fault = monitor.check_age(reading, self._clock.now_s())
            if fault is not None and monitor is not None:
                level = monitor.judge([*faults, fault], now_s)
        before_s, decided_s = self._decided_s, self._clock.now_s()
        self._decided_s = decided_s
        if action is not None and level < Level.HOLD:
            # Time since the last tick: after a hold, the time on hold does not count.
            dt_s = self.period_s if before_s is None else decided_s - before_s
            dt_s = min(dt_s, _MOST_PERIODS * self.period_s)
            limits.follow(action, dt_s, is_degraded=level == Level.DEGRADE)
        return Decision(level=level, command=limits.command, action=action, elapsed_s=elapsed_s,
                        is_reset=is_reset, time_s=decided_s)  # fmt: skip

    def _ask(self, observation: np.ndarray, dt_s: float) -> tuple[np.ndarray | None, Fault | None]:
        """Return the action of the policy, or None and the fault; its state is then unusable."""
        fault = self._check_state()  # a step may pull a broken state back within its bounds
        if fault is not None:
            return None, fault
        try:
            action = np.atleast_1d(self._controller.act(observation, dt_s))
        except ValueError as error:
            return None, Fault("state", f"the policy refuses: {str(error)[:200]}")
        fault = self._check_state()
        if fault is None and self._monitor is not None and not np.isfinite(action).all():
            fault = Fault("state", "the action is not finite")
        return (action, None) if fault is None else (None, fault)

    def _check_state(self) -> Fault | None:
        """Return the fault of the policy's state; None without a monitor."""
        if self._monitor is None:
            return None
        return self._monitor.check_state(getattr(self._controller, "state", None))


class CommandLimits:
    """Limits commands to their range, and their changes to a rate.

    Args:
        contract: Contract with the ranges. Discrete actions (choices) are not limited.
        settings: The rates.

    Attributes:
        command: The last command; at first, the allowed command that stands for the value nearest
            to zero in its unit.
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
        """Set the command to the allowed one that stands for the value nearest to zero."""
        self.command = self._neutral.copy()

    def follow(self, action: np.ndarray, dt_s: float, *, is_degraded: bool = False) -> np.ndarray:
        """Move the command towards an action, as far as the limits let it.

        Args:
            action: Wanted action, shape (action,).
            dt_s: Time in which the command may change [s]; a negative time counts as 0.
            is_degraded: Whether `degraded_rate_per_s` applies as well.

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
