"""The examples that a user copies, run from a folder outside the clone."""

import dataclasses
import importlib
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ncp_control import load
from ncp_control.commands.driving import run_policy
from ncp_control.commands.run import RunPolicy
from ncp_control.loop.clocks import SimulatedClock
from scripts.evaluate import evaluate_policy
from scripts.evaluation.settings import Evaluate
from scripts.train import train
from scripts.training.jobs import JOBS

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
QUICK = (
    "--neurons 8 --encoder --steps 64 --num-envs 2 --rollout-steps 32"
    " --sequence-length 16 --batch-size 32 --epochs 1 --evaluation-episodes 2"
).split()


@pytest.fixture
def copy(own_names, tmp_path, monkeypatch):
    """Copy an example into the folder that jobs run in; return its module."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scripts.evaluation.report.film", lambda *_, **__: (None, "No film."))

    def bring(name):
        (tmp_path / f"{name}.py").write_text((ROOT / "examples" / f"{name}.py").read_text())
        monkeypatch.syspath_prepend(tmp_path)
        return importlib.import_module(name)

    return bring


def policy_of(folder):
    (policy,) = folder.glob("runs/*/policy")
    return str(policy)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_fits_on_a_screen(path):
    assert len(path.read_text().splitlines()) < 60


def test_an_own_cell_learns_and_is_evaluated(copy, type_command, tmp_path, capsys):
    copy("own_cell")
    words = ["--world", "gymnasium:Pendulum-v1", "--cell", "leaky", "--import", "own_cell"]
    assert type_command(train, JOBS, "ppo", *words, *QUICK) == 0
    config = json.loads((Path(policy_of(tmp_path)) / "config.json").read_text())
    cell = config["settings"]["cell"]
    assert (cell["name"], cell["module"]) == ("leaky", "own_cell")
    words = [policy_of(tmp_path), "--episodes", "1", "--import", "own_cell"]
    assert type_command(evaluate_policy, Evaluate, *words) == 0


def test_the_own_cell_is_exact_whatever_the_frame(copy):
    cell = copy("own_cell").Leaky(3, 8, 1).double()
    torch.nn.init.zeros_(cell.drive.weight[:, 3:])  # the drive of the inputs alone stays the same
    inputs, state = torch.rand(2, 3).double(), torch.rand(2, 8).double()
    half, whole = torch.full((2,), 0.02).double(), torch.full((2,), 0.04).double()
    twice = cell(inputs, cell(inputs, state, half), half)
    torch.testing.assert_close(twice, cell(inputs, state, whole))
    torch.testing.assert_close(cell(inputs, state, torch.zeros(2).double()), state)


def test_an_own_world_is_learned_in_by_its_name(copy, type_command, tmp_path, capsys):
    copy("own_world")
    words = ["--world", "Hover-v0", "--import", "own_world"]
    assert type_command(train, JOBS, "ppo", *words, *QUICK) == 0
    capsys.readouterr()
    words = [policy_of(tmp_path), "--episodes", "2", "--import", "own_world"]
    assert type_command(evaluate_policy, Evaluate, *words) == 0
    printed = capsys.readouterr().out
    assert "height error" in printed and "thrust" in printed and "Hover-v0" in printed


def test_the_own_world_follows_its_physics(copy):
    module = copy("own_world")
    world = module.Hover(gust_mps2=0.0)
    seen, _ = world.reset(seed=3)
    for _ in range(20):
        after, _, is_lost, _, _ = world.step(np.float32([0.0]))
    assert not is_lost
    after_s = 20 * module.DT_S
    np.testing.assert_allclose(after, [seen[0] + seen[1] * after_s, seen[1]], rtol=1e-5)


def test_an_own_log_is_learned_from(copy, type_command, tmp_path):
    copy("own_log").write_one(tmp_path / "drive", num_frames=60)
    words = ["--log", "drive", "--models", "lstm", "--import", "own_log"]
    short = (
        "--imitation.epochs 1 --imitation.epoch-steps 4 --imitation.window 8 --neurons 4".split()
    )
    short += "--mirror False --smoothing-s 0 --shift False --balance False".split()
    assert type_command(train, JOBS, "recorded", *words, *short) == 0
    words = [policy_of(tmp_path), "--log", "drive", "--log-share", "0.2", "--import", "own_log"]
    assert type_command(evaluate_policy, Evaluate, *words) == 0


def test_an_own_logs_steering_is_turned_to_the_left(copy, tmp_path):
    from envs.recorded import load_recording

    copy("own_log").write_one(tmp_path / "drive", num_frames=30)
    (tmp_path / "drive" / "0007.png").write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="Skipped 1 of the 30 images"):
        recording = load_recording(tmp_path / "drive")
    assert recording.format == "angles" and recording.frame_s == pytest.approx(0.05)
    (episode,) = recording.episodes
    np.testing.assert_allclose(episode.numbers["steering"], -np.sin(episode.rows / 8), atol=1e-3)


def test_the_robot_loop_keeps_its_rate(tmp_path):
    code = (ROOT / "examples" / "robot_loop.py").read_text().replace("= 60, (", "= 22, (")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "commands  steering" in done.stdout
    assert re.search(r"ms a frame at the median, \d+ of 22 frames late", done.stdout)


@pytest.mark.parametrize(
    ("unit", "positive", "fraction"),
    [("fraction of 0.4 rad", "left", 1.0), ("fraction of 0.4 rad", "right", -1.0),
     ("fraction of 10 deg", "left", 0.4363), ("rad", "right", -2.5),
     ("fraction of the car's largest angle", "left", 1.0)],
)  # fmt: skip
def test_the_robot_loop_obeys_the_contract(unit, positive, fraction, tmp_path, monkeypatch):
    policy = load("drive-ncp")
    action = dataclasses.replace(policy.contract.action[0], unit=unit, positive=positive)
    policy.contract = dataclasses.replace(policy.contract, action=(action,))
    policy.save(tmp_path / "policy")
    monkeypatch.setattr(sys, "argv", ["robot_loop.py", str(tmp_path / "policy")])
    code = (ROOT / "examples" / "robot_loop.py").read_text().replace("= 60, (", "= 3, (")
    names = {}
    exec(code, names)
    assert names["one_rad"] / names["LARGEST_RAD"] == pytest.approx(fraction, abs=1e-4)
    assert names["steer"](names["one_rad"]) == pytest.approx(np.clip(fraction, -1, 1), abs=1e-4)


@pytest.mark.parametrize("name", ["road-ltc", "walker2d-ltc"])
def test_the_robot_loop_refuses_what_does_not_steer_alone(name, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["robot_loop.py", name])
    with pytest.raises(ValueError, match="`policy` must command steering alone for this robot"):
        runpy.run_path(str(ROOT / "examples" / "robot_loop.py"))


def test_the_road_expert_tells_its_measures(copy, capsys):
    measures = copy("road_expert").main(["--km", "0.02", "--traffic", "light"])
    assert measures["driven_km"] > 0.1 and measures["collisions"] == 0
    assert "interventions_per_km" in capsys.readouterr().out


def test_an_own_link_is_driven_and_refuses_numbers(copy, type_command, capsys):
    module = copy("own_link")
    command = next(line for line in module.__doc__.splitlines() if "run.py" in line)
    words = command.split("run.py ")[1].replace("seconds 5", "seconds 0.5").split()
    assert type_command(run_policy, RunPolicy, *words) == 0
    told = capsys.readouterr().out
    assert "its time is over" in told and " drive" in told
    clock = SimulatedClock()
    robot = module.ToyRobot(load("drive-ncp").contract, "", clock=clock)
    assert robot.read(0.002).observation.shape == (78, 200, 3)
    assert robot.read(0.002) is None and clock.now_s() == pytest.approx(0.002)
    robot.send(np.array([0.4]))
    robot.close()
    assert robot.motors == [(0.4, 0.3), (0.0, 0.0)]
    with pytest.raises(ValueError, match="`policy` must see frames for a toy"):
        module.ToyRobot(load("walker2d-ltc").contract, "", clock=clock)
