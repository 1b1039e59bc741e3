import threading
import time

import cv2
import numpy as np
import pytest

from ncp_control.contract import ActionContract, Contract, FramesContract, View
from ncp_control.deploy.links import video as video_module
from ncp_control.deploy.links.video import open_video
from ncp_control.framing import framer_for
from ncp_control.loop.clocks import RealClock, SimulatedClock
from ncp_control.loop.levels import Level
from ncp_control.loop.link import LinkEnded, LinkLost
from ncp_control.loop.monitor import Monitor
from ncp_control.loop.realtime import drive
from ncp_control.loop.settings import LoopSettings, MonitorSettings
from ncp_control.policy import load

RATE_HZ, SIZE = 20.0, (40, 64)


def contract_of(**frames):
    observation = FramesContract(**({"shape": (20, 32, 3)} | frames))
    action = (ActionContract(name="steering", positive="left"),)
    return Contract(observation=observation, action=action, frame_s=0.05)


@pytest.fixture
def video(tmp_path):
    """Ten frames, the red of which says their number."""
    path = str(tmp_path / "drive.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), RATE_HZ, SIZE[::-1])
    for number in range(10):
        writer.write(np.full((*SIZE, 3), (0, 0, 20 * number), np.uint8))
    writer.release()
    return path


def number_of(reading):
    assert reading.observation[..., 1:].max() < 40  # what is red in the file is red here
    return round(float(reading.observation[..., 0].mean()) / 20)


def test_frames_come_at_their_times_and_late_loops_miss_some(video):
    clock = SimulatedClock()
    link = open_video(contract_of(), video, clock=clock)
    first = link.read(0.01)
    assert (number_of(first), first.observation.shape) == (0, (20, 32, 3))
    assert link.read(0.01) is None  # not yet
    assert number_of(link.read(0.05)) == 1
    clock.sleep_until(0.26)
    late = link.read(0.01)
    assert (number_of(late), late.time_s) == (5, pytest.approx(0.25))
    clock.sleep_until(9.0)
    assert number_of(link.read(0.01)) == 9
    with pytest.raises(LinkEnded, match="the video is over"):
        link.read(0.01)
    link.close()


def test_what_is_no_video_or_no_policy_with_a_camera_is_refused(tmp_path, capfd):
    path = tmp_path / "text.avi"
    path.write_text("no video")
    with pytest.raises(ValueError, match="`link` must name a video to read"):
        open_video(contract_of(), str(path), clock=SimulatedClock())
    capfd.readouterr()  # OpenCV complains by itself
    walker = load("walker2d-ltc").contract
    with pytest.raises(ValueError, match="`policy` must see frames for a video, got 'vector'"):
        open_video(walker, str(path), clock=SimulatedClock())


def test_colours_and_stacks_are_those_of_the_contract():
    image = np.zeros((*SIZE, 3), np.uint8)
    image[..., 0] = 200
    for colour, channels, expected in (("RGB", 3, [200, 0, 0]), ("BGR", 3, [0, 0, 200]),
                                       ("grey", 1, [60])):  # fmt: skip
        seen = FramesContract(shape=(20, 32, 2 * channels), colour=colour, view=View(stack=2))
        framer = framer_for(seen, "a camera", None, None)
        np.testing.assert_array_equal(framer.see(image)[0, 0], expected * 2)
    with pytest.raises(ValueError, match="must see uint8 frames in RGB, BGR or grey"):
        framer_for(FramesContract(shape=(20, 32, 4)), "a camera", None, None)


class Capture:
    """A camera of 100 frames a second in the place of `cv2.VideoCapture`.

    Args:
        script: What each read gives: "image", "nothing", "error", "grey", or "hang" for a read
            that does not return while the camera is open; the last one again and again.
    """

    def __init__(self, *script):
        self.script, self.number, self.is_open = script, 0, True
        self.opened, self.rng = None, np.random.default_rng(0)

    def __call__(self, source):
        self.opened = source
        return self

    def isOpened(self):
        return self.is_open

    def read(self):
        assert self.is_open, "read after release"
        time.sleep(0.01)
        what = self.script[min(self.number, len(self.script) - 1)]
        self.number += 1
        if what == "error":
            raise cv2.error("no device")
        while what == "hang" and not self.wakes.wait(5.0):
            pass
        if what in ("nothing", "hang"):
            return False, None
        image = self.rng.integers(40, 200, (*SIZE, 3), np.uint8)
        image[..., 2] = 250
        return True, image[..., 0] if what == "grey" else image

    def release(self):
        self.is_open = False


@pytest.fixture
def open_camera(monkeypatch):
    """Open the link to a camera that goes by a script."""
    opened = []

    def make(*script):
        capture = Capture(*script)
        capture.wakes = threading.Event()
        monkeypatch.setattr(cv2, "VideoCapture", capture)
        link = open_video(contract_of(), "0", clock=RealClock())
        opened.append((link, capture))
        return link, capture

    yield make
    for link, capture in opened:
        capture.wakes.set()
        link.close()
        assert not capture.is_open


class Straight:
    def __init__(self):
        self.seen = []

    def act(self, observation, dt_s=None):
        self.seen.append(observation)
        return np.zeros(1, np.float32)

    def reset(self):
        pass


class Until:
    """A link that ends when something has happened, however long a busy computer takes for it."""

    def __init__(self, link, happened):
        self.link, self.happened, self.contract = link, happened, link.contract
        self.send, self.stop = link.send, link.stop

    def read(self, timeout_s):
        if self.happened():
            raise LinkEnded("it has happened")
        return self.link.read(timeout_s)


def run(link, seconds=60.0, until=lambda events, seen: False):
    """Drive along a camera, with a monitor that a busy computer does not upset."""
    straight, contract = Straight(), contract_of()
    monitor = Monitor(contract, MonitorSettings(missing_s=0.4, late_s=0.4, stop_after_s=0.2))
    settings = LoopSettings(seconds=seconds)
    link = Until(link, lambda: until(monitor.events, straight.seen))
    done = drive(straight, contract, link, clock=RealClock(), monitor=monitor, settings=settings)
    return done, straight.seen


def test_a_camera_gives_its_newest_frame_in_the_colours_of_the_contract(open_camera):
    link, capture = open_camera("image")
    assert capture.opened == 0
    done, seen = run(link, until=lambda events, seen: len(seen) > 5)
    assert done.events == [] and len(seen) > 5 and not done.is_safe_stop
    assert all(frame.shape == (20, 32, 3) and (frame[..., 0] == 250).all() for frame in seen)
    link.read(1.0)  # what was taken since the drive
    first, taken = link.read(1.0), capture.number
    while capture.number < taken + 8:  # of 10 ms each
        time.sleep(0.01)
    assert link.read(1.0).time_s - first.time_s > 0.05


def is_stopped(events, seen):
    return bool(events) and events[-1].level == Level.STOP


@pytest.mark.parametrize("how", ["nothing", "error"])
def test_a_camera_that_is_lost_ends_in_a_safe_stop(how, open_camera, monkeypatch):
    monkeypatch.setattr(video_module, "LOST_S", 0.1)
    link, capture = open_camera(*["image"] * 20, how)
    done, seen = run(link, 20.0)
    assert seen and done.is_safe_stop
    assert done.ended == "the link was lost: the camera gives no more frames"
    assert done.events[-1].level == Level.STOP and not capture.is_open
    with pytest.raises(LinkLost, match="no more frames"):
        link.read(0.1)


def test_a_camera_that_fails_once_is_not_lost(open_camera):
    link, capture = open_camera("image", "nothing", "error", "image")
    done, _ = run(link, until=lambda events, seen: capture.number > 4)
    assert done.events == [] and not done.is_safe_stop and done.ended == "it has happened"


def test_a_camera_that_hangs_is_stopped_by_the_monitor(open_camera):
    link, _ = open_camera(*["image"] * 5, "hang")
    done, _ = run(link, until=is_stopped)
    levels = [event.level for event in done.events]
    assert levels == sorted(levels), "it only gets worse, by steps that depend on the machine"
    assert (levels[-1], done.events[-1].kind) == (Level.STOP, "missing") and not done.is_safe_stop
    assert done.ended == "it has happened"


def test_an_image_without_colours_is_no_observation(open_camera):
    link, _ = open_camera("grey")
    assert link.read(5.0).observation is None
    done, seen = run(link, until=is_stopped)
    assert seen == [] and {event.kind for event in done.events} == {"unreadable"}
    assert done.events[-1].level == Level.STOP
