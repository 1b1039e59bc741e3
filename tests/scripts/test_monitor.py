import csv
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from ncp_control import LTC, VectorPolicy
from ncp_control.commands.driving import run_policy
from ncp_control.commands.run import RunPolicy
from ncp_control.contract import ActionContract, Contract, Entry, VectorContract
from ncp_control.learning.demonstrations import DemonstrationWriter
from ncp_control.loop.faults import FAULTS, faults_for
from ncp_control.loop.levels import Event, Level
from ncp_control.loop.link import LinkEnded
from ncp_control.loop.pilot import ControllerLost
from ncp_control.loop.profile import InputProfile, statistics_of
from ncp_control.loop.settings import LoopSettings, MonitorSettings
from ncp_control.policy import load, shipped_policies
from ncp_control.records import frames_part
from ncp_control.wiring_rules import fully_connected
from ncp_control.worlds import find_world
from scripts.auditing.settings import Audit
from scripts.running.calibration import calibrate
from scripts.running.campaign import FaultTrial, SimulatedDriver, campaign, count_alarms
from scripts.running.settings import Calibrate, Faults
from tests.scripts.recorded_drives import record_drive


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


@pytest.mark.parametrize("name", ["drive-ncp", "walker2d-ltc", "road-ltc"])
def test_a_calibration_lies_beside_its_policy_and_goes_when_that_is_replaced(name, tmp_path):
    policy = tmp_path / name
    shutil.copytree(shipped_policies()[name], policy)
    calibrate(Calibrate(policy=str(policy), episodes=6, seconds=0.5))
    told = json.loads((policy / "monitor.json").read_text())
    assert told["limit"] > 0.0 and told["provenance"]["episodes"] == 6
    assert told["provenance"]["world"] == load(name).contract.world
    assert {"command", "commit", "time", "versions"} <= told["provenance"].keys()
    assert (told["swap_ratio"] is not None) == (name != "walker2d-ltc")  # which sees no colours
    load(policy).save(policy)
    assert not (policy / "monitor.json").exists()


@pytest.mark.slow
def test_a_policy_runs_in_its_world_in_real_time(tmp_path, capsys):
    settings = RunPolicy(policy="drive-ncp", loop=LoopSettings(seconds=2.0), runs=tmp_path)
    run_policy(settings, ["envs"])
    (run,) = tmp_path.iterdir()
    told = json.loads((run / "report" / "loop.json").read_text())
    assert told["timing"]["ticks"] > 20 and told["ended"] == "its time is over"
    assert "model time [ms]" in capsys.readouterr().out


def test_a_policy_of_no_world_is_calibrated_on_a_recording(tmp_path):
    import cv2

    log = tmp_path / "log"
    (log / "IMG").mkdir(parents=True)
    rng, lines = np.random.default_rng(0), ["center,left,right,steering,throttle,brake,speed"]
    for i in range(30):
        time = f"2020_01_01_00_00_{33 * i // 1000:02d}_{33 * i % 1000:03d}"
        names = [f"{side}_{time}.jpg" for side in ("center", "left", "right")]
        picture = cv2.resize(rng.integers(0, 255, (8, 16, 3), np.uint8), (320, 160))
        for name in names:
            cv2.imwrite(str(log / "IMG" / name), picture)
        lines.append(f"{','.join(names)},{0.01 * (i % 7 - 3)},0.2,0.0,9.0")
    (log / "driving_log.csv").write_text("\n".join(lines))
    policy, folder = load("drive-ncp"), tmp_path / "policy"
    assert policy.contract is not None
    policy.contract = replace(policy.contract, world="")
    policy.save(folder)
    with pytest.raises(ValueError, match="`log` must name a recording"):
        calibrate(Calibrate(policy=str(folder)))
    calibrate(Calibrate(policy=str(folder), log=log))
    told = json.loads((folder / "monitor.json").read_text())["provenance"]
    assert (told["observations"], told["log"]) == (30, str(log))
    assert told["log_options"] == [] and "world" not in told and "command" in told


class Cliff(gymnasium.Env):
    """Noise, that on some seeds runs away and ends."""

    metadata: ClassVar = {"render_fps": 10}
    observation_space = spaces.Box(-100.0, 100.0, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,))

    def __init__(self, one_in=4):
        self.one_in = one_in

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.falls = 0, seed is not None and seed % self.one_in == 0
        return self._seen(), {}

    def step(self, action):
        self.steps += 1
        return self._seen(), 0.0, self.falls and self.steps == 35, False, {}

    def _seen(self):
        is_away = self.falls and self.steps >= 25
        return (self.np_random.normal(0.0, 1.0, 1) + 50.0 * is_away).astype(np.float32)


def test_drives_that_the_world_ends_are_no_good_driving_unless_it_ends_most(tmp_path, capsys):
    told = {}
    for one_in in (4, 1):
        world = find_world("tests.scripts.test_monitor:Cliff", one_in=one_in)
        policy = VectorPolicy(LTC(fully_connected(1, 4, 1), frame_s=0.1), observation_size=1)
        policy.contract = world.contract
        folder = tmp_path / str(one_in)
        policy.save(folder)
        calibrate(Calibrate(policy=str(folder), episodes=24, seconds=3.0))
        told[one_in] = json.loads((folder / "monitor.json").read_text())["provenance"]
        is_told = "left out: 4 of 16 episodes, which the world ended" in capsys.readouterr().out
        assert is_told == (one_in == 4)
    assert told[4]["observations"] == 18 * 30 and told[4]["largest_distance"] < 6.0
    assert told[1]["observations"] == 24 * 30


@pytest.mark.parametrize(("name", "seconds"), [("walker2d-ltc", 1.0), ("road-ltc", 2.0)])
def test_a_recorded_drive_of_numbers_or_of_both_calibrates_a_policy(name, seconds, tmp_path):
    folder, log = tmp_path / "policy", tmp_path / "drive.mcap"
    policy, seen = record_drive(name, log, seconds)
    policy.save(folder)
    calibrate(Calibrate(policy=str(folder), log=log, seconds=0.2))
    profile = InputProfile.load(folder)
    assert profile is not None and profile.provenance["observations"] == len(seen)
    sensed = policy.contract.observation
    is_numbers = frames_part(sensed) is None
    numbers = np.stack([statistics_of(np.float32(one) if is_numbers else one, sensed)
                        for one in seen])  # fmt: skip
    cut = round(len(seen) * 2 / 3)
    np.testing.assert_allclose(profile.mean, numbers[:cut].mean(axis=0), rtol=1e-5, atol=1e-6)
    largest = max(profile.distance(one) for one in numbers[cut:])
    assert profile.provenance["largest_distance"] == pytest.approx(largest, rel=1e-2)
    assert 0.0 < profile.limit <= 1.25 * largest * 1.01


def test_a_recording_too_short_for_the_loop_to_hold_is_not_farther_than_usual(tmp_path, capsys):
    folder, log = tmp_path / "policy", tmp_path / "walk.mcap"
    policy, seen = record_drive("walker2d-ltc", log, 0.05)
    policy.save(folder)
    calibrate(Calibrate(policy=str(folder), log=log))
    profile = InputProfile.load(folder)
    assert profile is not None
    distances = [profile.distance(one) for one in seen[round(len(seen) * 2 / 3) :]]
    assert profile.limit == pytest.approx(1.25 * max(distances), rel=1e-2)
    said = capsys.readouterr().out
    assert "set by 1 piece of at most 2 frames; its farthest input was at" in said
    assert "no piece has more than 2 frames, since the recording is short or has gaps." in said


def test_slow_frames_are_cut_into_pieces_of_many_and_a_gap_makes_none_short(tmp_path, capsys):
    """As a time series of minutes, in which two days are missing."""
    policy = VectorPolicy(LTC(fully_connected(1, 4, 1), frame_s=60.0), observation_size=1)
    policy.contract = Contract(
        observation=VectorContract(entries=(Entry(name="x"),)),
        action=(ActionContract(name="x"),),
        frame_s=60.0,
    )
    policy.save(tmp_path / "policy")
    dt_s = np.full(1350, 60.0, np.float32)
    dt_s[1000] = 172_800.0
    numbers = np.random.default_rng(0).normal(size=(1350, 1)).astype(np.float32)
    with DemonstrationWriter(tmp_path / "rows", (1,), np.float32, 1) as writer:
        writer.append_episode(numbers, np.zeros((1350, 1), np.float32), dt_s)
    asked = Calibrate(policy=str(tmp_path / "policy"), log=tmp_path / "rows")
    calibrate(asked)
    assert "set by 8 pieces of at most 57 frames; their" in capsys.readouterr().out
    told = json.loads((tmp_path / "policy" / "monitor.json").read_text())["provenance"]
    assert told["seconds"] == 3600.0
    calibrate(replace(asked, seconds=9000.0))
    assert "set by 3 pieces of at most 150 frames; their" in capsys.readouterr().out


def test_a_recorded_drive_of_what_the_policy_does_not_sense_is_one_sentence(tmp_path):
    walk, drove = tmp_path / "walk.mcap", tmp_path / "drive.mcap"
    for name, log in (("walker2d-ltc", walk), ("drive-ncp", drove)):
        record_drive(name, log, 0.3)
    for name, log, found in (
        ("drive-ncp", walk, "kind 'frames', got 'vector'"),
        ("walker2d-ltc", drove, "kind 'vector', got 'frames'"),
        ("road-ltc", drove, "kind 'dict', got 'frames'"),
        ("halfcheetah-positions-ltc", walk, "8 numbers, got 17"),
    ):
        folder = tmp_path / name
        load(name).save(folder)
        with pytest.raises(ValueError, match=f"`log` must hold what the policy senses, .*{found}"):
            calibrate(Calibrate(policy=str(folder), log=log))
        assert not (folder / "monitor.json").exists()


def test_a_recording_of_too_few_observations_is_refused(tmp_path):
    policy, _ = record_drive("walker2d-ltc", tmp_path / "walk.mcap", 0.03)
    policy.save(tmp_path / "policy")
    with pytest.raises(ValueError, match="`log` must hold at least 6 observations, got 4"):
        calibrate(Calibrate(policy=str(tmp_path / "policy"), log=tmp_path / "walk.mcap"))


@pytest.mark.parametrize("settings", [Calibrate, Audit])
def test_options_of_a_recording_need_a_recording(settings):
    settings(policy="drive-ncp", log=Path("drive.mcap"), log_options=("crop=[0.3,0.1]",))
    with pytest.raises(ValueError, match="`log_options` must be left out without --log, got"):
        settings(policy="drive-ncp", log_options=("crop=[0.3,0.1]",))


@pytest.mark.parametrize("unused", [{"episodes": 12}, {"seed": 1}])
def test_a_calibration_on_a_recording_refuses_what_only_driving_uses(unused):
    (name,) = unused
    with pytest.raises(ValueError, match=f"`{name}` must be left out with --log, got"):
        Calibrate(policy="drive-ncp", log=Path("drive.mcap"), **unused)


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
