"""How the cost of a training step grows: one size grows, the others stay."""

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure

from ncp_control import LTC, NCP19, Circuit, Wiring, random_wiring
from ncp_control.markdown import markdown_table
from scripts.benchmarking.steps import first, training_step
from scripts.benchmarking.timing import measure

SWEEPS: dict[str, tuple[int, ...]] = {
    "neurons": (19, 64, 256, 1024),
    "synapses, 310 neurons": (252, 1_000, 10_000, 100_000),
    "synapses, neurons too": (252, 1_000, 10_000, 100_000),
    "batch": (1, 8, 9, 16, 64, 256),
    "frames": (1, 16, 64, 256),
    "unfolds": (1, 3, 6, 12),
}
"""What grows, and to which sizes; all else as in NCP19 with 6 unfolds, batch 64 x 32 frames.

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
        actions[str(size)] = training_step(circuit, first, inputs)
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
    title = "### Growing one size (else NCP19, 6 unfolds, batch 64 x 32 frames), 1 thread"
    return f"{title}\n\n{markdown_table(header, rows)}"


def draw_scaling(scaling: dict[str, list[Point]]) -> Figure:
    """Draw time against each size, both logarithmic, beside proportional growth."""
    figure = Figure(figsize=(13, 6.4), layout="constrained")
    panels = figure.subplots(2, (len(scaling) + 1) // 2, sharey=True).flatten()
    for axes, (name, points) in zip(panels, scaling.items(), strict=False):
        sizes = np.array([point.size for point in points])
        times_ms = np.array([point.median_us / 1e3 for point in points])
        proportional = times_ms[-1] * sizes / sizes[-1]
        axes.loglog(sizes, proportional, ":", color="#555555", label="proportional")
        axes.loglog(sizes, times_ms, "o-", color="#0072B2", label="measured")
        axes.set_xlabel(name)
        axes.grid(alpha=0.3)
    for axes in panels[:: len(panels) // 2]:
        axes.set_ylabel("training step [ms]")
    panels[0].legend(frameon=False)
    figure.suptitle("Training step of the LTC circuit, 1 thread: one size grows, the others stay")
    return figure
