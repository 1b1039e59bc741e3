"""The monitor: checks every reading and the policy's state, and chooses the level.

In every tick it lists the faults of the newest reading and of the policy's state:

| fault        | what it is                                                     | the reading is |
|--------------|----------------------------------------------------------------|----------------|
| missing      | no new reading for `missing_s`                                 | unusable       |
| unreadable   | the received data are not an observation                       | unusable       |
| out of order | its time is not later than that of the previous reading, is in | unusable       |
|              | the future or no number                                        |                |
| shape        | shape or type differs from the contract                        | unusable       |
| not finite   | NaN or infinity among the numbers                              | unusable       |
| frozen       | bitwise identical, or two frames in turn, for `frozen_s`, not  | unusable       |
|              | counting the time in which the robot stood still (`standing`)  |                |
| black, white | nearly every pixel is dark, or bright                          | unusable       |
| state        | the policy's state is outside its certified bounds before or   | unusable       |
|              | after a step, or the policy refuses the observation            |                |
| late         | older than `late_s` when it is read, or when the policy has    | doubtful       |
|              | answered                                                       |                |
| blurred      | less than half as sharp as the blurriest calibration frames    | doubtful       |
| colours      | nearer to the calibration data with red and blue swapped, and  | doubtful       |
|              | then within the limit or at most half as far                   |                |
| far          | far from the calibration data, or a number of it is            | doubtful       |
|              | (`profile`)                                                    |                |
| range        | a number outside the range of its entry in the contract        | doubtful       |

A reading may have several faults, and the worst counts: a black frame makes a reading unusable even
if its numbers are good. The comparison with the calibration (blurred, colours, far) is skipped for
unusable readings. `levels` defines the reaction to faults. The policy never sees an unusable
reading. It always sees good ones, so its hidden state is up to date when it drives again.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np

from ncp_control.audit.bounds import certificate_of
from ncp_control.audit.interval_circuit import Interval
from ncp_control.contract import Contract
from ncp_control.json_files import shorten
from ncp_control.loop.levels import Event, Fault, Level, Levels
from ncp_control.loop.link import Reading
from ncp_control.loop.profile import (
    InputProfile,
    first_outside,
    has_colours,
    statistics_of,
    swap_colours,
)
from ncp_control.loop.settings import MonitorSettings
from ncp_control.loop.standing import find_standing
from ncp_control.policy import Policy
from ncp_control.records import (
    array_of,
    entries_of,
    frames_in,
    frames_part,
    numbers_in,
    record_frame,
)

_ROUNDING = 1e-3
"""Tolerance beyond certified bounds, as a fraction of their size: for rounding in single precision
and in int8 heads."""
_AHEAD_S = 1e-3
"""Tolerance for the time of a reading that is in the future [s]: for rounding."""
CLEARLY_FARTHER = 2.0
"""Least ratio of the distances of a frame as it is and with red and blue swapped that shows swapped
colours if both are beyond the limit."""


def certified_state(policy: Policy) -> Interval | None:
    """Return the certified bounds of a policy's state with tolerance; None if its cell has none."""
    certificate = certificate_of(policy.circuit.cell)
    return None if certificate is None else with_allowance(certificate.state)


def with_allowance(bounds: Interval) -> Interval:
    """Return certified bounds, widened by a tolerance for rounding."""
    allowance = _ROUNDING * np.maximum(bounds.size, 1e-3)
    return Interval(bounds.low - allowance, bounds.high + allowance)


class Monitor:
    """Checks readings and states, and chooses the level.

    Args:
        contract: Contract of the policy.
        settings: Thresholds.
        profile: Statistics of inputs in good driving; if None, inputs are never far, blurred or of
            wrong colours.
        bounds: Certified bounds of the state; see `certified_state`. If None, the state must only
            be finite.

    Raises:
        ValueError: If the profile belongs to other observations.
    """

    def __init__(
        self,
        contract: Contract,
        settings: MonitorSettings | None = None,
        *,
        profile: InputProfile | None = None,
        bounds: Interval | None = None,
    ) -> None:
        self.settings = MonitorSettings() if settings is None else settings
        self.set_period(contract.frame_s)
        self._levels, self._world = Levels(self.settings), contract.world
        self._observed, self._profile, self._bounds = contract.observation, profile, bounds
        self._standing = find_standing(contract)
        self._shape, self._dtype = array_of(self._observed)
        self._record_frame = record_frame(self._observed)
        self._has_frame = frames_part(self._observed) is not None
        self._has_colours = has_colours(self._observed)
        ranges = [entry.range for entry in entries_of(self._observed)]
        self._ranges = np.array(ranges, np.float64).reshape(-1, 2)
        if profile is not None:
            profile.check_observations(contract.observation)
        self.restart(0.0)

    def set_period(self, period_s: float) -> None:
        """Set the default times for missing, late and frozen readings.

        Args:
            period_s: Interval between readings [s]; at first that of the contract.
        """
        s = self.settings
        self._missing_s = s.patience_s(s.missing_s, period_s)
        self._late_s = s.patience_s(s.late_s, period_s)
        self._frozen_s = s.patience_s(s.frozen_s, period_s)

    def restart(self, now_s: float) -> None:
        """Forget all readings up to now, e.g. after manual driving."""
        self._levels.restart()
        self._read_s = now_s  # when the newest reading arrived
        self._taken_s: float | None = None  # when it was taken
        self._compared_s = self._changed_s = now_s
        self._stood_s = 0.0  # how long the robot has stood since the last change
        # The last frames that differ. A camera with two buffers may repeat both in turn.
        self._recent: deque[np.ndarray] = deque(maxlen=2 if self._has_frame else 1)
        self._is_frozen = False

    def stand(self, now_s: float) -> None:
        """Tell that the robot has stood since the last reading: the time counts for no freeze."""
        self._stood_s += now_s - self._compared_s
        self._compared_s = now_s

    def leave_out(self, now_s: float) -> None:
        """Let the time since the last judgement count neither as good nor as bad, nor as a hold."""
        self._levels.leave_out(now_s)

    @property
    def level(self) -> Level:
        """The current level."""
        return self._levels.level

    @property
    def events(self) -> list[Event]:
        """All events up to now: changes of the level and new kinds of faults."""
        return self._levels.events

    @property
    def blind_spots(self) -> list[str]:
        """Faults that this monitor cannot detect, and why, one sentence each."""
        sentences = []
        calibrate = "Run python scripts/monitor.py calibrate POLICY in a clone of ncp-control"
        if self._profile is None:
            sentences.append(
                "the monitor is not calibrated: inputs far from training and blurred frames are not"
                f" noticed. {calibrate}"
            )
        else:
            if missed := self._profile.missed_faults(self._observed):
                sentences.append(f"monitor.json does not tell {' or '.join(missed)}. {calibrate}")
            home = self._profile.provenance.get("world")
            if home and home != self._world:
                own = shorten(self._world) if self._world else "no world"
                sentences.append(
                    f"monitor.json was calibrated in {shorten(home)}, and the policy is of {own}:"
                    f" what is usual there may not be usual here. {calibrate}"
                )
        if self._bounds is None:
            sentences.append(
                "this cell has no certified bounds; its state is only checked to be finite."
            )
        return sentences

    # --- faults -----------------------------------------------------------------------------------

    def check(
        self, reading: Reading | None, now_s: float, command: np.ndarray | None = None
    ) -> list[Fault]:
        """Return all faults of a reading; an empty list if it is good.

        Args:
            reading: The reading; None if none has come since the last call.
            now_s: The time [s].
            command: The last command, shape (actions,); None if unknown: then the robot counts as
                moving.
        """
        if reading is None:
            silent_s = now_s - self._read_s
            return [Fault("missing", f"for {silent_s:.2f} s")] if silent_s > self._missing_s else []
        self._read_s = now_s
        if reading.observation is None:
            return [Fault("unreadable", "the received data are not an observation")]
        age_s = now_s - reading.time_s
        if not age_s >= -_AHEAD_S:  # or NaN
            return [Fault("out of order", f"taken {-age_s:.3f} s in the future")]
        before_s, self._taken_s = self._taken_s, reading.time_s
        if before_s is not None and reading.time_s <= before_s:
            return [Fault("out of order", f"taken {before_s - reading.time_s:.3f} s too early")]
        late = self.check_age(reading, now_s)
        faults = [] if late is None else [late]
        found = [self._check_values(reading.observation)]
        if found[0] is None or not found[0].is_unusable:  # the other checks need shape and numbers
            found.append(self._check_change(reading.observation, now_s, command))
            if self._has_frame:
                found.append(self._check_light(self._frame_of(reading.observation)))
        faults += [fault for fault in found if fault is not None]
        if not any(fault.is_unusable for fault in faults):
            likeness = self._check_likeness(reading.observation)
            faults += [likeness] if likeness is not None else []
        return faults

    def check_age(self, reading: Reading, now_s: float) -> Fault | None:
        """Check how old a reading is, when it is read or when a slow policy has answered to it."""
        age_s = now_s - reading.time_s
        return (
            Fault("late", f"{age_s:.2f} s old", is_unusable=False) if age_s > self._late_s else None
        )

    def _check_values(self, observation: np.ndarray) -> Fault | None:
        """Check type and shape, and that all numbers are finite and within their ranges."""
        kind = observation.dtype.kind
        if kind == "f" and not np.isfinite(observation).all():
            return Fault("not finite", "NaN or infinity")
        is_of_type = observation.dtype == self._dtype if self._has_frame else kind in "iuf"
        if observation.shape != self._shape or not is_of_type:
            wanted = np.dtype(self._dtype).name if self._has_frame else "real numbers"
            found = f"{observation.dtype} of shape {observation.shape}"
            return Fault("shape", f"{found}, not {wanted} of {self._shape}")
        numbers = self._numbers_of(observation)
        if not np.isfinite(numbers).all():
            return Fault("not finite", "NaN or infinity")
        # Limits in the dtype of the numbers: 0.4 in single precision is within a limit of 0.4.
        with np.errstate(over="ignore"):
            exact = self._ranges
            limits = exact.astype(numbers.dtype) if numbers.dtype.kind == "f" else exact
        if (outside := first_outside(numbers, limits)) is None:
            return None
        entry = entries_of(self._observed)[outside]
        reason = f"{entry.name} {numbers[outside]:.4g}, not in {list(entry.range)}"
        return Fault("range", reason, is_unusable=False)

    def _frame_of(self, observation: np.ndarray) -> np.ndarray:
        """Return the frame of an observation; the observation itself if it has no frame."""
        shape = self._record_frame
        return observation if shape is None else frames_in(observation, shape)

    def _numbers_of(self, observation: np.ndarray) -> np.ndarray:
        """Return the numbers of an observation; an empty array if it is a frame alone."""
        shape = self._record_frame
        if shape is not None:
            return numbers_in(observation, shape)
        return np.empty(0) if self._has_frame else observation

    def _check_change(
        self, observation: np.ndarray, now_s: float, command: np.ndarray | None
    ) -> Fault | None:
        """Detect frozen readings.

        The time in which the robot stands does not count, because its readings may then stay the
        same. After a freeze, a single change shows that the sensor works again.
        """
        standing = self._standing
        frame = self._frame_of(observation)  # a camera may freeze while other numbers change
        before_s, self._compared_s = self._compared_s, now_s
        if not any(np.array_equal(one, frame) for one in self._recent):
            self._changed_s, self._stood_s, self._is_frozen = now_s, 0.0, False
            self._recent.append(frame.copy())
        elif not self._is_frozen:
            if self.level == Level.STOP:
                self._changed_s, self._stood_s = now_s, 0.0
            elif standing is not None and command is not None:
                numbers = self._numbers_of(observation)
                if standing.is_at_rest(numbers, command, self.settings.standing_mps):
                    self._stood_s += now_s - before_s
            counted_s = now_s - self._changed_s - self._stood_s
            self._is_frozen = counted_s >= self._frozen_s
        if not self._is_frozen:
            return None
        stood = f", of which it stood {self._stood_s:.2f} s" if self._stood_s else ""
        return Fault("frozen", f"the same for {now_s - self._changed_s:.2f} s{stood}")

    def _check_light(self, frame: np.ndarray) -> Fault | None:
        """Detect a frame that is entirely dark or entirely bright."""
        s = self.settings
        few = np.sort(frame[::4, ::4].ravel())  # every 16th pixel
        low, high = int(few[len(few) // 100]), int(few[-1 - len(few) // 100])
        if high <= s.black_below:
            return Fault("black", f"99 % of the pixels at most {high}")
        if low >= s.white_above:
            return Fault("white", f"99 % of the pixels at least {low}")
        return None

    def _check_likeness(self, observation: np.ndarray) -> Fault | None:
        """Compare a reading with the profile of the calibration."""
        profile = self._profile
        if profile is None:
            return None
        numbers = statistics_of(observation, self._observed)
        sharpness = profile.least_sharpness
        if sharpness is not None and numbers[-2] < sharpness:
            reason = f"sharpness {np.exp(numbers[-2]):.2g}, least {np.exp(sharpness):.2g}"
            return Fault("blurred", reason, is_unusable=False)
        ranges = profile.number_ranges
        outside = None if ranges is None else first_outside(numbers[: len(ranges)], ranges)
        if ranges is not None and outside is not None:
            (low, high), name = ranges[outside], entries_of(self._observed)[outside].name
            reason = f"{name} {numbers[outside]:.4g}, usually {low:.4g} to {high:.4g}"
            return Fault("far", reason, is_unusable=False)
        with np.errstate(over="ignore", invalid="ignore"):  # numbers may be far out of range
            distance = profile.distance(numbers)
        reason = f"distance {distance:.2f}, limit {profile.limit:.2f}"
        if self._has_colours:
            swapped, ratio = profile.distance(swap_colours(numbers)), profile.swap_ratio
            is_nearer = ratio is not None and distance > ratio * swapped
            is_clear = swapped <= profile.limit or distance > CLEARLY_FARTHER * swapped
            if (is_nearer and is_clear) or swapped <= profile.limit < distance:
                reason += f", {swapped:.2f} with red and blue swapped"
                return Fault("colours", reason, is_unusable=False)
        is_usual = distance <= profile.limit  # False for NaN
        return None if is_usual else Fault("far", reason, is_unusable=False)

    def check_state(self, state: np.ndarray | None) -> Fault | None:
        """Check that the policy's state is finite and within its certified bounds.

        Args:
            state: The state, shape (state,); None if the controller does not expose it.

        Returns:
            The fault; None if there is none.
        """
        if state is None:
            return None
        if not np.isfinite(state).all():
            return Fault("state", "not finite")
        bounds = self._bounds
        if bounds is None or state.shape != bounds.low.shape:
            return None
        excess = np.maximum(bounds.low - state, state - bounds.high)
        if excess.max() <= 0.0:
            return None
        worst = int(excess.argmax())
        limits = f"[{bounds.low[worst]:.3g}, {bounds.high[worst]:.3g}]"
        return Fault("state", f"neuron {worst} at {state[worst]:.4g}, certified in {limits}")

    # --- the level --------------------------------------------------------------------------------

    def judge(self, faults: Sequence[Fault], now_s: float, *, is_new: bool = True) -> Level:
        """Choose the level.

        Args:
            faults: Faults of this tick.
            now_s: The time [s].
            is_new: Whether a new reading came; time without one does not count as good input.
        """
        before = self.level
        level = self._levels.judge(faults, now_s, is_new=is_new)
        if level == Level.DRIVE != before:
            self._changed_s, self._stood_s = now_s, 0.0
        return level

    def shows(self, faults: Sequence[Fault]) -> bool:
        """True if the policy may see a reading with these faults."""
        if any(fault.is_unusable for fault in faults):
            return False
        return not faults or self.level < Level.HOLD
