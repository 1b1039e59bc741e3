"""Training from frames that are kept raw, as PNG or as JPEG: room, time and memory; on Linux."""

import dataclasses
import functools
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ncp_control.learning.demonstrations import Batch, Demonstrations, DemonstrationWriter
from ncp_control.learning.demonstrations.encoded import FRAMES_AS
from ncp_control.learning.imitation import Augment, imitate
from ncp_control.learning.run import Run
from ncp_control.learning.settings import ImitationConfig
from ncp_control.markdown import markdown_table
from policies.driving import make_driving_policy
from scripts.benchmarking.fresh import measure_afresh, memory_mb
from scripts.timing import Action, measure
from scripts.training.drive import driving_task
from scripts.training.from_expert import record
from scripts.training.imitation_settings import Drive

DISTINCT = 2_000
"""Frames that the expert demonstrates; longer stores repeat them, each time written anew."""
LENGTHS = 10_000, 40_000
STEPS = 12
CONFIG = ImitationConfig(epochs=1, epoch_steps=STEPS, dagger_epochs=(), batch_size=16, window=32)


@dataclass(frozen=True, kw_only=True)
class Store:
    """What it takes to learn from one kind of store."""

    frames_as: str
    bytes_a_frame: float
    """On disk, actions and times included."""
    time: float
    """Time of a step, relative to raw frames, measured in turn."""
    memory_mb: tuple[float, ...]
    """Largest memory of the process that is not the disk's cache [MB], for each of `LENGTHS`."""


def measure_stores(rounds: int) -> list[Store]:
    """Measure training from each kind of store: time in turn, memory in fresh processes."""
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        demonstrations = demonstrate(Path(temporary) / "shown")
        folders = {}
        for kind in FRAMES_AS:
            for length in LENGTHS:
                folders[kind, length] = Path(temporary) / f"{kind}-{length}"
                repeat(demonstrations, folders[kind, length], kind, length)
        stores = {kind: Demonstrations.open(folders[kind, LENGTHS[0]]) for kind in FRAMES_AS}
        actions: dict[str, Action] = {
            kind: functools.partial(learn, store) for kind, store in stores.items()
        }
        rows = {row.name: row for row in measure("stores", actions, rounds, 1)}
        for kind in FRAMES_AS:
            room = sum(path.stat().st_size for path in folders[kind, LENGTHS[0]].iterdir())
            memory = tuple(_memory_mb(folders[kind, length]) for length in LENGTHS)
            found.append(
                Store(
                    frames_as=kind,
                    bytes_a_frame=room / LENGTHS[0],
                    time=1.0 / rows[kind].ratio,
                    memory_mb=memory,
                )
            )
    return found


def stores_table(found: list[Store]) -> str:
    """Return the table of all kinds."""
    header = ["frames kept as", "kB a frame", "time of a training step"]
    header += [f"memory, {length:,} frames [MB]" for length in LENGTHS]
    rows = [
        [
            store.frames_as,
            f"{store.bytes_a_frame / 1000:.1f}",
            f"{store.time:.2f}",
            *(f"{mb:,.0f}" for mb in store.memory_mb),
        ]
        for store in found
    ]
    title = "### Training from stores of frames, 78 × 200 pixels, light head, 1 thread of torch"
    return f"{title}\n\n{markdown_table(header, rows)}"


def demonstrate(folder: Path) -> Demonstrations:
    """Return `DISTINCT` frames of an expert's driving."""
    settings = Drive(tracks=8, seconds_per_track=DISTINCT / 8 / 30.0)
    task = driving_task(settings)
    return record(folder, task.demonstration_place, task, settings)


def repeat(demonstrations: Demonstrations, folder: Path, frames_as: str, length: int) -> None:
    """Write a store of a length, of what is demonstrated over and over."""
    frames = np.array(demonstrations.observations)
    with DemonstrationWriter(folder, frames.shape[1:], frames_as=frames_as) as writer:
        while writer.num_frames < length:
            count = min(len(frames), length - writer.num_frames)
            writer.append_episode(
                frames[:count], demonstrations.actions[:count], demonstrations.dt_s[:count]
            )


def learn(
    store: Demonstrations, config: ImitationConfig = CONFIG, augment: Augment | None = None
) -> None:
    """Train a new driver from a store."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create("benchmark", "stores", config, root=Path(folder))
        policy = make_driving_policy("ncp", head="light")
        imitate(policy, [store], config, run, validate=lambda _: {"score": 0.0}, augment=augment)


def _memory_mb(folder: Path) -> float:
    """Return the largest memory of a process that learns from a store [MB]."""
    return measure_afresh("scripts.benchmarking.stores", str(folder))


def _print_memory(folder: str) -> None:
    torch.set_num_threads(1)
    store = Demonstrations.open(folder)
    config = dataclasses.replace(CONFIG, epoch_steps=len(store) // (16 * 32))  # each frame once
    peak = 0.0

    def watch(batch: Batch, generator: torch.Generator) -> Batch:
        nonlocal peak
        peak = max(peak, memory_mb("RssAnon"))
        return batch

    learn(store, config, watch)
    print(peak)


if __name__ == "__main__":
    _print_memory(json.loads(sys.argv[1]))
