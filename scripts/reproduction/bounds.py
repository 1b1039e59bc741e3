"""State and time-constant bounds of an LTC circuit, compared with the values it reaches.

Theorems 1 and 2: with reversal potentials E, leak potential V and weights w of its synapses,

    min(V, E) ≤ v ≤ max(V, E),    C / (g + Σ w) ≤ τ ≤ C / g

once v is inside, for any inputs. The circuit runs on random and on extreme inputs, from random
initial potentials within the bounds.

Source: Hasani et al. 2021 (arXiv 2006.04439), theorems 1 and 2.
"""

from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure

from ncp_control import LTC, NCP19, Circuit
from scripts.palette import BLUE, VERMILION

NUM_SEQUENCES, NUM_FRAMES, EXTREME = 64, 200, 1e6
COLOURS = {"random": BLUE, "extreme": VERMILION}


class Ranges(NamedTuple):
    """Smallest and largest value of each neuron, shape (2, neurons)."""

    state: np.ndarray
    timescale_s: np.ndarray


def make_circuit(seed: int) -> Circuit:
    """Build the 19-neuron circuit with random weights a few times as strong as initial ones."""
    torch.manual_seed(seed)
    cell = LTC(NCP19)
    with torch.no_grad():
        cell.raw_weight.add_(1.0)
        cell.raw_reversal.add_(torch.randn_like(cell.raw_reversal))
        cell.leak_potential.uniform_(-1.0, 1.0)
    return Circuit(cell)


@torch.no_grad()
def bounds(cell: LTC) -> Ranges:
    """Return the bounds of the theorems for each neuron."""
    p = cell.effective_parameters()
    lowest, highest = p.leak_potential.clone(), p.leak_potential.clone()
    lowest.scatter_reduce_(0, cell.target, p.reversal_potential, "amin")
    highest.scatter_reduce_(0, cell.target, p.reversal_potential, "amax")
    weight = torch.zeros_like(lowest).index_add(0, cell.target, p.weight)
    fastest_s = p.capacitance_s / (p.leak_conductance + weight)
    slowest_s = p.capacitance_s / p.leak_conductance
    return Ranges(
        state=torch.stack([lowest, highest]).numpy(),
        timescale_s=torch.stack([fastest_s, slowest_s]).numpy(),
    )


@torch.no_grad()
def reached(circuit: Circuit, inputs: str, seed: int) -> Ranges:
    """Run the circuit on inputs and return the range that each neuron reached.

    Args:
        circuit: A circuit of LTC neurons.
        inputs: random: standard normal; extreme: ±1e6, each held for a random number of frames.
        seed: Seed of inputs, elapsed times and initial states.
    """
    assert isinstance(circuit.cell, LTC)
    generator = torch.Generator().manual_seed(seed)
    shape = NUM_SEQUENCES, NUM_FRAMES, circuit.cell.input_size
    driven = torch.randn(shape, generator=generator)
    if inputs == "extreme":
        flips = torch.where(torch.rand(shape, generator=generator) < 0.05, -1.0, 1.0)
        driven = EXTREME * driven[:, :1].sign() * flips.cumprod(dim=1)
    allowed = torch.from_numpy(bounds(circuit.cell).state)
    places = torch.rand(NUM_SEQUENCES, circuit.cell.state_size, generator=generator)
    start = torch.lerp(allowed[0], allowed[1], places)
    # Elapsed times from a tenth of a millisecond to ten seconds.
    dt_s = 10.0 ** (torch.rand(shape[:2], generator=generator) * 5.0 - 4.0)
    activity = circuit.record(driven, start, dt_s=dt_s)
    assert activity.timescales_s is not None

    def extremes(values: torch.Tensor) -> np.ndarray:
        return torch.stack([values.amin((0, 1)), values.amax((0, 1))]).numpy()

    return Ranges(extremes(activity.states), extremes(activity.timescales_s))


def draw_bounds(circuit: Circuit, seed: int) -> Figure:
    """Draw the allowed and the reached range of each neuron."""
    assert isinstance(circuit.cell, LTC)
    allowed = bounds(circuit.cell)
    names = circuit.cell.neuron_names
    place = np.arange(len(names))
    figure = Figure(figsize=(9.0, 5.2), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    results = {inputs: reached(circuit, inputs, seed) for inputs in COLOURS}
    for axes, i, label in ((panels[0], 0, "potential v"), (panels[1], 1, "time constant τ [s]")):
        low, high = allowed[i]
        axes.bar(place, high - low, 0.8, low, color="0.88", edgecolor="0.5", label="allowed")
        for offset, (inputs, ranges) in zip((-0.17, 0.17), results.items(), strict=True):
            name = "random inputs" if inputs == "random" else "inputs of ±10⁶"
            colour = COLOURS[inputs]
            axes.vlines(place + offset, *ranges[i], color=colour, linewidth=4.0, label=name)
        axes.set_ylabel(label)
        axes.use_sticky_edges = False  # leave room below the lowest bar
        axes.grid(axis="y", alpha=0.3)
    panels[1].set_yscale("log")
    panels[1].set_xticks(place, [name.replace("_", " ") for name in names], rotation=60, ha="right")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure
