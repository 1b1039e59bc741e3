"""STC, LRC and LTC circuits on a GPU, and mixed memories around them, as programs of `dense_op`.

They use the kernels of `triton_circuit.py`. This file splits the matrices of a program, which
synaptic.h and mixed_memory.h explain, and assembles their gradients.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ncp_control.kernels.dense_layout import SynapticLayout
from ncp_control.kernels.triton_circuit import Frames, SynapticCircuit
from ncp_control.kernels.triton_plan import Plan, find_plan

if TYPE_CHECKING:
    from ncp_control.kernels.dense_op import DenseArguments

LAYER_NUMBERS = 5
"""Numbers per layer in the wiring: first neuron, end, is recurrent, first inner synapse, end."""


def unroll(q: "DenseArguments", layout: SynapticLayout, has_tape: bool) -> tuple[Tensor, Tensor]:
    """Return states and tape."""
    circuit, _ = _circuit(q, layout)
    return circuit.unroll(_frames(q), has_tape)


def adjoint(
    q: "DenseArguments",
    layout: SynapticLayout,
    tape: Tensor,
    states_bar: Tensor,
    has_input_bar: bool,
) -> tuple[Tensor, ...]:
    """Return the gradients of inputs (empty if not wanted), state, frames and weights."""
    circuit, weight = _circuit(q, layout)
    tape = tape.contiguous()
    found = circuit.adjoint(_frames(q), tape, states_bar.contiguous())
    neurons = torch.cat([found.capacitance[None], found.leak, found.own])
    pieces, input_bar = [found.table.t().flatten(), neurons.t().flatten()], found.input
    if found.gates is not None:
        bars, inputs = found.gates.flatten(0, 1), q.input.flatten(0, 1)
        before = circuit.states_before(tape)
        gates = [(bars.t() @ before).flatten(), (bars.t() @ inputs).flatten(), bars.sum(0)]
        pieces = [*gates, *pieces]
        input_bar = input_bar + found.gates @ weight
    if not has_input_bar:
        input_bar = q.input.new_empty(0)
    return input_bar, found.state, found.time, torch.cat(pieces)


def _frames(q: "DenseArguments") -> Frames:
    reset = None if q.reset is None else q.reset.contiguous()
    return Frames(q.input.contiguous(), q.state.contiguous(), q.frames.contiguous(), reset)


def _circuit(q: "DenseArguments", layout: SynapticLayout) -> tuple[SynapticCircuit, Tensor]:
    """Return the circuit, and the weights from the inputs to a memory's gates."""
    inputs, n, weights = q.input.shape[2], layout.neurons, q.weights.contiguous()
    sizes = [4 * n * n, 4 * n * inputs, 4 * n] if layout.has_memory else [0, 0, 0]
    columns = 2 + layout.sums, 1 + layout.sums + layout.own
    sizes += [layout.synapses * columns[0], n * columns[1]]
    recurrent, weight, bias, table, neurons = weights.split(sizes)
    weight, neurons = weight.view(-1, inputs), neurons.view(n, columns[1]).t().contiguous()
    has_memory = layout.has_memory
    gates = torch.nn.functional.linear(q.input, weight, bias) if has_memory else None
    circuit = SynapticCircuit(
        plan=_plan(q, layout),
        table=table.view(layout.synapses, columns[0]).t().contiguous(),
        capacitance=neurons[0],
        leak=neurons[1 : 1 + layout.sums],
        own=neurons[1 + layout.sums :],
        equation=layout.equation,
        integrator=layout.integrator,
        unfolds=layout.unfolds,
        gates=gates,
        recurrent=recurrent if has_memory else None,
    )
    return circuit, weight


def _plan(q: "DenseArguments", layout: SynapticLayout) -> Plan:
    wiring = q.wiring
    assert wiring is not None

    def read() -> tuple[np.ndarray, np.ndarray, list[int]]:
        numbers, synapses = wiring.cpu().numpy(), layout.synapses
        layers = numbers[2 * synapses :].reshape(-1, LAYER_NUMBERS)[:, :3].ravel().tolist()
        return numbers[:synapses], numbers[synapses : 2 * synapses], layers

    return find_plan((wiring,), (q.input.shape[2], layout.neurons, layout.synapses), read)
