"""A four-wheel car in MuJoCo: steering with a finite rate, speed held by a controller.

The front wheels follow Ackermann's rule, so that all four turn about one centre. With the wheelbase
L, the track width w and the angle δ of a wheel half-way between the front wheels, a left wheel
(side = +1) or a right one (side = -1) stands at

    δ_side = atan( L tan δ / (L - side · (w/2) tan δ) )

and at low speed the rear axle runs on a circle of radius L / tan δ.

Time: a control period need not hold a whole number of round physics steps (1/30 s against 5 ms), so
the physics step is the control period divided by the smallest whole number that keeps it at or
below `MAX_PHYSICS_STEP_S`: 7 steps of 1/210 s = 4.76 ms at 30 Hz.
"""

# mujoco is a compiled module without stubs.
# pyright: reportAttributeAccessIssue=false

import math
from pathlib import Path
from typing import NamedTuple

import mujoco

MAX_PHYSICS_STEP_S = 0.005
CAR_XML = {
    "rear": Path(__file__).with_name("car.xml"),
    "all": Path(__file__).with_name("car_all_wheels.xml"),
}
"""Models by the wheels that drive and brake."""
_SETTLE_S = 1.0  # a car put down at hub height comes to rest in its contacts within this time


class CarState(NamedTuple):
    """Where the car is and how it moves.

    Fields:
        x_m, y_m: Point midway between the axles [m].
        yaw_rad: Heading [rad], in (-π, π].
        speed_mps: Forward speed of that point [m/s].
        steer_rad: Angle of the front wheels, mean of both [rad], positive to the left.
    """

    x_m: float
    y_m: float
    yaw_rad: float
    speed_mps: float
    steer_rad: float


class Car:
    """The simulated car.

    Args:
        control_period_s: Time that one call of `step` simulates [s], > 0.
        max_steer_rad: Largest angle of the front wheels [rad].
        max_steer_rate_radps: Fastest change of that angle [rad/s].
        driven_wheels: Those that drive and brake: "rear" or "all".

    Attributes:
        wheelbase_m: Distance between the axles [m].
        track_width_m: Distance between the wheels of an axle [m].
        num_substeps: Physics steps in a control period.
        wheel_radius_m: Radius of the tyres [m].
        rest_height_m: Height of the car's origin as it stands on its tyres [m].
        steer_qpos: Places of the left and the right front wheel's angle in MuJoCo's positions.
        wheel_qvel: Places of the rates of the four wheels in its velocities.
    """

    def __init__(
        self,
        control_period_s: float,
        max_steer_rad: float,
        max_steer_rate_radps: float,
        driven_wheels: str = "rear",
    ) -> None:
        self.model = mujoco.MjModel.from_xml_path(str(CAR_XML[driven_wheels]))
        self.data = mujoco.MjData(self.model)
        self.num_substeps = math.ceil(control_period_s / MAX_PHYSICS_STEP_S - 1e-9)
        self.model.opt.timestep = control_period_s / self.num_substeps
        self.max_steer_rad = max_steer_rad
        self._steer_step_rad = max_steer_rate_radps * self.model.opt.timestep
        self._commanded_steer_rad = 0.0

        front, rear = self.model.body("front_left").pos, self.model.body("rear_left").pos
        self.wheelbase_m = float(front[0] - rear[0])
        self.track_width_m = float(2.0 * front[1])
        self.wheel_radius_m = float(self.model.geom_size[self._tyre_geom()][0])
        joints = ("steer_left", "steer_right")
        self.steer_qpos = [int(self.model.joint(name).qposadr[0]) for name in joints]
        wheels = ("front_left", "front_right", "rear_left", "rear_right")
        self.wheel_qvel = [int(self.model.joint(f"roll_{name}").dofadr[0]) for name in wheels]
        self.rest_height_m = self._settle()

    def _tyre_geom(self) -> int:
        return int(self.model.body("rear_left").geomadr[0])

    def set_friction(self, friction: float) -> None:
        """Set how well all tyres grip, from now on.

        Args:
            friction: Largest force along the ground, as a share of the load; 1 on dry asphalt.
        """
        # MuJoCo takes the larger of the two that touch, so the ground gets it, too.
        self.model.geom_friction[:, 0] = friction

    def _settle(self) -> float:
        mujoco.mj_resetData(self.model, self.data)
        num_steps = math.ceil(_SETTLE_S / self.model.opt.timestep)
        mujoco.mj_step(self.model, self.data, nstep=num_steps)
        return float(self.data.qpos[2])

    def place(
        self, x_m: float, y_m: float, yaw_rad: float, speed_mps: float, steer_rad: float = 0.0
    ) -> None:
        """Put the car down, rolling without slip along the arc its front wheels point to.

        Args:
            x_m: Point midway between the axles [m].
            y_m: Point midway between the axles [m].
            yaw_rad: Heading [rad].
            speed_mps: Forward speed [m/s].
            steer_rad: Angle of the front wheels [rad], positive to the left; clipped to the
                largest one.
        """
        data = self.data
        mujoco.mj_resetData(self.model, data)
        steer_rad = min(max(steer_rad, -self.max_steer_rad), self.max_steer_rad)
        self._commanded_steer_rad = steer_rad
        yaw_rate_radps = speed_mps * math.tan(steer_rad) / self.wheelbase_m
        # The rear axle moves straight ahead; the middle of the car, half a wheelbase in front of
        # it, also moves sideways as the car turns.
        sideways_mps = 0.5 * self.wheelbase_m * yaw_rate_radps
        cosine, sine = math.cos(yaw_rad), math.sin(yaw_rad)
        data.qpos[:3] = x_m, y_m, self.rest_height_m
        data.qpos[3:7] = math.cos(0.5 * yaw_rad), 0.0, 0.0, math.sin(0.5 * yaw_rad)
        data.qvel[0] = speed_mps * cosine - sideways_mps * sine
        data.qvel[1] = speed_mps * sine + sideways_mps * cosine
        data.qvel[5] = yaw_rate_radps
        angles = self._ackermann(steer_rad)
        data.qpos[self.steer_qpos] = angles
        data.qvel[self.wheel_qvel] = speed_mps / self.wheel_radius_m
        data.ctrl[:2] = angles
        data.ctrl[2] = speed_mps / self.wheel_radius_m

    def step(self, steer_rad: float, speed_mps: float) -> None:
        """Drive for one control period.

        Args:
            steer_rad: Wanted angle of the front wheels [rad], positive to the left. They move
                towards it no faster than the actuator's rate.
            speed_mps: Speed the controller holds [m/s].
        """
        model, data = self.model, self.data
        target_rad = min(max(steer_rad, -self.max_steer_rad), self.max_steer_rad)
        largest_rad = self._steer_step_rad
        data.ctrl[2] = speed_mps / self.wheel_radius_m
        for _ in range(self.num_substeps):
            change_rad = target_rad - self._commanded_steer_rad
            self._commanded_steer_rad += min(max(change_rad, -largest_rad), largest_rad)
            data.ctrl[0], data.ctrl[1] = self._ackermann(self._commanded_steer_rad)
            mujoco.mj_step(model, data)

    def state(self) -> CarState:
        """Return the car's pose, speed and steering angle."""
        x_m, y_m, _, w, x, y, z = self.data.qpos[:7].tolist()
        vx, vy = self.data.qvel[:2].tolist()
        yaw_rad = math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
        left, right = self.data.qpos[self.steer_qpos].tolist()
        return CarState(
            x_m=x_m,
            y_m=y_m,
            yaw_rad=yaw_rad,
            speed_mps=vx * math.cos(yaw_rad) + vy * math.sin(yaw_rad),
            steer_rad=0.5 * (left + right),
        )

    def _ackermann(self, steer_rad: float) -> tuple[float, float]:
        tangent = math.tan(steer_rad)
        half_width_m = 0.5 * self.track_width_m
        forward_m = self.wheelbase_m * tangent
        left_rad = math.atan(forward_m / (self.wheelbase_m - half_width_m * tangent))
        right_rad = math.atan(forward_m / (self.wheelbase_m + half_width_m * tangent))
        return left_rad, right_rad
