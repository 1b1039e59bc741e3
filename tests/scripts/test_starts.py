"""How jobs start: before torch, so that they can say how its threads wait."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from ncp_control.command_line import SPIN_COUNT

SCRIPTS = Path(__file__).parents[2] / "scripts"
JOBS = sorted(path.stem for path in SCRIPTS.glob("*.py") if "run_job(" in path.read_text())

STARTED = """
import os, sys
from ncp_control import command_line
command_line.run_job = lambda *_: None
import runpy
runpy.run_module("scripts.{job}", run_name="__main__")
assert "torch" not in sys.modules
"""

ASKED = """
import os, sys
from ncp_control.command_line import run_job
sys.argv = ["job", "--help"]
try:
    run_job(print, {}, "")
except SystemExit:
    pass
print(os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize("job", JOBS)
def test_no_job_imports_torch_before_it_starts(job):
    done = subprocess.run([sys.executable, "-c", STARTED.format(job=job)], check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("asked", "told"),
    [({}, SPIN_COUNT), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_idle_threads_sleep_soon_unless_the_user_says_otherwise(asked, told, monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run(
        [sys.executable, "-c", ASKED], check=False, capture_output=True, text=True
    )
    assert done.stdout.split()[-1] == told, done.stderr


FREED = """
import ctypes, mmap, resource, sys
from ncp_control.command_line import run_job
sys.argv = ["job", "--help"]
try:
    run_job(print, {}, "")
except SystemExit:
    pass
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def faults():
    before, size = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, 2**26
    memory = libc.malloc(size)
    ctypes.memset(memory, 1, size)
    libc.free(memory)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults() * mmap.PAGESIZE / 2**26)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="is a matter of glibc")
def test_large_memory_is_kept_for_the_next_step():
    command = [sys.executable, "-c", FREED]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert float(done.stdout.split()[-1]) < 0.1, done.stderr  # about 1 without being kept
