"""Pilot for a Donkeycar: a part to add in `manage.py`.

    from ncp_control.deploy.links.donkeycar import NCPPilot

    pilot = NCPPilot("drive-ncp", throttle=0.2, max_steer_deg=25.0)
    V.add(pilot, inputs=["cam/image_array"], outputs=["pilot/angle", "pilot/throttle"],
          run_condition="run_pilot")

Donkeycar's loop calls `run` in every tick while the pilot drives. The part converts the camera's
RGB image to the policy's contract and passes the true elapsed time since the last image. Monitor
and limits are those of `ncp run`:

| level   | angle                        | throttle          |
|---------|------------------------------|-------------------|
| drive   | the policy's                 | `throttle`        |
| degrade | the policy's, at a lower rate| `throttle`        |
| hold    | the last good one            | `throttle`        |
| stop    | the last good one            | 0                 |

At the start and after a pause, the throttle is 0 until a few good images have come in a row. While
the part keeps it at 0, images may stay the same: that time does not count for a frozen camera.
Donkeycar does not call the part while a person drives, so that a pause may also be a loop that
hangs: the monitor keeps what it knows, without the time of the pause. Angles are positive to the
right; 1 is the car's largest angle. Donkeycar is not imported: the part only needs its protocol,
`run` and `shutdown`. If the program on the car dies, no more commands are sent: set up the receiver
or the speed controller to stop the car then.

Source: Donkeycar 5 (github.com/autorope/donkeycar), `vehicle.py` and `parts/actuator.py`.
"""

import logging
import math
from pathlib import Path

import numpy as np

from ncp_control.contract import Contract
from ncp_control.deploy.backends import make_controller
from ncp_control.deploy.links.base import HOW_MUCH_THROTTLE, check_steering
from ncp_control.deploy.links.images import see
from ncp_control.framing import framer_for
from ncp_control.loop.clocks import Clock, RealClock
from ncp_control.loop.levels import Event, Level
from ncp_control.loop.link import Reading
from ncp_control.loop.monitor import Monitor
from ncp_control.loop.pilot import Decision, GuardedPilot, make_monitor, needed_contract
from ncp_control.loop.settings import LoopSettings, MonitorSettings
from ncp_control.policy import load, policy_folder
from ncp_control.ranges import check_part
from ncp_control.steering import check_largest_angle

_log = logging.getLogger(__name__)

_GOOD_IMAGES = 5
"""Number of good images in a row after which the car drives."""
_PAUSES = 3
"""Number of pauses without that many good images between them after which the loop is too slow."""


class NCPPilot:
    """Policy that steers a Donkeycar, as a part of its loop.

    Args:
        policy: Folder of the policy, or name of a shipped one.
        throttle: Throttle while the policy drives, above 0 and below 1.
        max_steer_deg: The car's largest steering angle [degrees], measured at the wheels; required
            for a policy that steers by angles, without effect for one that steers by fractions of
            the largest angle.
        crop_top: Share of the image cut off at the top; that of the policy's contract if None.
        crop_bottom: Share of the image cut off at the bottom; that of the contract if None.
        backend: Back end: torch, c, or onnx.
        monitored: Whether to check inputs and states.
        loop: Command limits; Donkeycar determines rate and time.
        monitor: Thresholds for bad inputs, and reactions to them.
        clock: Source of the time.

    Attributes:
        monitor: The monitor with all its events; None if `monitored` is False.

    Raises:
        ValueError: If the policy does not steer or observes no frames, or a setting is invalid.
    """

    def __init__(
        self,
        policy: str | Path,
        *,
        throttle: float = 0.2,
        max_steer_deg: float | None = None,
        crop_top: float | None = None,
        crop_bottom: float | None = None,
        backend: str = "torch",
        monitored: bool = True,
        loop: LoopSettings | None = None,
        monitor: MonitorSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        check_part("throttle", throttle, HOW_MUCH_THROTTLE)
        self._throttle = float(throttle)
        loaded = load(policy)
        contract = needed_contract(loaded)
        self._scale = _scale_of(contract, max_steer_deg)
        self._framer = framer_for(contract.observation, "a Donkeycar", crop_top, crop_bottom)
        loop = LoopSettings() if loop is None else loop
        self._clock: Clock = RealClock() if clock is None else clock
        self.monitor: Monitor | None = None
        if monitored:
            self.monitor = make_monitor(loaded, policy_folder(policy), monitor)
            for sentence in self.monitor.blind_spots:
                _log.warning(sentence)
        controller = make_controller(loaded, backend)
        self._pilot = GuardedPilot(
            controller, contract, clock=self._clock, monitor=self.monitor, settings=loop
        )
        self._pause_s = loop.pause_s(contract.frame_s)
        self._begun_s, self._called_s = self._clock.now_s(), -math.inf
        self._num_good, self._num_pauses, self._is_told = 0, 0, False
        self._is_driving = False  # whether the last throttle was not 0
        self._num_logged = 0
        self._num_runs, self._spent_s, self._most_s = 0, 0.0, 0.0

    def run(self, image_array: np.ndarray | None) -> tuple[float, float]:
        """Return angle and throttle for the newest image.

        Args:
            image_array: RGB image (height, width, 3), or grey one (height, width[, 1]), uint8; None
                if there is no image.
        """
        now_s = self._clock.now_s()
        if now_s - self._called_s > self._pause_s:  # a person drove, or the loop hung
            self._framer.clear()
            self._stand()
            if self.monitor is not None:
                self.monitor.leave_out(now_s)
        self._called_s = now_s
        if self.monitor is not None and not self._is_driving:
            self.monitor.stand(now_s)
        reading = None
        if image_array is not None:
            reading = Reading(observation=see(self._framer, image_array), time_s=now_s)
        decision = self._pilot.decide(reading, now_s)
        is_ready = self._count(decision)
        self._tell_events()
        took_s = self._clock.now_s() - now_s
        self._num_runs, self._spent_s = self._num_runs + 1, self._spent_s + took_s
        self._most_s = max(self._most_s, took_s)
        self._is_driving = is_ready and decision.level < Level.STOP
        angle = float(np.clip(self._scale * float(decision.command[0]), -1.0, 1.0))
        return angle, self._throttle if self._is_driving else 0.0

    def shutdown(self) -> None:
        """Log a summary; Donkeycar calls this at the end."""
        each_ms = 1e3 * self._spent_s / max(self._num_runs, 1)
        events = 0 if self.monitor is None else len(self.monitor.events)
        _log.info("pilot: %d ticks, %.1f ms each, %.1f ms at most, %d events of the monitor",
                  self._num_runs, each_ms, 1e3 * self._most_s, events)  # fmt: skip

    def _stand(self) -> None:
        """Keep the throttle at 0 until enough good images have come; warn of a slow loop, once."""
        self._num_good, self._num_pauses = 0, self._num_pauses + 1
        if self._num_pauses == _PAUSES and not self._is_told:
            self._is_told = True
            _log.warning(
                f"the throttle stays 0: the loop pauses for more than {self._pause_s:g} s before"
                f" {_GOOD_IMAGES} good images have come in a row. Make the loop faster"
            )

    def _count(self, decision: Decision) -> bool:
        """Count good images in a row; True once there were enough of them."""
        if self._num_good < _GOOD_IMAGES:
            is_good = decision.action is not None and decision.level == Level.DRIVE
            self._num_good = self._num_good + 1 if is_good else 0
        if self._num_good < _GOOD_IMAGES:
            return False
        self._num_pauses = 0
        return True

    def _tell_events(self) -> None:
        """Log the monitor's events since the last call."""
        events = [] if self.monitor is None else self.monitor.events
        for e in events[self._num_logged :]:
            _log.warning(str(Event(e.time_s - self._begun_s, e.level, e.kind, e.reason)))
        self._num_logged = len(events)


def _scale_of(contract: Contract, max_steer_deg: float | None) -> float:
    """Return the factor from a policy's steering to the car's angle.

    Raises:
        ValueError: If the policy does not steer, or `max_steer_deg` is missing or invalid where it
            is required.
    """
    sign, unit_rad = check_steering(contract, "a Donkeycar")
    if unit_rad is None:
        if max_steer_deg is not None:
            _log.warning(
                "max_steer_deg has no effect: the policy steers by fractions of the largest angle"
            )
        return sign
    if max_steer_deg is None:
        raise ValueError(
            "`max_steer_deg` must be the car's largest steering angle for a policy that steers by"
            " angles, got None. Measure at the wheels how far the angle 1 turns them."
        )
    check_largest_angle(max_steer_deg)
    return sign * unit_rad / math.radians(max_steer_deg)
