"""Run trials as processes on this machine or on a Ray cluster.

In both cases a trial is a separate process that runs `train.py`, and it ends with the process that
started it. The folder of a trial is locked while its process lives: a second process for the same
folder waits.
"""

import contextlib
import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from ncp_control.devices import usable_cores
from scripts.sweeping.settings import Sweep
from scripts.sweeping.trials import command_of

TRAIN = Path(__file__).parents[1] / "train.py"
STOP = "stop"
"""A file of this name in a trial's folder stops its training."""
POLL_S = 0.2
"""Time between two checks of a process and its folder [s]."""
PATIENCE_S = 30.0
"""Time that a stopped training run gets to save its state [s]."""
CONNECT_S = 10.0
"""Time that a Ray cluster gets to accept a connection [s]."""
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_BOUND = """
import ctypes, os, signal, sys
with __import__("contextlib").suppress(AttributeError, OSError):  # Linux alone has it
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs a command that gets SIGTERM when the thread that started it ends."""


class Pool(NamedTuple):
    """Places where tasks run in parallel."""

    size: int
    """Number of tasks that run at the same time."""
    start: Callable[..., "Future[Any]"]
    """Starts a task with the given arguments, and returns the future of its result."""


@contextlib.contextmanager
def open_pool(settings: Sweep) -> Iterator[Pool]:
    """Yield a pool for the trials of a sweep; `start` takes a folder and words for `train.py`.

    Raises:
        ValueError: If Ray is asked for and is not installed, or cannot be reached.
    """
    cwd, variables = os.getcwd(), {"OMP_NUM_THREADS": str(settings.threads)}
    where = open_places(run_trial, settings.parallel, settings.threads, settings.address)
    with where as (size, start):
        yield Pool(size, lambda trial, words: start(trial, words, cwd, variables))


@contextlib.contextmanager
def open_places(
    work: Callable[..., Any], parallel: int | None, threads: int, address: str | None
) -> Iterator[Pool]:
    """Yield a pool of tasks: in threads of this machine, or on a Ray cluster.

    Args:
        work: Function of a module that does one task, in a process that it starts.
        parallel: Number of tasks at the same time; if None: as many as the cores allow.
        threads: Number of cores for each task.
        address: Address of the Ray cluster; None for this machine without Ray.

    Raises:
        ValueError: If Ray is asked for and is not installed, or cannot be reached.
    """
    if address is not None:
        with _ray(work, parallel, threads, address) as pool:
            yield pool
        return
    size = parallel or max(usable_cores() // threads, 1)
    with ThreadPoolExecutor(size) as pool:
        yield Pool(size, lambda *task: pool.submit(work, *task))


@contextlib.contextmanager
def _ray(
    work: Callable[..., Any], parallel: int | None, threads: int, address: str
) -> Iterator[Pool]:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ValueError(
            "`address` needs Ray, which is not installed. Run `pip install ncp-control[scale]`, or"
            " leave it out."
        ) from error
    new: dict[str, Any] = {}
    if address == "local":
        new = {"include_dashboard": False}
        os.environ.setdefault("RAY_worker_niceness", "0")  # trainings are no background work
        if parallel is not None:
            new["num_cpus"] = parallel * threads
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as later versions of Ray do
    handlers = {number: signal.getsignal(number) for number in _STOPS}
    try:
        _check_answers(address)
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **new)
    except (ConnectionError, ValueError) as error:
        reason = str(error).rstrip(".")
        raise ValueError(f"`address` must be a Ray cluster, got {address!r}: {reason}.") from error
    for number, handler in handlers.items():
        signal.signal(number, handler)  # Ray has put its own in their place
    try:
        found = max(int(ray.cluster_resources().get("CPU", 1.0)) // threads, 1)
        remote = ray.remote(num_cpus=threads, max_retries=0)(work)
        yield Pool(min(parallel or found, found), lambda *task: remote.remote(*task).future())
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Check that a machine answers at host:port, where Ray would try for many minutes.

    Raises:
        ConnectionError: If it does not within `CONNECT_S`, e.g. if there is no such machine.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(str(error)) from error


def run_trial(trial: Path, words: Sequence[str], cwd: str, environment: Mapping[str, str]) -> int:
    """Run a trial to its end, or until it is stopped, and return the exit status of its process.

    Args:
        trial: Folder of the trial.
        words: Words for `train.py` if the trial starts from scratch.
        cwd: Working directory of the process.
        environment: Environment variables in addition to those of this process.
    """
    with (trial / "lock").open("w") as lock:
        try:  # the training process holds the lock, too
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tqdm.write(f"  another process trains in {trial}: waiting for its end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        (trial / STOP).unlink(missing_ok=True)
        command = [sys.executable, str(TRAIN), *command_of(words, trial)]
        with (trial / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", _BOUND, *command],
                cwd=cwd,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[lock.fileno()],
            )
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(POLL_S)
                if (trial / STOP).exists():
                    return _stop(process)
        except BaseException:
            _stop(process)
            raise


def _stop(process: "subprocess.Popen[bytes]") -> int:
    """Terminate a training process; kill it if it has not saved its state within `PATIENCE_S`."""
    process.terminate()
    try:
        return process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
