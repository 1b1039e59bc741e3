"""Memory and time of long sequences, led back as a whole and in chunks of time; on Linux."""

import functools
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from ncp_control import LRC, LTC, NCP19, CfC, Circuit, MixedMemory
from ncp_control.markdown import markdown_table
from scripts.benchmarking.fresh import measure_afresh, memory_mb
from scripts.timing import measure

CELLS = {
    "LTC": lambda: LTC(NCP19),
    "CfC, no backbone": lambda: CfC(32, 19, 1, backbone_layers=0),
    "LRC": lambda: LRC(NCP19, integrator="exponential_euler", unfolds=2),
    "MixedMemory(LTC)": lambda: MixedMemory(LTC(NCP19)),
}
BATCH, CHUNK = 32, 256
LENGTHS = 1024, 4096, 16384
TIMED_LENGTH = 1024


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What forward and backward pass of one long sequence need."""

    cell: str
    whole_mb: tuple[float, ...]
    """Growth of the process beyond its inputs [MB], for each of `LENGTHS`."""
    chunked_mb: tuple[float, ...]
    """The same in chunks."""
    time: float
    """Time in chunks, relative to the whole."""


def measure_chunks(rounds: int) -> list[Memory]:
    """Measure memory in fresh processes, and time in turn in this one."""
    found = []
    for name, make in CELLS.items():
        circuit, inputs = Circuit(make()), torch.rand(BATCH, TIMED_LENGTH, 32)
        actions = {
            str(chunk): functools.partial(train, circuit, inputs, chunk) for chunk in (None, CHUNK)
        }
        whole, chunked = measure("chunks", actions, rounds, 1)
        memory = {
            chunk: tuple(_peak_mb(name, length, chunk) for length in LENGTHS)
            for chunk in (None, CHUNK)
        }
        found.append(
            Memory(
                cell=name,
                whole_mb=memory[None],
                chunked_mb=memory[CHUNK],
                time=whole.ratio / chunked.ratio,
            )
        )
    return found


def train(circuit: Circuit, inputs: torch.Tensor, chunk: int | None) -> None:
    """Run a sequence forwards and backwards."""
    outputs, _ = circuit(inputs, chunk=chunk)
    outputs.square().sum().backward()


def _peak_mb(name: str, length: int, chunk: int | None) -> float:
    """Return the growth of a process that trains on one sequence [MB]."""
    return measure_afresh("scripts.benchmarking.chunks", [name, length, chunk])


def _print_peak(name: str, length: int, chunk: int | None) -> None:
    torch.set_num_threads(1)
    circuit, inputs = Circuit(CELLS[name]()), torch.rand(BATCH, length, 32)
    train(circuit, inputs[:, :CHUNK], chunk)  # all that a first time costs
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory_mb("VmHWM")
    train(circuit, inputs, chunk)
    print(memory_mb("VmHWM") - before)


def chunks_table(found: list[Memory]) -> str:
    """Return the table of memory and time."""
    header = ["cell"]
    header += [f"{way}, {n:,} frames [MB]" for n in LENGTHS for way in ("whole", "in chunks")]
    header.append(f"time in chunks, {TIMED_LENGTH:,} frames")
    rows = []
    for row in found:
        pairs = zip(row.whole_mb, row.chunked_mb, strict=True)
        numbers = [f"{number:,.1f}" for pair in pairs for number in pair]
        rows.append([row.cell, *numbers, f"{row.time:.2f}"])
    title = f"### Memory of a training step, batch {BATCH}, chunks of {CHUNK} frames"
    return f"{title}\n\n{markdown_table(header, rows)}"


if __name__ == "__main__":
    _print_peak(*json.loads(sys.argv[1]))
