"""The limit that a drive needs so that the loop does not hold it, against the monitor itself."""

import numpy as np
import pytest

from ncp_control.contract import ActionContract, Contract, Entry, VectorContract
from ncp_control.loop.levels import Fault, Level, Levels, tolerated
from ncp_control.loop.link import Reading
from ncp_control.loop.monitor import Monitor
from ncp_control.loop.profile import InputProfile
from ncp_control.loop.settings import MonitorSettings

FRAME_S = 0.05


def times_s(values):
    return FRAME_S * np.arange(len(values))


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        ([1, 1, 9, 1, 1, 1], 1),  # one odd input only slows the commands
        ([1, 9, 8, 1, 1, 1], 1),  # two last 0.05 s
        ([1, 5, 9, 8, 1, 1], 5),  # three last the 0.1 s after which the body holds
        ([1, 9, 1, 8, 1, 1], 8),  # good for less than 0.1 s in between: it is one bad stretch
        ([9, 1, 1, 1, 8, 1], 1),  # good for 0.1 s: two bad stretches
        ([4, 4, 4, 4, 4, 4], 4),
        ([3], 3),
        ([9, 1], 9),  # too short for the body to hold, so it tells nothing of what it may ignore
        ([9, 1, 1], 1),  # just long enough
    ],
)
def test_what_is_exceeded_for_a_moment_does_not_set_the_limit(values, limit):
    assert tolerated(np.array(values, float), times_s(values)) == limit


def test_a_body_that_holds_at_once_tolerates_no_input_above_its_limit():
    settings = MonitorSettings(hold_after_s=0.0)
    values = np.array([1.0, 2.0, 9.0, 1.0, 1.0])
    assert tolerated(values, times_s(values), settings) == 9.0


def test_with_that_limit_the_monitor_never_holds_and_with_less_it_does():
    contract = Contract(
        observation=VectorContract(entries=(Entry(name="x"),)),
        action=(ActionContract(name="steering"),),
        frame_s=FRAME_S,
    )
    rng, num_held = np.random.default_rng(0), 0
    for _ in range(40):
        values = rng.exponential(1.0, 60)
        limit = tolerated(values, times_s(values))
        for allowed, may_hold in ((limit, False), (np.nextafter(limit, 0.0), True)):
            profile = InputProfile(mean=np.zeros(1), covariance=np.eye(1), limit=allowed)
            monitor = Monitor(contract, profile=profile)
            for value, now_s in zip(values, times_s(values), strict=True):
                reading = Reading(observation=np.array([value]), time_s=now_s)
                monitor.judge(monitor.check(reading, now_s), now_s)
            is_held = any(event.level >= Level.HOLD for event in monitor.events)
            assert is_held == may_hold
            num_held += is_held
    assert num_held == 40


@pytest.mark.parametrize(
    ("bad", "of", "stops"),
    [
        (8, 12, True),
        (4, 12, True),
        (8, 16, True),
        (3, 12, False),  # on hold for half of the time
        (8, 30, False),
        (1, 6, True),  # three good ticks after it are on hold, too
        (1, 10, False),
    ],
)
@pytest.mark.parametrize("frame_s", [1 / 30, 1 / 60])
def test_a_fault_that_comes_and_goes_stops_a_robot_that_is_on_hold_most_of_the_time(
    bad, of, stops, frame_s
):
    levels, ticks, skipped = Levels(MonitorSettings()), 0, round(1 / 30 / frame_s)
    for i in range(3600):
        is_bad = i // skipped % of < bad
        ticks += levels.judge([Fault("black", "")] if is_bad else [], frame_s * i) == Level.STOP
    assert (ticks > 2000) == stops and (ticks == 0) != stops
    for i in range(3600, 3600 + round(1.1 / frame_s)):
        levels.judge([], frame_s * i)
    assert levels.level == Level.DRIVE
