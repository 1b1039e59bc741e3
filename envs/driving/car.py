"""Four-wheel car in MuJoCo, with rate-limited steering and a speed controller.

The front wheels follow Ackermann's rule, so that all four wheels turn about one centre. With the
wheelbase L, the track width w and the angle δ of an imaginary wheel half-way between the front
wheels, a left wheel (side = +1) or a right wheel (side = -1) has the angle

    δ_side = atan( L tan δ / (L - side · (w/2) tan δ) )

and at low speed the rear axle runs on a circle of radius L / tan δ.

Time: a control period need not be a whole number of 5 ms physics steps (e.g. 1/30 s). So the
physics step is the control period divided by the smallest whole number that keeps the step at or
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
"""Model files by the wheels that drive and brake."""
_SETTLE_S = 1.0  # a car placed at hub height comes to rest on its tyres within this time


class CarState(NamedTuple):
    """Pose, speed and steering angle of the car.

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
        control_period_s: Time simulated by one call of `step` [s], > 0.
        max_steer_rad: Largest angle of the front wheels [rad].
        max_steer_rate_radps: Largest rate of that angle [rad/s].
        driven_wheels: Wheels that drive and brake: "rear" or "all".

    Attributes:
        wheelbase_m: Distance between the axles [m].
        track_width_m: Distance between the wheels of an axle [m].
        num_substeps: Number of physics steps in a control period.
        wheel_radius_m: Radius of the tyres [m].
        rest_height_m: Height of the car's origin when it stands on its tyres [m].
        steer_qpos: Indices of the angles of the left and right front wheel in MuJoCo's `qpos`.
        wheel_qvel: Indices of the rates of the four wheels in MuJoCo's `qvel`.
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
        """Set the grip of all tyres from now on.

        Args:
            friction: Largest force along the ground, as a share of the load; 1 on dry asphalt.
        """
        # MuJoCo uses the larger friction of two touching bodies, so the ground gets the value, too.
        self.model.geom_friction[:, 0] = friction

    def _settle(self) -> float:
        mujoco.mj_resetData(self.model, self.data)
        num_steps = math.ceil(_SETTLE_S / self.model.opt.timestep)
        mujoco.mj_step(self.model, self.data, nstep=num_steps)
        return float(self.data.qpos[2])

    def place(
        self, x_m: float, y_m: float, yaw_rad: float, speed_mps: float, steer_rad: float = 0.0
    ) -> None:
        """Place the car so that it rolls without slip along the arc given by its front wheels.

        Args:
            x_m: Point midway between the axles [m].
            y_m: Point midway between the axles [m].
            yaw_rad: Heading [rad].
            speed_mps: Forward speed [m/s].
            steer_rad: Angle of the front wheels [rad], positive to the left; clipped to
                `max_steer_rad`.
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
        """Simulate one control period.

        Args:
            steer_rad: Target angle of the front wheels [rad], positive to the left. The wheels move
                towards it at most at the actuator's rate.
            speed_mps: Target speed of the speed controller [m/s].
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
