"""A sweep of two dozen trainings whose processes are killed at random gives the serial table."""

import os
import shlex
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from scripts.sweeping.settings import Sweep
from tests.robustness.serial import check_rows
from tests.scripts.processes import descendants, started

SWEEP = Path(__file__).parents[2] / "scripts" / "sweep.py"
GRID = ("seed=0,1,2,3,4,5,6,7,8,9,10,11", "cell=ltc,cfc")
# One rollout: a training that goes on between two rollouts begins new episodes, so its row is
# not that of the serial training.
FIXED = (
    "--world tests.scripts.tiny_world:Reach --neurons 8 --steps 64 --num-envs 2"
    " --rollout-steps 32 --batch-size 32 --epochs 1 --evaluation-episodes 1"
)
KILLS = 12
"""Most processes that are killed; each is tried again."""
LIMIT_S = 900.0
"""Time after which a sweep is taken for stuck [s]; on two idle cores it takes a tenth of it."""


@pytest.mark.slow
def test_trainings_killed_at_random_are_complete_and_the_serial_ones(tmp_path):
    words = ["ppo", "--grid", *GRID, "--parallel", 2, "--tries", 20, "--", *shlex.split(FIXED)]
    rng, kills, began_s = np.random.default_rng(0), 0, time.monotonic()
    with started([sys.executable, SWEEP, *words], cwd=tmp_path) as process:
        while process.poll() is None:
            assert time.monotonic() - began_s < LIMIT_S
            time.sleep(rng.uniform(1.0, 4.0))
            victims = descendants(process.pid, "train.py")
            if victims and kills < KILLS:
                os.kill(int(rng.choice(victims)), signal.SIGKILL)
                kills += 1
    print(f"{kills} killed in {time.monotonic() - began_s:.0f} s")
    assert process.returncode == 0 and kills >= 4
    (folder,) = (tmp_path / "runs").iterdir()
    settings = Sweep(job="ppo", grid=GRID, fixed=FIXED)
    check_rows(folder, settings, 24, tmp_path / "serial")
