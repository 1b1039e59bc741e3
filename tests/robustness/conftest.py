"""Processes that are killed at a chosen file operation, real jobs among them, and their traces."""

import csv
import json
import os
import signal
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open

from ncp_control import Policy
from ncp_control.learning.demonstrations import Demonstrations

OPERATIONS = {
    "ctypes.dlsym",  # before folders exchange names
    "fcntl.flock",
    "open",
    "os.chmod",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.truncate",
}
"""Names under which Python announces what it is about to do to a file (audit events)."""


@pytest.fixture
def start_child():
    """Run an action in a forked process; return what waits for its exit status.

    The status is 0, or 1 after an exception, or minus the signal the process died of. With
    `kill_at` it is killed just before its `kill_at`-th file operation, counted from 1.
    """

    def start(action, kill_at=None):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of forking beside threads, which the child never uses
            child = os.fork()
        if child:
            return lambda: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        status = 1
        try:
            if kill_at is not None:
                _kill_self_at(kill_at)
            action()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    return start


def _kill_self_at(number):
    count = 0

    def hook(event, _):
        nonlocal count
        if event in OPERATIONS:
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


ROOT = Path(__file__).parents[2]
ONE_WAY = "--mirror True --smoothing-s 0.2 --shift False --balance False --imitation.epoch-steps 2"
IMITATION = "--imitation.epochs 2 --imitation.batch-size 1 --imitation.window 4"
DISTILLATION = (
    "--distillation.rounds 2 --distillation.worlds 2 --distillation.steps-per-round 10"
    " --distillation.updates-per-round 2 --distillation.window 5 --distillation.burn-in 1"
)
PPO = "--steps 64 --num-envs 2 --rollout-steps 16 --sequence-length 8 --batch-size 16 --epochs 1"
SAC = "--steps 64 --num-envs 2 --first-steps 32 --sequence-length 4 --burn-in 2 --batch-size 16"
JOBS = {
    "drive": "train drive --tracks 1 --dagger-tracks 1 --seconds-per-track 0.3"
    f" --evaluation-km 0.001 --imitation.dagger-epochs 1 {IMITATION}",
    "recorded": f"train recorded --log LOG --models cnn lstm {ONE_WAY} {IMITATION}",
    "distillation": f"train distill --cell gru --neurons 4 --evaluation-episodes 1 {DISTILLATION}",
    "forecast": "forecast",
    "ppo": f"train ppo --cell lstm --neurons 4 --evaluation-episodes 1 {PPO}",
    "sac": f"train sac --neurons 12 --evaluation-episodes 1 {SAC}",
    "driving by ppo": "train ppo --world LaneKeeping-v0 --world-options observe=numbers --steps 512"
    " --num-envs 1 --evaluation-episodes 1",
    "teacher": "train teacher --algorithm sac --steps 64 --first-steps 32 --examine-every 32"
    " --examination-episodes 1 --evaluation-episodes 1",
    "reproduction": "reproduce expressivity --seeds 2",
    "evaluation": "evaluate POLICIES/drive-ncp --km 0.001 --live --results results/evaluation.csv",
    "walking": "evaluate POLICIES/halfcheetah-ltc --episodes 1 --results results/walking.csv",
    "audit": "audit POLICIES/drive-ncp --seconds 0.3",
    "benchmark": "benchmark --parts reinforcement --rounds 1",
}
"""Each job as small as it gets: the script, then the words of its command line."""


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    """Ask for a job (a name in JOBS) in a folder; return the answer of `workshop.py`."""
    log = _make_log(tmp_path_factory.mktemp("log"))
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "workshop.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask(job, folder, *, resume=None, **faults):
        known = {"LOG": log, "POLICIES": ROOT / "policies" / "pretrained"}
        script, *words = JOBS[job].split()
        if resume is not None:
            words = [words[0], "--resume", str(resume)]
        words = ["/".join(str(known.get(part, part)) for part in word.split("/")) for word in words]
        request = {"job": script, "words": words, "folder": str(folder), **faults}
        print(json.dumps(request), file=process.stdin, flush=True)
        return json.loads(process.stdout.readline())

    yield ask
    process.stdin.close()
    process.wait()
    process.stdout.close()


def _make_log(folder):
    """Write a log of the Udacity simulator: 40 frames, ten a second."""
    (folder / "IMG").mkdir()
    lines = []
    for i in range(40):
        name = f"center_2018_07_16_17_11_{i // 10:02d}_{i % 10}00.jpg"
        cv2.imwrite(str(folder / "IMG" / name), np.full((160, 320, 3), 90 + i, np.uint8))
        lines.append(f"IMG/{name},IMG/none.jpg,IMG/none.jpg,{np.sin(i / 10):.4f},0,0,10")
    (folder / "driving_log.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture
def check_whole():
    """Check that everything below a folder that has a name is whole; return the hidden paths."""
    return _check_whole


def _check_whole(folder):
    hidden = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            hidden.append(path)
        elif path.is_dir():
            _check_folder(path)
            hidden += _check_whole(path)
        else:
            _check_file(path)
    return hidden


def _check_folder(path):
    if path.name in ("policy", "best", "last"):
        Policy.load(path)
    elif path.parent.name in ("data", "dagger", "demonstrations"):
        assert np.isfinite(Demonstrations.open(path).actions).all()
    elif path.parent.name == "runs":
        assert "settings" in json.loads((path / "config.json").read_text())
    elif (path / "report.md").is_file():
        text = (path / "report.md").read_text()
        linked = [part.split(")")[0] for part in text.split("](")[1:]]
        assert all((path / name).is_file() for name in linked)


def _check_file(path):
    data = path.read_bytes()
    match path.suffix:
        case ".json":
            json.loads(data)
        case ".csv":
            rows = list(csv.reader(data.decode().splitlines()))
            assert all(len(row) == len(rows[0]) for row in rows)
            assert not data or data.endswith(b"\n")
        case ".png":
            assert data.startswith(b"\x89PNG") and data.endswith(b"IEND\xaeB`\x82")
        case ".svg" | ".html":
            assert data.rstrip().endswith((b"</svg>", b"</html>"))
        case ".mp4":
            assert {b"ftyp", b"moov", b"mdat"} <= set(_boxes(data))
        case ".pt":
            torch.load(path, weights_only=True)
        case ".safetensors":
            with safe_open(path, "pt") as file:
                assert [file.get_tensor(name) for name in file.keys()]
        case ".npy":
            np.load(path, allow_pickle=False)
        case _:
            assert path.suffix == ".md" or path.name.startswith("events."), path


def _boxes(film):
    """Yield the names of the boxes that an MP4 file consists of."""
    at = 0
    while at < len(film):
        yield film[at + 4 : at + 8]
        at += int.from_bytes(film[at : at + 4], "big")
    assert at == len(film), "the last box is whole"
