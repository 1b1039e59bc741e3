"""Runs jobs in forked processes, so that hundreds of them pay once for what they import.

Each line of standard input is a request, each line of standard output the answer, both JSON:

| request        |                                                                          |
|----------------|--------------------------------------------------------------------------|
| `job`, `words` | the script (a name in JOBS) and the words of its command line            |
| `folder`       | where it runs                                                            |
| `kill_at`      | kill it (SIGKILL) just before so many file operations are done, or null  |
| `signal_after_s`, `signal` | send it a signal after so many seconds, or null              |
| `full_at`      | pattern of the paths for which the disk is full, or null                 |
| `file_bytes`   | limit on the size of a file it writes, as `ulimit -f`, or null           |

| answer         |                                                                          |
|----------------|--------------------------------------------------------------------------|
| `status`       | its exit status, or minus the signal it died of                          |
| `operations`   | file operations that it began                                            |
| `seen`         | what had a name at some time, relative to `folder`                       |
| `out`, `err`   | what it printed                                                          |

The constants below that are set anew make the jobs small: tracks, episodes and films of a moment.
"""

import errno
import faulthandler
import io
import json
import os
import re
import resource
import selectors
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch
from matplotlib.figure import Figure
from safetensors.torch import save
from tqdm import tqdm

import scripts.audit
import scripts.benchmark
import scripts.benchmarking.parts
import scripts.evaluate
import scripts.evaluation.report
import scripts.reproduce
import scripts.reproduction.expressivity
import scripts.train
import scripts.training.drive
import scripts.training.reinforcement
from envs.driving import LaneKeepingConfig, LaneKeepingEnv
from ncp_control import files
from ncp_control.cells import CellSizes
from ncp_control.command_line import run_job
from ncp_control.learning import trainer
from ncp_control.learning.forecasters import make_forecaster
from ncp_control.learning.forecasting import TrainingConfig
from ncp_control.learning.forecasting import train as train_forecaster
from ncp_control.learning.sequences import Sequences
from scripts.evaluation import evaluation_job
from scripts.evaluation.driving import DriveSettings


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Train a forecaster as the tables do, with a checkpoint, and save its weights."""

    epochs: int = 3


def forecast(settings: Forecast) -> None:
    """Learn the running sum of noise that is drawn anew for each epoch."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)

    def lesson(_: int) -> Sequences:
        noise = torch.randn(32, 9, 1, generator=generator)
        return Sequences(inputs=noise, targets=noise.cumsum(dim=1))

    validation = lesson(0)
    model = make_forecaster("ltc", CellSizes(num_inputs=1, num_units=8, num_outputs=1, frame_s=0.1))
    config = TrainingConfig(epochs=settings.epochs, batch_size=8, learning_rate=1e-2)
    checkpoint = Path("runs") / "tables" / "forecast.safetensors"
    train_forecaster(model, lesson, validation, config, checkpoint=checkpoint)
    files.write_file("weights.safetensors", save(model.state_dict()))


JOBS = {
    "forecast": (forecast, Forecast),
    "train": (scripts.train.train, scripts.train.JOBS),
    "reproduce": (scripts.reproduce.reproduce, scripts.reproduce.Reproduce),
    "evaluate": (scripts.evaluate.evaluate_policy, scripts.evaluate.Evaluate),
    "benchmark": (scripts.benchmark.benchmark, scripts.benchmark.Benchmark),
    "audit": (scripts.audit.audit, scripts.audit.Audit),
}
OPERATIONS = {
    "ctypes.dlsym",  # before folders exchange names
    "fcntl.flock",
    "os.chmod",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.truncate",
    "subprocess.Popen",
}
"""Names under which Python announces what it is about to do to a file (audit events)."""
UNFINISHED = ("rollouts", "tables", "training.pt", "training.safetensors", "demonstrations")
"""What a job removes when it has ended, or writes for itself alone."""


def make_small():
    """Let every job take a second or two."""
    trainer.CHECKPOINT_S = 0.0
    moment = {"num_tracks": 1, "seconds_per_track": 0.2}
    scripts.training.drive.VALIDATION = DriveSettings(tracks="validation", **moment)
    scripts.training.drive.DRIVE_FILM_S = 0.2
    scripts.training.reinforcement.EPISODE_KM = 0.001
    evaluation_job.DRIVE_FILM_S = evaluation_job.LIVE_S = evaluation_job.FILM_S = 0.2
    network = scripts.reproduction.expressivity
    network.WIDTHS, network.SCALES, network.DEFAULT_WIDTH = (4, 6), (1.0, 2.0), 4
    scripts.benchmarking.parts.rollouts_and_updates = lambda: {"nothing": lambda: None}
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    tqdm.monitor_interval = 0


def warm_up():
    """Do once what every child would repeat: late imports, fonts, the textures of the ground.

    Raises:
        RuntimeError: If that left a thread behind, which a forked child would lack.
    """
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    world = LaneKeepingEnv(LaneKeepingConfig(randomize_appearance=True), render_mode="rgb_array")
    for seed in range(4):
        world.reset(seed=seed)
    world.render()
    world.close()
    figure = Figure()
    figure.subplots().set_title("$x$")
    figure.savefig(io.BytesIO())
    threads = os.listdir("/proc/self/task")
    if len(threads) > 1:
        raise RuntimeError(f"a process that forks must have one thread, got {len(threads)}.")


def visible(folder):
    """Yield everything below a folder whose path has no hidden part."""
    for entry in os.scandir(folder):
        if not entry.name.startswith(".") and entry.name not in UNFINISHED:
            yield entry.path
            if entry.is_dir(follow_symlinks=False):
                yield from visible(entry.path)


class Witness:
    """Counts file operations, tells what has a name before each, and kills at the chosen one."""

    def __init__(self, folder, told, kill_at, full_at):
        self.folder, self.told, self.kill_at, self.full_at = folder, told, kill_at, full_at
        self.seen, self.count, self.is_looking = set(), 0, False

    def __call__(self, event, args):
        writes = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_DIRECTORY)
        if self.is_looking or not (writes or event in OPERATIONS):
            return
        self.is_looking = True
        self.count += 1
        new = [os.path.relpath(path, self.folder) for path in visible(self.folder)]
        new = [path for path in new if path not in self.seen]
        self.seen.update(new)
        os.write(self.told, (json.dumps([self.count, new]) + "\n").encode())
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.is_looking = False
        if self.full_at is not None and (writes or event == "os.mkdir"):
            if re.search(self.full_at, str(args[0])):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def work(request, told):
    """Run the job in this process, which is a child."""
    os.chdir(request["folder"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    sys.argv = [f"scripts/{request['job']}.py", *request["words"]]
    if request.get("file_bytes") is not None:
        limit = request["file_bytes"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    faults = request.get("kill_at"), request.get("full_at")
    sys.addaudithook(Witness(request["folder"], told, *faults))
    run_job(*JOBS[request["job"]], "")


def answer(request):
    """Fork, let the child work, and tell how it ended."""
    pipes = {name: os.pipe() for name in ("told", "out", "err")}
    child = os.fork()
    if child == 0:
        become(request, *(write for _, write in pipes.values()))
    for _, write in pipes.values():
        os.close(write)
    if request.get("signal_after_s") is not None:
        time.sleep(request["signal_after_s"])
        os.kill(child, request["signal"])
    texts = read_all({name: read for name, (read, _) in pipes.items()})
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    notes = [
        json.loads(line) for line in texts["told"].splitlines(keepends=True) if line[-1] == "\n"
    ]
    return {
        "status": status,
        "operations": notes[-1][0] if notes else 0,
        "seen": [path for _, new in notes for path in new],
        "out": texts["out"],
        "err": texts["err"],
    }


def become(request, told, out, err):
    """Be the child: work with the given files, then exit."""
    status = 1
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        faulthandler.enable(file=2)
        sys.stdout = open(1, "w", closefd=False)
        sys.stderr = open(2, "w", closefd=False, buffering=1)
        work(request, told)
        status = 0
    except SystemExit as stop:
        status = stop.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def read_all(pipes):
    """Read several pipes to their ends; return their texts by name."""
    texts = dict.fromkeys(pipes, b"")
    with selectors.DefaultSelector() as waiting:
        for name, pipe in pipes.items():
            waiting.register(pipe, selectors.EVENT_READ, name)
        while waiting.get_map():
            for key, _ in waiting.select():
                piece = os.read(key.fd, 1 << 16)
                texts[key.data] += piece
                if not piece:
                    waiting.unregister(key.fd)
                    os.close(key.fd)
    return {name: text.decode(errors="replace") for name, text in texts.items()}


if __name__ == "__main__":
    make_small()
    warm_up()
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
