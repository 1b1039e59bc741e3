"""The part for Donkeycar, in a stand-in of Donkeycar's loop, and in its own if it is installed."""

import importlib.util
import json
import math
import os
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest

from ncp_control.contract import View
from ncp_control.deploy.links.donkeycar import NCPPilot
from ncp_control.deploy.links.images import see
from ncp_control.framing import framer_for
from ncp_control.loop.clocks import SimulatedClock
from ncp_control.loop.levels import Level
from ncp_control.loop.settings import LoopSettings, MonitorSettings
from ncp_control.policy import load
from tests.ncp_control.deploy.links.road_car import RoadCar

ROOT = Path(__file__).parents[4]
VIEW = View(crop_top=0.35, crop_bottom=0.1)
FRAME_S = 1 / 30
THROTTLE = 0.25
FIRST = 4
"""Number of good images at the start and after a pause at which the car still stands."""


class Vehicle:
    """Parts run in turn, with named values between them, as in Donkeycar's loop."""

    def __init__(self):
        self.memory, self.parts = {}, []

    def add(self, part, inputs=(), outputs=(), run_condition=None):
        self.parts.append((part, inputs, outputs, run_condition))

    def run(self, ticks):
        for _ in range(ticks):
            for part, inputs, outputs, condition in self.parts:
                if condition is not None and not self.memory.get(condition):
                    continue
                given = part.run(*(self.memory.get(name) for name in inputs))
                values = given if len(outputs) > 1 else [given]
                if given is not None:
                    self.memory.update(zip(outputs, values, strict=True))

    def stop(self):
        for part, *_ in self.parts:
            if hasattr(part, "shutdown"):
                part.shutdown()


class Function:
    def __init__(self, run):
        self.run = run


@pytest.fixture
def clock():
    return SimulatedClock()


@pytest.fixture
def make_pilot(clock):
    """A pilot of the shipped driver on a simulated clock."""

    def make(**options):
        settings = {"throttle": THROTTLE, "max_steer_deg": 25.0, "clock": clock}
        return NCPPilot("drive-ncp", **(settings | options))

    return make


@pytest.fixture
def run(clock):
    """Run a pilot along images, one a frame; return what it commands."""

    def along(pilot, images):
        commands = []
        for image in images:
            clock.sleep_until(clock.now_s() + FRAME_S)
            commands.append(pilot.run(image))
        return np.array(commands).T

    return along


def noise(count, seed=0, shape=(120, 160, 3)):
    rng = np.random.default_rng(seed)
    return [rng.integers(60, 200, shape, np.uint8) for _ in range(count)]


def test_a_car_keeps_its_lane_before_and_after_a_person_drives(clock, make_pilot, caplog):
    car, pilot = RoadCar((120, 160), VIEW), make_pilot(crop_top=0.35, crop_bottom=0.1)
    seen = []

    def move(angle, throttle, is_pilot):
        clock.sleep_until(clock.now_s() + FRAME_S)
        seen.append((angle, throttle))
        car.step(angle if is_pilot else 0.0, is_braking=throttle == 0.0)

    is_pilot, vehicle = [True], Vehicle()
    names = ["pilot/angle", "pilot/throttle"]
    vehicle.add(Function(lambda: is_pilot[0]), outputs=["run_pilot"])
    vehicle.add(Function(lambda: car.image), outputs=["cam/image_array"])
    vehicle.add(pilot, ["cam/image_array"], names, "run_pilot")
    vehicle.add(Function(move), [*names, "run_pilot"])
    vehicle.run(50)
    is_pilot[0] = False
    vehicle.run(20)  # longer than the memory is of use
    is_pilot[0] = True
    vehicle.run(30)
    with caplog.at_level("INFO"):
        vehicle.stop()
    assert car.crashes == 0 and car.info["distance_m"] > 20.0
    standing = [number for number, (_, throttle) in enumerate(seen) if throttle == 0.0]
    assert standing == [*range(FIRST), *range(70, 70 + FIRST)] and pilot.monitor.events == []
    assert "pilot: 80 ticks" in caplog.text


def test_the_pilot_gives_what_the_policy_says_in_the_cars_sign_and_unit(make_pilot, run):
    policy = load("drive-ncp")
    images = noise(6, shape=(78, 200, 3))
    actions = np.array([policy.act(image, FRAME_S)[0] for image in images])
    angles, throttles = run(make_pilot(monitored=False), images)
    # 0.4 rad to the left is the action 1; 25 degrees to the right is the angle 1.
    np.testing.assert_allclose(angles, -actions * 0.4 / math.radians(25.0), rtol=1e-4, atol=1e-6)
    assert throttles.tolist() == [0.0] * FIRST + [THROTTLE] * (6 - FIRST)


def test_the_largest_angle_is_not_needed_for_fractions_of_it(tmp_path, caplog):
    policy = load("drive-ncp")
    assert policy.contract is not None
    unit = "fraction of the car's largest angle"
    steering = replace(policy.contract.action[0], unit=unit, scale=None)
    policy.contract = replace(policy.contract, action=(steering,))
    policy.save(tmp_path / "policy")
    for given, is_told in ((None, False), (25.0, True)):
        caplog.clear()
        NCPPilot(tmp_path / "policy", max_steer_deg=given, monitored=False)
        assert ("max_steer_deg has no effect" in caplog.text) == is_told


def test_the_policy_is_told_the_time_that_passed(make_pilot, clock):
    pilot, times = make_pilot(monitored=False), []
    act = pilot._pilot._controller.act
    pilot._pilot._controller.act = lambda seen, dt_s: times.append(dt_s) or act(seen, dt_s)
    for wait_s, image in zip((1.0, 0.05, 0.2, 0.7, 0.04), noise(5), strict=True):
        clock.sleep_until(clock.now_s() + wait_s)
        pilot.run(image)
    assert times == pytest.approx([FRAME_S, 0.05, 0.2, FRAME_S, 0.04])


@pytest.mark.parametrize(
    ("bad", "kind"),
    [(lambda last: None, "missing"), (lambda last: last, "frozen"), (np.zeros_like, "black"),
     (lambda last: "text", "unreadable"), (lambda last: last[:, :, :2], "shape"),
     (lambda last: last / 255.0, "shape")],
)  # fmt: skip
def test_bad_images_end_in_a_stop_and_good_ones_go_on(bad, kind, make_pilot, run, caplog):
    pilot = make_pilot(monitor=MonitorSettings())
    pilot.monitor._profile = None  # noise is far from a road
    _, throttles = run(pilot, noise(10))
    assert throttles.tolist() == [0.0] * FIRST + [THROTTLE] * (10 - FIRST)
    angles, throttles = run(pilot, [bad(noise(10)[-1])] * 25)
    assert throttles[-1] == 0.0 and len(set(angles[5:])) == 1
    stopped = np.flatnonzero(throttles == 0.0)[0] * FRAME_S
    assert 0.2 < stopped < 0.5
    assert f"hold     {kind}" in caplog.text and "stop     " in caplog.text
    _, throttles = run(pilot, noise(45, seed=1))
    assert throttles[0] == 0.0 and throttles[-1] == THROTTLE
    assert pilot.monitor.level == Level.DRIVE


@pytest.mark.parametrize("colour", ["RGB", "BGR", "grey"])
def test_a_grey_camera_is_seen_as_its_jpegs_are_read(colour, make_pilot, run):
    policy, grey = load("drive-ncp"), noise(6, shape=(78, 200, 1))
    assert policy.contract is not None
    if colour == "grey":
        frames = replace(policy.contract.observation, shape=(78, 200, 1), colour="grey")
    else:
        frames = replace(policy.contract.observation, colour=colour)
    framer = framer_for(frames, "a test", None, None)
    seen = [framer.see(image.repeat(3, axis=2)) for image in grey]
    for images in (grey, [image[:, :, 0] for image in grey]):
        assert np.array_equal([see(framer, image) for image in images], seen)
    if colour == "RGB":
        angles, throttles = run(make_pilot(monitored=False), grey)
        assert throttles[-1] == THROTTLE
        colours, _ = run(make_pilot(monitored=False), [image.repeat(3, axis=2) for image in grey])
        np.testing.assert_array_equal(angles, colours)


def test_a_car_stands_until_its_camera_gives_something(make_pilot, run):
    for monitored in (True, False):
        pilot = make_pilot(monitored=monitored)
        angles, throttles = run(pilot, [None] * 6)
        assert not angles.any() and not throttles.any()


def test_images_may_stay_the_same_while_the_car_stands_but_not_while_it_drives(
    make_pilot, run, clock
):
    pilot = make_pilot()
    pilot.monitor._profile = None  # noise is far from a road
    for first, still in ((0, 2), (1, FIRST)):  # taken over before it drives
        run(pilot, noise(1, seed=first) * still)
        clock.sleep_until(clock.now_s() + 1.0)
    _, throttles = run(pilot, noise(1, seed=2) * 5 + noise(5, seed=3))
    assert throttles.tolist() == [0.0] * FIRST + [THROTTLE] * (10 - FIRST)
    run(pilot, [image // 100 for image in noise(20)])
    assert pilot.monitor.level == Level.STOP
    _, throttles = run(pilot, noise(1, seed=4) * 31)
    assert throttles[-1] == THROTTLE and {e.kind for e in pilot.monitor.events[:-1]} == {"black"}
    _, throttles = run(pilot, noise(1, seed=4) * 90)
    assert pilot.monitor.events[-1].kind == "frozen" and not throttles[15:].any()


def test_pauses_do_not_hide_a_frozen_camera_of_a_car_that_drives(make_pilot, clock, run):
    pilot, driven = make_pilot(), []
    pilot.monitor._profile = None  # noise is far from a road
    for _ in range(10):  # a loop that hangs whenever the car drives
        driven += run(pilot, noise(1) * (FIRST + 1))[1].tolist()
        clock.sleep_until(clock.now_s() + 1.0)
    assert sum(throttle > 0.0 for throttle in driven) == 1
    assert pilot.monitor.events[0].kind == "frozen"


@pytest.mark.parametrize("is_frozen", [True, False])
def test_a_loop_that_is_too_slow_never_drives_and_says_so_once(
    is_frozen, make_pilot, clock, caplog
):
    pilot = make_pilot(monitored=is_frozen)
    images = noise(1) * 60 if is_frozen else noise(60)
    for number, image in enumerate(images):
        # At 1.8 Hz, and with a hang before every fourth tick.
        is_slow = number % 4 == 0 or number < 30
        clock.sleep_until(clock.now_s() + (1 / 1.8 if is_slow else FRAME_S))
        assert pilot.run(image)[1] == 0.0
    assert caplog.text.count("the loop pauses for more than 0.5 s") == 1
    assert "frozen" not in caplog.text  # it stands


def test_a_pause_does_not_clear_the_monitor(make_pilot, run, clock):
    pilot = make_pilot()
    pilot.monitor._profile = None  # noise is far from a road
    images = noise(20)
    run(pilot, images[:10] + images[9:10] * 20)
    assert pilot.monitor.level == Level.STOP
    clock.sleep_until(clock.now_s() + 5.0)
    _, throttles = run(pilot, images[9:10] * 20)
    assert not throttles.any() and pilot.monitor.level == Level.STOP
    _, throttles = run(pilot, noise(45, seed=1))
    assert not throttles[:29].any() and throttles[-1] == THROTTLE


def test_time_in_which_a_person_drives_is_no_time_on_hold(make_pilot, run, clock):
    pilot, black = make_pilot(), [image // 100 for image in noise(20)]
    pilot.monitor._profile = None  # noise is far from a road
    run(pilot, noise(20) + black[:2])
    assert pilot.monitor.level == Level.HOLD
    clock.sleep_until(clock.now_s() + 120.0)
    run(pilot, black[2:3])
    assert pilot.monitor.level == Level.HOLD
    run(pilot, noise(1, seed=1))
    clock.sleep_until(clock.now_s() + 120.0)
    run(pilot, noise(1, seed=2))
    assert pilot.monitor.level == Level.HOLD  # two good images are not yet good for a while
    run(pilot, noise(60, seed=3) + black[:1])
    assert pilot.monitor.level == Level.HOLD
    run(pilot, black[1:])
    assert pilot.monitor.level == Level.STOP


def test_commands_change_as_slowly_as_the_settings_say(make_pilot, run):
    pilot = make_pilot(monitored=False, loop=LoopSettings(command_rate_per_s=0.3))
    angles, _ = run(pilot, noise(20, shape=(78, 200, 3)))
    largest = 0.3 * FRAME_S * 0.4 / math.radians(25.0)
    assert 0.0 < np.abs(np.diff(angles, prepend=0.0)).max() <= largest + 1e-6


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"max_steer_deg": None}, "`max_steer_deg` must be the car's largest steering angle"),
        ({"max_steer_deg": -1.0}, "`max_steer_deg` must be positive, got -1.0"),
        ({"max_steer_deg": 0.4363}, "at least 3 degrees, got 0.4363. If .* radians, give 25"),
        ({"throttle": 20}, "`throttle` must be above 0 and below 1, got 20. Give a share of"),
        ({"policy": "walker2d-ltc"}, "`policy` must command steering alone for a Donkeycar"),
        ({"policy": "drive"}, "`policy` must be one of"),
    ],
)
def test_what_cannot_drive_the_car_is_refused(options, told, clock):
    settings = {"policy": "drive-ncp", "max_steer_deg": 25.0} | options
    with pytest.raises(ValueError, match=told):
        NCPPilot(settings.pop("policy"), **settings)


@pytest.mark.parametrize(
    ("mode", "pilot_throttle", "chosen"),
    [
        ("user", 0.2, (0.1, 0.5)), ("user", None, (0.1, 0.5)), ("local", 0.2, (0.3, 0.2)),
        ("local", 0.0, (0.3, 0.0)), ("local_angle", 0.2, (0.3, 0.5)),
        ("local_angle", 0.0, (0.3, 0.0)), (None, 0.2, (0.0, 0.0)), ("pilot", 0.2, (0.0, 0.0)),
    ],
)  # fmt: skip
def test_the_example_obeys_mode_and_safe_stop(mode, pilot_throttle, chosen, monkeypatch):
    for name in ("donkeycar", "donkeycar.parts", "donkeycar.parts.transform"):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    example = runpy.run_path(str(ROOT / "examples" / "donkeycar_drive.py"))
    assert example["choose"](0.1, 0.5, mode, 0.3, pilot_throttle) == chosen


IN_DONKEYCARS_LOOP = """
import json, sys
from donkeycar_drive import NCPPilot, THROTTLE, make_vehicle
from ncp_control.contract import View
from tests.ncp_control.deploy.links.road_car import RoadCar

car, angles, throttles = RoadCar((120, 160), View(crop_top=0.35, crop_bottom=0.1)), [], []

class Camera:
    update, shutdown = (lambda self: None), (lambda self: None)
    def run_threaded(self): return car.image

class Person:
    update, ticks = (lambda self: None), 0
    def run_threaded(self, image):
        self.ticks += 1
        return 0.0, 0.0, "user" if self.ticks <= 5 else "local"

class Steering:
    def run(self, angle): angles.append(angle)

class Motor:
    def run(self, throttle):
        throttles.append(throttle)
        car.step(angles[-1], is_braking=throttle == 0.0)

pilot = NCPPilot("drive-ncp", throttle=THROTTLE, max_steer_deg=25.0, crop_top=0.35, crop_bottom=0.1)
loops, _ = make_vehicle(pilot, Camera(), Person(), Steering(), Motor()).start(30, max_loop_count=75)
told = {"loops": loops, "crashes": car.crashes, "throttles": throttles, "angles": angles}
print("TOLD", json.dumps(told))
"""


@pytest.mark.skipif(
    importlib.util.find_spec("donkeycar") is None,
    reason="donkeycar is not installed: see docs/robots.md",
)
def test_the_example_drives_in_donkeycars_own_loop(tmp_path):
    paths = [str(ROOT / "examples"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", IN_DONKEYCARS_LOOP], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.split("TOLD ")[1])
    assert (told["loops"], told["crashes"]) == (75, 0)
    assert told["throttles"] == [0.0] * (5 + 4) + [0.2] * 66
    assert all(isinstance(angle, float) for angle in told["angles"]) and any(told["angles"])
