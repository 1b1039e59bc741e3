"""Circuits of synapses in Triton: sums over synapses, and the sensory part of a sequence.

Equations and symbols are those of links.h: a synapse opens by s = σ(γ x + c) and adds w s, k s and
o x to the sums f, u and y of its target. SUMS is 2 if there is no y; then o and y are zeros.

Synapses are stored in the order of the wiring. Sums over the synapses of a neuron are gathers: a
row of a slot table lists the positions of the synapses, padded with −1, and `rows` holds the row of
each neuron, −1 for a neuron without synapses. There are no atomic additions, so every run gives
bitwise the same sums.

| symbol | meaning                        |
|--------|--------------------------------|
| x      | presynaptic signal: an input, or a potential |
| p      | γ, c, w, k, o of every synapse |
| _bar   | gradient of the loss           |

Sizes in capitals are powers of two.
"""
# Kernels are Triton, not Python; and Triton is optional.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportMissingImports=false

import triton
import triton.language as tl


@triton.jit
def load_parameters(table, stride, position, is_there, SUMS: tl.constexpr):
    """Load γ, c, w, k and o of every synapse."""
    g = tl.load(table + position, mask=is_there, other=0.0)
    c = tl.load(table + stride + position, mask=is_there, other=0.0)
    w = tl.load(table + 2 * stride + position, mask=is_there, other=0.0)
    k = tl.load(table + 3 * stride + position, mask=is_there, other=0.0)
    o = tl.zeros_like(k)
    if SUMS == 3:
        o = tl.load(table + 4 * stride + position, mask=is_there, other=0.0)
    return g, c, w, k, o


@triton.jit
def load_slots(slots, rows, ROWS: tl.constexpr, SLOTS: tl.constexpr, NODES: tl.constexpr):
    """Load a slot table: positions (ROWS · SLOTS,) and the row of each node (NODES,)."""
    return tl.load(slots + tl.arange(0, ROWS * SLOTS)), tl.load(rows + tl.arange(0, NODES))


@triton.jit
def sum_rows(values, slots, ROWS: tl.constexpr, SLOTS: tl.constexpr):
    """Sum values of synapses for each node."""
    position, row = slots
    # `where` instead of a product with 0: a NaN must not spread to other neurons.
    values = tl.where(position >= 0, tl.gather(values, tl.maximum(position, 0), 0), 0.0)
    sums = tl.sum(tl.reshape(values, (ROWS, SLOTS)), 1)
    return tl.where(row >= 0, tl.gather(sums, tl.maximum(row, 0), 0), 0.0)


@triton.jit
def flow(x, p, slots, SUMS: tl.constexpr, ROWS: tl.constexpr, SLOTS: tl.constexpr):
    """Return the sums Σ w s, Σ k s and Σ o x of each neuron."""
    g, c, w, k, o = p
    # exp may overflow to infinity, whose reciprocal is 0, the right limit.
    s = 1.0 / (1.0 + tl.exp(-(g * x + c)))
    f, u = sum_rows(w * s, slots, ROWS, SLOTS), sum_rows(k * s, slots, ROWS, SLOTS)
    y = tl.zeros_like(f)
    if SUMS == 3:
        y = sum_rows(o * x, slots, ROWS, SLOTS)
    return f, u, y


@triton.jit
def flow_adjoint(x, bars, target, p, grown, SUMS: tl.constexpr):
    """Return x_bar of every synapse, and add one term to the gradients of its parameters (`grown`).

    `bars` are f_bar, u_bar and y_bar of each neuron.
    """
    g, c, w, k, o = p
    sum_g, sum_c, sum_w, sum_k, sum_o = grown
    f_bar, u_bar = tl.gather(bars[0], target, 0), tl.gather(bars[1], target, 0)
    s = 1.0 / (1.0 + tl.exp(-(g * x + c)))
    d = (f_bar * w + u_bar * k) * s * (1.0 - s)
    x_bar = d * g
    if SUMS == 3:
        y_bar = tl.gather(bars[2], target, 0)
        x_bar += y_bar * o
        sum_o += y_bar * x
    return x_bar, (sum_g + d * x, sum_c + d, sum_w + f_bar * s, sum_k + u_bar * s, sum_o)


@triton.jit
def store_sums(out, stride, position, is_there, sums, SUMS: tl.constexpr):
    """Store the gradients that `flow_adjoint` has summed up for every synapse."""
    tl.store(out + position, sums[0], mask=is_there)
    tl.store(out + stride + position, sums[1], mask=is_there)
    tl.store(out + 2 * stride + position, sums[2], mask=is_there)
    tl.store(out + 3 * stride + position, sums[3], mask=is_there)
    if SUMS == 3:
        tl.store(out + 4 * stride + position, sums[4], mask=is_there)


@triton.jit
def load_triple(base, stride, position, is_there, SUMS: tl.constexpr):
    """Load f, u and y, or their gradients, which are `stride` apart."""
    f = tl.load(base + position, mask=is_there, other=1.0)  # a divisor: must not be 0
    u = tl.load(base + stride + position, mask=is_there, other=0.0)
    y = tl.zeros_like(f)
    if SUMS == 3:
        y = tl.load(base + 2 * stride + position, mask=is_there, other=0.0)
    return f, u, y


@triton.jit
def store_triple(base, stride, position, is_there, values, SUMS: tl.constexpr):
    """Store f, u and y, or their gradients, in the format of `load_triple`."""
    tl.store(base + position, values[0], mask=is_there)
    tl.store(base + stride + position, values[1], mask=is_there)
    if SUMS == 3:
        tl.store(base + 2 * stride + position, values[2], mask=is_there)


@triton.jit
def sense(
    inputs, table, sources, slots, rows, leak, held,
    num_frames, num_inputs, num_neurons, num_synapses, stride,
    FRAMES: tl.constexpr, SUMS: tl.constexpr, NODES: tl.constexpr, SYNAPSES: tl.constexpr,
    ROWS: tl.constexpr, SLOTS: tl.constexpr,
):  # fmt: skip
    """Compute the contributions of leak and sensory synapses to the sums of each frame."""
    n, position = tl.arange(0, NODES), tl.arange(0, SYNAPSES)
    is_neuron, is_synapse = n < num_neurons, position < num_synapses
    source = tl.load(sources + position, mask=is_synapse, other=0)
    p = load_parameters(table, stride, position, is_synapse, SUMS)
    into = load_slots(slots, rows, ROWS, SLOTS, NODES)
    leak_f, leak_u, leak_y = load_triple(leak, num_neurons, n, is_neuron, SUMS)
    first = tl.program_id(0).to(tl.int64) * FRAMES
    for frame in range(first, tl.minimum(first + FRAMES, num_frames)):
        x = tl.load(inputs + frame * num_inputs + source, mask=is_synapse, other=0.0)
        f, u, y = flow(x, p, into, SUMS, ROWS, SLOTS)
        sums = (leak_f + f, leak_u + u, leak_y + y)
        store_triple(held + SUMS * frame * num_neurons, num_neurons, n, is_neuron, sums, SUMS)


@triton.jit
def sense_adjoint(
    inputs, table, sources, targets, slots, rows, held_bar, inputs_bar, synapse_sums,
    num_frames, num_inputs, num_neurons, num_synapses, stride,
    FRAMES: tl.constexpr, SUMS: tl.constexpr, NODES: tl.constexpr, NEURONS: tl.constexpr,
    SYNAPSES: tl.constexpr, ROWS: tl.constexpr, SLOTS: tl.constexpr,
):  # fmt: skip
    """Compute the adjoint of `sense`; each program sums over its FRAMES frames."""
    i, position, n = tl.arange(0, NODES), tl.arange(0, SYNAPSES), tl.arange(0, NEURONS)
    is_input, is_synapse, is_neuron = i < num_inputs, position < num_synapses, n < num_neurons
    source = tl.load(sources + position, mask=is_synapse, other=0)
    target = tl.load(targets + position, mask=is_synapse, other=0)
    p = load_parameters(table, stride, position, is_synapse, SUMS)
    out_of = load_slots(slots, rows, ROWS, SLOTS, NODES)
    none = tl.zeros_like(p[0])
    sums = (none, none, none, none, none)
    program = tl.program_id(0).to(tl.int64)
    for frame in range(program * FRAMES, tl.minimum((program + 1) * FRAMES, num_frames)):
        x = tl.load(inputs + frame * num_inputs + source, mask=is_synapse, other=0.0)
        bars = load_triple(held_bar + SUMS * frame * num_neurons, num_neurons, n, is_neuron, SUMS)
        x_bar, sums = flow_adjoint(x, bars, target, p, sums, SUMS)
        x_bar = sum_rows(x_bar, out_of, ROWS, SLOTS)
        tl.store(inputs_bar + frame * num_inputs + i, x_bar, mask=is_input)
    out = synapse_sums + program * (2 + SUMS) * num_synapses
    store_sums(out, num_synapses, position, is_synapse, sums, SUMS)
