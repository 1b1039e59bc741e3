"""The monitor of a policy that sees a frame and numbers at once."""

from dataclasses import replace

import numpy as np
import pytest

from ncp_control.contract import (
    ActionContract,
    Contract,
    DictContract,
    Entry,
    FramesContract,
    VectorContract,
)
from ncp_control.loop.clocks import SimulatedClock
from ncp_control.loop.faults import SPOILED, FaultyLink
from ncp_control.loop.levels import Level
from ncp_control.loop.link import Reading
from ncp_control.loop.monitor import Monitor
from ncp_control.loop.profile import InputProfile, frame_statistics, statistics_of
from ncp_control.loop.settings import MonitorSettings
from ncp_control.records import change_frame, frames_in, join, numbers_in
from tests.ncp_control.loop.test_monitor import FRAME_S, SHAPE, drive_of, scene

SPEED = Entry(name="speed", unit="m/s", range=(-10.0, 50.0))
CONTRACT = Contract(
    observation=DictContract(
        parts={"frame": FramesContract(shape=SHAPE), "speed": VectorContract(entries=(SPEED,))}
    ),
    action=(ActionContract(name="steering"),),
    frame_s=FRAME_S,
)


def record(rng, speed_mps=None):
    """Return a frame with the speed at which it was taken, 8 ± 0.5 m/s if none is told."""
    speed_mps = rng.normal(8.0, 0.5) if speed_mps is None else speed_mps
    return join(scene(rng), np.array([speed_mps], np.float32))


@pytest.fixture(scope="module")
def profile():
    rng, sensed = np.random.default_rng(0), CONTRACT.observation
    fitted, others = (
        [drive_of(statistics_of(record(rng), sensed) for _ in range(20)) for _ in range(n)]
        for n in (20, 10)
    )
    return InputProfile.fit(fitted, others, sensed)


def kinds(monitor, observations, start_s=0.0):
    """Return the kinds of fault that the last of some observations has."""
    found = []
    for i, observation in enumerate(observations):
        now_s = start_s + FRAME_S * (i + 1)
        found = monitor.check(Reading(observation=observation, time_s=now_s), now_s)
        monitor.judge(found, now_s)
    return [fault.kind for fault in found]


def spoiled(name):
    def spoil(seen):
        frame = SPOILED[name](frames_in(seen, SHAPE), np.random.default_rng(0))
        return join(frame, numbers_in(seen, SHAPE))

    return spoil


def at_speed(speed_mps):
    return lambda seen: join(frames_in(seen, SHAPE), np.array([speed_mps], np.float32))


@pytest.mark.parametrize(
    ("fault", "spoil"),
    [
        ("black", spoiled("black")),
        ("white", spoiled("white")),
        ("blurred", spoiled("blurred")),
        ("colours", spoiled("colours")),
        ("shape", spoiled("size")),
        ("shape", spoiled("type")),
        ("not finite", spoiled("not finite")),
        ("not finite", at_speed(np.nan)),
        ("far", at_speed(40.0)),
        ("far", lambda seen: change_frame(seen, lambda frame: frame[::-1], SHAPE)),
        ("shape", lambda seen: frames_in(seen, SHAPE)),
    ],
)
def test_a_fault_of_the_frame_or_of_a_number_is_named(fault, spoil, profile):
    monitor, seen = Monitor(CONTRACT, profile=profile), record(np.random.default_rng(7))
    assert kinds(monitor, [seen]) == []
    assert kinds(monitor, [spoil(seen)], start_s=FRAME_S) == [fault]


@pytest.mark.parametrize(
    ("spoil", "faults"),
    [
        (lambda seen: seen, ["range"]),
        (spoiled("black"), ["range", "black"]),
        (spoiled("white"), ["range", "white"]),
    ],
)
def test_a_number_out_of_its_range_does_not_hide_a_fault_of_the_frame(spoil, faults):
    monitor, rng = Monitor(CONTRACT), np.random.default_rng(7)
    assert kinds(monitor, [record(rng)]) == []
    now_s = 2 * FRAME_S
    found = monitor.check(Reading(observation=at_speed(60.0)(spoil(record(rng))), time_s=now_s),
                          now_s)  # fmt: skip
    assert [fault.kind for fault in found] == faults
    is_usable = faults == ["range"]
    assert monitor.judge(found, now_s) == (Level.DEGRADE if is_usable else Level.HOLD)
    assert monitor.shows(found) == is_usable
    assert [event.kind for event in monitor.events] == faults


def test_a_number_out_of_its_range_does_not_hide_a_frozen_camera():
    settings = MonitorSettings(frozen_s=0.12, hold_after_s=0.2, stop_after_s=1.0)
    monitor, seen = Monitor(CONTRACT, settings), record(np.random.default_rng(0))
    moving = [at_speed(60.0 + i)(seen) for i in range(4)]
    assert kinds(monitor, moving[:3]) == ["range"] and monitor.level == Level.DEGRADE
    assert kinds(monitor, moving[3:], start_s=3 * FRAME_S) == ["range", "frozen"]
    assert monitor.level == Level.HOLD


def test_a_number_out_of_its_range_may_be_far_as_well(profile):
    monitor, rng = Monitor(CONTRACT, profile=profile), np.random.default_rng(7)
    assert kinds(monitor, [record(rng, 60.0)]) == ["range", "far"]


def test_a_speed_in_the_wrong_unit_is_far_though_the_frame_is_usual(tmp_path):
    rng, contract = np.random.default_rng(0), CONTRACT.observation
    drives = [
        drive_of(statistics_of(record(rng, rng.uniform(0.0, 12.0)), contract) for _ in range(60))
        for _ in range(20)
    ]
    InputProfile.fit(drives, drives, contract).save(tmp_path)
    profile = InputProfile.load(tmp_path)
    (low, high), *others = profile.number_ranges
    assert not others and low == pytest.approx(-6.0, abs=0.1) and high == pytest.approx(18, abs=0.1)
    parts = CONTRACT.observation.parts
    free = {"frame": parts["frame"], "speed": VectorContract(entries=(Entry(name="speed"),))}
    monitor = Monitor(replace(CONTRACT, observation=DictContract(parts=free)), profile=profile)
    for speed, found in ((0.0, []), (12.0, []), (17.9, []), (18.1, ["far"]), (3.6 * 8, ["far"])):
        assert kinds(monitor, [record(rng, speed)], start_s=speed) == found
    wrong = statistics_of(record(rng, 3.6 * 8), contract)
    assert profile.distance(wrong) < profile.limit, "the distance alone does not tell"
    untold = replace(profile, number_ranges=None)
    assert kinds(Monitor(CONTRACT, profile=untold), [record(rng, 28.8)]) == []


@pytest.mark.parametrize("speed_mps", [60.0, 1e200, 1.5e308])
def test_a_number_whose_distance_overflows_is_far(speed_mps):
    rng = np.random.default_rng(0)
    fitted = [drive_of(rng.normal(8.0, 0.5, (60, 1)))]
    contract = replace(CONTRACT, observation=VectorContract(entries=(SPEED,)))
    monitor = Monitor(contract, profile=InputProfile.fit(fitted, fitted, contract.observation))
    assert kinds(monitor, [np.array([8.0])]) == []
    assert kinds(monitor, [np.array([speed_mps])], start_s=1.0) == ["range", "far"]


def test_a_wrong_type_is_told_beside_the_one_that_is_wanted():
    monitor, seen = Monitor(CONTRACT), record(np.random.default_rng(0)).astype(np.float32)
    (fault,) = monitor.check(Reading(observation=seen, time_s=0.1), 0.1)
    size = seen.size
    assert fault.reason == f"float32 of shape ({size},), not uint8 of ({size},)"


@pytest.mark.parametrize("limit", [0.4, 0.7, 1e300])
def test_a_number_at_the_limit_of_its_range_is_within_it(limit):
    """Single precision has no 0.4 or 0.7: it holds one above the first and below the second."""
    angle = VectorContract(entries=(Entry(name="angle", unit="rad", range=(-limit, limit)),))
    parts = {"frame": CONTRACT.observation.parts["frame"], "angle": angle}
    for observation in (angle, DictContract(parts=parts)):
        monitor, found = Monitor(replace(CONTRACT, observation=observation)), []
        for i, value in enumerate((-0.4, 0.4, -0.7, 0.7)):
            seen = record(np.random.default_rng(i), value)
            seen = np.float32([value]) if observation is angle else seen
            faults = monitor.check(Reading(observation=seen, time_s=i + 1.0), i + 1.0)
            found.append([fault.kind for fault in faults])
        assert found == [["range"] * (value > limit) for value in (0.4, 0.4, 0.7, 0.7)]


def test_usual_records_have_no_fault(profile):
    monitor, rng = Monitor(CONTRACT, profile=profile), np.random.default_rng(5)
    assert kinds(monitor, [record(rng) for _ in range(200)]) == []
    assert monitor.events == []


def test_a_camera_that_is_frozen_is_noticed_while_the_speed_goes_on():
    monitor, rng = Monitor(CONTRACT, MonitorSettings(frozen_s=0.12)), np.random.default_rng(0)
    seen = record(rng)
    moving = [at_speed(8.0 + 0.1 * i)(seen) for i in range(5)]
    assert kinds(monitor, moving) == ["frozen"]


def test_numbers_of_a_record_are_its_own_and_those_of_its_frame():
    seen = record(np.random.default_rng(0), speed_mps=7.5)
    numbers = statistics_of(seen, CONTRACT.observation)
    assert numbers[0] == 7.5
    np.testing.assert_array_equal(numbers[1:], frame_statistics(frames_in(seen, SHAPE)))


def test_a_profile_of_frames_alone_is_refused():
    rng = np.random.default_rng(0)
    fitted = [drive_of(frame_statistics(scene(rng)) for _ in range(60))]
    profile = InputProfile.fit(fitted, fitted, FramesContract(shape=SHAPE))
    with pytest.raises(ValueError, match="`profile` must be of the policy's observations"):
        Monitor(CONTRACT, profile=profile)


@pytest.mark.parametrize("fault", ["frozen", "black", "hidden"])
def test_a_faulty_camera_leaves_the_numbers_alone(fault):
    class Car:
        contract = CONTRACT

        def __init__(self):
            self.rng, self.given = np.random.default_rng(0), []
            self.send = self.stop = self.close = lambda *words: None

        def read(self, timeout_s):
            self.given.append(record(self.rng))
            return Reading(observation=self.given[-1], time_s=clock.now_s())

    clock, car = SimulatedClock(), Car()
    link = FaultyLink(car, fault, begin_s=0.5, end_s=9.0, clock=clock, controller=None)
    before = link.read(0.0)
    clock.sleep_until(1.0)
    seen = link.read(0.0).observation
    assert numbers_in(seen, SHAPE) == numbers_in(car.given[-1], SHAPE)
    frame = frames_in(seen, SHAPE)
    assert not np.array_equal(frame, frames_in(car.given[-1], SHAPE))
    if fault == "frozen":
        np.testing.assert_array_equal(frame, frames_in(before.observation, SHAPE))
