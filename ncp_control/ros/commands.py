"""Convert a policy's steering to the numbers of ROS 2 commands.

With speed v, wheelbase L, steering angle δ, curvature κ of the path and yaw rate ω (kinematic
bicycle; left is positive, REP 103):

    κ = tan(δ) / L        ω = v κ

| type                                | topic by default | numbers                        |
|-------------------------------------|------------------|--------------------------------|
| geometry_msgs/Twist, TwistStamped   | `/cmd_vel`       | `linear.x` = v, `angular.z` = ω|
| ackermann_msgs/AckermannDrive       | `/ackermann_cmd` | `speed` = v, `steering_angle` = δ |
| ackermann_msgs/AckermannDriveStamped| `/drive`         | the same                       |

To stop, both numbers are zero.
"""

import math
from dataclasses import dataclass

from ncp_control.contract import Contract
from ncp_control.names import check_name
from ncp_control.ranges import check_above_zero
from ncp_control.steering import ANGLE, CURVATURE, YAW_RATE, steering_of

TOPICS = {
    "Twist": "/cmd_vel",
    "TwistStamped": "/cmd_vel",
    "AckermannDrive": "/ackermann_cmd",
    "AckermannDriveStamped": "/drive",
}
"""Default topic of each command type."""
_RIGHT_ANGLE_RAD = math.pi / 2.0


@dataclass(frozen=True, kw_only=True)
class Motion:
    """Motion command to a robot; both numbers are zero to stop."""

    speed_mps: float
    """Forward speed [m/s]."""
    turn: float
    """Yaw rate [rad/s] of a Twist, steering angle [rad] of an AckermannDrive; left is positive."""


STOP = Motion(speed_mps=0.0, turn=0.0)
"""Motion command to stand still."""


class MotionRule:
    """Converts actions of a steering policy to motion commands.

    Args:
        contract: Contract of the policy.
        command_type: Type of the command, one of `TOPICS`.
        speed_mps: Commanded speed [m/s].
        wheelbase_m: Distance between the axles [m]. Required for a Twist if the policy commands an
            angle, and for an AckermannDrive if it commands a curvature or yaw rate.
        max_steer_rad: Steering angle for the action 1 [rad]. Required if the contract does not
            state it.

    Raises:
        ValueError: If the policy does not steer, or a required number is missing or out of range.
    """

    def __init__(
        self,
        contract: Contract,
        command_type: str,
        *,
        speed_mps: float | None = None,
        wheelbase_m: float | None = None,
        max_steer_rad: float | None = None,
    ) -> None:
        check_name("command_type", command_type, TOPICS)
        steering = steering_of(contract, "ROS 2", (ANGLE, CURVATURE, YAW_RATE))
        self.is_twist = command_type.startswith("Twist")
        self._speed_mps = _needed("speed_mps", speed_mps, "how fast the robot shall drive [m/s]")
        self._quantity = steering.quantity
        if steering.scale is None:
            scale = _needed(
                "max_steer_rad",
                max_steer_rad,
                "the steering angle of the action 1 [rad], which the contract does not say",
            )
        elif max_steer_rad is not None:
            raise ValueError(
                f"`max_steer_rad` must be left out for a policy whose contract says what it"
                f" commands, got {max_steer_rad!r} and {contract.action[0].unit!r}."
            )
        else:
            scale = steering.scale
        self._scale = scale if steering.is_left_positive else -scale
        largest = scale * max(map(abs, contract.action[0].range))
        if self._quantity == ANGLE and not largest < _RIGHT_ANGLE_RAD:
            raise ValueError(
                f"`range` of steering must stay below a right angle, got {largest:g} rad at its"
                " end. Check the unit in the policy's contract."
            )
        self._wheelbase_m = math.nan
        if self.is_twist == (self._quantity == ANGLE):
            what = f"the distance of the axles [m], to turn {self._quantity} into {command_type}"
            self._wheelbase_m = _needed("wheelbase_m", wheelbase_m, what)

    def action_of(self, motion: Motion) -> float:
        """Return the action that steers along the path of a person's motion command.

        NaN if the person does not drive forward.
        """
        if not motion.speed_mps > 0.0:
            return math.nan
        if not self.is_twist and self._quantity == ANGLE:
            return motion.turn / self._scale
        if self.is_twist:
            curvature = motion.turn / motion.speed_mps
        else:
            curvature = math.tan(motion.turn) / self._wheelbase_m
        if self._quantity == ANGLE:
            return math.atan(curvature * self._wheelbase_m) / self._scale
        factor = 1.0 if self._quantity == CURVATURE else self._speed_mps
        return factor * curvature / self._scale

    def motion(self, action: float) -> Motion:
        """Return the motion command for an action of the policy."""
        wanted, v = self._scale * action, self._speed_mps
        if self.is_twist:
            if self._quantity == ANGLE:
                return Motion(speed_mps=v, turn=v * math.tan(wanted) / self._wheelbase_m)
            return Motion(speed_mps=v, turn=v * wanted if self._quantity == CURVATURE else wanted)
        if self._quantity == ANGLE:
            return Motion(speed_mps=v, turn=wanted)
        curvature = wanted if self._quantity == CURVATURE else wanted / v
        return Motion(speed_mps=v, turn=math.atan(curvature * self._wheelbase_m))


def _needed(name: str, value: float | None, meaning: str) -> float:
    """Check that an option of the link is given and positive, and return it.

    Raises:
        ValueError: If it is missing or not positive.
    """
    if value is None:
        raise ValueError(
            f"`{name}` must be given for ROS 2, got None: {meaning}. Write"
            f" --link-options {name}=NUMBER."
        )
    check_above_zero(name, value)
    return float(value)
