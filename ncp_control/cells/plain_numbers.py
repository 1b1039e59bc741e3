"""Parameters of a circuit over a wiring, in the form that code without PyTorch reads.

The export to C writes them as tables, and the inspector's page runs the same circuit with them in
the browser. A synapse with the input x is open by 1 / (1 + 2^(rate (x − centre))). x is a raw
input, or the potential of a neuron.
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ncp_control.cells import SynapticCell, WiredCfC
from ncp_control.wiring import Wiring

_LOG2_E = math.log2(math.e)
_SMALLEST_SCALE = 1e-20


@dataclass(frozen=True, kw_only=True)
class CircuitNumbers:
    """Effective parameters of a circuit in single precision, by name."""

    synapses: Mapping[str, np.ndarray]
    """`rate`, `centre`, and the equation's parameters of synapses, each of shape (synapses,)."""
    neurons: Mapping[str, np.ndarray]
    """Parameters of the neurons, each of shape (neurons,)."""


def to_float32(values: Tensor | np.ndarray) -> np.ndarray:
    """Convert values to single precision.

    Raises:
        ValueError: If a value is not finite in single precision.
    """
    if isinstance(values, Tensor):
        values = values.detach().double().cpu().numpy()
    with np.errstate(over="ignore"):
        converted = values.astype(np.float32)
    if not np.isfinite(converted).all():
        bad = float(values[~np.isfinite(converted)].flat[0])
        raise ValueError(
            f"`policy` must have weights that are finite in single precision, got {bad!r}."
            " Train it again, or load another one."
        )
    return converted


def ltc_numbers(cell: SynapticCell) -> CircuitNumbers:
    """Return the parameters of an LTC circuit.

    An open synapse adds `weight` to the conductance of its target and `weighted_reversal` to its
    drive; the leak adds `leak` and `leak_drive`; `capacitance_s` is in seconds.
    """
    exact = copy.deepcopy(cell).double()
    p = exact.effective_parameters()
    return circuit_numbers(
        exact,
        {"weight": p.weight, "weighted_reversal": p.weight * p.reversal_potential},
        {
            "capacitance_s": p.capacitance_s,
            "leak": p.leak_conductance,
            "leak_drive": p.leak_conductance * p.leak_potential,
        },
    )


def circuit_numbers(
    exact: SynapticCell, columns: Mapping[str, Tensor], leaks: Mapping[str, Tensor]
) -> CircuitNumbers:
    """Return the parameters of a circuit, with rate and centre computed for each synapse.

    Args:
        exact: The cell in double precision.
        columns: Parameters of the synapses besides rate and centre, by name.
        leaks: Parameters of the neurons, by name.
    """
    scale, offset = scaled_nodes(exact)
    # A synapse is half open at `centre`, which lies far away for an input with no effect.
    scale = torch.where(scale.abs() < _SMALLEST_SCALE, _SMALLEST_SCALE, scale)
    rate = -_LOG2_E * exact.slope * scale[exact.source]
    centre = (exact.threshold - offset[exact.source]) / scale[exact.source]
    synapses = {"rate": rate, "centre": centre, **columns}
    return CircuitNumbers(
        synapses={name: to_float32(values) for name, values in synapses.items()},
        neurons={name: to_float32(values) for name, values in leaks.items()},
    )


def scaled_nodes(exact: SynapticCell) -> tuple[Tensor, Tensor]:
    """Return scale and offset applied to each node before its synapses."""
    wiring = exact.wiring
    scale, offset = torch.ones(wiring.num_nodes).double(), torch.zeros(wiring.num_nodes).double()
    scale[: wiring.num_sensory] = exact.input_scale.detach()
    offset[: wiring.num_sensory] = exact.input_offset.detach()
    return scale, offset


def synapse_sources(wiring: Wiring) -> np.ndarray:
    """Return for each synapse the index of its source, among the inputs or among the neurons."""
    is_inner = wiring.sources >= wiring.num_sensory
    return wiring.sources - wiring.num_sensory * is_inner


def synapse_ends(wiring: Wiring) -> list[dict[str, int]]:
    """Return the end indices of each neuron's synapses: sensory, from earlier layers, all inner."""
    layer_start = {n: nodes.start for nodes in wiring.layers.values() for n in nodes}
    sensory = wiring.sources < wiring.num_sensory
    rows = []
    for neuron in range(wiring.num_sensory, wiring.num_nodes):
        mine = wiring.targets <= neuron  # all synapses up to this neuron, which gives the end
        earlier = mine & ~sensory & (wiring.targets < neuron)
        earlier |= ~sensory & (wiring.targets == neuron) & (wiring.sources < layer_start[neuron])
        first = wiring.num_sensory_synapses
        counts = [int(np.sum(which)) for which in (mine & sensory, earlier, mine & ~sensory)]
        ends = (counts[0], first + counts[1], first + counts[2])
        rows.append(dict(zip(("sensory", "earlier", "inner"), ends, strict=True)))
    return rows


def motor_numbers(cell: SynapticCell | WiredCfC) -> np.ndarray:
    """Return factor and offset of each output, float32 of shape (outputs, 2)."""
    return to_float32(torch.stack([cell.output_scale, cell.output_offset], dim=1))
