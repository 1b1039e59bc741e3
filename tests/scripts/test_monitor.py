import csv
import json
import shutil

import pytest

from ncp_control.commands.driving import run_policy
from ncp_control.commands.run import RunPolicy
from ncp_control.loop.settings import LoopSettings
from ncp_control.policy import load, shipped_policies
from scripts.monitor import Calibrate, Faults
from scripts.running.calibration import calibrate
from scripts.running.campaign import Driver, campaign


@pytest.fixture
def driver(tmp_path):
    settings = Faults(policy="drive-ncp", drives=1, runs=tmp_path)
    return Driver(load("drive-ncp"), shipped_policies()["drive-ncp"], settings)


@pytest.mark.parametrize("fault", ["missing", "white", "state"])
def test_the_monitor_stops_a_car_that_would_leave_its_lane_and_lets_it_go_on(fault, driver):
    assert driver.trial(fault, 0, is_monitored=False).is_crash
    watched = driver.trial(fault, 0, is_monitored=True)
    assert not watched.is_crash and watched.is_driving
    assert watched.stop_s is not None and watched.stop_s < 0.5


@pytest.mark.parametrize("fault", ["black", "frozen"])
def test_a_car_with_a_pedal_is_stopped_and_drives_on(fault, tmp_path):
    settings = Faults(policy="road-ltc", world_options=("traffic=none",), runs=tmp_path)
    road = Driver(load("road-ltc"), shipped_policies()["road-ltc"], settings)
    assert road.world.name == "RoadDriving-v0"
    watched = road.trial(fault, 0, is_monitored=True)
    assert not watched.is_crash and watched.is_driving
    assert watched.stop_s is not None and watched.stop_s < 0.6


def test_a_clean_drive_has_no_event_and_twice_the_same_numbers(driver):
    one, other = (driver.run(driver_track, "", 0.0, 3.0, is_monitored=True)
                  for driver_track in (1000, 1000))  # fmt: skip
    assert one.events == []
    assert (one.episode.actions == other.episode.actions).all()


@pytest.mark.slow
def test_a_campaign_is_a_table_and_a_picture(tmp_path, capsys):
    campaign(Faults(policy="drive-ncp", drives=1, clean_km=0.1, runs=tmp_path))
    (run,) = tmp_path.iterdir()
    with (run / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 and sum(int(row["crashes_with"]) for row in rows) == 0
    assert (run / "report" / "faults.png").stat().st_size > 10_000
    assert "0 false alarms" in capsys.readouterr().out


def test_a_campaign_refuses_a_world_in_which_it_would_see_no_crash(tmp_path):
    asked = Faults(policy="drive-ncp", world_options=("on_crash=recover",), runs=tmp_path)
    with pytest.raises(ValueError, match="`world_options` must let a crash end a drive, got on_cr"):
        campaign(asked)
    assert list(tmp_path.iterdir()) == []


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
    assert told["limit"] > 0.0 and told["told"]["episodes"] == 6
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
    import dataclasses

    import cv2
    import numpy as np

    log = tmp_path / "log"
    (log / "IMG").mkdir(parents=True)
    rng, lines = np.random.default_rng(0), ["center,left,right,steering,throttle,brake,speed"]
    for i in range(30):
        time = f"2020_01_01_00_00_{i // 10:02d}_{100 * (i % 10):03d}"
        names = [f"{side}_{time}.jpg" for side in ("center", "left", "right")]
        picture = cv2.resize(rng.integers(0, 255, (8, 16, 3), np.uint8), (320, 160))
        for name in names:
            cv2.imwrite(str(log / "IMG" / name), picture)
        lines.append(f"{','.join(names)},{0.01 * (i % 7 - 3)},0.2,0.0,9.0")
    (log / "driving_log.csv").write_text("\n".join(lines))
    policy, folder = load("drive-ncp"), tmp_path / "policy"
    assert policy.contract is not None
    policy.contract = dataclasses.replace(policy.contract, world="")
    policy.save(folder)
    with pytest.raises(ValueError, match="`log` must name a recording"):
        calibrate(Calibrate(policy=str(folder)))
    calibrate(Calibrate(policy=str(folder), log=log))
    told = json.loads((folder / "monitor.json").read_text())["told"]
    assert (told["observations"], told["log"]) == (30, str(log))
