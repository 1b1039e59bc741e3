import numpy as np
import pytest

from ncp_control.contract import ActionContract, Contract, FramesContract
from ncp_control.loop.clocks import SimulatedClock
from ncp_control.loop.faults import FAULTS, LATE_S, FaultyLink
from ncp_control.loop.link import Reading

SHAPE = (20, 30, 3)


class Camera:
    contract = Contract(
        observation=FramesContract(shape=SHAPE),
        action=(ActionContract(name="steering"),),
        frame_s=0.1,
    )

    def __init__(self, clock):
        self.clock, self.rng = clock, np.random.default_rng(0)
        self.send = self.stop = self.close = lambda *words: None

    def read(self, timeout_s):
        frame = self.rng.integers(60, 200, SHAPE, np.uint8)
        return Reading(observation=frame, time_s=self.clock.now_s())


class Person(Camera):
    """A camera that shows two frames at a time while a person drives."""

    def read(self, timeout_s):
        frames = self.rng.integers(60, 200, (20, 30, 6), np.uint8)
        return Reading(observation=frames, time_s=self.clock.now_s(), is_manual=True)


class Memory:
    state = None


def seen(fault, times_s, memory=None):
    clock = SimulatedClock()
    link = FaultyLink(Camera(clock), fault, begin_s=1.0, end_s=2.0, clock=clock,
                      controller=memory or Memory())  # fmt: skip
    readings = []
    for time_s in times_s:
        clock.sleep_until(time_s)
        readings.append(link.read(0.0))
    return readings


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_there_only_while_it_lasts(fault):
    memory = Memory()
    memory.state = np.zeros(3)
    times_s = np.arange(30) / 10
    clean, spoiled = seen("", times_s), seen(fault, times_s, memory)
    for one, other, time_s in zip(clean, spoiled, times_s, strict=True):
        if time_s < 1.0 or time_s >= 2.0:
            np.testing.assert_array_equal(one.observation, other.observation)
        elif fault == "state":
            assert (memory.state > 10.0).all()
        else:
            assert other is None or not np.array_equal(one.observation, other.observation)


def test_late_frames_keep_the_time_at_which_they_were_taken():
    readings = seen("late", np.arange(10, 20) / 10)
    assert readings[:5] == [None] * 5
    assert [r.time_s for r in readings[5:]] == pytest.approx(np.arange(10, 15) / 10)
    assert pytest.approx(0.5) == LATE_S


def test_a_frozen_camera_shows_its_last_frame_as_new():
    before, *frozen = seen("frozen", [0.9, 1.0, 1.1])
    assert all(np.array_equal(one.observation, before.observation) for one in frozen)
    assert [one.time_s for one in frozen] == [1.0, 1.1]


def test_colours_are_swapped_in_each_of_the_frames_that_are_seen_together():
    clock = SimulatedClock()
    clock.sleep_until(1.0)
    link = FaultyLink(Person(clock), "colours", begin_s=0.0, end_s=2.0, clock=clock,
                      controller=Memory())  # fmt: skip
    told, clean = link.read(0.0), Person(clock).read(0.0)
    swapped = clean.observation[:, :, [2, 1, 0, 5, 4, 3]]
    np.testing.assert_array_equal(told.observation, swapped)
    assert told.is_manual
