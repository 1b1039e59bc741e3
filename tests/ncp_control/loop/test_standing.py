"""A body that stands may see the same all the time; one that moves or is told to may not."""

from dataclasses import replace

import numpy as np
import pytest

from envs.worlds import road_driving
from ncp_control.contract import (
    ActionContract,
    Contract,
    DictContract,
    Entry,
    FramesContract,
    VectorContract,
)
from ncp_control.loop.levels import Fault, Level
from ncp_control.loop.link import Reading
from ncp_control.loop.monitor import Monitor
from ncp_control.loop.realtime import drive
from ncp_control.loop.settings import LoopSettings, MonitorSettings
from ncp_control.loop.standing import Standing, find_standing
from ncp_control.records import join
from tests.ncp_control.loop.test_monitor import FRAME_S, SHAPE, scene

STEERING = ActionContract(name="steering", positive="left")
PEDAL = ActionContract(name="acceleration", positive="faster")
SPEED = Entry(name="speed", unit="m/s")
FRAMES = FramesContract(shape=SHAPE)
SCENE = scene(np.random.default_rng(0))
BRAKES, COASTS, BARELY, DRIVES = (
    np.array([0.3, pedal], np.float32) for pedal in (-1.0, 0.0, 0.005, 0.02)
)


def contract_of(*entries, part="speed", action=(STEERING, PEDAL)):
    parts = {"frame": FRAMES, part: VectorContract(entries=entries or (SPEED,))}
    return Contract(observation=DictContract(parts=parts), action=action, frame_s=FRAME_S)


def record(speed_mps, frame=SCENE):
    return join(frame, np.array([speed_mps], np.float32))


class Watched:
    """A monitor that is shown one frame after the other."""

    def __init__(self, contract=None, **settings):
        contract = contract_of() if contract is None else contract
        self.monitor = Monitor(contract, MonitorSettings(frozen_s=0.12, **settings))
        self.now_s = 0.0

    def sees(self, seconds, observation, command):
        """Return when the first fault came [s], and its kind; None if there was none."""
        first = None
        for i in range(round(seconds / FRAME_S)):
            self.now_s += FRAME_S
            reading = Reading(observation=observation, time_s=self.now_s)
            faults = self.monitor.check(reading, self.now_s, command)
            self.monitor.judge(faults, self.now_s)
            if faults and first is None:
                first = (pytest.approx(FRAME_S * (i + 1)), faults[0].kind)
        return first


@pytest.mark.parametrize("command", [BRAKES, COASTS, BARELY])
@pytest.mark.parametrize("speed_mps", [0.0, 0.09, -0.09])
def test_a_body_that_stands_may_see_the_same_all_the_time(speed_mps, command):
    watched = Watched()
    assert watched.sees(60.0, record(speed_mps), command) is None
    assert watched.monitor.events == []


@pytest.mark.parametrize("speed_mps", [8.0, 0.1, -0.5])
def test_a_whole_record_that_is_frozen_while_it_tells_a_speed_is_a_fault(speed_mps):
    # The first reading, then 0.12 s of the same.
    assert Watched().sees(1.0, record(speed_mps), BRAKES) == (0.2, "frozen")


def test_a_camera_that_froze_while_the_body_stood_is_noticed_when_it_moves():
    watched = Watched()
    assert watched.sees(5.0, record(0.0), BRAKES) is None
    assert watched.sees(1.0, record(0.5), COASTS) == (0.15, "frozen")
    assert watched.monitor.level == Level.STOP
    hold, _ = watched.monitor.events
    assert hold.reason == "the same for 5.10 s, of which it stood 4.95 s"
    # And it is not forgiven when the body then stands: the frame has to change first.
    assert watched.sees(2.0, record(0.0), BRAKES) == (FRAME_S, "frozen")
    assert watched.sees(2.0, record(0.0, scene(np.random.default_rng(1))), BRAKES) is None
    assert watched.monitor.level == Level.DRIVE


def test_a_stuck_record_of_a_body_at_rest_is_a_fault_once_it_is_told_to_move():
    watched = Watched()
    assert watched.sees(5.0, record(0.0), BRAKES) is None
    assert watched.sees(1.0, record(0.0), DRIVES) == (0.15, "frozen")


def test_time_that_the_body_stood_is_not_put_down_to_what_it_sees_later():
    watched = Watched()
    watched.sees(5.0, record(0.0), BRAKES)
    other = record(0.0, scene(np.random.default_rng(1)))
    assert watched.sees(1.0, other, DRIVES) == (0.2, "frozen")
    # After another fault time is counted anew from when it drives again, 0.15 s later.
    watched = Watched()
    watched.sees(5.0, record(0.0), BRAKES)
    watched.monitor.judge([Fault("late", "", is_unusable=False)], watched.now_s)
    watched.sees(5.0, record(0.0), BRAKES)
    assert watched.sees(1.0, record(0.0), DRIVES) == (0.15, "frozen")
    assert watched.monitor.events[-2].reason == "the same for 5.00 s, of which it stood 4.85 s"


def test_commands_to_move_add_up_while_nothing_changes():
    watched = Watched()
    watched.sees(FRAME_S, record(0.0), BRAKES)
    found = [watched.sees(FRAME_S, record(0.0), (DRIVES, BRAKES)[i % 2]) for i in range(6)]
    assert [one is not None for one in found] == [False] * 4 + [True] * 2
    # A change shows that the sensors live, and all begins anew.
    other = record(0.0, scene(np.random.default_rng(1)))
    assert [watched.sees(FRAME_S, other, DRIVES) for _ in range(3)] == [None] * 3


@pytest.mark.parametrize(
    ("contract", "command", "settings"),
    [
        (contract_of(), None, {}),
        (contract_of(), BRAKES, {"standing_mps": 0.0}),
        (contract_of(action=(STEERING, STEERING)), BRAKES, {}),
        (contract_of(Entry(name="speed", unit="km/h")), BRAKES, {}),
    ],
)
def test_without_speed_or_command_what_stays_the_same_is_frozen(contract, command, settings):
    assert Watched(contract, **settings).sees(1.0, record(0.0), command) == (0.2, "frozen")


def test_numbers_alone_may_stay_the_same_too():
    numbers = VectorContract(entries=(Entry(name="gap", unit="m"), SPEED))
    contract = Contract(observation=numbers, action=(STEERING, PEDAL), frame_s=FRAME_S)
    assert Watched(contract).sees(5.0, np.array([4.0, 0.0]), BRAKES) is None
    assert Watched(contract).sees(5.0, np.array([4.0, 2.0]), BRAKES) == (0.2, "frozen")


@pytest.mark.parametrize(
    ("contract", "found"),
    [
        (contract_of(), Standing(speed=0, pedals={1: 0.0})),
        (contract_of(Entry(name="gap"), SPEED, part="numbers"), Standing(speed=1, pedals={1: 0.0})),
        (contract_of(action=(PEDAL, STEERING, PEDAL)), Standing(speed=0, pedals={0: 0.0, 2: 0.0})),
        (contract_of(SPEED, SPEED), None),  # nobody says whose
        (contract_of(Entry(name="speed")), None),
        (contract_of(Entry(name="wheel speed", unit="m/s")), None),
        (contract_of(action=(STEERING,)), None),
        (contract_of(action=(ActionContract(name="acceleration"),)), None),
        (contract_of(action=(ActionContract(name="gear", positive="faster", choices=("1", "2")),)),
         None),
        (
            contract_of(action=(replace(PEDAL, scale=(5.0, 10.0)),)),
            Standing(speed=0, pedals={0: -0.5}),
        ),
        (road_driving().contract, Standing(speed=0, pedals={1: 0.0})),
        (road_driving(observe="frames").contract, None),
    ],
)  # fmt: skip
def test_speed_and_pedals_are_found_by_what_the_contract_calls_them(contract, found):
    assert find_standing(contract) == found


class Pedal:
    """Presses or releases the pedal, whatever it sees."""

    state = None

    def __init__(self, command):
        self.command = command

    def act(self, observation, dt_s=None):
        return self.command

    def reset(self):
        pass


@pytest.mark.parametrize(("command", "is_stopped"), [(BRAKES, False), (DRIVES, True)])
def test_the_loop_tells_its_monitor_what_it_commands(command, is_stopped, make_link, clock):
    contract = contract_of()
    link = make_link([record(0.0)] * 200)
    link.contract = contract
    monitor = Monitor(contract, MonitorSettings(frozen_s=0.12, stop_after_s=0.3))
    done = drive(Pedal(command), contract, link, clock=clock, monitor=monitor,
                 settings=LoopSettings(seconds=5.0))  # fmt: skip
    assert [event.kind for event in done.events] == ["frozen", "frozen"] * is_stopped
    if is_stopped:
        assert done.events[-1].level == Level.STOP and done.events[-1].time_s < 0.6


def test_a_speed_below_zero_is_no_threshold():
    with pytest.raises(ValueError, match="`standing_mps` must be finite and >= 0, got -0.1"):
        MonitorSettings(standing_mps=-0.1)
