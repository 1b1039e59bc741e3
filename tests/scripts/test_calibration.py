"""The job `monitor.py calibrate`: what its drives and recordings make of a monitor."""

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
from ncp_control.contract import ActionContract, Contract, Entry, VectorContract
from ncp_control.learning.demonstrations import DemonstrationWriter
from ncp_control.loop.profile import InputProfile, statistics_of
from ncp_control.policy import load, shipped_policies
from ncp_control.records import frames_part
from ncp_control.wiring_rules import fully_connected
from ncp_control.worlds import find_world
from scripts.auditing.settings import Audit
from scripts.running.calibration import calibrate
from scripts.running.settings import Calibrate
from tests.scripts.recorded_drives import record_drive


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
        world = find_world("tests.scripts.test_calibration:Cliff", one_in=one_in)
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
