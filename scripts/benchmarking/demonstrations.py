"""Frames that an expert demonstrates in LaneKeeping-v0 on one core, and where their time goes."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np

from envs.driving import LaneKeepingEnv, OpenCvCamera
from envs.driving.car import Car
from ncp_control.learning.demonstrations import DemonstrationWriter
from ncp_control.markdown import markdown_table
from scripts.training.drive import driving_task
from scripts.training.from_expert import record
from scripts.training.imitation_settings import Drive

TRACKS = 8
"""Tracks that the expert drives, each for as long as `train.py drive` has it do."""
PARTS: dict[str, tuple[tuple[type, str], ...]] = {
    "physics": ((Car, "step"),),
    "camera": ((OpenCvCamera, "render"),),
    "painting tracks": ((LaneKeepingEnv, "_paint"), (OpenCvCamera, "set_ground")),
    "writing": ((DemonstrationWriter, "append_episode"), (DemonstrationWriter, "close")),
}
"""What is timed by itself; none of them calls another."""
REST = "road, expert, loop, recorder"
"""What is left of the time."""


@dataclass(frozen=True, kw_only=True)
class RecordingCost:
    """Processor time of one recording."""

    num_frames: int
    frame_us: float
    """Of a frame, all together [µs]."""
    part_us: dict[str, float]
    """Of a frame, by part [µs]; they add up to `frame_us`."""


def measure_demonstrations(rounds: int, tracks: int = TRACKS) -> list[RecordingCost]:
    """Record demonstrations several times, with one thread of OpenCV.

    Args:
        rounds: How often.
        tracks: Tracks driven each time.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        _record(1)  # patterns and tables that are made once
        return [_record(tracks) for _ in range(rounds)]
    finally:
        cv2.setNumThreads(threads)


def demonstrations_table(found: list[RecordingCost]) -> str:
    """Return frames a second, and the time of a frame by part: medians and their spread."""
    columns = {"all": [one.frame_us for one in found]}
    columns |= {part: [one.part_us[part] for one in found] for part in found[0].part_us}
    rows = []
    for part, times in columns.items():
        low, median, high = np.percentile(times, [25, 50, 75])
        share = median / np.median(columns["all"])
        rows.append([part, f"{median:.0f} ± {(high - low) / 2:.0f}", f"{share:.0%}"])
    low, median, high = np.percentile([1e6 / time_us for time_us in columns["all"]], [25, 50, 75])
    return (
        "### Demonstrations of LaneKeeping-v0, in processor time of one thread\n\n"
        f"{median:,.0f} ± {(high - low) / 2:,.0f} frames/s of one core,"
        f" {found[0].num_frames:,} frames in each of {len(found)} rounds.\n\n"
        + markdown_table(["what", "µs of a frame", "share"], rows)
    )


def _record(tracks: int) -> RecordingCost:
    settings, spent_s = Drive(tracks=tracks), dict.fromkeys(PARTS, 0.0)
    task = driving_task(settings)
    with tempfile.TemporaryDirectory() as folder, _timed(spent_s):
        start_s = time.process_time()
        store = record(Path(folder) / "shown", task.demonstration_place, task, settings)
        total_s = time.process_time() - start_s
    spent_s[REST] = total_s - sum(spent_s.values())
    part_us = {part: 1e6 * seconds / len(store) for part, seconds in spent_s.items()}
    return RecordingCost(
        num_frames=len(store), frame_us=1e6 * total_s / len(store), part_us=part_us
    )


@contextlib.contextmanager
def _timed(spent_s: dict[str, float]) -> Iterator[None]:
    """Add the processor time of each part of `PARTS` to `spent_s` for a while [s]."""

    def timed(part: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **settings: Any) -> Any:
            start_s = time.process_time()
            try:
                return method(*arguments, **settings)
            finally:
                spent_s[part] += time.process_time() - start_s

        return call

    with contextlib.ExitStack() as stack:
        for part, methods in PARTS.items():
            for owner, name in methods:
                method = getattr(owner, name)
                stack.enter_context(mock.patch.object(owner, name, timed(part, method)))
        yield
