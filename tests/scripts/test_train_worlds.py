"""`train.py ppo --num-worlds`: learning in worlds on a device, measured in Gymnasium's own."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ncp_control.learning.reinforcement import progress
from ncp_control.learning.reinforcement.checkpoint import save_checkpoint
from ncp_control.policy import FramesPolicy, Policy, VectorPolicy
from scripts.evaluation.worlds import WorldSettings, returns_in
from scripts.train import train
from scripts.training.jobs import JOBS
from scripts.training.ppo_settings import PPO

TRAIN = Path(__file__).parents[2] / "scripts" / "train.py"
WORLD = "tests.scripts.tensor_world:points"
WORDS = ["ppo", "--world", WORLD, "--num-worlds", "8", "--neurons", "8"]
WORDS += "--rollout-steps 64 --epochs 4 --evaluation-episodes 3 --learning-rate 1e-3".split()


def settings_of(row):
    return json.loads(row["settings"].split(" ", 2)[2])


def test_a_training_ends_with_a_policy_that_acts_in_gymnasiums_world(
    type_command, tmp_path, read, capsys
):
    assert type_command(train, JOBS, *WORDS, "--steps", "2048") == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert "worlds: 8 on cpu, 0 kB each" in capsys.readouterr().out
    (row,) = read(run / "results.csv")
    told = settings_of(row)
    assert (told["num_worlds"], told["device"]) == (8, "cpu") and "num_envs" not in told
    policy = Policy.load(run / "policy")
    returns = returns_in(policy, WorldSettings(env=WORLD, episodes=3))
    assert float(row["mean_return"]) == pytest.approx(returns.mean(), abs=0.06)
    rows = read(run / "metrics.csv")
    assert [int(row["step"]) for row in rows] == [512, 1024, 1536, 2048]
    first, *_, last = (float(row["mean_return"]) for row in rows)
    assert last > first, "it learns to go to zero"
    assert {p.name for p in (run / "checkpoints").iterdir()} == {"last", "best", "training.pt"}


def test_a_training_that_was_stopped_goes_on(type_command, tmp_path, read, monkeypatch):
    left = [2]

    def save_or_stop(path, model):
        save_checkpoint(path, model)
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(progress, "save_checkpoint", save_or_stop)
    words = [*WORDS, "--steps", "1536", "--epochs", "1"]
    assert type_command(train, JOBS, *words) == 130
    (run,) = (tmp_path / "runs").iterdir()
    assert not (run / "policy").exists()
    checkpoint = (run / "checkpoints" / "training.pt").read_bytes()
    ends = []
    for _ in range(2):  # from the same checkpoint to the same weights
        (run / "checkpoints" / "training.pt").write_bytes(checkpoint)
        assert type_command(train, JOBS, "ppo", "--resume", run) == 0
        ends.append((run / "policy" / "weights.safetensors").read_bytes())
    assert ends[0] == ends[1]
    assert [int(row["step"]) for row in read(run / "metrics.csv")] == [512, 1024, 1536]
    (row,) = read(run / "results.csv")
    assert settings_of(row)["steps"] == 1536


@pytest.mark.slow
def test_a_killed_training_goes_on(type_command, tmp_path, read):
    words = [sys.executable, str(TRAIN), *WORDS, "--steps", "10240", "--epochs", "1"]
    with subprocess.Popen(words, cwd=tmp_path) as process:
        while not any((tmp_path / "runs").glob("*/checkpoints/training.pt")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    (run,) = (tmp_path / "runs").iterdir()
    assert process.returncode == -signal.SIGKILL and not (run / "policy").exists()
    assert type_command(train, JOBS, "ppo", "--resume", run) == 0
    assert [int(row["step"]) for row in read(run / "metrics.csv")] == [*range(512, 10241, 512)]
    assert len(read(run / "results.csv")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("world", ["halfcheetah", "walker2d", "hopper"])
def test_a_body_in_mujoco_warp_learns_and_walks_in_gymnasiums_world(
    type_command, tmp_path, world, read
):
    pytest.importorskip("mujoco_warp")
    words = f"ppo --world {world} --num-worlds 16 --steps 1024 --rollout-steps 32 --neurons 12"
    assert type_command(train, JOBS, *words.split(), "--evaluation-episodes", "1") == 0
    (run,) = (tmp_path / "runs").iterdir()
    returns = returns_in(Policy.load(run / "policy"), WorldSettings(env=world, episodes=1))
    (row,) = read(run / "results.csv")
    assert float(row["mean_return"]) == pytest.approx(returns[0], abs=0.06)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "kind", "shared_mb"),
    [("observe=numbers", VectorPolicy, 7), ("randomize_appearance=false", FramesPolicy, 532)],
)
def test_cars_on_a_device_learn_and_drive_in_gymnasiums_world(
    type_command, tmp_path, option, kind, shared_mb, read, capsys
):
    pytest.importorskip("mujoco_warp")
    words = "ppo --world LaneKeeping-v0 --num-worlds 4 --steps 256 --rollout-steps 32 --epochs 1"
    words += f" --neurons 12 --world-options {option}"
    assert type_command(train, JOBS, *words.split(), "--evaluation-episodes", "1") == 0
    told = f"worlds: 4 on cpu, 23 kB each, and {shared_mb} MB that all share"
    assert told in capsys.readouterr().out
    (run,) = (tmp_path / "runs").iterdir()
    assert isinstance(Policy.load(run / "policy"), kind)
    (row,) = read(run / "results.csv")
    assert float(row["driven_km"]) > 0.0
    assert '"num_worlds": 4' in row["settings"]


@pytest.mark.parametrize(
    ("worlds", "rollout_steps", "batch_size", "epochs", "steps"),
    [
        (None, 256, 512, 10, 1_000_000),
        (16, 256, 512, 10, 999_424),
        (64, 64, 512, 10, 999_424),
        (128, 32, 512, 10, 999_424),
        (4096, 32, 16_384, 5, 31_981_568),
        (1, 4096, 512, 10, 999_424),
    ],
)
def test_the_number_of_worlds_says_what_suits_it(worlds, rollout_steps, batch_size, epochs, steps):
    settings = PPO(num_worlds=worlds)
    found = (settings.rollout_steps, settings.batch_size, settings.epochs, settings.steps)
    assert found == (rollout_steps, batch_size, epochs, steps)
    asked = PPO(num_worlds=worlds, rollout_steps=96, batch_size=64, epochs=3, steps=100)
    found = (asked.rollout_steps, asked.batch_size, asked.epochs, asked.steps)
    assert found == (96, 64, 3, 100)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num-envs", "4"], "`num_envs` must be left out with --num-worlds, got 4"),
        (["--policy", "x"], "`policy` must be left out with --num-worlds, got x"),
        (["--delay-steps", "2"], "`delay_steps` must be left out with --num-worlds, got 2"),
        (["--cell", "mlp"], "`cell` must have a memory with --num-worlds, got 'mlp'"),
        (["--num-worlds", "0"], "`num_worlds` must be a whole number of at least 1, got 0"),
        (["--device", "gpu"], "`device` must be auto, cpu or a device of this machine, got 'gpu'"),
        (["--world", "RoadDriving-v0"], "`num_worlds` must be left out in the world 'RoadDr"),
        (
            ["--world", "gymnasium:Hopper-v5"],
            "It is for halfcheetah, walker2d, hopper and LaneKeep",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(refuse, words, message):
    given = [] if "--num-worlds" in words else ["--num-worlds", "8"]
    refuse(train, JOBS, ["ppo", *given, *words], message)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named(refuse):
    words = ["ppo", "--device", "cuda", "--num-worlds", "4096"]
    refuse(
        train,
        JOBS,
        words,
        "`device` must be auto, cpu or a device of this machine, got 'cuda'",
    )
