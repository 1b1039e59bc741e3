"""Run a policy at a fixed rate on a robot, with dummies for camera and motors.

    python robot_loop.py                     drives with the shipped 19-neuron circuit
    python robot_loop.py RUN/policy          drives with one of yours, if it steers by angle

The circuit gets the true time between frames, so a late frame does no harm.
"""

import sys
import time

import numpy as np

import ncp_control
from ncp_control.loop.pilot import needed_contract
from ncp_control.steering import steering_of

FRAMES, SHAPE = 60, (78, 200, 3)
LARGEST_RAD = 0.4
"""Largest steering angle of the car, measured at its wheels [rad]."""
LONGEST_S = 0.5
"""After a longer pause [s] the hidden state is useless, and the policy is reset."""


def read_camera(number):
    """Return a frame as the contract requires; here noise, and every 20th frame is late."""
    time.sleep(0.1 if number % 20 == 19 else 0.005)
    return np.random.default_rng(number).integers(0, 256, SHAPE, np.uint8)


def steer(angle_rad):
    """Send a steering angle to the motors, left positive; return the fraction of the largest."""
    return float(np.clip(angle_rad / LARGEST_RAD, -1.0, 1.0))


policy = ncp_control.load(sys.argv[1] if len(sys.argv) > 1 else "drive-ncp")
contract = needed_contract(policy)
steering = steering_of(contract, "this robot")
one_rad = (1.0 if steering.is_left_positive else -1.0) * (steering.scale or LARGEST_RAD)
print(contract.describe())
frame_s = policy.circuit.frame_s
next_s, seen_s, late, taken_s = time.monotonic(), None, 0, []
try:
    for number in range(FRAMES):
        frame, now_s = read_camera(number), time.monotonic()
        dt_s, seen_s = frame_s if seen_s is None else now_s - seen_s, now_s
        if dt_s > LONGEST_S:
            policy.reset()
            dt_s = frame_s
        steer(one_rad * float(policy.act(frame, dt_s)[0]))
        taken_s.append(time.monotonic() - now_s)
        next_s += frame_s
        if next_s > time.monotonic():
            time.sleep(next_s - time.monotonic())
        else:  # late: do not try to catch up
            late, next_s = late + 1, time.monotonic()
finally:
    steer(0.0)
print(f"{1e3 * np.median(taken_s):.1f} ms a frame at the median, {late} of {FRAMES} frames late")
