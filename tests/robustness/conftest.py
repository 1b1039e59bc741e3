"""Processes that are killed at a chosen file operation."""

import os
import signal
import sys
import traceback
import warnings

import pytest

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
