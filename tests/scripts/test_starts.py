"""How jobs start: how torch's threads wait, and what memory is kept."""

import platform
import subprocess
import sys

import pytest

from ncp_control.command_line import SPIN_COUNT

BEGUN = """
import contextlib, sys
from ncp_control.command_line import run_job
sys.argv = ["job", "--help"]
with contextlib.suppress(SystemExit):
    run_job(print, {}, "")
"""

ASKED = """
import os
print(os.environ.get("GOMP_SPINCOUNT"))
"""

FREED = """
import ctypes, mmap, resource
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


def told_after_start(program):
    """Return the last word that a program prints where a job has begun."""
    command = [sys.executable, "-c", BEGUN + program]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1]


@pytest.mark.parametrize(
    ("asked", "told"),
    [({}, SPIN_COUNT), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_idle_threads_sleep_soon_unless_the_user_says_otherwise(asked, told, monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    assert told_after_start(ASKED) == told


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="is a matter of glibc")
def test_large_memory_is_kept_for_the_next_step():
    assert float(told_after_start(FREED)) < 0.1  # about 1 without being kept
