"""How the cost of a training step grows: one size grows, the others stay."""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure

from ncp_control import LTC, NCP19, Circuit, Wiring, random_wiring
from ncp_control.devices import usable_cores
from ncp_control.markdown import markdown_table
from scripts.benchmarking.steps import first, training_step
from scripts.palette import BLUE
from scripts.timing import Action, measure, torch_threads


def _up_to_all_cores() -> tuple[int, ...]:
    """Return 1, 2, 4, … and the number of cores."""
    cores = usable_cores()
    return (*(2**k for k in range(cores.bit_length()) if 2**k < cores), cores)


SWEEPS: dict[str, tuple[int, ...]] = {
    "neurons": (19, 64, 256, 1024),
    "synapses, 310 neurons": (252, 1_000, 10_000, 100_000),
    "synapses, neurons too": (252, 1_000, 10_000, 100_000),
    "batch": (1, 8, 9, 16, 64, 256),
    "frames": (1, 16, 64, 256),
    "unfolds": (1, 3, 6, 12),
    "threads": _up_to_all_cores(),
}
"""What grows, and to which sizes; all else as in NCP19 with 6 unfolds, batch 64 x 32 frames, and 1
thread.

A batch of 8 is the largest that the kernels take by vectors half as wide, where there is AVX-512.
"""

MOST_ROUNDS = 7


@dataclass(frozen=True, kw_only=True)
class Point:
    """A training step at one size."""

    size: int
    neurons: int
    synapses: int
    median_us: float
    synapse_ps: float
    """Time over samples, frames and evaluations of synapses [ps], forward and backward."""


def scale(name: str, rounds: int) -> list[Point]:
    """Time a training step while one size grows and the others stay."""
    circuits, counts, actions = {}, {}, {}
    for size in SWEEPS[name]:
        unfolds = size if name == "unfolds" else 6
        batch, frames = (size if name == n else k for n, k in (("batch", 64), ("frames", 32)))
        wiring = _wiring(name, size)
        inner = wiring.num_synapses - wiring.num_sensory_synapses
        circuits[size] = circuit = Circuit(LTC(wiring, unfolds=unfolds))
        counts[size] = batch * frames * (wiring.num_sensory_synapses + unfolds * inner)
        inputs = torch.rand(batch, frames, wiring.num_sensory)
        step = training_step(circuit, first, inputs)
        actions[str(size)] = (
            functools.partial(_with_threads, size, step) if name == "threads" else step
        )
    rows = measure(name, actions, min(rounds, MOST_ROUNDS), 1)
    return [
        Point(
            size=size,
            neurons=circuit.cell.state_size,
            synapses=circuit.cell.wiring.num_synapses,
            median_us=row.median_us,
            synapse_ps=row.median_us / counts[size] * 1e6,
        )
        for (size, circuit), row in zip(circuits.items(), rows, strict=True)
    ]


def _with_threads(number: int, step: Action) -> None:
    with torch_threads(number):
        step()


def _wiring(name: str, size: int) -> Wiring:
    """NCP19, or a random wiring of one synapse in eleven from the 32 inputs."""
    if name == "neurons":
        return _random_wiring(size, 13 * size)
    if name == "synapses, 310 neurons":
        return _random_wiring(310, size)
    if name == "synapses, neurons too":
        return _random_wiring(max(19, round(size**0.5)), size)
    return NCP19


def _random_wiring(num_neurons: int, num_synapses: int) -> Wiring:
    sensory = max(num_synapses // 11, num_synapses - num_neurons**2)
    return random_wiring(
        32,
        num_neurons,
        1,
        num_sensory_synapses=sensory,
        num_inner_synapses=num_synapses - sensory,
    )


def scaling_table(scaling: dict[str, list[Point]]) -> str:
    """Return the table: a row for each size."""
    rows = [
        [
            name,
            f"{point.size:,}",
            f"{point.neurons:,}",
            f"{point.synapses:,}",
            f"{point.median_us / 1e3:,.2f}",
            f"{point.synapse_ps:,.0f}",
        ]
        for name, points in scaling.items()
        for point in points
    ]
    header = ["what grows", "size", "neurons", "synapses", "training step [ms]"]
    header += ["per evaluation of a synapse [ps]"]
    title = "### Growing one size (else NCP19, 6 unfolds, batch 64 x 32 frames, 1 thread)"
    return f"{title}\n\n{markdown_table(header, rows)}"


def draw_scaling(scaling: dict[str, list[Point]]) -> Figure:
    """Draw time against each size, both logarithmic, beside time in proportion to it.

    Beside threads stands the time of one, shared by all of them.
    """
    columns = (len(scaling) + 1) // 2
    figure = Figure(figsize=(4.3 * columns, 6.4), layout="constrained")
    panels = figure.subplots(2, columns, sharey=True).flatten()
    for axes, (name, points) in zip(panels, scaling.items(), strict=False):
        sizes = np.array([point.size for point in points])
        times_ms = np.array([point.median_us / 1e3 for point in points])
        is_shared = name == "threads"
        proportional = times_ms[0] / sizes if is_shared else times_ms[-1] * sizes / sizes[-1]
        axes.loglog(sizes, proportional, ":", color="#555555", label="proportional")
        axes.loglog(sizes, times_ms, "o-", color=BLUE, label="measured")
        if is_shared:  # few, and next to one another: each is named
            axes.set_xticks(sizes, [str(size) for size in sizes])
            axes.set_xticks([], minor=True)
        axes.set_xlabel(name)
        axes.grid(alpha=0.3)
    for axes in panels[len(scaling) :]:
        axes.remove()
    for axes in panels[::columns]:
        axes.set_ylabel("training step [ms]")
    panels[0].legend(frameon=False)
    title = "Training step of the LTC circuit: one size grows, the others stay; else 1 thread"
    figure.suptitle(title)
    return figure
