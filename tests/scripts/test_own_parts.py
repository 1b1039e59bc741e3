"""A user's cell, wiring, world, log, head and expert, outside the clone, through every job."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMPORTS = "--import own_cell --import own_world --import own_log --import my_parts"
MY_PARTS = """
import gymnasium
import numpy as np
from torch import nn

from ncp_control import fully_connected, register_head, register_wiring
from ncp_control.policy.heads import Head


class Brightness(Head):
    num_features = 20

    def __init__(self, frame_shape):
        super().__init__()
        self.map = nn.Linear(frame_shape[2] * frame_shape[1], 20)

    def forward(self, frames):
        columns = frames.to(self.map.weight.dtype).mean(1).flatten(1) / 255.0
        return self.map(columns)


class Lamp(gymnasium.Env):
    dt = 0.1
    observation_space = gymnasium.spaces.Box(0, 255, (20, 24, 3), np.uint8)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def show(self):
        return np.full((20, 24, 3), 100 + 100 * self.light, np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.light, self.steps = self.np_random.uniform(-1, 1), 0
        return self.show(), {}

    def step(self, action):
        reward = 1.0 - abs(float(action[0]) - self.light)
        self.light, self.steps = self.np_random.uniform(-1, 1), self.steps + 1
        return self.show(), reward, False, self.steps == 20, {}


def ring(num_sensory, num_neurons, num_motor, *, seed):
    return fully_connected(num_sensory, num_neurons, num_motor, seed=seed)


def hold_height(env, observation, info):
    return np.clip([-0.5 * observation[0] - 0.3 * observation[1]], -1.0, 1.0)


def see_light(env, observation, info):
    return [(observation.mean() - 100.0) / 100.0]


register_head("brightness", Brightness)
register_wiring("ring", ring)
"""
PPO = (
    "--neurons 6 --encoder --steps 64 --num-envs 2 --rollout-steps 32"
    " --sequence-length 16 --batch-size 32 --epochs 1 --evaluation-episodes 1"
)
DISTILLATION = (
    "--neurons 6 --distillation.rounds 1 --distillation.worlds 2 --distillation.steps-per-round 20"
    " --distillation.updates-per-round 2 --distillation.window 10 --distillation.mixed-rounds 1"
    " --distillation.burn-in 2 --evaluation-episodes 1"
)
IMITATION = (
    "--neurons 6 --imitation.epochs 1 --imitation.window 8 --imitation.dagger-epochs"
    " --episodes 2 --validation-episodes 1 --evaluation-episodes 1"
)
DRIVE = (
    "--neurons 6 --imitation.epochs 1 --imitation.window 8 --imitation.dagger-epochs --tracks 1"
    " --seconds-per-track 1 --evaluation-km 0.02"
)


@pytest.fixture
def folder(tmp_path):
    for name in ("own_cell", "own_world", "own_log"):
        (tmp_path / f"{name}.py").write_text((ROOT / "examples" / f"{name}.py").read_text())
    (tmp_path / "my_parts.py").write_text(MY_PARTS)
    return tmp_path


@pytest.fixture
def typed(folder):
    """Type a command in a folder outside the clone, in a process of its own; return its output."""

    def run(command, imports=IMPORTS, status=0):
        script, *words = command.split()
        path = ROOT / "scripts" / script if script != "own_log.py" else script
        done = subprocess.run(
            [sys.executable, str(path), *words, *(imports.split() if path != script else [])],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stderr

    return run


def newest(folder, pattern):
    return max((folder / "runs").glob(pattern), key=os.path.getmtime).relative_to(folder)


@pytest.mark.slow
def test_own_parts_in_a_world_of_numbers(typed, folder):
    typed(f"train.py ppo --world Hover-v0 --cell leaky {PPO}")
    run = newest(folder, "ppo-*")
    imports = json.loads((folder / run / "config.json").read_text())["imports"]
    assert imports == ["own_cell", "own_world", "own_log", "my_parts"]
    typed(f"train.py ppo --resume {run}", imports="")
    typed(f"evaluate.py {run}/policy --episodes 1 --drop 0.2")
    typed(f"audit.py {run}/policy --seconds 1")
    said = typed(f"evaluate.py {run}/policy", imports="", status=2)
    assert "Import the module 'own_cell' first: a job does with --import own_cell." in said

    teacher = f"{run}/policy"
    words = f"--world Hover-v0 --teacher {teacher} --cell leaky {DISTILLATION}"
    typed(f"train.py distill {words}")
    run = newest(folder, "distill-*")
    typed(f"train.py distill --resume {run}", imports="")
    typed(f"evaluate.py {run}/policy --episodes 1")

    expert = "--world Hover-v0 --expert my_parts:hold_height"
    for circuit in ("--cell leaky", "--cell ltc --wiring ring"):
        typed(f"train.py imitate {expert} {circuit} {IMITATION}")
        typed(f"evaluate.py {newest(folder, 'imitate-*')}/policy --episodes 1")


@pytest.mark.slow
def test_own_parts_that_see(typed, folder):
    circuit = "--head brightness --cell leaky"
    expert = "--world my_parts:Lamp --expert my_parts:see_light"
    typed(f"train.py imitate {expert} {circuit} {IMITATION}")

    typed("own_log.py")
    short = DRIVE[: DRIVE.index(" --imitation.dagger")]
    typed(f"train.py recorded --log drive --head brightness --models leaky {short}")
    run = newest(folder, "recorded-leaky-*")
    typed(f"evaluate.py {run}/policy --log drive --log-share 0.2")
    typed(f"audit.py {run}/policy --log drive --seconds 1")
    said = typed(f"audit.py {run}/policy --log drive", imports="--import own_cell", status=2)
    assert "got 'brightness'. Import the module 'my_parts' first" in said

    typed(f"train.py drive --head brightness --model leaky {DRIVE}")
    run = newest(folder, "drive-leaky-*")
    typed(f"evaluate.py {run}/policy --km 0.02")
    typed(f"audit.py {run}/policy --seconds 1")


@pytest.mark.slow
def test_own_cells_in_tables_and_on_the_road(typed, folder, traces):
    road = "--world LaneKeeping-v0 --world-options observe=numbers --episode-s 5"
    typed(f"train.py ppo {road} --cell leaky {PPO}")
    table = f"halfcheetah --data {traces} --models leaky --epochs 1 --seeds 2"
    printed = typed(f"reproduce.py {table} --parallel 2")
    assert "| leaky" in printed
    (results,) = folder.glob("runs/reproduce-*/halfcheetah.csv")
    assert "--import own_cell" in results.read_text()
