"""The compiled car: its time step, its turning circle, its speed and its steering actuator."""

import math

import mujoco
import numpy as np
import pytest

from envs.driving.car import MAX_PHYSICS_STEP_S, Car


@pytest.fixture
def car() -> Car:
    return Car(control_period_s=1 / 30, max_steer_rad=0.4, max_steer_rate_radps=0.8)


@pytest.mark.parametrize("rate_hz", [10.0, 20.0, 25.0, 30.0, 50.0])
def test_whole_physics_steps_fill_a_control_period(rate_hz: float):
    car = Car(1 / rate_hz, 0.4, 0.8)
    car.place(0.0, 0.0, 0.0, 8.0)
    car.step(0.0, 8.0)
    assert car.model.opt.timestep <= MAX_PHYSICS_STEP_S + 1e-12
    assert car.data.time == pytest.approx(1 / rate_hz, rel=1e-12)


def test_compiled_model_is_a_small_car_with_a_dense_jacobian(car: Car):
    assert car.model.opt.jacobian == mujoco.mjtJacobian.mjJAC_DENSE
    assert 800.0 < float(np.sum(car.model.body_mass)) < 1200.0
    assert car.wheelbase_m == pytest.approx(2.4)
    assert 1.3 < car.track_width_m < 1.6


@pytest.mark.parametrize("speed_mps", [2.0, 8.0])
@pytest.mark.parametrize("steer_rad", [0.05, 0.2, -0.2])
def test_constant_steer_drives_the_kinematic_circle(car: Car, speed_mps: float, steer_rad: float):
    car.place(0.0, 0.0, 0.0, speed_mps, steer_rad)
    states = []
    for _ in range(240):
        car.step(steer_rad, speed_mps)
        states.append(car.state())
    yaw = np.unwrap([state.yaw_rad for state in states])
    rear = np.array([[state.x_m, state.y_m] for state in states])
    rear -= 0.5 * car.wheelbase_m * np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
    driven_m = np.linalg.norm(np.diff(rear, axis=0), axis=1)[120:].sum()
    radius_m = driven_m / (yaw[-1] - yaw[120])
    assert radius_m == pytest.approx(car.wheelbase_m / math.tan(steer_rad), rel=0.01)


def test_placed_car_keeps_its_motion(car: Car):
    car.place(3.0, -2.0, 0.7, 8.0, 0.15)
    car.step(0.15, 8.0)
    state = car.state()
    turned_rad = 8.0 / 30 * math.tan(0.15) / car.wheelbase_m
    assert state.yaw_rad == pytest.approx(0.7 + turned_rad, abs=2e-3)
    assert state.speed_mps == pytest.approx(8.0, rel=0.01)
    assert math.hypot(state.x_m - 3.0, state.y_m + 2.0) == pytest.approx(8.0 / 30, rel=0.02)


def test_controller_reaches_and_holds_a_speed(car: Car):
    car.place(0.0, 0.0, 0.0, 0.0)
    for _ in range(90):
        car.step(0.0, 8.0)
    speeds = []
    for step in range(300):
        car.step(0.2 * math.sin(step / 15), 8.0)
        speeds.append(car.state().speed_mps)
    assert np.abs(np.array(speeds) / 8.0 - 1.0).max() < 0.02


def test_steering_moves_no_faster_than_its_rate_and_not_too_far(car: Car):
    car.place(0.0, 0.0, 0.0, 4.0)
    angles = [0.0]
    for _ in range(30):
        car.step(1.0, 4.0)
        angles.append(car.state().steer_rad)
    rate_radps = np.diff(angles) * 30
    assert rate_radps.max() < 0.8 * 1.05
    assert rate_radps[5:14].min() > 0.8 * 0.95
    # The mean of the Ackermann angles is a little above the angle between them.
    assert angles[-1] == pytest.approx(0.4, rel=0.02)
