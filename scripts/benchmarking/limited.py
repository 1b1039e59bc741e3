"""Training from frames on disk that are ten times the memory that the process may take; on Linux.

The limit is the kernel's own: a control group with `memory.max` (or version 1's
`memory.limit_in_bytes`), as a container has. It counts the process's pages of the disk's cache,
too, and kills what goes beyond. Making one takes root's rights.
"""

import contextlib
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ncp_control.learning.demonstrations import Batch, Demonstrations
from ncp_control.markdown import markdown_table
from scripts.benchmarking.fresh import measure_afresh
from scripts.benchmarking.stores import CONFIG, demonstrate, learn, repeat

LIMIT_BYTES = 1024**3
FRAME_BYTES = 46_800
SMALL, TIMES = 10_000, 10
"""Frames of the store that is compared, and how many times the limit the large one takes."""
WARM_UP, STEPS = 6, 60
"""Steps before those that are timed, and the timed ones."""
_ROOT, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


@dataclass(frozen=True, kw_only=True)
class Limited:
    """A training and its steps."""

    name: str
    store_gb: float
    """Size of the frames [GB]."""
    step_ms: float
    """Median time of a step [ms]."""


def measure_limited() -> list[Limited]:
    """Train from a small store, from the large one, and from it under the limit.

    Raises:
        ValueError: If this machine does not let the process make a control group.
    """
    with limited_memory(LIMIT_BYTES):
        pass  # refused before the work
    large = TIMES * LIMIT_BYTES // FRAME_BYTES
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        demonstrations = demonstrate(Path(temporary) / "shown")
        for name, length, limit in (
            ("small store", SMALL, None),
            ("large store", large, None),
            ("large store, 1 GiB of memory", large, LIMIT_BYTES),
        ):
            folder = Path(temporary) / str(length)
            if not folder.exists():
                repeat(demonstrations, folder, "raw", length)
            size = sum(_leave_cache(path) for path in folder.iterdir())
            step_ms = measure_afresh("scripts.benchmarking.limited", [str(folder), limit])
            found.append(Limited(name=name, store_gb=size / 1e9, step_ms=step_ms))
    return found


def limited_table(found: list[Limited]) -> str:
    """Return the table of all trainings."""
    header = ["training from", "GB of frames", "median step [ms]"]
    rows = [[row.name, f"{row.store_gb:.2f}", f"{row.step_ms:.0f}"] for row in found]
    title = "### Training under a limit of memory, raw frames, light head, 1 thread of torch"
    return f"{title}\n\n{markdown_table(header, rows)}"


def _leave_cache(path: Path) -> int:
    """Let Linux forget what it keeps of a file; return the file's size [bytes]."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return os.fstat(file.fileno()).st_size


@contextlib.contextmanager
def limited_memory(limit: int | None) -> Iterator[None]:
    """Let this process run in a control group of its own for a while.

    Args:
        limit: The most memory that its processes may take [bytes]; None for no limit.

    Raises:
        ValueError: If that is not allowed, or no group can limit memory here.
    """
    own, parent, limits = _place()
    group = parent / f"ncp-control-{os.getpid()}"
    try:
        group.mkdir()
        if limit is not None:
            (group / limits).write_text(str(limit))
        (group / "cgroup.procs").write_text(str(os.getpid()))
    except OSError as error:
        if group.exists():
            group.rmdir()
        raise ValueError(
            "The part limited must be run where control groups may be made, got"
            f" {error.strerror!r} for {group}. Run it as root."
        ) from error
    try:
        yield
    finally:
        (own / "cgroup.procs").write_text(str(os.getpid()))
        group.rmdir()


def _place() -> tuple[Path, Path, str]:
    """Return this process's group, where to make one with a limit, and the limit's file.

    Version 2 limits memory only in groups of which the one above hands it on, which a process's own
    mostly does not.

    Raises:
        ValueError: If there is no such place.
    """
    lines = _OWN.read_text().splitlines() if _OWN.exists() else []
    paths = {names: path for _, names, path in (line.split(":", 2) for line in lines)}
    if "memory" in paths:
        own = _ROOT / "memory" / paths["memory"][1:]
        return own, own, "memory.limit_in_bytes"
    own = _ROOT / paths.get("", "/")[1:]
    for parent in (own, *own.parents):
        handed_on = parent / "cgroup.subtree_control"
        if parent.is_relative_to(_ROOT) and handed_on.exists():
            if "memory" in handed_on.read_text().split():
                return own, parent, "memory.max"
    raise ValueError(
        f"The part limited must be run where control groups limit memory, got none in {_ROOT}."
        " Run it on Linux, outside of a container."
    )


def _print_step_ms(folder: str, limit: int | None) -> None:
    torch.set_num_threads(1)
    times: list[float] = []

    def watch(batch: Batch, generator: torch.Generator) -> Batch:
        times.append(time.perf_counter())
        return batch

    config = dataclasses.replace(CONFIG, epoch_steps=WARM_UP + STEPS)
    with limited_memory(limit):
        learn(Demonstrations.open(folder), config, watch)
    print(1e3 * float(np.median(np.diff(times)[WARM_UP:])))


if __name__ == "__main__":
    _print_step_ms(*json.loads(sys.argv[1]))
