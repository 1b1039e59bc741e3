"""ONNX graphs of cells without a wiring, and of the memory that any cell can have beside it."""

import math
from collections.abc import Callable
from typing import Any

from torch import nn

from ncp_control.cells import (
    CTGRU,
    CTRNN,
    GRU,
    LSTM,
    ODERNN,
    CfC,
    Feedforward,
    NeuralODE,
    StackedFrames,
)
from ncp_control.cells.dense import DenseCell
from ncp_control.cells.gated import FusedCell
from ncp_control.deploy.onnx.graph import Graph, Operand, Value
from ncp_control.deploy.onnx.wired import closed_form, numbers

_ACTIVATIONS: dict[str, Callable[[Graph, Value], Value]] = {
    "lecun_tanh": lambda graph, x: graph.tanh(x * 0.666) * 1.7159,
    "tanh": Graph.tanh,
    "relu": Graph.relu,
    "silu": lambda graph, x: x * graph.sigmoid(x),
    "gelu": lambda graph, x: x * 0.5 * (graph.op("Erf", x * math.sqrt(0.5)) + 1.0),
}
"""Activations of a CfC's backbone, by name."""


def linear(graph: Graph, layer: nn.Linear, x: Value, start: Operand | None = None) -> Value:
    """Apply a dense layer; `start`, if given, replaces the bias."""
    return graph.dense(x, numbers(layer.weight), numbers(layer.bias) if start is None else start)


def read_linear(graph: Graph, cell: DenseCell, state: Value) -> Value:
    """Map the hidden activity to the outputs."""
    return linear(graph, cell.output, graph.cut(state, 0, cell.hidden_size))


def feedforward_step(
    graph: Graph, cell: Feedforward, features: Value, state: Value, dt_s: Value
) -> Value:
    """Return the output of two dense layers."""
    return _two_layers(graph, cell.hidden, features)


def stacked_frames_step(
    graph: Graph, cell: StackedFrames, features: Value, state: Value, dt_s: Value
) -> Value:
    """Drop the oldest frame and append the current one."""
    return graph.join([graph.cut(state, cell.input_size, cell.state_size), features])


def read_stacked_frames(graph: Graph, cell: StackedFrames, state: Value) -> Value:
    """Map the remembered frames to the outputs."""
    return linear(graph, cell.output, _two_layers(graph, cell.hidden, state))


def _two_layers(graph: Graph, layers: nn.Sequential, x: Value) -> Value:
    first, second = _linears(layers)
    return graph.relu(linear(graph, second, graph.relu(linear(graph, first, x))))


def _linears(layers: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in layers if isinstance(layer, nn.Linear)]


def ctrnn_step(graph: Graph, cell: CTRNN, features: Value, state: Value, dt_s: Value) -> Value:
    """Return the state of leaky units after exponential Euler steps."""
    projected = linear(graph, cell.input_map, features)
    time = dt_s / float(cell.unfolds) / numbers(cell.time_constants_s())
    approach = graph.one_minus_exp(time)
    for _ in range(cell.unfolds):
        target = graph.tanh(linear(graph, cell.state_map, state, projected))
        state = state + approach * (target - state)
    return state


def neural_ode_step(
    graph: Graph, cell: NeuralODE, features: Value, state: Value, dt_s: Value
) -> Value:
    """Return the state after Runge-Kutta steps along tanh(W u + U v + b)."""
    projected = linear(graph, cell.input_map, features)

    def rate(point: Value) -> Value:
        return graph.tanh(linear(graph, cell.state_map, point, projected))

    return _runge_kutta(rate, state, dt_s / cell.frame_s, cell.unfolds)


def _runge_kutta(
    rate: Callable[[Value], Value], state: Value, frames: Value, unfolds: int
) -> Value:
    h = frames / float(unfolds)
    half, sixth = h * 0.5, h / 6.0
    for _ in range(unfolds):
        k1 = rate(state)
        k2 = rate(state + half * k1)
        k3 = rate(state + half * k2)
        k4 = rate(state + h * k3)
        state = state + sixth * (k1 + k4 + (k2 + k3) * 2.0)
    return state


def ode_rnn_step(graph: Graph, cell: ODERNN, features: Value, state: Value, dt_s: Value) -> Value:
    """Advance the state by the neural ODE until the frame, then update it by the GRU."""
    first, second = _linears(cell.field)

    def rate(point: Value) -> Value:
        return graph.tanh(linear(graph, second, graph.tanh(linear(graph, first, point))))

    state = _runge_kutta(rate, state, dt_s / cell.frame_s, cell.unfolds)
    gru = cell.gru
    weights = gru.weight_ih, gru.bias_ih, gru.weight_hh, gru.bias_hh
    return _gru(graph, weights, cell.hidden_size, features, state)


def _gru(graph: Graph, weights: tuple[Any, ...], width: int, inputs: Value, state: Value) -> Value:
    input_map, input_bias, state_map, state_bias = map(numbers, weights)
    sizes = [2 * width, width]
    input_gates, input_part = graph.split(graph.dense(inputs, input_map, input_bias), sizes)
    gates_kept, kept_part = graph.split(graph.dense(state, state_map, state_bias), sizes)
    reset, update = graph.split(graph.sigmoid(input_gates + gates_kept), [width] * 2)
    candidate = graph.tanh(input_part + reset * kept_part)
    return candidate + update * (state - candidate)


def _with_time(graph: Graph, cell: FusedCell, features: Value, dt_s: Value) -> Value:
    if not cell.sees_time:
        return features
    return graph.join([features, dt_s / cell.frame_s])


def gru_step(graph: Graph, cell: GRU, features: Value, state: Value, dt_s: Value) -> Value:
    """Return the next state of a GRU."""
    gru: Any = cell.gru
    weights = gru.weight_ih_l0, gru.bias_ih_l0, gru.weight_hh_l0, gru.bias_hh_l0
    return _gru(graph, weights, cell.hidden_size, _with_time(graph, cell, features, dt_s), state)


def lstm_step(graph: Graph, cell: LSTM, features: Value, state: Value, dt_s: Value) -> Value:
    """Return the next hidden and memory values of an LSTM, side by side."""
    lstm: Any = cell.lstm
    hidden, memory = graph.split(state, [cell.hidden_size] * 2)
    bias = numbers(lstm.bias_ih_l0 + lstm.bias_hh_l0)
    from_inputs = graph.dense(
        _with_time(graph, cell, features, dt_s), numbers(lstm.weight_ih_l0), bias
    )
    gates = graph.dense(hidden, numbers(lstm.weight_hh_l0), from_inputs)
    enter, forget, candidate, show = graph.split(gates, [cell.hidden_size] * 4)
    memory = remembered(graph, enter, forget, candidate, memory)
    return graph.join([graph.sigmoid(show) * graph.tanh(memory), memory])


def remembered(graph: Graph, enter: Value, forget: Value, candidate: Value, memory: Value) -> Value:
    """Return the next memory of an LSTM."""
    return graph.sigmoid(forget) * memory + graph.sigmoid(enter) * graph.tanh(candidate)


def ctgru_step(graph: Graph, cell: CTGRU, features: Value, state: Value, dt_s: Value) -> Value:
    """Return the next traces of a continuous-time GRU."""
    units, scales = cell.hidden_size, cell.num_scales
    logarithms = numbers(cell._log_scales())

    def share(log_scale: Value) -> Value:
        scaled = graph.reshape(log_scale, -1, units, 1) * 2.0
        return graph.op("Softmax", (scaled - logarithms) * logarithms, axis=2)

    fade = graph.exp_of_minus(dt_s / numbers(cell.scales_s()))
    traces = graph.reshape(state, -1, units, scales) * graph.reshape(fade, -1, 1, scales)
    projected = linear(graph, cell.input_map, features)
    scale_inputs, event_inputs = graph.split(projected, [2 * units, units])
    log_scale = linear(graph, cell.scale_map, graph.sum(traces, 2), scale_inputs)
    retrieval, storage = (share(part) for part in graph.split(log_scale, [units] * 2))
    retrieved = graph.sum(retrieval * traces, 2)
    event = graph.tanh(linear(graph, cell.event_map, retrieved, event_inputs))
    traces = traces + storage * (graph.reshape(event, -1, units, 1) - traces)
    return graph.reshape(traces, -1, units * scales)


def read_traces(graph: Graph, cell: CTGRU, state: Value) -> Value:
    """Map the sum of each unit's traces to the outputs."""
    traces = graph.reshape(state, -1, cell.hidden_size, cell.num_scales)
    return linear(graph, cell.output, graph.sum(traces, 2))


def cfc_step(graph: Graph, cell: CfC, features: Value, state: Value, dt_s: Value) -> Value:
    """Return the next state of closed-form neurons over a dense backbone."""
    values = linear(graph, cell.state_map, state, linear(graph, cell.input_map, features))
    for layer in cell.deeper_maps:
        assert isinstance(layer, nn.Linear)
        values = linear(graph, layer, _ACTIVATIONS[cell.activation](graph, values))
    frames = dt_s / cell.frame_s
    return closed_form(graph, cell.solution, values, frames, slice(0, cell.hidden_size))
