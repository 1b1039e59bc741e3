"""ONNX graphs of cells over a wiring: LTC, STC, LRC and wired CfC."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ncp_control.cells import STC, SynapticCell, WiredCfC
from ncp_control.cells.cfc import NUM_HEADS, ClosedForm
from ncp_control.cells.saturated import LARGEST_LOGIT
from ncp_control.deploy.onnx.graph import Graph, Operand, Value

NEURONS_TOGETHER = 64
"""Number of neurons whose sums are one matrix product; for more, its zeros would cost too much."""


def numbers(tensor: Tensor) -> np.ndarray:
    """Convert a tensor to an array."""
    return tensor.detach().cpu().numpy()


class _Synapses:
    """LTC equation in a graph: conductance a and drive b of some neurons."""

    num_sums = 2
    """Number of sums over its synapses that make a neuron's flow."""

    def __init__(self, graph: Graph, cell: SynapticCell) -> None:
        self.graph = graph
        values = cell.effective_parameters()
        arrays: list[Any] = [None if x is None else numbers(x) for x in values]
        self.parameters: Any = type(values)(*arrays)
        self.source, self.target = numbers(cell.source), numbers(cell.target)
        self.num_inputs = cell.input_size

    def leak(self, neurons: range) -> np.ndarray:
        """Return the contribution of the leak to a and then to b, shape (1, 2 x neurons)."""
        p, here = self.parameters, slice(neurons.start, neurons.stop)
        conductance = p.leak_conductance[here]
        return np.concatenate([conductance, conductance * p.leak_potential[here]])[None]

    def weights(self, which: np.ndarray) -> list[np.ndarray]:
        """Return the contribution of each open synapse to a and to b."""
        p = self.parameters
        return [p.weight[which], p.weight[which] * p.reversal_potential[which]]

    def add(
        self, start: Operand, which: np.ndarray, signal: Value | None, first: int, neurons: range
    ) -> Operand:
        """Add the contributions of some synapses to the sums of `neurons`.

        Args:
            start: Sums so far, concatenated, shape (batch or 1, sums x neurons).
            which: Indices of the synapses in the wiring.
            signal: Values of source nodes, shape (batch, nodes); None if there are none.
            first: Index of the first node in `signal`.
            neurons: The target neurons.
        """
        if len(which) == 0 or signal is None:
            return start
        p, graph = self.parameters, self.graph
        presynaptic = graph.pick(signal, self.source[which] - first)
        opening = graph.sigmoid((presynaptic - p.threshold[which]) * p.slope[which])
        start = graph.dense(opening, self._matrix(which, neurons, self.weights(which)), start)
        direct = self.direct_weights(which)
        return (
            start
            if direct is None
            else graph.dense(presynaptic, self._matrix(which, neurons, [0.0, 0.0, direct]), start)
        )

    def direct_weights(self, which: np.ndarray) -> np.ndarray | None:
        """Return each synapse's contribution to the last sum, open or closed; None for nothing."""
        return None

    def _matrix(self, which: np.ndarray, neurons: range, weights: Sequence[Any]) -> np.ndarray:
        """Arrange synapse weights as a matrix with a row for each sum of each neuron."""
        matrix = np.zeros((self.num_sums * len(neurons), len(which)))
        row, column = self.target[which] - neurons.start, np.arange(len(which))
        for k, weight in enumerate(weights):
            matrix[row + k * len(neurons), column] = weight
        return matrix

    def flow(self, sums: Operand, neurons: range) -> tuple[Value, Value]:
        """Return a and b computed from the sums."""
        conductance, drive = self._split(sums, neurons)
        return conductance, drive

    def _split(self, sums: Operand, neurons: range) -> list[Value]:
        value = sums if isinstance(sums, Value) else self.graph.constant(sums)
        return self.graph.split(value, [len(neurons)] * self.num_sums)

    def find(self, neurons: range, sources: range) -> np.ndarray:
        """Return the indices of the synapses from some nodes to some neurons."""
        to = (self.target >= neurons.start) & (self.target < neurons.stop)
        return np.flatnonzero(to & (self.source >= sources.start) & (self.source < sources.stop))


class _SaturatedSynapses(_Synapses):
    """Equation of STC and LRC in a graph; the sums are f, u and, for an LRC, y."""

    def __init__(self, graph: Graph, cell: SynapticCell) -> None:
        super().__init__(graph, cell)
        self.num_sums = 2 if self.parameters.elastance_weight is None else 3

    def leak(self, neurons: range) -> np.ndarray:
        """Return the contribution of the leak to f and to u, and the bias of y."""
        p, here = self.parameters, slice(neurons.start, neurons.stop)
        biases = [p.leak_conductance, p.leak_conductance, p.elastance_bias]
        return np.concatenate([bias[here] for bias in biases[: self.num_sums]])[None]

    def weights(self, which: np.ndarray) -> list[np.ndarray]:
        """Return the contribution of each open synapse to f and to u."""
        return [self.parameters.weight[which], self.parameters.update_weight[which]]

    def direct_weights(self, which: np.ndarray) -> np.ndarray | None:
        """Return the contribution of each synapse to y."""
        weight = self.parameters.elastance_weight
        return None if weight is None else weight[which]

    def flow(self, sums: Operand, neurons: range) -> tuple[Value, Value]:
        """Return a and b computed from the sums."""
        p, here, graph = self.parameters, slice(neurons.start, neurons.stop), self.graph
        forget, update, *logit = self._split(sums, neurons)
        conductance = graph.sigmoid(forget)
        drive = graph.tanh(update) * p.leak_potential[here]
        if not logit:
            return conductance, drive
        width = None if p.elastance_width is None else p.elastance_width[here]
        y = graph.op("Clip", logit[0], -LARGEST_LOGIT, LARGEST_LOGIT)
        if width is None:
            share = graph.sigmoid(y)
        else:
            both = graph.sigmoid(y + width) * graph.sigmoid(width - y)
            share = both * -np.expm1(-2.0 * width)
        return share * conductance, share * drive


def synaptic_step(
    graph: Graph, cell: SynapticCell, features: Value, state: Value, dt_s: Value
) -> Value:
    """Return the potentials of an LTC, STC or LRC after a step.

    Raises:
        ValueError: If the integrator has no ONNX graph.
    """
    if cell.integrator == "rk4":
        raise ValueError(
            "`integrator` must not be 'rk4' in ONNX, got 'rk4', which can blow up."
            " Train with 'layered_midpoint', 'exponential_euler' or 'semi_implicit_euler'."
        )
    kind = _SaturatedSynapses if isinstance(cell, STC) else _Synapses
    synapses, num_neurons = kind(graph, cell), cell.state_size
    inputs = features * numbers(cell.input_scale) + numbers(cell.input_offset)
    if cell.layers:
        groups = [range(layer.neurons.start, layer.neurons.stop) for layer in cell.layers]
    else:
        starts = range(0, num_neurons, NEURONS_TOGETHER)
        groups = [range(k, min(k + NEURONS_TOGETHER, num_neurons)) for k in starts]
    held = []
    for neurons in groups:
        which = synapses.find(neurons, range(cell.input_size))
        held.append(synapses.add(synapses.leak(neurons), which, inputs, 0, neurons))
    advance = _advance_layers if cell.layers else _advance_all
    h_s = dt_s / float(cell.unfolds)
    # Times in units of C, which are the same in all sub-steps.
    times = [h_s / synapses.parameters.capacitance_s[g.start : g.stop] for g in groups]
    for _ in range(cell.unfolds):
        state = advance(cell, synapses, groups, held, state, h_s, times)
    return state


def _advance_all(
    cell: SynapticCell,
    synapses: _Synapses,
    groups: Sequence[range],
    held: Sequence[Operand],
    state: Value,
    h_s: Value,
    times: Sequence[Value],
) -> Value:
    """Take a step of an Euler rule: all neurons use the state before the step."""
    graph, first, ends = synapses.graph, cell.input_size, []
    nodes = range(first, first + cell.state_size)
    starts = graph.split(state, [len(group) for group in groups])
    for neurons, v, base, time in zip(groups, starts, held, times, strict=True):
        which = synapses.find(neurons, nodes)
        a, b = synapses.flow(synapses.add(base, which, state, first, neurons), neurons)
        if cell.integrator == "semi_implicit_euler":
            capacitance_s = synapses.parameters.capacitance_s[neurons.start : neurons.stop]
            ends.append(v + h_s * ((b - a * v) / (h_s * a + capacitance_s)))
        elif cell.integrator == "explicit_euler":
            ends.append(v + graph.op("Min", time * a, 1.0) * (b / a - v))
        else:
            ends.append(v + graph.one_minus_exp(time * a) * (b / a - v))
    return graph.join(ends)


def _advance_layers(
    cell: SynapticCell,
    synapses: _Synapses,
    groups: Sequence[range],
    held: Sequence[Operand],
    state: Value,
    h_s: Value,
    times: Sequence[Value],
) -> Value:
    """Take an exponential midpoint step, layer after layer; see `integrators.layered_midpoint`."""
    graph, first = synapses.graph, cell.input_size
    middles: list[Value] = []
    ends: list[Value] = []
    starts = graph.split(state, [len(group) for group in groups])
    for neurons, v, base, time in zip(groups, starts, held, times, strict=True):
        earlier = synapses.find(neurons, range(first, first + neurons.start))
        own = synapses.find(neurons, range(first + neurons.start, first + neurons.stop))
        joined = graph.join(middles) if middles else None
        base = synapses.add(base, earlier, joined, first, neurons)
        place = first + neurons.start
        a, b = synapses.flow(synapses.add(base, own, v, place, neurons), neurons)
        half, distance = graph.one_minus_exp(time * 0.5 * a), b / a - v
        middle = v + half * distance
        middles.append(middle)
        if len(own):
            a, b = synapses.flow(synapses.add(base, own, middle, place, neurons), neurons)
            ends.append(v + graph.one_minus_exp(time * a) * (b / a - v))
        else:
            ends.append(v + half * (2.0 - half) * distance)
    return graph.join(ends)


def closed_form(
    graph: Graph, solution: ClosedForm, heads: Value, frames: Value, units: slice
) -> Value:
    """Return the state of some CfC neurons after `frames` frames; see `ClosedForm`."""
    if solution.mode == "pure":
        amplitude = numbers(solution.amplitude[units])
        rate = graph.op("Abs", heads) + numbers(solution.leak_rate[units].abs())
        return amplitude - graph.exp_of_minus(frames * rate) * amplitude * heads
    first, second, slope, offset = graph.split(heads, [units.stop - units.start] * 4)
    first, second = graph.tanh(first), graph.tanh(second)
    gate = graph.sigmoid(slope * frames + offset)
    if solution.mode == "no_gate":
        return first + second * gate
    return first + gate * (second - first)


def wired_cfc_step(
    graph: Graph, cell: WiredCfC, features: Value, state: Value, dt_s: Value
) -> Value:
    """Return the next states, computed layer after layer."""
    frames, matrix = dt_s / cell.frame_s, numbers(cell._matrix())
    biases = numbers(torch.cat([cell.bias[:, layer].flatten() for layer in cell.layers]))
    num_heads, row = NUM_HEADS[cell.mode], 0
    nodes = graph.join([features, state])
    for layer in cell.layers:
        rows = slice(row, row + num_heads * (layer.stop - layer.start))
        heads = graph.dense(nodes, matrix[rows], biases[rows])
        new = closed_form(graph, cell.solution, heads, frames, layer)
        parts = [graph.cut(nodes, 0, cell.input_size + layer.start), new]
        if layer.stop < cell.state_size:
            end = cell.input_size + cell.state_size
            parts.append(graph.cut(nodes, cell.input_size + layer.stop, end))
        nodes, row = graph.join(parts), rows.stop
    return graph.cut(nodes, cell.input_size, cell.input_size + cell.state_size)


def read_motors(graph: Graph, cell: SynapticCell | WiredCfC, state: Value) -> Value:
    """Scale and shift the motor neurons; add the outputs' other inputs, if any."""
    motors = graph.cut(state, cell.state_size - cell.output_size, cell.state_size)
    outputs = motors * numbers(cell.output_scale) + numbers(cell.output_offset)
    if not isinstance(cell, SynapticCell) or cell.read_weight is None:
        return outputs
    read = graph.cut(state, cell.read_neurons.start, cell.read_neurons.stop)
    return graph.dense(read, numbers(cell.read_weight), outputs)
