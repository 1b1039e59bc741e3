"""A newcomer's path to the robot: export, compile, and drive with the C program."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ncp_control.deploy.program import ProgramController
from ncp_control.kernels.build import BuildError, find_compiler
from ncp_control.policy import load
from scripts.benchmarking.exported import ComparedPilot
from scripts.evaluation.driving import DriveSettings

ROOT = Path(__file__).parents[2]
SECONDS = 20.0
"""Time on the track, some 160 m."""
SEEN_BYTES = 90 * 78 * 200 * 3
"""Of 3 s of frames, after which the car is under way."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Export drive-ncp and do what the export says; return the words behind --backend."""
    try:
        find_compiler()
    except BuildError as error:
        pytest.skip(str(error))
    out = tmp_path_factory.mktemp("firmware")
    words = ["scripts/export.py", "drive-ncp", "--to", "c", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=True, cwd=ROOT
    )
    found = re.search(r"--backend (program:\S+):\n  (.*)\n", done.stdout)
    assert found is not None
    subprocess.run(found[2], shell=True, check=True)
    return found[1]


def test_the_c_program_steers_as_the_policy_does(program):
    policy = load("drive-ncp")
    controller = ProgramController(policy, program.partition(":")[2])
    settings = DriveSettings(tracks="held_out", num_tracks=1, seconds_per_track=SECONDS, parallel=1)
    pilot = ComparedPilot(controller, policy)
    (episode,) = settings.place().run(pilot)
    assert episode.infos["distance_m"][-1] > 100.0
    assert np.concatenate(pilot.differences).max() < 1e-5


def run(program, runs, seconds):
    words = ["scripts/run.py", "drive-ncp", "--backend", program, "--runs", str(runs)]
    options = ["--loop.seconds", str(seconds), "--link-options", "tracks=held_out", "seed=3"]
    return subprocess.Popen(
        [sys.executable, *words, *options], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def test_run_drives_with_the_program(program, tmp_path):
    with run(program, tmp_path, 3.0) as process:
        said = process.communicate(timeout=120)[0]
    assert process.returncode == 0
    assert "ended: its time is over" in said


def test_killing_the_program_stops_the_car(program, tmp_path):
    with run(program, tmp_path, 60.0) as process:
        path = program.partition(":")[2]
        begun_s = time.monotonic()
        while not any(number := [n for n in _processes(path) if _bytes_read(n) > SEEN_BYTES]):
            assert time.monotonic() - begun_s < 120.0
            time.sleep(0.1)
        os.kill(number[0], signal.SIGKILL)
        said = process.communicate(timeout=60)[0]
    assert "ended: the controller was lost: the program has ended by signal 9" in said
    (link,) = tmp_path.glob("*/link.jsonl")
    events = [json.loads(line) for line in link.read_text().splitlines()]
    assert "stop" in [event["event"] for event in events]
    assert abs(events[-1]["speed_mps"]) < 0.1


def _bytes_read(number):
    """Return how much a process has read."""
    return int(Path(f"/proc/{number}/io").read_text().split()[1])


def _processes(path):
    """Return the numbers of the processes that run a program."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(folder / "exe") == path:
                found.append(int(folder.name))
        except OSError:
            continue
    return found
