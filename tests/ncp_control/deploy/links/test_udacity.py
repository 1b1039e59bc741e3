import contextlib
import dataclasses
import math
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from websockets.sync.client import connect

from ncp_control.contract import ActionContract, Contract, FramesContract, View
from ncp_control.deploy.links.udacity import MAX_STEER_RAD, UdacityLink, read_number
from ncp_control.loop.clocks import RealClock
from ncp_control.loop.link import LinkLost
from ncp_control.loop.monitor import Monitor
from ncp_control.loop.realtime import drive
from ncp_control.loop.settings import LoopSettings, MonitorSettings
from tests.ncp_control.deploy.links.udacity_simulator import Simulator


class Left:
    """Steers a little to the left."""

    def __init__(self):
        self.seen, self.resets = [], 0

    def act(self, observation, dt_s=None):
        self.seen.append(observation)
        return np.array([0.5], np.float32)

    def reset(self):
        self.resets += 1


@pytest.fixture
def contract():
    steering = ActionContract(name="steering", unit="fraction of 0.4 rad", positive="left")
    frames = FramesContract(shape=(78, 200, 3))
    return Contract(observation=frames, action=(steering,), frame_s=1 / 30, world="LaneKeeping-v0")


@pytest.fixture
def open_both(contract):
    """Open a link and a simulator that connects to it."""
    opened = []

    def make(contract=contract, comma=False, **options):
        port = _free_port()
        simulator = Simulator(port, comma)
        opened.append(simulator)
        link = UdacityLink(contract, clock=RealClock(), port=port, connect_s=20.0, **options)
        opened.append(link)
        return link, simulator

    yield make
    for one in opened:
        one.close()


def _free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def calm(contract):
    """Return a monitor that a busy computer does not upset."""
    return Monitor(contract, MonitorSettings(missing_s=5.0, late_s=5.0))


@pytest.mark.parametrize("comma", [False, True])
def test_the_simulator_is_driven_in_its_own_dialect(comma, contract, open_both):
    link, simulator = open_both(comma=comma)
    left = Left()
    settings = LoopSettings(seconds=0.5, rate_hz=60.0)
    done = drive(left, contract, link, clock=RealClock(), monitor=calm(contract), settings=settings)
    assert done.ended == "its time is over" and done.events == []
    assert simulator.pongs == 1 and simulator.packets[:1] in (["0"], ["3"])
    angle = simulator.steers[0]["steering_angle"]
    assert ("," in angle) == comma
    # Half of 0.4 rad to the left is negative there, in fractions of 25 degrees.
    assert read_number(angle) == pytest.approx(-0.5 * 0.4 / MAX_STEER_RAD, abs=1e-4)
    assert all(frame.shape == (78, 200, 3) for frame in left.seen) and len(left.seen) > 3
    assert done.episode.infos["speed_mps"][-1] > 0.0


def test_nothing_is_commanded_while_a_person_drives(contract, open_both):
    link, simulator = open_both()
    link.read(5.0)
    simulator.is_manual = True
    link.send(np.array([0.0]))  # the answer is the first telemetry of the person's driving
    while not (reading := link.read(5.0)) or not reading.is_manual:
        pass
    assert reading.observation is None
    while (reading := link.read(5.0)) is None or reading.is_manual:
        pass
    assert simulator.manuals >= 5 and len(simulator.steers) == 1
    assert reading.observation.shape == (78, 200, 3)


def test_a_stop_brakes_and_never_drives_backwards(open_both):
    link, simulator = open_both()
    simulator.speed_mph = 12.0
    while (reading := link.read(5.0)) is None or reading.info["speed_mps"] < 5.0:
        link.send(np.array([0.2]))
    driven = len(simulator.steers)
    for _ in range(20):
        link.stop()
        while link.read(5.0) is None:
            pass
    stopping = simulator.steers[driven + 2 :]  # two commands may have been under way
    throttles = [read_number(steer["throttle"]) for steer in stopping]
    assert throttles[0] == -1.0 and throttles[-1] == 0.0
    assert simulator.speed_mph > 0.0
    assert simulator.steers[-1]["steering_angle"] == simulator.steers[0]["steering_angle"]


def test_a_simulator_that_hangs_up_is_a_lost_link(contract, open_both):
    link, simulator = open_both()
    simulator.close()
    done = drive(Left(), contract, link, clock=RealClock(), settings=LoopSettings(seconds=5.0))
    assert done.is_safe_stop and "the simulator closed the connection" in done.ended


def test_messages_that_are_damaged_do_no_harm(open_both):
    link, simulator = open_both()
    link.read(5.0)
    for message in (
        b"42",
        "42",
        "42{",
        '42["telemetry"]x',
        "42[]",
        '42["other",{}]',
        '42["telemetry",5]',
        "9",
        "",
    ):
        simulator.socket.send(message)
    reading = None
    for _ in range(50):  # a whole telemetry may come before the damaged one is read
        simulator.socket.send('42["telemetry",{"image":"?","speed":"fast"}]')
        reading = link.read(5.0)
        if reading is not None and reading.observation is None:
            break
    assert reading is not None and reading.observation is None
    assert not reading.is_manual and reading.info == {}


def test_without_a_speed_the_car_gets_no_throttle_and_no_brake(open_both):
    link, simulator = open_both()
    simulator.speed_mph = math.nan
    num_sent = 0
    while not (reading := link.read(5.0)) or "speed_mps" in reading.info:
        link.send(np.array([0.2]))
        num_sent += 1
    link.send(np.array([0.2]))
    link.stop()
    for _ in range(50):  # commands from before may still be on their way
        if len(simulator.steers) < num_sent + 2:
            link.read(0.1)
    assert [read_number(one["throttle"]) for one in simulator.steers[num_sent:]] == [0.0, 0.0]


def test_clients_that_say_nothing_do_not_keep_the_simulator_out(contract):
    port = _free_port()
    url = f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket"
    opened = []

    def come_first():
        for _ in range(500):
            try:
                with connect(url):
                    pass
                opened.append(stack.enter_context(connect(url)))
                break
            except ConnectionRefusedError:
                time.sleep(0.02)
        opened.append(Simulator(port))

    with contextlib.ExitStack() as stack:
        thread = threading.Thread(target=come_first)
        thread.start()
        link = UdacityLink(contract, clock=RealClock(), port=port, connect_s=20.0)
        stack.callback(link.close)
        thread.join()
        silent, simulator = opened
        stack.callback(simulator.close)
        silent.send('42["telemetry",{}]')  # it speaks too late
        silent.close()
        for _ in range(5):
            reading = link.read(5.0)
            assert reading is not None and not reading.is_manual
            link.send(np.array([0.0]))


def test_no_simulator_is_told_after_a_while(contract):
    with pytest.raises(LinkLost, match=r"no simulator connected within 0\.1 s"):
        UdacityLink(contract, clock=RealClock(), port=0, connect_s=0.1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "throttle"}, "`policy` must command steering alone"),
        ({"positive": ""}, "`positive` of steering must be left or right"),
        ({"unit": "N m"}, "`unit` of steering must be rad or deg"),
    ],
)
def test_a_policy_whose_contract_does_not_fit_is_refused(changes, sentence, contract):
    action = (dataclasses.replace(contract.action[0], **changes),)
    with pytest.raises(ValueError, match=sentence):
        UdacityLink(dataclasses.replace(contract, action=action), clock=RealClock(), port=0)


def test_the_view_is_that_of_the_contract_or_like_our_world(contract, open_both):
    _, width = 160, 320
    rows = np.repeat(np.arange(160, dtype=np.uint8)[:, None, None], width, 1).repeat(3, 2)
    for world, view, first in (("LaneKeeping-v0", View(), 60), ("", View(crop_top=0.25), 40)):
        seen = FramesContract(shape=(78, 200, 3), view=view)
        link, _ = open_both(dataclasses.replace(contract, world=world, observation=seen))
        assert link._framer.see(rows)[0, 0, 0] == pytest.approx(first, abs=1)


@pytest.mark.slow
def test_ten_seconds_in_the_dialect_with_pings_a_person_and_decimal_commas():
    script = Path(__file__).with_name("drive_udacity.py")
    words = ["--seconds", "10", "--ping-s", "1", "--manual", "4", "1"]
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
