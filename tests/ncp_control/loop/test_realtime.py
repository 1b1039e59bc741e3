import dataclasses
import itertools
import math

import numpy as np
import pytest

from ncp_control.contract import ActionContract
from ncp_control.loop.levels import Level
from ncp_control.loop.link import LinkLost, Reading
from ncp_control.loop.monitor import Monitor
from ncp_control.loop.pilot import CommandLimits, GuardedPilot
from ncp_control.loop.realtime import drive
from ncp_control.loop.settings import LoopSettings, MonitorSettings

FRAME_S = 0.1


class Echo:
    """Acts as its first number says, and notes what it saw and when it was reset."""

    def __init__(self, clock, takes_s=0.0):
        self.clock, self.takes_s = clock, takes_s
        self.seen, self.elapsed_s, self.resets, self.state = [], [], 0, np.zeros(2)

    def act(self, observation, dt_s=None):
        self.clock.sleep_until(self.clock.now_s() + self.takes_s)
        self.seen.append(np.array(observation))
        self.elapsed_s.append(dt_s)
        return np.array(observation[:1], np.float32)

    def reset(self):
        self.resets += 1
        self.state = np.zeros(2)


def good(count, first=0):
    """Return different readings."""
    return [np.array([0.01 * (first + i), 1.0]) for i in range(count)]


def tolerant(contract, **changes):
    """Return a monitor for ticks of 0.1 s."""
    thresholds = {"missing_s": 0.25, "frozen_s": 0.25, "late_s": 0.15, "hold_after_s": 0.2,
                  "stop_after_s": 0.4, "resume_s": 0.1, "recover_s": 0.3}  # fmt: skip
    return Monitor(contract, MonitorSettings(**(thresholds | changes)))


def test_a_clean_drive_keeps_its_rate_and_is_an_episode(contract, clock, make_link):
    link, echo = make_link(good(20)), Echo(clock)
    done = drive(echo, contract, link, clock=clock, monitor=tolerant(contract), name="echo",
                 settings=LoopSettings(seconds=1.0), keeps_observations=True)  # fmt: skip
    assert [time_s for time_s, _ in link.sent] == pytest.approx(np.arange(10) * FRAME_S)
    assert done.ended == "its time is over"
    assert not done.is_safe_stop and done.events == []
    assert done.timing["ticks"] == done.timing["asked"] == 10
    assert done.timing["deadlines_missed"] == 0
    assert echo.elapsed_s == pytest.approx([FRAME_S] * 10)
    episode = done.episode
    np.testing.assert_allclose(episode.actions[:, 0], 0.01 * np.arange(10), rtol=1e-6)
    np.testing.assert_array_equal(episode.recorded_observations, good(10))
    np.testing.assert_allclose(episode.dt_s, FRAME_S)
    assert episode.name == "echo" and list(episode.signals) == ["steering"]
    assert len(link.stopped_s) == 1  # at the end, however it ends


def test_the_policy_is_told_how_long_a_gap_was_and_forgets_after_a_long_one(
    contract, clock, make_link
):
    link, echo = make_link([*good(2), None, *good(2, 5), *[None] * 9, *good(2, 9)]), Echo(clock)
    drive(echo, contract, link, clock=clock)
    assert echo.elapsed_s == pytest.approx([0.1, 0.1, 0.2, 0.1, 0.1, 0.1])
    assert echo.resets == 3  # at the begin twice, where nothing was seen yet; after the long gap


def test_deadlines_that_are_missed_are_counted_and_not_hurried_after(contract, clock, make_link):
    link, echo = make_link(good(5)), Echo(clock, takes_s=0.25)
    done = drive(echo, contract, link, clock=clock)
    assert [time_s for time_s, _ in link.sent] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.25])
    assert done.timing["deadlines_missed"] == 5
    assert done.timing["model_ms_median"] == pytest.approx(250.0)


@pytest.mark.parametrize(
    ("end", "told", "interrupt"),
    [
        (LinkLost("cable"), "the link was lost: cable", False),
        (KeyboardInterrupt(), "stopped by hand or by a signal", True),
    ],
)
def test_a_lost_link_and_ctrl_c_end_in_a_safe_stop(
    end, told, interrupt, contract, clock, make_link
):
    link = make_link([*good(3), end, *good(3)])
    done = drive(Echo(clock), contract, link, clock=clock, monitor=tolerant(contract))
    assert link.stopped_s and len(link.sent) == 3
    assert (done.ended, done.is_safe_stop, done.interrupt is not None) == (told, True, interrupt)
    assert done.events[-1].level == Level.STOP and done.to_json()["events"][-1]["kind"] == "end"


def test_an_error_of_the_controller_stops_the_body_before_it_is_raised(contract, clock, make_link):
    link, echo = make_link(good(3)), Echo(clock)
    echo.act = lambda observation, dt_s: 1 / 0
    with pytest.raises(ZeroDivisionError):
        drive(echo, contract, link, clock=clock)
    assert link.stopped_s


def test_a_policy_of_another_contract_is_refused_before_anything_moves(contract, clock, make_link):
    other = dataclasses.replace(contract, action=(ActionContract(name="steering", unit="rad"),))
    mine = dataclasses.replace(contract, action=(ActionContract(name="steering", unit="deg"),))
    link = make_link(good(3))
    link.contract = other
    with pytest.raises(ValueError, match="does not fit the link: it needs actions of unit"):
        drive(Echo(clock), mine, link, clock=clock)
    assert not link.sent and not link.stopped_s


def test_silence_is_held_then_stopped_and_driven_again_when_it_is_good(contract, clock, make_link):
    script = [*good(5), *[None] * 10, *good(10, 20)]
    link, echo = make_link(script), Echo(clock)
    done = drive(echo, contract, link, clock=clock, monitor=tolerant(contract))
    told = [(event.level.name, event.kind) for event in done.events]
    assert told == [("HOLD", "missing"), ("STOP", "missing"), ("DRIVE", "recovered")]
    level = done.episode.infos["level"]
    held = done.episode.actions[:, 0]
    last = np.flatnonzero(level == Level.STOP)[-1]
    assert (held[5 : last + 1] == held[4]).all()  # the last good command
    assert link.stopped_s[0] == pytest.approx(done.events[1].time_s)
    assert (level[last + 1 :] == Level.DRIVE).all() and held[-1] == pytest.approx(0.29)
    assert echo.resets == 3  # the memory from before the silence is of no use


def test_a_reading_that_is_not_finite_is_never_shown(contract, clock, make_link):
    bad = np.array([math.nan, 1.0])
    link, echo = make_link([*good(3), bad, *good(3, 5)]), Echo(clock)
    done = drive(echo, contract, link, clock=clock, monitor=tolerant(contract))
    assert np.isfinite(echo.seen).all() and len(echo.seen) == 6
    assert echo.elapsed_s[3] == pytest.approx(0.2)  # the time of the bad one counts
    assert [event.level.name for event in done.events] == ["HOLD", "DRIVE"]


def test_doubtful_input_slows_the_commands_then_holds_and_then_stops(contract, clock, make_link):
    far = [np.array([1.0, 9.0 + 0.1 * i]) for i in range(8)]  # b is out of its range
    link = make_link([*good(3), *far])
    settings = LoopSettings(degraded_rate_per_s=0.5)
    done = drive(
        Echo(clock), contract, link, clock=clock, monitor=tolerant(contract), settings=settings
    )
    level, commands = done.episode.infos["level"], done.episode.actions[:, 0]
    assert level.tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 3]
    assert commands[3:6].tolist() == pytest.approx([0.07, 0.12, 0.12])


def test_a_state_out_of_its_bounds_is_cleared_and_its_action_not_sent(contract, clock, make_link):
    from ncp_control.audit.interval_circuit import Interval

    link, echo = make_link(good(6)), Echo(clock)
    monitor = tolerant(contract)
    monitor._bounds = Interval(np.full(2, -1.0), np.full(2, 1.0))
    act = echo.act

    def act_and_break(observation, dt_s):
        action = act(observation, dt_s)
        if len(echo.seen) == 3:
            echo.state[1], action[:] = 7.0, 1.0
        return action

    echo.act = act_and_break
    done = drive(echo, contract, link, clock=clock, monitor=monitor)
    assert done.events[0].kind == "state" and "neuron 1 at 7" in done.events[0].reason
    assert echo.state.tolist() == [0.0, 0.0]
    assert 1.0 not in done.episode.actions and done.events[-1].kind == "recovered"


def test_a_state_that_breaks_between_two_steps_is_found_before_a_step_hides_it(contract, clock):
    from ncp_control.audit.interval_circuit import Interval

    echo, monitor = Echo(clock), tolerant(contract)
    monitor._bounds = Interval(np.full(2, -1.0), np.full(2, 1.0))
    act = echo.act

    def relax_and_act(observation, dt_s):
        echo.state *= 0.1
        return act(observation, dt_s)

    echo.act = relax_and_act
    pilot = GuardedPilot(echo, contract, clock=clock, monitor=monitor)
    for i, observation in enumerate(good(3)):
        if i == 2:
            echo.state[1] = 7.0
        decision = pilot.decide(Reading(observation=observation, time_s=0.1 * i), 0.1 * i)
    assert (decision.level, decision.action, len(echo.seen)) == (Level.HOLD, None, 2)
    assert monitor.events[0].kind == "state" and echo.state.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("takes_s", "is_stopped"), [(0.14, False), (0.16, True)])
def test_a_policy_that_answers_too_late_stops_the_robot(
    contract, clock, make_link, takes_s, is_stopped
):
    link, echo = make_link(good(12)), Echo(clock, takes_s=takes_s)
    done = drive(echo, contract, link, clock=clock, monitor=tolerant(contract))
    assert {event.kind for event in done.events} == ({"late"} if is_stopped else set())
    assert (done.episode.infos["level"][-1] == Level.STOP) == is_stopped
    assert done.timing["asked"] == 12, "it is asked again, to know when it is fast enough"


def test_nothing_is_commanded_while_a_person_drives(contract, clock, make_link):
    script = [*good(2), *["manual"] * 10, *good(2, 5)]
    link, echo = make_link(script), Echo(clock)
    done = drive(echo, contract, link, clock=clock, monitor=tolerant(contract))
    assert done.events == [] and len(link.sent) == 4
    assert echo.elapsed_s == pytest.approx([0.1, 0.1, 0.1, 0.1])


def test_what_was_commanded_before_a_person_drove_is_not_commanded_again(
    contract, clock, make_link
):
    link = make_link([*good(2, 40), "manual", "unreadable", *good(2, 40)])
    settings = LoopSettings(command_rate_per_s=2.0)
    drive(Echo(clock), contract, link, clock=clock, settings=settings)
    commands = [float(command[0]) for _, command in link.sent]
    assert commands == pytest.approx([0.2, 0.4, 0.0, 0.2, 0.4])


def test_a_policy_that_refuses_was_asked(contract, clock, make_link):
    link, echo = make_link(good(4)), Echo(clock)

    def refuse(observation, dt_s):
        raise ValueError("too dark")

    echo.act = refuse
    done = drive(echo, contract, link, clock=clock, monitor=tolerant(contract))
    assert done.timing["asked"] == 4


def test_without_a_monitor_what_cannot_be_acted_on_is_held(contract, clock, make_link):
    link, echo = make_link(good(4)), Echo(clock)
    act = echo.act

    def refuse(observation, dt_s):
        if observation[0] > 0.005:
            raise ValueError("no")
        return act(observation, dt_s)

    echo.act = refuse
    done = drive(echo, contract, link, clock=clock)
    assert len(link.sent) == 4 and (done.episode.actions == 0.0).all()


@pytest.mark.parametrize("is_monitored", [True, False])
def test_what_follows_a_refused_observation_is_the_first_that_the_policy_sees(
    is_monitored, contract, clock, make_link
):
    link, echo = make_link([*good(7), None, *good(3, 8)]), Echo(clock)
    act, told = echo.act, []

    def refuse_two(observation, dt_s):
        told.append((dt_s, echo.resets))
        if round(100 * observation[0]) in (3, 6):
            raise ValueError("no")
        return act(observation, dt_s)

    echo.act = refuse_two
    drive(echo, contract, link, clock=clock, monitor=tolerant(contract) if is_monitored else None)
    assert [dt_s for dt_s, _ in told] == pytest.approx([FRAME_S] * 10)  # also over the silence
    resets = [resets for _, resets in told]
    was_reset = [after > before for before, after in itertools.pairwise(resets)]
    assert was_reset == [i in (4, 7) for i in range(1, 10)]


def test_the_memory_is_cleared_at_once_when_an_observation_is_refused(contract, clock):
    echo = Echo(clock)
    pilot = GuardedPilot(echo, contract, clock=clock)
    pilot.decide(Reading(observation=good(1)[0], time_s=0.0), 0.0)
    echo.state[:], resets = 1.0, echo.resets

    def refuse(observation, dt_s):
        raise ValueError("no")

    echo.act = refuse
    done = pilot.decide(Reading(observation=good(1)[0], time_s=0.1), 0.1)
    assert (done.action, done.is_reset, echo.resets) == (None, False, resets + 1)
    assert echo.state.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("frame_s", "rate_hz"), [(1.0, None), (0.1, 0.5)])
def test_a_slow_loop_keeps_its_memory_from_tick_to_tick(contract, clock, frame_s, rate_hz):
    slow = dataclasses.replace(contract, frame_s=frame_s)
    pilot = GuardedPilot(Echo(clock), slow, clock=clock, settings=LoopSettings(rate_hz=rate_hz))
    period_s = pilot.period_s
    read = [
        pilot.decide(Reading(observation=good(1)[0], time_s=now_s), now_s)
        for now_s in (0.0, period_s, 2.0 * period_s, 6.0 * period_s)  # three are missing
    ]
    assert [done.is_reset for done in read] == [True, False, False, True]
    hasty = LoopSettings(rate_hz=rate_hz, longest_s=0.9 * period_s)
    with pytest.raises(ValueError, match="`longest_s` must be at least the . s of a tick, got"):
        GuardedPilot(Echo(clock), slow, clock=clock, settings=hasty)
    quick = dataclasses.replace(slow, dt_s=(0.01, 0.9 * period_s))
    with pytest.raises(ValueError, match="`rate_hz` must give ticks of at most .* the longest"):
        GuardedPilot(Echo(clock), quick, clock=clock, settings=LoopSettings(rate_hz=rate_hz))


def test_a_loop_slower_than_its_policy_waits_for_its_own_ticks(contract, clock):
    quick = dataclasses.replace(contract, frame_s=0.03)
    monitor = Monitor(quick)
    pilot = GuardedPilot(
        Echo(clock), quick, clock=clock, monitor=monitor, settings=LoopSettings(rate_hz=5)
    )
    pilot.decide(Reading(observation=good(1)[0], time_s=0.0), 0.0)
    assert pilot.decide(None, 0.2).level == Level.DRIVE
    assert pilot.decide(None, 0.6).level >= Level.HOLD


def test_a_drive_begins_with_what_stands_for_nothing_in_the_units_of_the_command(contract):
    """A wheel whose command 0 stands for 2.4 rad/s must not turn before anything was seen."""
    for scale, still in (((2.4, 2.0), -1.0), ((1.0, -2.0), 0.5), ((0.0, 3.0), 0.0)):
        entry = dataclasses.replace(contract.action[0], range=(-1.0, 1.0), scale=scale)
        scaled = dataclasses.replace(contract, action=(entry,))
        assert CommandLimits(scaled, LoopSettings()).command == pytest.approx([still])
        assert entry.in_unit(0.25) == pytest.approx(scale[0] + 0.25 * scale[1])


def test_commands_stay_in_their_range_and_below_their_rate(contract):
    limits = CommandLimits(contract, LoopSettings(command_rate_per_s=2.0, degraded_rate_per_s=1.0))
    assert limits.follow(np.array([3.0]), 0.1) == pytest.approx([0.2])  # from zero
    assert limits.follow(np.array([3.0]), 9.0) == [1.0]
    assert limits.follow(np.array([-3.0]), 0.1) == pytest.approx([0.8])
    assert limits.follow(np.array([-3.0]), 0.1, is_degraded=True) == pytest.approx([0.7])
    assert limits.follow(np.array([-3.0]), 0.0) == pytest.approx([0.7])  # no time, no change


@pytest.mark.parametrize(("low", "high", "first"), [(-4.0, 4.0, 0.2), (1.0, 4.0, 1.2)])
def test_a_rate_is_in_the_unit_of_the_command_and_the_first_one_keeps_it(
    low, high, first, contract
):
    angle = ActionContract(name="angle", unit="deg", range=(low, high))
    contract = dataclasses.replace(contract, action=(angle,))
    limits = CommandLimits(contract, LoopSettings(command_rate_per_s=2.0))
    assert limits.follow(np.array([4.0]), 0.1) == pytest.approx([first])


def wanting_one(since, count):
    """Return readings in which the policy wants 0, and the command 1 from some tick on."""
    return [np.array([float(i >= since), 1.0 + 0.01 * i]) for i in range(count)]


def test_the_first_command_is_one_period_away_from_zero(contract, clock, make_link):
    link = make_link(wanting_one(since=0, count=3))
    settings = LoopSettings(command_rate_per_s=2.0)
    done = drive(Echo(clock), contract, link, clock=clock, settings=settings)
    assert done.episode.actions[:, 0].tolist() == pytest.approx([0.2, 0.4, 0.6])


@pytest.mark.parametrize("is_monitored", [True, False])
@pytest.mark.parametrize("silent", [3, 30])
def test_a_command_does_not_catch_up_after_a_silence(
    is_monitored, silent, contract, clock, make_link
):
    script = wanting_one(since=3, count=14)
    link = make_link([*script[:3], *[None] * silent, *script[3:]])
    monitor = tolerant(contract) if is_monitored else None
    settings = LoopSettings(command_rate_per_s=1.0)
    done = drive(Echo(clock), contract, link, clock=clock, monitor=monitor, settings=settings)
    if is_monitored:
        held = Level.HOLD if silent == 3 else Level.STOP
        assert done.episode.infos["level"].max() == held
    steps = np.diff(done.episode.actions[:, 0])
    assert done.episode.actions[-1, 0] > 0.5 and steps.max() == pytest.approx(0.1)


def test_a_command_does_not_catch_up_after_the_loop_hung(contract, clock, make_link):
    script = wanting_one(since=1, count=6)
    link, echo = make_link(script), Echo(clock)
    act = echo.act

    def act_slowly(observation, dt_s):
        echo.takes_s = 3.0 if len(echo.seen) == 2 else 0.0
        return act(observation, dt_s)

    echo.act = act_slowly
    settings = LoopSettings(command_rate_per_s=1.0)
    done = drive(echo, contract, link, clock=clock, settings=settings)
    commands = done.episode.actions[:, 0].tolist()
    # Two periods at most; the next tick comes at once, in no time.
    assert commands == pytest.approx([0.0, 0.1, 0.3, 0.3, 0.4, 0.5])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rate_hz": 0.0}, "`rate_hz` must be positive, got 0.0"),
        ({"seconds": math.nan}, "`seconds` must be positive, got nan"),
    ],
)
def test_a_loop_without_a_rate_or_time_is_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        LoopSettings(**settings)


def test_silence_while_a_person_drives_is_no_fault(contract, clock, make_link):
    link, echo = make_link([*good(3), "manual", *[None] * 12, "manual", *good(5, 5)]), Echo(clock)
    done = drive(echo, contract, link, clock=clock, monitor=tolerant(contract))
    assert done.events == [] and len(link.sent) == 8 and len(link.stopped_s) == 1
