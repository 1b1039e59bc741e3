"""Processes of a test, found by their place below it."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


def descendants(parent: int, told: str) -> list[int]:
    """Return the processes below one whose command line has a text."""
    parents, lines = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                stat = (folder / "stat").read_text().rpartition(") ")[2].split()
                lines[int(folder.name)] = (folder / "cmdline").read_text()
            except OSError:  # it has ended
                continue
            parents[int(folder.name)] = int(stat[1])
    found = []
    for number, line in lines.items():
        above = number
        while above in parents and above != parent:
            above = parents[above]
        if above == parent and number != parent and told in line:
            found.append(number)
    return found


@contextlib.contextmanager
def started(command: Sequence[object], **options: Any) -> Iterator[subprocess.Popen]:
    """Start a process; when the block ends, it and all below it have ended.

    Args:
        command: The words.
        options: What `subprocess.Popen` takes.
    """
    process = subprocess.Popen([str(word) for word in command], **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            for number in [process.pid, *descendants(process.pid, "")]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            process.wait()


def status_of(command: Sequence[object], *, limit_s: float = 240.0, **options: Any) -> int:
    """Return the exit status of a process.

    Raises:
        subprocess.TimeoutExpired: If it takes longer than the limit; it and all below it are ended.
    """
    with started(command, **options) as process:
        return process.wait(limit_s)
