"""The ROS 2 link, against another member of a DDS domain that stays on the loopback interface."""

import dataclasses
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest

from ncp_control.contract import ActionContract, Contract, FramesContract
from ncp_control.deploy.links import open_link
from ncp_control.deploy.links.ros2 import Ros2Link
from ncp_control.loop.clocks import RealClock, SimulatedClock
from ncp_control.loop.levels import Level
from ncp_control.loop.link import LinkLost
from ncp_control.loop.monitor import Monitor
from ncp_control.loop.realtime import drive
from ncp_control.loop.settings import LoopSettings, MonitorSettings
from ncp_control.policy import load

ROOT = Path(__file__).parents[4]
DOMAIN = 100 + os.getpid() % 100
"""A domain that tests running beside this one do not share."""


@pytest.fixture(autouse=True)
def _stays_here(monkeypatch):
    monkeypatch.delenv("CYCLONEDDS_URI", raising=False)
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)


@pytest.fixture
def dds():
    """Skip a test where DDS is not installed."""
    reason = "cyclonedds is not installed: pip install 'ncp-control[ros]'"
    pytest.importorskip("cyclonedds", reason=reason)


class Peer:
    """A robot in a process of its own."""

    def __init__(self, image="Image", command="Twist", topic="/cmd_vel"):
        script = Path(__file__).with_name("ros2_peer.py")
        words = [sys.executable, str(script), str(DOMAIN), image, command, topic]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.heard, self._changed = [], threading.Condition()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self):
        for line in self.process.stdout:
            with self._changed:
                self.heard.append(json.loads(line))
                self._changed.notify_all()

    def wait_for(self, is_meant, timeout_s=10.0):
        """Return the first command that is meant, of those heard from now on."""
        begin, end_s = len(self.heard), time.monotonic() + timeout_s
        with self._changed:
            while time.monotonic() < end_s:
                for one in self.heard[begin:]:
                    if is_meant(one["numbers"]):
                        return one
                begin = len(self.heard)
                self._changed.wait(0.1)
        raise AssertionError(f"not heard; at last {self.heard[-3:]}")

    def toggle_images(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def close(self):
        if not self.process.stdin.closed:
            time.sleep(0.1)  # what was sent last comes
        self.process.stdin.close()
        self.process.wait(10.0)
        self._thread.join(10.0)
        self.process.stdout.close()


@pytest.fixture
def peer():
    """Start a robot; it ends with the test."""
    peers = []

    def start(*words):
        peers.append(Peer(*words))
        return peers[-1]

    yield start
    for one in peers:
        one.close()


def contract_of(**action):
    action = {"unit": "fraction of 0.4 rad", "positive": "left"} | action
    return Contract(
        observation=FramesContract(shape=(40, 50, 3)),
        action=(ActionContract(**({"name": "steering"} | action)),),
        frame_s=0.05,
    )


def is_stop(numbers):
    return not any(numbers)


@pytest.mark.parametrize(
    ("image", "command", "topic"),
    [("Image", "Twist", "/cmd_vel"), ("CompressedImage", "AckermannDriveStamped", "/drive")],
)
def test_images_come_commands_go_and_a_stop_is_zeros(dds, peer, image, command, topic):
    robot = peer(image, command, topic)
    options = {"speed_mps": 2.0, "domain_id": DOMAIN, "image_type": image, "command_type": command}
    options |= {"wheelbase_m": 0.5} if command == "Twist" else {}
    clock = RealClock()
    link = Ros2Link(contract_of(), "/camera", clock=clock, **options)
    try:
        first = link.read(1.0)
        later = [reading for reading in (link.read(1.0) for _ in range(4)) if reading is not None]
        assert first.observation.shape == (40, 50, 3)
        reds = [float(r.observation[..., 0].mean()) for r in (first, *later)]
        others = first.observation[..., 1:]
        steps = np.diff(reds) % 200.0
        assert np.all((steps > 0.5) & (steps < 100.0))  # it counts, and in red
        assert abs(others.mean() - 130.0) < 5.0
        times_s = np.array([r.time_s for r in (first, *later)])
        assert np.all(np.diff(times_s) > 0.0) and times_s[-1] <= clock.now_s()
        command_of = {"Twist": 2.0 * math.tan(0.2) / 0.5}.get(command, 0.2)
        link.read(1.0)
        link.send(np.array([0.5], np.float32))
        said = robot.wait_for(lambda numbers: numbers[0])["numbers"]
        assert said[:2] == pytest.approx([2.0, command_of], rel=1e-5) and is_stop(said[2:])
        link.stop()
        robot.wait_for(is_stop)
        link.read(1.0)
        link.send(np.array([-1.0], np.float32))  # it goes on, now to the right
        assert robot.wait_for(lambda numbers: numbers[0])["numbers"][1] < -0.39
    finally:
        link.close()
    robot.close()
    assert is_stop(robot.heard[-1]["numbers"])


def test_zeros_are_published_when_no_image_comes_whatever_the_loop_commands(dds, peer):
    robot = peer()
    link = Ros2Link(contract_of(unit="1/m", name="curvature"), "/camera", clock=RealClock(),
                    speed_mps=1.0, domain_id=DOMAIN, silence_s=0.3)  # fmt: skip
    try:
        link.read(1.0)
        link.send(np.array([0.25]))
        assert robot.wait_for(lambda n: n[0])["numbers"][:2] == pytest.approx([1.0, 0.25])
        robot.toggle_images()
        while link.read(0.3) is not None:
            pass
        link.send(np.array([0.25]))
        robot.wait_for(is_stop)
        robot.toggle_images()
        assert link.read(2.0) is not None
        link.send(np.array([0.25]))
        robot.wait_for(lambda n: n[0])
    finally:
        link.close()


class Topics:
    """A domain in which one camera publishes images of some heights [pixels]."""

    Image, MESSAGES, DDSException = types.SimpleNamespace, {"Image": None, "Twist": None}, OSError
    topic_name = domain_of = staticmethod(lambda name: name)

    def __init__(self, *heights, encodings=()):
        self.heights, self.encodings = list(heights), list(encodings)

    def Node(self, domain):
        stamp = types.SimpleNamespace(time_s=0.0)

        def read(timeout_s):
            height = self.heights.pop(0)
            encoding = self.encodings.pop(0) if self.encodings else "rgb8"
            return self.Image(height=height, width=8, encoding=encoding, step=24,
                              data=bytes(24 * height),
                              header=types.SimpleNamespace(stamp=stamp))  # fmt: skip

        topic = types.SimpleNamespace(read=read)
        return types.SimpleNamespace(reader=lambda *_: topic, writer=lambda *_: topic)


def test_an_image_of_which_nothing_is_left_is_a_reading_without_observation(monkeypatch):
    topics = Topics(120, 2, 120)
    monkeypatch.setattr("ncp_control.deploy.links.ros2._import_dds", lambda: topics)
    link = Ros2Link(contract_of(), clock=SimulatedClock(), speed_mps=1.0, wheelbase_m=0.3,
                    crop_top=0.5, crop_bottom=0.4)  # fmt: skip
    seen = [link.read(0.1).observation for _ in range(3)]
    assert [one is not None for one in seen] == [True, False, True]
    assert seen[2].shape == (40, 50, 3)


def test_a_camera_of_another_encoding_is_refused_and_a_later_image_is_not_read(monkeypatch):
    def open_link(*encodings):
        topics = Topics(120, 120, 120, encodings=encodings)
        monkeypatch.setattr("ncp_control.deploy.links.ros2._import_dds", lambda: topics)
        return Ros2Link(contract_of(), clock=SimulatedClock(), speed_mps=1.0, wheelbase_m=0.3)

    with pytest.raises(ValueError, match="`encoding` .* got 'bayer_rggb8'. .* with image_proc"):
        open_link("bayer_rggb8")
    link = open_link("rgb8", "bayer_rggb8", "rgb8")
    seen = [link.read(0.1).observation for _ in range(3)]
    assert [one is not None for one in seen] == [True, False, True]


class Domain(Topics):
    """A domain with images, a person's commands and what the robot hears; None: no message."""

    def __init__(self, images, commands, clock):
        super().__init__()
        self.clock, self.times_s = clock, []
        self.queues = {"/camera/image_raw": images, "/joy": commands}
        self.heard = []

    def Node(self, domain):
        image = dict(
            height=120,
            width=8,
            encoding="rgb8",
            step=24,
            data=bytes(24 * 120),
            header=types.SimpleNamespace(stamp=types.SimpleNamespace(time_s=0.0)),
        )

        def reader(topic, _):
            queue = self.queues[topic]

            def read(timeout_s):
                item = queue.pop(0) if queue else None
                if item == "damaged":
                    raise ValueError(item)
                return self.Image(**image) if item == "image" else item

            return types.SimpleNamespace(read=read)

        def write(message):
            self.heard.append(message)
            self.times_s.append(self.clock.now_s())

        writer = types.SimpleNamespace(write=write)
        return types.SimpleNamespace(reader=reader, writer=lambda *_: writer)

    @staticmethod
    def Twist(linear, angular):
        return types.SimpleNamespace(linear=linear, angular=angular)

    Vector3 = staticmethod(lambda x=0.0, z=0.0: types.SimpleNamespace(x=x, z=z))


def test_a_person_needs_another_topic_than_the_robot():
    with pytest.raises(ValueError, match="`takeover_topic` must differ from .* got '/cmd_vel' for"):
        Ros2Link(contract_of(), clock=SimulatedClock(), speed_mps=1.0, wheelbase_m=0.3,
                 takeover_topic="/cmd_vel")  # fmt: skip


def test_a_persons_commands_go_to_the_robot_and_into_the_readings(monkeypatch):
    def twist(speed_mps, turn):
        return Domain.Twist(Domain.Vector3(x=speed_mps), Domain.Vector3(z=turn))

    images = ["image", None, "image", None, None, "image", "image", None]
    commands = [None, twist(0.5, 0.1), twist(0.5, -9.0), "damaged", None, None, twist(0.0, 0.0)]
    clock = SimulatedClock()
    domain = Domain(["image", *images], commands, clock)
    monkeypatch.setattr("ncp_control.deploy.links.ros2._import_dds", lambda: domain)
    link = Ros2Link(contract_of(unit="1/m", name="curvature"), clock=clock, speed_mps=1.0,
                    takeover_topic="/joy", takeover_s=0.25)  # fmt: skip
    readings = []
    for step in range(8):
        if step in (2, 3):  # what was on its way when the person took over
            (link.send if step == 2 else lambda _: link.stop())(np.array([0.7]))
        readings.append(link.read(0.0))
        clock.sleep_until(clock.now_s() + 0.1)
    said = [None if one is None else (one.observation is not None, one.is_manual)
            for one in readings]  # fmt: skip
    assert said == [
        (True, False),  # nobody took over yet
        (True, True),
        None,  # no image came, and the driver is the same
        (True, True),  # a moment ago the person still commanded
        None,
        (False, False),  # the person let go, while no image came
        (True, True),
        (True, True),
    ]
    assert readings[1].command == pytest.approx([0.2])
    assert readings[3].command == pytest.approx([-1.0]), "no policy can steer farther"
    assert math.isnan(readings[6].command[0]), "a standing car follows no path"
    heard = [(one.linear.x, one.angular.z) for one in domain.heard]
    assert heard == [(0.5, 0.1), (0.5, -9.0), (0.0, 0.0), (0.0, 0.0)]
    assert domain.times_s[2] == pytest.approx(0.5), "the stop waits until the person lets go"


class Still:
    """A policy that always turns a little to the left."""

    def act(self, observation, dt_s=None):
        return np.array([0.25], np.float32)

    def reset(self):
        pass


@pytest.mark.slow
def test_the_loop_ends_in_a_safe_stop_when_images_are_lost_and_goes_on_when_they_come(dds, peer):
    robot, clock, contract = peer(), RealClock(), contract_of()
    link = Ros2Link(contract, "/camera", clock=clock, speed_mps=1.0, wheelbase_m=0.5,
                    domain_id=DOMAIN, silence_s=9.0)  # fmt: skip
    for at_s in (0.5, 1.2):
        threading.Timer(at_s, robot.toggle_images).start()
    settings = MonitorSettings(recover_s=0.2)
    done = drive(Still(), contract, link, clock=clock, monitor=Monitor(contract, settings),
                 settings=LoopSettings(seconds=2.2))  # fmt: skip
    link.close()
    robot.close()
    levels = [(event.level, event.kind) for event in done.events]
    assert (Level.STOP, "missing") in levels and levels[-1][0] == Level.DRIVE
    speeds = [one["numbers"][0] for one in robot.heard]
    changes = [b for a, b in itertools.pairwise([None, *speeds]) if a != b]
    assert changes == [1.0, 0.0, 1.0, 0.0]  # drives, stops, drives again, ends


def test_no_image_in_time_is_a_lost_link(dds):
    with pytest.raises(LinkLost, match=r"no image came on /camera/image_raw within 0.2 s: nobody"):
        Ros2Link(contract_of(), clock=RealClock(), speed_mps=1.0, wheelbase_m=0.3,
                 domain_id=DOMAIN, connect_s=0.2)  # fmt: skip


REFUSED = [
    ({}, {}, "`speed_mps` must be given for ROS 2"),
    ({}, {"speed_mps": 1.0}, "`wheelbase_m` must be given for ROS 2"),
    ({}, {"speed_mps": -1.0}, "`speed_mps` must be"),
    ({}, {"speed_mps": 1.0, "command_type": "Joy"}, "`command_type` must be one of"),
    ({}, {"speed_mps": 1.0, "wheelbase_m": 0.3, "max_steer_rad": 0.3}, "must be left out"),
    ({"unit": "fraction of the car's largest angle"}, {"speed_mps": 1.0}, "`max_steer_rad` must"),
    ({"unit": "fraction of 2 rad"}, {"speed_mps": 1.0}, "must stay below a right angle, got 2 rad"),
    ({"positive": ""}, {"speed_mps": 1.0}, "`positive` of steering must be left or right"),
    ({"unit": "N m"}, {"speed_mps": 1.0}, "`unit` of steering must be rad, deg, 1/m or"),
    ({"name": "throttle"}, {"speed_mps": 1.0}, "`policy` must command steering alone for ROS 2"),
    ({}, {"speed_mps": 1.0, "wheelbase_m": 0.3, "silence_s": 0.0}, "`silence_s` must be"),
    ({}, {"speed_mps": 1.0, "wheelbase_m": 0.3, "image_type": "PointCloud2"}, "`image_type` must"),
]  # fmt: skip


@pytest.mark.parametrize(("action", "options", "reason"), REFUSED)
def test_a_policy_or_an_option_that_does_not_fit_is_refused(action, options, reason):
    with pytest.raises(ValueError, match=reason):
        Ros2Link(contract_of(**action), clock=SimulatedClock(), **options)


def test_a_policy_without_a_camera_is_refused():
    walker = load("walker2d-ltc").contract
    steering = dataclasses.replace(walker, action=contract_of().action)
    with pytest.raises(ValueError, match="`policy` must see frames for ROS 2, got 'vector'"):
        Ros2Link(steering, clock=SimulatedClock(), speed_mps=1.0, wheelbase_m=0.3)


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"domain_id": 233}, "`domain_id` must be a number from 0 to 232, got 233"),
     ({"domain_id": True}, "`domain_id` must be"),
     ({"command_topic": "cmd_vel"}, "`topic` must be a full name such as")],
)  # fmt: skip
def test_names_and_domains_that_ros_does_not_know_are_refused(dds, options, reason):
    with pytest.raises(ValueError, match=reason):
        Ros2Link(contract_of(), clock=RealClock(), speed_mps=1.0, wheelbase_m=0.3, **options)


def test_without_cyclonedds_the_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cyclonedds", None)
    monkeypatch.setitem(sys.modules, "cyclonedds.core", None)
    monkeypatch.delitem(sys.modules, "ncp_control.ros.dds", raising=False)
    monkeypatch.delattr("ncp_control.ros.dds", raising=False)
    with pytest.raises(ValueError, match=r"needs cyclonedds.*ncp-control\[ros\]"):
        Ros2Link(contract_of(), clock=RealClock(), speed_mps=1.0, wheelbase_m=0.3)


@pytest.mark.slow
def test_the_job_stops_the_robot_when_images_end_and_when_it_is_killed(dds, peer, tmp_path):
    robot = peer()
    words = [sys.executable, "scripts/run.py", "drive-ncp", "--link", "ros2:/camera",
             "--runs", str(tmp_path), "--no-monitored", "--link-options", "speed_mps=0.5",
             "wheelbase_m=0.3", f"domain_id={DOMAIN}"]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    job = subprocess.Popen(words, cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    try:
        robot.wait_for(lambda numbers: numbers[0] == 0.5, 60.0)
        robot.toggle_images()
        robot.wait_for(is_stop)
        robot.toggle_images()
        robot.wait_for(lambda numbers: numbers[0] == 0.5)
        killed_s = time.monotonic()
        job.send_signal(signal.SIGKILL)
        stop = robot.wait_for(is_stop)
        assert stop["time_s"] - killed_s < 0.5  # what is promised
    finally:
        job.kill()
        job.wait()


@pytest.mark.slow
def test_a_policy_that_does_not_fit_is_refused_in_the_links_own_process():
    with pytest.raises(ValueError, match="`policy` must command steering alone for ROS 2"):
        open_link("ros2", load("walker2d-ltc").contract, {"speed_mps": 1.0})
