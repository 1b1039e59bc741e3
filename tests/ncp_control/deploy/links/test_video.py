import cv2
import numpy as np
import pytest

from ncp_control.contract import ActionContract, Contract, FramesContract, View
from ncp_control.deploy.links.base import LinkEnded
from ncp_control.deploy.links.video import open_video
from ncp_control.framing import framing_for
from ncp_control.loop.clocks import SimulatedClock
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
    with pytest.raises(ValueError, match="`link` must name a video that OpenCV can read"):
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
        framing = framing_for(seen, "a camera", None, None)
        np.testing.assert_array_equal(framing.see(image)[0, 0], expected * 2)
    with pytest.raises(ValueError, match="must see uint8 frames in RGB, BGR or grey"):
        framing_for(FramesContract(shape=(20, 32, 4)), "a camera", None, None)
