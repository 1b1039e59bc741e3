"""What images, steering and stamps of ROS 2 become, without DDS."""

import math
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from ncp_control.contract import ActionContract, Contract, FramesContract
from ncp_control.deploy.links.base import check_steering
from ncp_control.ros.commands import Motion, MotionRule
from ncp_control.ros.images import rgb_of_compressed, rgb_of_image
from ncp_control.ros.stamps import StampClock
from ncp_control.steering import steering_of


def picture(height=24, width=31):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def message_of(pixels, encoding, padding=0):
    rows = np.pad(pixels.reshape(len(pixels), -1), ((0, 0), (0, padding)))
    return SimpleNamespace(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding,
                           step=rows.shape[1], data=rows.tobytes())  # fmt: skip


# --- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize(
    ("encoding", "convert"),
    [("rgb8", lambda rgb: rgb), ("bgr8", lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)),
     ("rgba8", lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA)),
     ("bgra8", lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA))],
)  # fmt: skip
def test_pixels_of_every_encoding_become_rgb(encoding, convert, padding):
    rgb = picture()
    message = message_of(np.ascontiguousarray(convert(rgb)), encoding, padding)
    np.testing.assert_array_equal(rgb_of_image(message), rgb)
    for data in (list(message.data), bytearray(message.data), np.frombuffer(message.data, "u1")):
        message.data = data
        np.testing.assert_array_equal(rgb_of_image(message), rgb)


def test_grey_images_get_three_equal_channels():
    grey = picture()[..., :1]
    np.testing.assert_array_equal(rgb_of_image(message_of(grey, "mono8", 1)), grey.repeat(3, 2))


def test_compressed_images_are_rgb_whatever_opencv_says():
    rgb = picture()
    png = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1]
    np.testing.assert_array_equal(rgb_of_compressed(png.tobytes()), rgb)
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 2] = 200  # OpenCV's red
    seen = rgb_of_compressed(list(cv2.imencode(".jpg", red)[1].tobytes()))
    assert seen[..., 0].mean() > 190 and seen[..., 1:].mean() < 10


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"encoding": "16UC1"}, "`encoding` of an image must be one of rgb8, .* got '16UC1'"),
     ({"data": b"123"}, "`data` of an image must hold `height` rows .* got 3 bytes for 24 x 31"),
     ({"step": 92}, "`data` of an image"), ({"height": 0}, "`data` of an image"),
     ({"height": 2**31, "width": 2**31, "step": 0}, "`data` of an image"),
     ({"height": 2**26, "width": 1, "step": 0}, "`data` of an image")],
)  # fmt: skip
def test_images_that_are_not_what_they_say_are_refused(changes, reason):
    message = message_of(picture(), "rgb8")
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(ValueError, match=reason):
        rgb_of_image(message)


@pytest.mark.parametrize("data", [b"", b"no picture", bytes(1000)])
def test_compressed_images_that_cannot_be_decoded_are_refused(data):
    with pytest.raises(ValueError, match="`data` of a compressed image must be a JPEG or PNG"):
        rgb_of_compressed(data)


# --- steering -------------------------------------------------------------------------------------


def contract_of(unit, name="steering", positive="left"):
    action = ActionContract(name=name, unit=unit, positive=positive)
    frames = FramesContract(shape=(8, 8, 3))
    return Contract(observation=frames, action=(action,), frame_s=0.05)


V, L = 2.0, 0.5
"""Speed [m/s] and distance of the axles [m]; an action of 0.5 turns left by what follows."""
CASES = [
    ("fraction of 0.4 rad", "Twist", V * math.tan(0.2) / L),
    ("rad", "TwistStamped", V * math.tan(0.5) / L),
    ("fraction of 0.4 rad", "AckermannDrive", 0.2),
    ("1/m", "Twist", V * 0.5),
    ("fraction of 3 1/m", "AckermannDriveStamped", math.atan(1.5 * L)),
    ("fraction of 1.2 rad/s", "Twist", 0.6),
    ("rad/s", "AckermannDrive", math.atan(0.5 / V * L)),
]


def rule_of(unit, command_type, positive):
    is_needed = (command_type.startswith("Twist")) == unit.endswith(" rad") or unit == "rad"
    return MotionRule(contract_of(unit, positive=positive), command_type, speed_mps=V,
                      wheelbase_m=L if is_needed else None)  # fmt: skip


@pytest.mark.parametrize("positive", ["left", "right"])
@pytest.mark.parametrize(("unit", "command_type", "turn"), CASES)
def test_steering_becomes_what_the_command_needs(unit, command_type, turn, positive):
    rule = rule_of(unit, command_type, positive)
    sign = 1.0 if positive == "left" else -1.0
    assert rule.motion(0.5).speed_mps == V
    assert rule.motion(0.5).turn == pytest.approx(sign * turn)
    assert rule.motion(-0.5).turn == pytest.approx(-sign * turn)
    assert rule.motion(0.0).turn == 0.0


@pytest.mark.parametrize("positive", ["left", "right"])
@pytest.mark.parametrize(("unit", "command_type", "turn"), CASES)
def test_a_persons_command_is_the_action_that_follows_its_path(unit, command_type, turn, positive):
    rule = rule_of(unit, command_type, positive)
    sign = 1.0 if positive == "left" else -1.0
    for slower in (1.0, 0.3):  # a car that yaws as much more slowly as it drives
        turned = turn * slower if command_type.startswith("Twist") else turn
        for side in (1.0, -1.0):
            action = rule.action_of(Motion(speed_mps=slower * V, turn=side * turned))
            assert action == pytest.approx(0.5 * sign * side)
    for speed_mps in (0.0, -1.0, math.nan):
        assert math.isnan(rule.action_of(Motion(speed_mps=speed_mps, turn=0.3)))


def test_a_steering_of_the_worlds_own_range_reaches_the_robot_as_large():
    """The world is told 0.4 rad for the command 1, and so is the robot."""
    wide = contract_of("rad")
    entry = replace(wide.action[0], scale=(0.0, 0.4))
    scaled = replace(wide, action=(entry,))
    rule = MotionRule(scaled, "AckermannDrive", speed_mps=1.0)
    assert rule.motion(1.0).turn == pytest.approx(0.4)
    assert check_steering(scaled, "a car") == (-1.0, pytest.approx(0.4))
    for scale in ((0.1, 0.4), (0.0, -0.4)):
        uneven = replace(wide, action=(replace(entry, scale=scale),))
        with pytest.raises(ValueError, match=r"`scale` of steering must be \[0, a positive factor"):
            steering_of(uneven, "a car")


@pytest.mark.parametrize("unit", ["deg", "degrees", "°"])
def test_degrees_that_a_log_named_are_turned_into_rad(unit):
    """As a policy learns from a column `steering [deg]`: its command 1 stands for 8.4 degrees."""
    contract = contract_of(unit)
    contract = replace(contract, action=(replace(contract.action[0], scale=(0.0, 8.4)),))
    rule = MotionRule(contract, "AckermannDrive", speed_mps=1.0)
    assert rule.motion(1.0).turn == pytest.approx(math.radians(8.4))
    spin = contract_of("deg/s", name="yaw_rate")
    assert MotionRule(spin, "Twist", speed_mps=1.0).motion(1.0).turn == pytest.approx(math.pi / 180)
    known = contract_of("fraction of 20 deg")
    assert check_steering(known, "a car")[1] == pytest.approx(math.radians(20.0))


def test_the_largest_angle_is_taken_from_the_options_where_the_contract_does_not_say_it():
    contract = contract_of("fraction of the car's largest angle")
    rule = MotionRule(contract, "AckermannDrive", speed_mps=V, max_steer_rad=0.3)
    assert rule.motion(-1.0).turn == pytest.approx(-0.3)


@pytest.mark.parametrize("unit", ["", "fraction of", "fraction of max_steer_rad",
                                  "fraction of x rad", "fraction of nan rad", "fraction of -1 rad",
                                  "fraction of 0.4 m", "turns", "km/h"])  # fmt: skip
def test_units_that_say_no_angle_are_refused(unit):
    with pytest.raises(ValueError, match="`unit` of steering must be rad or deg"):
        steering_of(contract_of(unit), "a car")


# --- stamps ---------------------------------------------------------------------------------------


def test_stamps_are_told_on_the_loops_clock_and_delays_show():
    clock, epoch_s = StampClock(), 1.7e9
    delays_s = [0.02, 0.005, 0.03, 0.2, 0.005]
    told = [clock.time_s(epoch_s + 0.1 * i, 5.0 + 0.1 * i + d) for i, d in enumerate(delays_s)]
    np.testing.assert_allclose(np.diff(told)[1:], 0.1, atol=1e-3)  # the true intervals
    assert told[3] == pytest.approx(5.3 + 0.005, abs=1e-3)  # 0.195 s old when it came


def test_clocks_that_drift_or_are_set_are_followed():
    clock = StampClock()
    for i in range(10_000):  # stamps run slow by 500 parts per million
        now_s = 0.05 * i
        told_s = clock.time_s(100.0 + now_s * (1.0 - 5e-4), now_s)
    assert now_s - told_s < 1e-3
    assert clock.time_s(3.0, now_s + 1.0) == now_s + 1.0  # a simulation that began anew
    assert clock.time_s(0.0, 7.0) == 7.0  # no stamp


@pytest.mark.parametrize("delay_s", [1.2, 2.0, 10.0])
def test_pictures_that_come_seconds_late_are_old(delay_s):
    clock, epoch_s = StampClock(), 1.7e9
    delays_s = np.repeat([0.03, delay_s, 0.03], 100)
    sent_s = 0.05 * np.arange(300)
    ages_s = []
    for taken_s, arrived_s in zip(sent_s, sent_s + delays_s, strict=True):
        ages_s.append(arrived_s - clock.time_s(epoch_s + taken_s, arrived_s))
    np.testing.assert_allclose(ages_s, delays_s - 0.03, atol=0.05)


@pytest.mark.parametrize(
    ("set_s", "gap_s", "age_s"),
    [
        (-5.0, 0.05, 0.0),
        (5.0, 0.05, 0.0),
        (-5.0, 2.0, 0.0),
        (-2.0, 3.0, 2.0),  # may as well be a delay: the stamps increase
    ],
)
def test_a_clock_that_was_set_is_told_from_a_delay_by_its_stamps(set_s, gap_s, age_s):
    clock = StampClock()
    for i in range(100):
        clock.time_s(1e9 + 0.05 * i, 0.05 * i)
    for i in range(100):
        now_s = 0.05 * (99 + i) + gap_s
        told_s = clock.time_s(1e9 + now_s + set_s, now_s)
        assert now_s - told_s == pytest.approx(age_s, abs=0.01)
