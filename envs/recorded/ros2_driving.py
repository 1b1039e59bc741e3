"""Commands of a car in a ROS 2 bag, as steering and as numbers.

Steering is a fraction of the largest angle or yaw rate, which an option gives:

| commands          | option                          | steering 1 is                          |
|-------------------|---------------------------------|----------------------------------------|
| AckermannDrive    | `max_steer_rad`                 | this `steering_angle`                  |
| Twist             | `max_yaw_rate_radps`            | this `angular.z`                       |
| Twist             | `max_steer_rad`, `wheelbase_m`  | this angle: atan(L angular.z / linear.x)|

The commands are also available as numbers: `speed` [m/s], and `yaw_rate` [rad/s] or
`steering_angle` [rad].
"""

import bisect
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from envs.recorded.assembly import finite_number, left_positive_steering
from envs.recorded.bag import Bag
from envs.recorded.quantities import KNOWN, STEERING, STEERING_ANGLE, Quantity
from ncp_control.ranges import check_above_zero
from ncp_control.tally import Tally

TWISTS = ("geometry_msgs/msg/Twist", "geometry_msgs/msg/TwistStamped")
ACKERMANNS = ("ackermann_msgs/msg/AckermannDrive", "ackermann_msgs/msg/AckermannDriveStamped")
NO_COMMAND = "without a recent command"
BACKWARDS = "driven backwards"
STANDING = "standing, so that a yaw rate says no angle"
STANDING_MPS = 0.01
"""Speed below which a yaw rate cannot be converted to a steering angle [m/s]."""
YAW_RATE = Quantity(name="yaw_rate", unit="rad/s", positive="left")
ANGLE = Quantity(name=STEERING_ANGLE, unit="rad", positive="left")
Commanded = tuple[dict[str, float], tuple[str, ...]]
"""Numbers by name, and the changes made to them."""


@dataclass(frozen=True, kw_only=True)
class SteeringScale:
    """Meaning of the steering 1."""

    largest: float
    """Angle [rad] or yaw rate [rad/s] that corresponds to the steering 1."""
    wheelbase_m: float | None
    """Distance of the axles [m], if yaw rates are converted to angles; else None."""
    unit: str
    """Unit of the steering, for the contract."""


@dataclass(frozen=True, kw_only=True)
class DrivingCommands:
    """Commands of a topic, in the order in which the bag received them."""

    commands: list["_Command"]
    turn: Quantity
    """Quantity of the turning command: yaw rate or steering angle."""
    scale: SteeringScale | None
    """Meaning of the steering 1; None if no option gives it: then there is no steering."""
    age_s: float
    """Longest time for which a command is valid [s]."""

    @property
    def times_s(self) -> list[float]:
        """Time at which the bag received each command [s]."""
        return [one.time_s for one in self.commands]

    @property
    def quantities(self) -> list[Quantity]:
        """Names and units of the numbers."""
        if self.scale is None:
            return [self.turn]
        return [self.turn, replace(KNOWN[STEERING], unit=self.scale.unit)]

    def in_force(self, time_s: float, place: str, skipped: Tally) -> Commanded | None:
        """Return the command valid at a time; None if there is no usable one.

        Args:
            time_s: Time at which the bag received a frame [s].
            place: Location of the frame, for people.
            skipped: Counts frames without a usable command.
        """
        at = bisect.bisect_right(self.commands, time_s, key=_time_s) - 1
        if at < 0 or time_s - self.commands[at].time_s > self.age_s:
            skipped.add(NO_COMMAND, place)
            return None
        command = self.commands[at]
        values = {"speed": command.speed_mps, self.turn.name: command.turn}
        numbers = {name: value for name, value in values.items() if value is not None}
        if self.scale is None:
            return numbers, ()
        steering = _steering(command, self.scale, skipped, place)
        return None if steering is None else ({STEERING: steering[0], **numbers}, steering[1])


def read_driving(
    bag: Bag,
    topic: str,
    skipped: Tally,
    *,
    needs_scale: bool,
    max_steer_rad: float | None,
    max_yaw_rate_radps: float | None,
    wheelbase_m: float | None,
    age_s: float,
) -> DrivingCommands:
    """Read the commands of a car; see the module for the options.

    Raises:
        ValueError: If options for the steering 1 do not fit, or are missing but needed.
    """
    commands = [*_commands(bag, topic, skipped)]
    is_twist = bag.topics(TWISTS + ACKERMANNS)[topic][0] in TWISTS
    options = max_steer_rad, max_yaw_rate_radps, wheelbase_m
    has_scale = needs_scale or any(option is not None for option in options)
    return DrivingCommands(
        commands=commands,
        turn=YAW_RATE if is_twist else ANGLE,
        scale=_scale(is_twist, commands, *options) if has_scale else None,
        age_s=age_s,
    )


@dataclass(frozen=True, kw_only=True)
class _Command:
    time_s: float
    speed_mps: float | None
    turn: float | None


def _commands(bag: Bag, topic: str, skipped: Tally) -> Iterator[_Command]:
    """Yield the commands in the order of their times."""
    for message in sorted(
        bag.messages(topic, TWISTS + ACKERMANNS, skipped), key=lambda one: one.time_s
    ):
        value: Any = message.value
        body = getattr(value, "twist", getattr(value, "drive", value))
        if hasattr(body, "linear"):
            speed, turn = body.linear.x, body.angular.z
        else:
            speed, turn = body.speed, body.steering_angle
        yield _Command(time_s=message.time_s, speed_mps=finite_number(speed),
                       turn=finite_number(turn))  # fmt: skip


def _time_s(command: _Command) -> float:
    return command.time_s


def _scale(
    is_twist: bool,
    commands: list[_Command],
    max_steer_rad: float | None,
    max_yaw_rate_radps: float | None,
    wheelbase_m: float | None,
) -> SteeringScale:
    """Return the meaning of the steering 1.

    Raises:
        ValueError: If the options do not give it, or give it twice.
    """
    options = {"max_steer_rad": max_steer_rad, "max_yaw_rate_radps": max_yaw_rate_radps,
               "wheelbase_m": wheelbase_m}  # fmt: skip
    for name, value in options.items():
        if value is not None:
            check_above_zero(name, value)
    names = {name for name, value in options.items() if value is not None}
    if not is_twist and names == {"max_steer_rad"}:
        return SteeringScale(largest=options["max_steer_rad"] or 0.0, wheelbase_m=None,
                     unit=f"fraction of {max_steer_rad:g} rad")  # fmt: skip
    if is_twist and names == {"max_yaw_rate_radps"}:
        return SteeringScale(largest=max_yaw_rate_radps or 0.0, wheelbase_m=None,
                     unit=f"fraction of {max_yaw_rate_radps:g} rad/s")  # fmt: skip
    if is_twist and names == {"max_steer_rad", "wheelbase_m"}:
        return SteeringScale(largest=max_steer_rad or 0.0, wheelbase_m=wheelbase_m,
                     unit=f"fraction of {max_steer_rad:g} rad")  # fmt: skip
    largest = max((abs(one.turn) for one in commands if one.turn is not None), default=0.0)
    if is_twist:
        wanted = "max_yaw_rate_radps, or max_steer_rad and wheelbase_m, for a Twist"
        advice = f"its largest yaw rate is {largest:.3g} rad/s. Write --log-options"
        advice += " max_yaw_rate_radps=NUMBER."
    else:
        wanted = "max_steer_rad for an AckermannDrive"
        advice = (
            f"its largest angle is {largest:.3g} rad. Write --log-options max_steer_rad=NUMBER."
        )
    raise ValueError(
        f"`log_options` must say what the steering 1 is by {wanted}, got"
        f" {', '.join(sorted(names)) or 'none of them'}; {advice}"
    )


def _steering(
    command: _Command, scale: SteeringScale, skipped: Tally, place: str
) -> tuple[float, tuple[str, ...]] | None:
    """Return the steering of a command and the changes made; None, and count it, if unusable."""
    speed_mps, turn = command.speed_mps, command.turn
    if speed_mps is not None and speed_mps < 0.0:
        skipped.add(BACKWARDS, place)
        return None
    if scale.wheelbase_m is not None and turn is not None:
        if speed_mps is None or speed_mps < STANDING_MPS:
            skipped.add(STANDING, place)
            return None
        turn = math.atan(scale.wheelbase_m * turn / speed_mps)
    logged = None if turn is None else turn / scale.largest
    return left_positive_steering(logged, skipped, place, is_left_positive=True)
