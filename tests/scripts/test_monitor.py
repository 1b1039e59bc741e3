import csv
import hashlib
import json
import shutil

import numpy as np
import pytest

from ncp_control.commands.driving import run_policy
from ncp_control.commands.run import RunPolicy
from ncp_control.loop.faults import FAULTS, faults_for
from ncp_control.loop.levels import Event, Level
from ncp_control.loop.link import LinkEnded
from ncp_control.loop.pilot import ControllerLost
from ncp_control.loop.settings import LoopSettings, MonitorSettings
from ncp_control.policy import load, shipped_policies
from scripts.running.campaign import FaultTrial, SimulatedDriver, campaign, count_alarms
from scripts.running.settings import Faults


@pytest.fixture
def driver(tmp_path):
    settings = Faults(policy="drive-ncp", drives=1, runs=tmp_path)
    return SimulatedDriver(load("drive-ncp"), shipped_policies()["drive-ncp"], settings)


@pytest.mark.parametrize("fault", ["missing", "white", "state"])
def test_the_monitor_stops_a_car_that_would_leave_its_lane_and_lets_it_go_on(fault, driver):
    assert driver.trial(fault, 0, is_monitored=False).is_crash
    watched = driver.trial(fault, 0, is_monitored=True)
    assert not watched.is_crash and watched.is_driving
    assert watched.stop_s is not None and watched.stop_s < 0.5


@pytest.mark.parametrize("fault", ["black", "frozen"])
def test_a_car_with_a_pedal_is_stopped_and_drives_on(fault, tmp_path):
    settings = Faults(policy="road-ltc", world_options=("traffic=none",), runs=tmp_path)
    road = SimulatedDriver(load("road-ltc"), shipped_policies()["road-ltc"], settings)
    assert road.world.name == "RoadDriving-v0"
    watched = road.trial(fault, 0, is_monitored=True)
    assert not watched.is_crash and watched.is_driving
    assert watched.stop_s is not None and watched.stop_s < 0.6


class Brakes:
    """Holds the brake, whatever it sees."""

    def act(self, observation, dt_s=None):
        return np.array([0.0, -1.0], np.float32)

    def reset(self):
        pass


@pytest.mark.parametrize(("standing_mps", "is_frozen"), [(0.1, False), (0.0, True)])
def test_a_car_that_stands_on_an_empty_road_is_not_frozen(standing_mps, is_frozen, tmp_path):
    settings = Faults(policy="road-ltc", world_options=("traffic=none",), runs=tmp_path,
                      monitor=MonitorSettings(standing_mps=standing_mps))  # fmt: skip
    road = SimulatedDriver(load("road-ltc"), shipped_policies()["road-ltc"], settings)
    road.controller = Brakes()
    done, is_crash = road.run(1000, "", 0.0, 4.0, is_monitored=True)
    assert not is_crash
    assert done.episode.infos["speed_mps"][-60:].max() < 0.01  # for 2 s
    assert [event.kind for event in done.events] == ["frozen", "frozen"] * is_frozen


class Interrupted:
    """Is stopped by hand at its third frame."""

    def __init__(self):
        self.frames = 0

    def act(self, observation, dt_s=None):
        self.frames += 1
        if self.frames == 3:
            raise KeyboardInterrupt
        return np.zeros(1, np.float32)

    def reset(self):
        pass


def test_a_campaign_that_is_stopped_by_hand_counts_no_drive(driver):
    driver.controller = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        driver.trial("black", 0, is_monitored=True)


class TurnsLeft(Brakes):
    """Leaves its lane within a second or two."""

    def act(self, observation, dt_s=None):
        return np.ones(1, np.float32)


def test_a_car_that_leaves_its_lane_has_crashed(driver):
    driver.controller = TurnsLeft()
    done, is_crash = driver.run(1000, "", 0.0, 4.0, is_monitored=False)
    assert is_crash and len(done.episode.actions) < 120


def test_a_clean_drive_has_no_event_and_twice_the_same_numbers(driver):
    (one, is_crash), (other, _) = (
        driver.run(1000, "", 0.0, 3.0, is_monitored=True) for _ in range(2)
    )
    assert one.events == [] and not is_crash
    assert (one.episode.actions == other.episode.actions).all()


@pytest.mark.slow
def test_a_campaign_is_a_table_and_a_picture(tmp_path, capsys):
    campaign(Faults(policy="drive-ncp", drives=1, clean_km=0.1, runs=tmp_path))
    (run,) = tmp_path.iterdir()
    with (run / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 13 and sum(int(row["crashes_with"]) for row in rows) == 0
    assert rows[-1]["fault"] == "none" and rows[-1]["false_alarms"] == "0"
    assert float(rows[-1]["driven_km"]) >= 0.1
    assert (run / "report" / "faults.png").stat().st_size > 10_000
    assert "0 false alarms" in capsys.readouterr().out


def test_the_rows_of_a_campaign_are_kept_when_a_later_fault_fails(tmp_path, monkeypatch):
    good = FaultTrial(is_crash=False, noticed_s=0.1, stop_s=0.4, is_driving=True)

    def trial(driver, fault, number, *, is_monitored):
        if fault == "frozen":
            raise ControllerLost("the program has ended")
        return good

    monkeypatch.setattr(SimulatedDriver, "trial", trial)
    table = tmp_path / "faults.csv"
    settings = Faults(policy="drive-ncp", drives=2, seed=3, runs=tmp_path / "runs", results=table,
                      monitor=MonitorSettings(stop_after_s=0.5))  # fmt: skip
    with pytest.raises(ControllerLost):
        campaign(settings)
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["fault"] for row in rows] == ["missing", "late"]
    file = shipped_policies()["drive-ncp"] / "monitor.json"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    for row in rows:
        assert (row["model"], row["seed"], row["stopped"]) == ("drive-ncp", "3", "2")
        assert row["settings"] == (
            f"{row['fault']} LaneKeeping-v0 backend=torch monitor.stop_after_s=0.5"
            f" monitor.file_sha256={digest}"
        )
        assert row["command"] and row["time"]


class InAProcess(Brakes):
    """Tells its state, which cannot be set."""

    @property
    def state(self):
        return np.zeros(4)


def test_a_state_that_cannot_be_set_is_no_fault_of_a_campaign(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("scripts.running.campaign.make_controller", lambda *_: InAProcess())
    monkeypatch.setattr(SimulatedDriver, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        campaign(Faults(policy="drive-ncp", drives=1, backend="program:pipe", runs=tmp_path))
    said = capsys.readouterr().out
    assert "the fault 'state' is left out: the state of the back end 'program:pipe' can" in said
    assert faults_for(InAProcess()) == faults_for(Brakes()) == FAULTS[:-1]
    assert faults_for(load("drive-ncp")) == FAULTS


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_a_campaign_refuses_a_world_in_which_it_would_see_no_crash(tmp_path):
    asked = Faults(policy="drive-ncp", world_options=("on_crash=recover",), runs=tmp_path)
    with pytest.raises(ValueError, match="`world_options` must let a crash end a drive, got on_cr"):
        campaign(asked)
    assert list(tmp_path.iterdir()) == []


def test_there_are_no_more_drives_than_held_out_tracks():
    with pytest.raises(ValueError, match="`drives` must be less than the 10000 held-out tracks"):
        Faults(policy="drive-ncp", drives=10_000)


def test_a_campaign_needs_a_calibrated_monitor(tmp_path):
    policy = tmp_path / "driver"
    shutil.copytree(shipped_policies()["drive-ncp"], policy)
    (policy / "monitor.json").unlink()
    with pytest.raises(ValueError, match="must have a calibrated monitor"):
        campaign(Faults(policy=str(policy), runs=tmp_path / "runs"))


@pytest.mark.slow
def test_a_policy_runs_in_its_world_in_real_time(tmp_path, capsys):
    settings = RunPolicy(policy="drive-ncp", loop=LoopSettings(seconds=2.0), runs=tmp_path)
    run_policy(settings, ["envs"])
    (run,) = tmp_path.iterdir()
    told = json.loads((run / "report" / "loop.json").read_text())
    assert told["timing"]["ticks"] > 20 and told["ended"] == "its time is over"
    assert "model time [ms]" in capsys.readouterr().out


def test_settings_of_a_monitor_need_a_monitor():
    RunPolicy(policy="drive-ncp", monitored=False)
    with pytest.raises(ValueError, match=r"`monitor.late_s` must be left out with --no-monitored,"):
        RunPolicy(policy="drive-ncp", monitored=False, monitor=MonitorSettings(late_s=0.2))


class Ended(Brakes):
    """A link without a reading."""

    def __init__(self, words, contract, *_, **__):
        self.contract = contract

    def read(self, timeout_s):
        raise LinkEnded("it has ended")

    stop = close = Brakes.reset


def test_the_report_says_which_monitor_watched(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ncp_control.commands.driving.open_link", Ended)
    folder = tmp_path / "driver"
    shutil.copytree(shipped_policies()["drive-ncp-robust"], folder)
    digest = hashlib.sha256((folder / "monitor.json").read_bytes()).hexdigest()

    def watched(**settings):
        runs = tmp_path / f"runs-{len(list(tmp_path.iterdir()))}"
        run_policy(RunPolicy(policy=str(folder), runs=runs, **settings))
        (report,) = runs.glob("*/report/loop.json")
        return json.loads(report.read_text())["monitor"]

    told = watched()
    assert told["file_sha256"] == digest and "wrong colours" in told["blind_spots"][0]
    (folder / "monitor.json").unlink()
    told = watched()
    assert told["file_sha256"] is None and "is not calibrated" in told["blind_spots"][0]
    assert "without the monitor" not in capsys.readouterr().out
    assert watched(monitored=False) is None
    assert "warning: without the monitor, inputs are not checked" in capsys.readouterr().out


def test_an_alarm_lasts_until_the_body_drives_again():
    levels = (Level.DEGRADE, Level.DRIVE, Level.DEGRADE, Level.DEGRADE, Level.HOLD, Level.STOP,
              Level.DRIVE, Level.STOP)  # fmt: skip
    events = [Event(float(i), level, "far", "") for i, level in enumerate(levels)]
    assert count_alarms(events) == (3, 2) and count_alarms([]) == (0, 0)
