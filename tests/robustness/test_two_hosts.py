"""A training and a sweep on two hosts, played by network namespaces; one is killed and returns."""

import contextlib
import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from scripts.sweeping.settings import Sweep
from tests.robustness.serial import check_rows
from tests.scripts.tiny_world import TINY

ROOT = Path(__file__).parents[2]
HOSTS = {"ncp-a": "10.77.0.1", "ncp-b": "10.77.0.2"}
"""Name and address of each; the first one keeps the meeting point."""


def ip(*words):
    """Return whether a command of iproute2 did what it was asked for."""
    return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0


def take_down():
    for name in HOSTS:
        ip("netns", "delete", name)


@pytest.fixture
def alone(tmp_path_factory):
    """Let one process at a time use the hosts, whose names all processes of the tests share."""
    with (tmp_path_factory.getbasetemp().parent / "two-hosts.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def hosts(alone):
    """Set up two hosts with a cable between them; skip where that is not allowed."""
    with contextlib.suppress(FileNotFoundError):
        take_down()  # of a test that was killed
        first, second = HOSTS
        steps = [("netns", "add", name) for name in HOSTS]
        cable = ("type", "veth", "peer", "name", second, "netns", second)
        steps.append(("link", "add", first, "netns", first, *cable))
        for name, address in HOSTS.items():
            steps.append(("-n", name, "addr", "add", f"{address}/24", "dev", name))
            steps += [("-n", name, "link", "set", device, "up") for device in (name, "lo")]
            # By what lies in that direction, Ray finds out which address it has.
            steps.append(("-n", name, "route", "add", "default", "dev", name))
        if all(ip(*step) for step in steps):
            yield
            for name in HOSTS:
                end_all(name)
            take_down()
            return
        take_down()
    pytest.skip("network namespaces need root and iproute2")


def start(name, folder, port):
    """Start torchrun on a host, with a folder of its own as its disk."""
    disk = folder / name
    disk.mkdir(parents=True, exist_ok=True)
    meeting = f"--rdzv-backend c10d --rdzv-endpoint {HOSTS['ncp-a']}:{port} --rdzv-id tiny"
    # A namespace has no name of its own by which torchrun could tell whether the point is here.
    meeting += f" --rdzv-conf is_host={int(name == 'ncp-a')} --local-addr {HOSTS[name]}"
    launch = f"--nnodes 2 --nproc-per-node 1 {meeting} --max-restarts 5"
    words = f"{launch} {ROOT / 'scripts/train.py'} imitate {TINY} --imitation.epochs 200"
    command = ["ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run"]
    environment = {"GLOO_SOCKET_IFNAME": name, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    # Without it, a host that comes back waits for an address that the other has told already.
    environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    with (disk / "log").open("a") as log:
        return subprocess.Popen(
            [*command, *shlex.split(words)],
            cwd=disk,
            env=os.environ | environment,
            stdout=log,
            stderr=log,
        )


def end_all(name):
    """Kill every process of a host."""
    found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, check=True)
    for number in found.stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(number), signal.SIGKILL)


def weights_of(folder):
    """Return the weights of the only run on either disk; the first process may be on any."""
    (path,) = folder.glob("*/runs/*/policy/weights.safetensors")
    return load_file(path)


@pytest.mark.slow
def test_a_host_is_killed_and_comes_back(hosts, tmp_path):
    whole = tmp_path / "whole"
    both = [start(name, whole, 29511) for name in HOSTS]
    assert [process.wait(120) for process in both] == [0, 0]

    folder = tmp_path / "killed"
    first, second = (start(name, folder, 29512) for name in HOSTS)
    until_s = time.monotonic() + 120.0
    while not any(folder.glob("*/runs/*/checkpoints/training.safetensors")):
        assert first.poll() is None and time.monotonic() < until_s
        time.sleep(0.1)
    end_all("ncp-b")  # the launcher and its process at once
    second.wait(30)
    time.sleep(2.0)
    assert first.poll() is None, "it waits for the other host"
    second = start("ncp-b", folder, 29512)
    assert [first.wait(150), second.wait(30)] == [0, 0]
    undisturbed, killed = weights_of(whole), weights_of(folder)
    assert all((undisturbed[name] == killed[name]).all() for name in undisturbed)


RAY_PORT = 6391
RAY_FOLDER = Path(tempfile.gettempdir()) / "ray"
"""Where Ray keeps what belongs to a host."""
SWEEP_S, READY_S = 600.0, 120.0
"""Times after which a sweep and a start of Ray are taken for stuck [s]."""


def on_host(name, folder, command, **options):
    """Start a command on a host with a folder of its own for Ray; all else is a shared disk."""
    disk = folder / name
    disk.mkdir(exist_ok=True)
    mount = 'mount --bind "$0" "$1" && shift && exec "$@"'
    mounted = ["unshare", "-m", "sh", "-c", mount, str(disk), str(RAY_FOLDER)]
    environment = {
        **{"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        **{"RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"},
    }
    with (disk / "log").open("a") as log:
        return subprocess.Popen(
            ["ip", "netns", "exec", name, *mounted, *command],
            cwd=folder,
            env=os.environ | environment,
            stdout=log,
            stderr=log,
            **options,
        )


def start_ray(name, folder):
    """Let a host of one core join the cluster, or begin it."""
    place = f"{HOSTS['ncp-a']}:{RAY_PORT}"
    begun = ["--head", "--port", str(RAY_PORT), "--include-dashboard", "false"]
    words = begun if name == "ncp-a" else ["--address", place]
    words += ["--node-ip-address", HOSTS[name], "--num-cpus", "1", "--disable-usage-stats"]
    process = on_host(name, folder, [str(Path(sys.executable).with_name("ray")), "start", *words])
    assert process.wait(READY_S) == 0, (folder / name / "log").read_text()[-2000:]


def trains(name):
    """Return whether a training runs on a host."""
    found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, check=True)
    for number in found.stdout.split():
        with contextlib.suppress(OSError):
            if b"train.py" in Path(f"/proc/{int(number)}/cmdline").read_bytes():
                return True
    return False


def wait_for_training(name, process):
    """Wait until a host trains while a sweep goes on."""
    until_s = time.monotonic() + SWEEP_S
    while not trains(name):
        assert process.poll() is None and time.monotonic() < until_s
        time.sleep(0.1)


@pytest.mark.slow
def test_a_sweep_outlives_a_host_that_is_killed_and_uses_it_when_it_is_back(hosts, tmp_path):
    pytest.importorskip("ray", reason="Ray is missing: pip install ncp-control[scale]")
    if shutil.which("unshare") is None:
        pytest.skip("a disk of its own for each host needs unshare of util-linux")
    RAY_FOLDER.mkdir(exist_ok=True)  # where each host's disk is mounted
    for name in HOSTS:
        start_ray(name, tmp_path)
    grid = ("seed=0,1,2,3,4", "cell=ltc,cfc")
    words = [sys.executable, str(ROOT / "scripts/sweep.py"), "imitate", "--grid", *grid]
    words += ["--tries", "20", "--address", f"{HOSTS['ncp-a']}:{RAY_PORT}", f"--fixed={TINY}"]
    process = on_host("ncp-a", tmp_path, words)
    wait_for_training("ncp-b", process)
    end_all("ncp-b")
    start_ray("ncp-b", tmp_path)
    wait_for_training("ncp-b", process)
    assert process.wait(SWEEP_S) == 0, (tmp_path / "ncp-a" / "log").read_text()[-2000:]
    (folder,) = (tmp_path / "runs").iterdir()
    check_rows(folder, Sweep(job="imitate", grid=grid, fixed=TINY), 10, tmp_path / "serial")
