"""Jobs that are killed lose nothing that had a name, and the next run cleans up.

Jobs that are told to stop clean up themselves, and say in one line what they saved.

`NCP_CONTROL_KILLS=100` kills a hundred jobs instead of a few.
"""

import hashlib
import os
import random
import shutil
import signal
import time

import pytest

pytestmark = pytest.mark.slow

JOBS = ("drive", "recorded", "distillation", "ppo", "sac", "teacher", "reproduction")
TRAININGS = ("drive", "recorded", "distillation", "forecast")
RESUMED = {
    "drive": "training.safetensors",
    "recorded": "training.safetensors",
    "distillation": "training.safetensors",
    "ppo": "training.pt",
    "sac": "training.pt",
    "teacher": "training.pt",
}
"""What a run must hold to be gone on with, by job."""
KILLS = int(os.environ.get("NCP_CONTROL_KILLS", "12"))
TRAININGS_KILLED = int(os.environ.get("NCP_CONTROL_KILLS", "4"))


@pytest.fixture(scope="module")
def done_before(workshop, tmp_path_factory):
    """Return a folder in which a job has run already, its answer, and how long it took [s]."""
    known = {}

    def find(job):
        if job not in known:
            folder = tmp_path_factory.mktemp("before")
            began_s = time.monotonic()
            first = workshop(job, folder)
            assert first["status"] == 0, first["err"]
            known[job] = folder, first, time.monotonic() - began_s
        return known[job]

    return find


def digests(folder):
    """Return a hash of every file but the tables that all runs share."""
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).digest()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "results"
    }


@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_job_costs_nothing_that_had_a_name(
    workshop, done_before, check_whole, tmp_path, number
):
    job = JOBS[number % len(JOBS)]
    chance = random.Random(number)
    before, first, duration_s = done_before(job)
    is_first = chance.random() < 0.5
    folder = tmp_path / "work"
    if is_first:
        folder.mkdir()
    else:
        shutil.copytree(before, folder)
    known = digests(folder)
    if chance.random() < 0.5:
        fault = {"kill_at": chance.randint(1, first["operations"])}
    else:
        moment_s = chance.uniform(0.0, duration_s)
        fault = {"signal": signal.SIGKILL, "signal_after_s": moment_s}
    killed = workshop(job, folder, **fault)
    assert killed["status"] in (0, -signal.SIGKILL), killed["err"]
    for path in check_whole(folder):
        assert ".ncp-" in path.name, "only what `files` can tell is hidden"
    lost = [path for path in killed["seen"] if not (folder / path).exists()]
    assert not lost
    assert {path: digests(folder).get(path) for path in known} == known

    runs_before = {path.parts[1] for path in known if path.parts[0] == "runs"}
    new = [path for path in (folder / "runs").glob("*") if path.name not in runs_before]
    left = [path for path in new if (path / "checkpoints" / RESUMED.get(job, "-")).exists()]
    resume = next(iter(left), None)
    again = workshop(job, folder, resume=resume)
    assert again["status"] == 0, again["err"]
    assert check_whole(folder) == [], "nothing hidden is left after the next run"
    lost = [path for path in killed["seen"] if not (folder / path).exists()]
    assert not lost


def learned(folder):
    """Return the bytes of all that a training leaves: weights, and metrics of its epochs."""
    names = ("checkpoints/best/weights.safetensors", "checkpoints/last/weights.safetensors")
    names = (*names, "policy/weights.safetensors", "metrics.csv")
    whole = sorted(path.parent for path in (folder / "runs").glob("*/policy"))
    found = {
        f"{run.name[:-11]} {name}": (run / name).read_bytes() for run in whole for name in names
    }
    return found or {"weights": (folder / "weights.safetensors").read_bytes()}


@pytest.mark.parametrize("number", range(TRAININGS_KILLED))
def test_a_killed_training_ends_with_the_same_weights(workshop, done_before, tmp_path, number):
    """Killed at a random moment, perhaps killed again while it goes on, then left to end."""
    job = TRAININGS[number % len(TRAININGS)]
    chance = random.Random(1000 + number)
    before, first, duration_s = done_before(job)
    for kill in range(3):
        run = next(iter(sorted((tmp_path / "runs").glob("*/config.json"))), None)
        has_all = run is not None and (job != "recorded" or (run.parent / "runs.json").exists())
        fault = {"kill_at": chance.randint(1, first["operations"])}
        if chance.random() < 0.5:
            moment_s = chance.uniform(0.0, duration_s)
            fault = {"signal": signal.SIGKILL, "signal_after_s": moment_s}
        fault = {} if kill == 2 else fault
        done = workshop(job, tmp_path, resume=run.parent if has_all else None, **fault)
        assert done["status"] in (0, -signal.SIGKILL) if fault else done["status"] == 0, done["err"]
        if done["status"] == 0:
            break
    assert learned(tmp_path) == learned(before)


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_stopped_job_leaves_nothing_half_written(
    workshop, done_before, check_whole, tmp_path, job, number, status
):
    _, _, duration_s = done_before(job)
    moment_s = random.Random(f"{job} {status}").uniform(0.2, 0.8) * duration_s
    stopped = workshop(job, tmp_path, signal=number, signal_after_s=moment_s)
    assert check_whole(tmp_path) == [], "nothing hidden is left"
    if stopped["status"] == 0:  # it was quicker than the one before
        return
    assert stopped["status"] == status, stopped["err"]
    assert "Traceback" not in stopped["err"]
    told = stopped["err"].splitlines()[-1]
    runs = list((tmp_path / "runs").glob("*"))
    is_kept = told.startswith("stopped: what was saved so far stays")
    is_empty = told == "stopped" or told.startswith("stopped: nothing was saved yet: ")
    assert is_kept or (not runs and is_empty)
    for run in runs:
        assert f"{run.relative_to(tmp_path)} holds " in stopped["err"]
