"""A mixed memory around a circuit of synapses, in Triton: one frame of one sample, and its adjoint.

Gates as in mixed_memory.h; arguments as in `triton_scan.py`.
"""
# Kernels are Triton, not Python; and Triton is optional.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportMissingImports=false

import triton
import triton.language as tl

from ncp_control.kernels.triton_math import sigmoid, tanh
from ncp_control.kernels.triton_synapses import load_triple, store_triple


@triton.jit
def _load_square(recurrent, gate, num_neurons, NODES: tl.constexpr):
    """Load the weights from v to one gate, (NODES, NODES)."""
    row, column = tl.arange(0, NODES)[:, None], tl.arange(0, NODES)[None, :]
    is_there = (row < num_neurons) & (column < num_neurons)
    square = recurrent + gate * num_neurons * num_neurons
    return tl.load(square + row * num_neurons + column, mask=is_there, other=0.0)


@triton.jit
def _gate(k, v, gates, recurrent, num_neurons, is_neuron, n):
    x = tl.load(gates + k * num_neurons + n, mask=is_neuron, other=0.0)
    return x + tl.sum(_load_square(recurrent, k, num_neurons, n.shape[0]) * v[None, :], 1)


@triton.jit
def remember(v, m, gates, recurrent, beside, num_neurons, is_neuron, n, HAS_TAPE: tl.constexpr):
    """Return the memory's output σ(o) tanh m, which replaces v, and the new m."""
    i = sigmoid(_gate(0, v, gates, recurrent, num_neurons, is_neuron, n))
    g = tanh(_gate(1, v, gates, recurrent, num_neurons, is_neuron, n))
    f = sigmoid(_gate(2, v, gates, recurrent, num_neurons, is_neuron, n))
    o = sigmoid(_gate(3, v, gates, recurrent, num_neurons, is_neuron, n))
    if HAS_TAPE:
        store_triple(beside + n, num_neurons, 0, is_neuron, (i, g, f), 3)
        store_triple(beside + 3 * num_neurons + n, num_neurons, 0, is_neuron, (o, v, m), 3)
    m = f * m + i * g
    return o * tanh(m), m


@triton.jit
def remember_adjoint(
    v_bar, m_bar, recurrent, beside, gates_bar, num_neurons, is_neuron, n
):  # fmt: skip
    """Return the gradients of v and m before a frame."""
    i, g, f = load_triple(beside + n, num_neurons, 0, is_neuron, 3)
    o, _, m = load_triple(beside + 3 * num_neurons + n, num_neurons, 0, is_neuron, 3)
    tanh_m = tanh(f * m + i * g)
    m_bar += v_bar * o * (1.0 - tanh_m * tanh_m)
    i_bar, g_bar = m_bar * g * i * (1.0 - i), m_bar * i * (1.0 - g * g)
    f_bar, o_bar = m_bar * m * f * (1.0 - f), v_bar * tanh_m * o * (1.0 - o)
    store_triple(gates_bar + n, num_neurons, 0, is_neuron, (i_bar, g_bar, f_bar), 3)
    tl.store(gates_bar + 3 * num_neurons + n, o_bar, mask=is_neuron)
    NODES: tl.constexpr = n.shape[0]
    v_bar = tl.sum(_load_square(recurrent, 0, num_neurons, NODES) * i_bar[:, None], 0)
    v_bar += tl.sum(_load_square(recurrent, 1, num_neurons, NODES) * g_bar[:, None], 0)
    v_bar += tl.sum(_load_square(recurrent, 2, num_neurons, NODES) * f_bar[:, None], 0)
    v_bar += tl.sum(_load_square(recurrent, 3, num_neurons, NODES) * o_bar[:, None], 0)
    return v_bar, m_bar * f
