"""The link to the Donkey simulator, against a server that speaks its protocol."""

import dataclasses
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ncp_control.contract import ActionContract, Contract, FramesContract, View
from ncp_control.deploy.links import open_link
from ncp_control.deploy.links.donkey_sim import SCENE, DonkeySimLink, read_message
from ncp_control.loop.clocks import RealClock
from ncp_control.loop.link import LinkLost
from ncp_control.loop.monitor import Monitor
from ncp_control.loop.realtime import drive
from ncp_control.loop.settings import LoopSettings, MonitorSettings
from tests.ncp_control.deploy.links.donkey_simulator import DonkeySimulator

ROOT = Path(__file__).parents[4]


class Left:
    """Steers a little to the left."""

    def __init__(self):
        self.seen = []

    def act(self, observation, dt_s=None):
        self.seen.append(observation)
        return np.array([0.5], np.float32)

    def reset(self):
        pass


@pytest.fixture
def contract():
    steering = ActionContract(name="steering", unit="fraction of 0.25 rad", positive="left")
    frames = FramesContract(shape=(78, 200, 3), view=View(crop_top=0.25))
    return Contract(observation=frames, action=(steering,), frame_s=1 / 30)


@pytest.fixture
def open_both(contract):
    """Start a simulator and open a link to it."""
    opened = []

    def make(target="", contract=contract, simulator=None, **options):
        simulator = simulator or DonkeySimulator()
        opened.append(simulator)
        link = DonkeySimLink(contract, target, clock=RealClock(), port=simulator.port,
                             connect_s=20.0, **options)  # fmt: skip
        opened.append(link)
        return link, simulator

    yield make
    for one in opened:
        one.close()


def calm(contract):
    """Return a monitor that a busy computer does not upset."""
    return Monitor(contract, MonitorSettings(missing_s=5.0, late_s=5.0))


def wait_for(condition):
    until_s = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def kinds(simulator):
    return [message["msg_type"] for message in simulator.received]


@pytest.mark.parametrize("has_comma", [False, True])
def test_the_simulator_is_driven_from_its_menu_to_the_end(has_comma, contract, open_both):
    link, simulator = open_both("warehouse", simulator=DonkeySimulator(has_comma=has_comma))
    left, settings = Left(), LoopSettings(seconds=0.6, rate_hz=60.0)
    done = drive(left, contract, link, clock=RealClock(), monitor=calm(contract), settings=settings)
    assert done.ended == "its time is over" and done.events == []
    assert kinds(simulator)[:3] == ["get_scene_names", "load_scene", "control"]
    assert simulator.received[1]["scene_name"] == "warehouse"
    assert {"car_config", "cam_config"} < set(kinds(simulator))
    assert simulator.size == (150, 200) and left.seen[-1].shape == (78, 200, 3)
    assert simulator.commands[0] == [0.0, 0.0, 1.0]  # the brake is on until there is a command
    told = done.episode.infos
    assert told["speed_mps"][-1] > 0.0 and told["cross_track"][-1] == pytest.approx(-1.25e-05)
    wait_for(lambda: simulator.commands[-1][2] == 1.0)  # and at the end
    steering, throttle, brake = simulator.commands[-2]
    # Half of 0.25 rad to the left is negative there, in fractions of 16 degrees.
    assert steering == pytest.approx(-0.5 * 0.25 / np.radians(16.0), abs=1e-4)
    assert 0.0 < throttle <= 0.3 and brake == 0.0


def test_a_scene_that_was_chosen_by_hand_is_kept(open_both):
    link, simulator = open_both(simulator=DonkeySimulator(is_at_menu=False))
    assert link.read(5.0).observation.shape == (78, 200, 3)
    assert "load_scene" not in kinds(simulator)


def test_the_speed_is_held_by_the_throttle_up_to_its_limit(open_both):
    link, simulator = open_both(speed_mps=2.0, throttle=0.5)
    simulator.is_towed = True
    for speed_mps, throttle in ((3.0, 0.0), (1.9, 0.075), (0.5, 0.5), ("fast", 0.0)):
        simulator.speed_mps = speed_mps
        wait_for(lambda value=speed_mps: link.read(5.0).info.get("speed_mps", "fast") == value)
        number = len(simulator.commands)
        link.send(np.array([0.0]))
        wait_for(lambda count=number: len(simulator.commands) > count)
        assert simulator.commands[number][1] == pytest.approx(throttle)


def test_a_simulator_that_hangs_up_is_a_lost_link(contract, open_both):
    link, simulator = open_both()
    simulator.close()
    done = drive(Left(), contract, link, clock=RealClock(), settings=LoopSettings(seconds=5.0))
    assert done.is_safe_stop and "the simulator closed the connection" in done.ended


def test_a_hit_is_told_and_silence_is_no_reading(open_both):
    link, simulator = open_both()
    simulator.hits.append("cone")
    wait_for(lambda: (reading := link.read(5.0)) is not None and reading.info["is_hit"] == 1.0)
    simulator.is_silent = True
    wait_for(lambda: link.read(0.1) is None)


def test_an_image_that_is_damaged_is_a_reading_without_an_observation(open_both):
    link, simulator = open_both()
    simulator.is_silent = True
    wait_for(lambda: link.read(0.1) is None)
    for image in (5, "?", "aGFsbG8="):
        simulator.tell(msg_type="telemetry", image=image, speed="fast", hit="none")
        reading = link.read(5.0)
        assert reading.observation is None and dict(reading.info) == {"is_hit": 0.0}
    for message in (b"\n", b"{\n", b"[]\n", b'{"msg_type":5}\n', b"\xff\n", b"[" * 5000 + b"\n"):
        simulator.client.sendall(message)
    simulator.is_silent = False
    assert link.read(5.0).observation is not None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a":1,5,"b":-0,25}', {"a": 1.5, "b": -0.25}),
        (b'{"a":1,"b":2,5E-05,"c":"1,5"}\r', {"a": 1, "b": 2.5e-05, "c": "1,5"}),
        (b'{"a":1.5,"c":"x:1,5"}', {"a": 1.5, "c": "x:1,5"}),
        (b"{1,5}", {}),
    ],
)
def test_numbers_may_have_decimal_commas(line, message):
    assert read_message(line) == message


@pytest.mark.parametrize(
    ("target", "options", "told"),
    [
        ("moon", {}, r"`scene` must be one of \['generated_road', .*\], got 'moon'"),
        ("", {"throttle": 30}, "`throttle` must be above 0 and below 1, got 30"),
        ("", {"speed_mps": -1.0}, "`speed_mps` must be positive"),
        ("", {"max_steer_deg": 0.28}, "`max_steer_deg` must be at least 3 degrees, got 0.28"),
        ("", {"port": 0}, "`port` must be a whole number from 1 to 65535, got 0"),
        ("", {"port": 65_536}, "`port` must be a whole number from 1 to 65535, got 65536"),
        ("", {"host": 3}, "`host` must be a computer's name or number, got 3"),
    ],
)
def test_a_scene_or_setting_that_is_of_no_use_is_refused(target, options, told, contract):
    simulator = DonkeySimulator()
    settings = {"port": simulator.port, "connect_s": 20.0} | options
    with pytest.raises(ValueError, match=told):
        DonkeySimLink(contract, target, clock=RealClock(), **settings)
    simulator.close()


def test_a_policy_that_steers_by_an_unknown_sign_is_refused(contract):
    action = (dataclasses.replace(contract.action[0], positive=""),)
    other = dataclasses.replace(contract, action=action)
    with pytest.raises(ValueError, match="`positive` of steering .* for the Donkey simulator"):
        DonkeySimLink(other, clock=RealClock())


def test_no_simulator_and_a_silent_one_are_told(contract):
    simulator = DonkeySimulator()
    simulator.scene_names, simulator.answer = [], lambda *_: None
    with pytest.raises(LinkLost, match=r"sent no image within 0\.3 s"):
        DonkeySimLink(contract, clock=RealClock(), port=simulator.port, connect_s=0.3)
    simulator.close()
    with pytest.raises(LinkLost, match=rf"no simulator listens on 127\.0\.0\.1:{simulator.port}"):
        DonkeySimLink(contract, clock=RealClock(), port=simulator.port, connect_s=0.3)


def test_the_link_has_a_name_and_lives_in_a_process_of_its_own(contract, tmp_path):
    simulator = DonkeySimulator()
    link = open_link("donkey-sim:generated_road", contract, {"port": simulator.port})
    assert simulator.received[1]["scene_name"] == "generated_road" != SCENE
    while (reading := link.read(5.0)) is None:
        pass
    assert reading.observation.shape == (78, 200, 3)
    link.stop()
    link.close()
    simulator.close()
    assert simulator.commands[-1][2] == 1.0


WITH_THEIR_CLIENT = """
import json, sys
import numpy as np
from gym_donkeycar.envs.donkey_env import DonkeyEnv

conf = {"host": "127.0.0.1", "port": int(sys.argv[1]), "cam_resolution": (60, 80, 3),
        "cam_config": {"img_w": 80, "img_h": 60, "img_d": 3, "img_enc": "JPG"},
        "body_style": "donkey", "body_rgb": (1, 2, 3), "car_name": "x", "font_size": 50}
env = DonkeyEnv("generated_track", conf=conf)
env.reset()
seen = [env.step(np.array([0.25, 0.5])) for _ in range(5)]
print("TOLD", json.dumps([list(seen[-1][0].shape), seen[-1][4]["speed"], seen[-1][4]["cte"]]))
env.close()
"""


@pytest.mark.skipif(
    importlib.util.find_spec("gym_donkeycar") is None,
    reason="gym_donkeycar is not installed: see github.com/tawnkramer/gym-donkeycar",
)
@pytest.mark.parametrize("has_comma", [False, True])
def test_the_server_of_these_tests_serves_the_simulators_own_client(has_comma):
    simulator = DonkeySimulator(has_comma=has_comma)
    command = [sys.executable, "-c", WITH_THEIR_CLIENT, str(simulator.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    simulator.close()
    assert done.returncode == 0, done.stderr
    shape, speed, cte = json.loads(done.stdout.split("TOLD ")[1])
    assert shape == [60, 80, 3] and speed >= 0.0 and cte == pytest.approx(-1.25e-05)
    assert [0.25, 0.5, 0.0] in simulator.commands
