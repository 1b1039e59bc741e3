"""Timing several things in turn, so that a machine that slows down slows all of them alike."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ncp_control.markdown import markdown_table

Action = Callable[[], Any]


@dataclass(frozen=True, kw_only=True)
class TimedRow:
    """One measured thing."""

    table: str
    """What was done: training step, control step, …"""
    name: str
    """Who did it."""
    threads: int
    """Torch threads."""
    median_us: float
    """Median over rounds [µs]."""
    spread: float
    """Half the range between the quartiles, as a share of the median."""
    ratio: float
    """Median over rounds of the reference's time divided by this one's; the first row is the
    reference."""


def measure(
    table: str,
    actions: dict[str, Action],
    rounds: int,
    threads: int,
    clock: Callable[[], float] | None = None,
) -> list[TimedRow]:
    """Time all actions in turn, round after round, to the end of what they start on a GPU.

    Args:
        table: What is done.
        actions: What is timed, by name; the first is what the others are compared with.
        rounds: Times that each is timed.
        threads: Torch threads that are in use.
        clock: Tells the time [s]; that of the wall if None.
    """
    clock = clock or time.perf_counter
    repeats = {name: _calibrate(action) for name, action in actions.items()}
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            _wait_for_gpu()
            start = clock()
            for _ in range(repeats[name]):
                action()
            _wait_for_gpu()
            times[name].append((clock() - start) / repeats[name] * 1e6)
    reference = times[next(iter(actions))]
    rows = []
    for name, own in times.items():
        low, median, high = np.percentile(own, [25, 50, 75])
        ratios = [theirs / ours for theirs, ours in zip(reference, own, strict=True)]
        rows.append(
            TimedRow(
                table=table,
                name=name,
                threads=threads,
                median_us=float(median),
                spread=float((high - low) / 2 / median),
                ratio=statistics.median(ratios),
            )
        )
    return rows


def timing_tables(rows: list[TimedRow]) -> str:
    """One table a task, threads side by side."""
    texts = []
    for table in dict.fromkeys(row.table for row in rows):
        own = [row for row in rows if row.table == table]
        threads = sorted({row.threads for row in own})
        reference = own[0].name
        header = ["who"]
        for n in threads:
            header += [f"{n} thread{'s' * (n > 1)} [µs]", f"times as fast as {reference}"]
        cells = []
        for name in dict.fromkeys(row.name for row in own):
            line = [name]
            for n in threads:
                found = [row for row in own if row.name == name and row.threads == n]
                for row in found:
                    line += [f"{row.median_us:,.1f} ± {row.spread:.0%}", f"{row.ratio:.1f}"]
                line += [] if found else ["", ""]  # not measured with so many threads
            cells.append(line)
        texts.append(f"### {table}\n\n{markdown_table(header, cells)}")
    return "\n\n".join(texts)


@contextlib.contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Let torch use a number of threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _calibrate(action: Action) -> int:
    """Warm up and return how often to repeat an action so that it takes about 20 ms."""
    action()
    _wait_for_gpu()
    start = time.perf_counter()
    action()
    _wait_for_gpu()
    once = time.perf_counter() - start
    return max(1, min(2000, round(0.02 / max(once, 1e-7))))


def _wait_for_gpu() -> None:
    """Wait until a GPU, if this process has used one, has done all that it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
