"""The car of `car.py` in mujoco-warp: many cars at once, in float32, on any device.

Model, constants and actuators are those of `Car`. After 2 s with the same commands, the positions
of both differ by less than 1e-4 m.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from envs.driving.car import Car
from envs.driving.config import DrivingConfig
from envs.warp_simulation import WarpSimulation


class TensorCarState(NamedTuple):
    """Poses, speeds and steering angles of cars, see `CarState`. Each of shape (cars,), float64."""

    x_m: Tensor
    y_m: Tensor
    yaw_rad: Tensor
    speed_mps: Tensor
    steer_rad: Tensor


class TensorCars:
    """Simulated cars, side by side.

    Args:
        config: Control period, largest angle of the front wheels and largest rate of that angle.
        num_cars: Number of cars.
        device: Device to simulate on: cpu or a CUDA device.

    Raises:
        ValueError: If mujoco-warp is not installed.
    """

    def __init__(self, config: DrivingConfig, num_cars: int, device: torch.device | str) -> None:
        self._car = car = Car(
            config.control_period_s, config.max_steer_rad, config.max_steer_rate_radps
        )
        # The steering targets change in each physics step, so one call simulates one step.
        self.simulation = WarpSimulation(car.model, num_cars, device, steps=1)
        self.device = self.simulation.device
        self.wheelbase_m = car.wheelbase_m
        self._largest_change_rad = config.max_steer_rate_radps * float(car.model.opt.timestep)
        self._max_steer_rad = config.max_steer_rad
        self._commanded_rad = torch.zeros(num_cars, dtype=torch.float64, device=self.device)

    @property
    def num_bytes(self) -> int:
        """Device memory taken by the state of all cars [bytes]."""
        return self.simulation.num_bytes + self._commanded_rad.nbytes

    def place(
        self,
        which: Tensor,
        x_m: Tensor,
        y_m: Tensor,
        yaw_rad: Tensor,
        speed_mps: float,
        steer_rad: Tensor,
    ) -> None:
        """Place some cars as `Car.place` does; wheel angles are clipped to the largest one.

        Args:
            which: Mask of the cars to place, bool, shape (cars,).
            x_m: x of the points midway between the axles [m], float64, shape (cars,).
            y_m: y of these points [m], same type and shape, as below.
            yaw_rad: Headings [rad].
            speed_mps: Forward speed of all cars [m/s].
            steer_rad: Angles of the front wheels [rad], positive to the left.
        """
        car, simulation = self._car, self.simulation
        steer_rad = steer_rad.clamp(-self._max_steer_rad, self._max_steer_rad)
        self._commanded_rad = torch.where(which, steer_rad, self._commanded_rad)
        yaw_rate_radps = speed_mps * steer_rad.tan() / car.wheelbase_m
        sideways_mps = 0.5 * car.wheelbase_m * yaw_rate_radps
        cosine, sine = yaw_rad.cos(), yaw_rad.sin()
        positions = torch.zeros_like(simulation.positions)
        positions[:, 0], positions[:, 1], positions[:, 2] = x_m, y_m, car.rest_height_m
        positions[:, 3], positions[:, 6] = (0.5 * yaw_rad).cos(), (0.5 * yaw_rad).sin()
        angles = self._ackermann(steer_rad)
        for place, angle in zip(car.steer_qpos, angles, strict=True):
            positions[:, place] = angle
        velocities = torch.zeros_like(simulation.velocities)
        velocities[:, 0] = speed_mps * cosine - sideways_mps * sine
        velocities[:, 1] = speed_mps * sine + sideways_mps * cosine
        velocities[:, 5] = yaw_rate_radps
        for place in car.wheel_qvel:
            velocities[:, place] = speed_mps / car.wheel_radius_m
        simulation.put(which, positions, velocities)

    def step(self, steer_rad: Tensor, speed_mps: float) -> None:
        """Simulate one control period.

        Args:
            steer_rad: Target angles of the front wheels [rad], positive to the left, shape (cars,).
            speed_mps: Target speed of all cars [m/s].
        """
        controls, limit_rad = self.simulation.controls, self._largest_change_rad
        target_rad = steer_rad.double().clamp(-self._max_steer_rad, self._max_steer_rad)
        controls[:, 2] = speed_mps / self._car.wheel_radius_m
        for _ in range(self._car.num_substeps):
            change_rad = (target_rad - self._commanded_rad).clamp(-limit_rad, limit_rad)
            self._commanded_rad = self._commanded_rad + change_rad
            controls[:, 0], controls[:, 1] = self._ackermann(self._commanded_rad)
            self.simulation.advance()

    def state(self) -> TensorCarState:
        """Return poses, speeds and steering angles."""
        positions = self.simulation.positions.double()
        velocities = self.simulation.velocities.double()
        w, x, y, z = positions[:, 3:7].unbind(1)
        yaw_rad = torch.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
        left, right = (positions[:, place] for place in self._car.steer_qpos)
        return TensorCarState(
            x_m=positions[:, 0],
            y_m=positions[:, 1],
            yaw_rad=yaw_rad,
            speed_mps=velocities[:, 0] * yaw_rad.cos() + velocities[:, 1] * yaw_rad.sin(),
            steer_rad=0.5 * (left + right),
        )

    def _ackermann(self, steer_rad: Tensor) -> tuple[Tensor, Tensor]:
        """Return the angles [rad] of the left and the right wheel; see `car.py`."""
        tangent, wheelbase_m = steer_rad.tan(), self.wheelbase_m
        half_width_m, forward_m = 0.5 * self._car.track_width_m, wheelbase_m * tangent
        return (
            torch.atan(forward_m / (wheelbase_m - half_width_m * tangent)),
            torch.atan(forward_m / (wheelbase_m + half_width_m * tangent)),
        )
