"""The LTC circuit in Triton: synapses, and the sensory part of a sequence.

Synapses stay in the order of the wiring. Sums over the synapses of a neuron are gathers: a row of a
slot table lists their positions, −1 where there is none, and `rows` names the row of each neuron,
−1 for a neuron without synapses. Nothing is added atomically, so every run rounds alike.

| symbol | meaning                                      |
|--------|----------------------------------------------|
| v      | potential                                    |
| a, b   | total conductance, drive                     |
| s      | opening 1 / (1 + exp(−γ(x − μ)))             |
| x      | presynaptic signal: αu + β of an input u, or v |
| p      | w, E (signed), γ, μ of every synapse         |
| _bar   | gradient of the loss                         |

Sizes in capitals are powers of two.
"""
# pyright: reportMissingImports=false

import triton
import triton.language as tl


@triton.jit
def load_parameters(table, stride, position, is_there):
    """Read w, E, γ, μ of every synapse."""
    w = tl.load(table + position, mask=is_there, other=0.0)
    e = tl.load(table + stride + position, mask=is_there, other=0.0)
    g = tl.load(table + 2 * stride + position, mask=is_there, other=0.0)
    m = tl.load(table + 3 * stride + position, mask=is_there, other=0.0)
    return w, e, g, m


@triton.jit
def load_slots(slots, rows, ROWS: tl.constexpr, SLOTS: tl.constexpr, NODES: tl.constexpr):
    """Read a slot table: positions (ROWS · SLOTS,) and the row of each node."""
    return tl.load(slots + tl.arange(0, ROWS * SLOTS)), tl.load(rows + tl.arange(0, NODES))


@triton.jit
def sum_rows(values, slots, ROWS: tl.constexpr, SLOTS: tl.constexpr):
    """Sum values of synapses for each node."""
    position, row = slots
    # `where` and not a product with 0: a NaN must not leave its own neuron.
    values = tl.where(position >= 0, tl.gather(values, tl.maximum(position, 0), 0), 0.0)
    sums = tl.sum(tl.reshape(values, (ROWS, SLOTS)), 1)
    return tl.where(row >= 0, tl.gather(sums, tl.maximum(row, 0), 0), 0.0)


@triton.jit
def flow(x, p, slots, ROWS: tl.constexpr, SLOTS: tl.constexpr):
    """Return conductance Σ w s and drive Σ w s E of each neuron."""
    w, e, g, m = p
    # exp may overflow to infinity, whose reciprocal is the 0 that is meant.
    opened = w / (1.0 + tl.exp(-g * (x - m)))
    return sum_rows(opened, slots, ROWS, SLOTS), sum_rows(opened * e, slots, ROWS, SLOTS)


@triton.jit
def flow_adjoint(x, a_bar, b_bar, p, sums):
    """Return x_bar of every synapse, and the sums for w, E/w, γ and −μ/γ grown by one term."""
    w, e, g, m = p
    sum_w, sum_e, sum_g, sum_m = sums
    s = 1.0 / (1.0 + tl.exp(-g * (x - m)))
    opened_bar = a_bar + b_bar * e
    z_bar = opened_bar * w * s * (1.0 - s)
    grown = (sum_w + opened_bar * s, sum_e + b_bar * s, sum_g + z_bar * (x - m), sum_m + z_bar)
    return z_bar * g, grown


@triton.jit
def store_sums(out, stride, position, is_there, sums):
    """Write the four sums of every synapse."""
    sum_w, sum_e, sum_g, sum_m = sums
    tl.store(out + position, sum_w, mask=is_there)
    tl.store(out + stride + position, sum_e, mask=is_there)
    tl.store(out + 2 * stride + position, sum_g, mask=is_there)
    tl.store(out + 3 * stride + position, sum_m, mask=is_there)


@triton.jit
def sense(
    inputs, table, sources, slots, rows, scale, offset, leak, leak_drive, held,
    num_frames, num_inputs, num_neurons, num_synapses, stride,
    FRAMES: tl.constexpr, NODES: tl.constexpr, SYNAPSES: tl.constexpr,
    ROWS: tl.constexpr, SLOTS: tl.constexpr,
):  # fmt: skip
    """Find the conductance and drive that leak and sensory synapses hold during each frame."""
    n, position = tl.arange(0, NODES), tl.arange(0, SYNAPSES)
    is_neuron, is_synapse = n < num_neurons, position < num_synapses
    source = tl.load(sources + position, mask=is_synapse, other=0)
    p = load_parameters(table, stride, position, is_synapse)
    into = load_slots(slots, rows, ROWS, SLOTS, NODES)
    alpha = tl.load(scale + source, mask=is_synapse, other=0.0)
    beta = tl.load(offset + source, mask=is_synapse, other=0.0)
    leak_a = tl.load(leak + n, mask=is_neuron, other=0.0)
    leak_b = tl.load(leak_drive + n, mask=is_neuron, other=0.0)
    first = tl.program_id(0).to(tl.int64) * FRAMES
    for frame in range(first, tl.minimum(first + FRAMES, num_frames)):
        u = tl.load(inputs + frame * num_inputs + source, mask=is_synapse, other=0.0)
        a, b = flow(u * alpha + beta, p, into, ROWS, SLOTS)
        tl.store(held + 2 * frame * num_neurons + n, leak_a + a, mask=is_neuron)
        tl.store(held + (2 * frame + 1) * num_neurons + n, leak_b + b, mask=is_neuron)


@triton.jit
def sense_adjoint(
    inputs, table, sources, targets, slots, rows, scale, offset, held_bar,
    inputs_bar, synapse_sums, input_sums,
    num_frames, num_inputs, num_neurons, num_synapses, stride,
    FRAMES: tl.constexpr, NODES: tl.constexpr, SYNAPSES: tl.constexpr,
    ROWS: tl.constexpr, SLOTS: tl.constexpr,
):  # fmt: skip
    """Take the gradient through `sense`, with sums over the FRAMES frames of each program."""
    i, position = tl.arange(0, NODES), tl.arange(0, SYNAPSES)
    is_input, is_synapse = i < num_inputs, position < num_synapses
    source = tl.load(sources + position, mask=is_synapse, other=0)
    target = tl.load(targets + position, mask=is_synapse, other=0)
    p = load_parameters(table, stride, position, is_synapse)
    out_of = load_slots(slots, rows, ROWS, SLOTS, NODES)
    alpha = tl.load(scale + source, mask=is_synapse, other=0.0)
    beta = tl.load(offset + source, mask=is_synapse, other=0.0)
    input_scale = tl.load(scale + i, mask=is_input, other=0.0)
    none, scale_bar = tl.zeros_like(alpha), tl.zeros_like(input_scale)
    sums, offset_bar = (none, none, none, none), scale_bar
    program = tl.program_id(0).to(tl.int64)
    for frame in range(program * FRAMES, tl.minimum((program + 1) * FRAMES, num_frames)):
        own = inputs + frame * num_inputs
        x = tl.load(own + source, mask=is_synapse, other=0.0) * alpha + beta
        bars = held_bar + 2 * frame * num_neurons
        a_bar = tl.load(bars + target, mask=is_synapse, other=0.0)
        b_bar = tl.load(bars + num_neurons + target, mask=is_synapse, other=0.0)
        x_bar, sums = flow_adjoint(x, a_bar, b_bar, p, sums)
        x_bar = sum_rows(x_bar, out_of, ROWS, SLOTS)
        tl.store(inputs_bar + frame * num_inputs + i, x_bar * input_scale, mask=is_input)
        scale_bar += x_bar * tl.load(own + i, mask=is_input, other=0.0)
        offset_bar += x_bar
    out = synapse_sums + program * 4 * num_synapses
    store_sums(out, num_synapses, position, is_synapse, sums)
    tl.store(input_sums + 2 * program * num_inputs + i, scale_bar, mask=is_input)
    tl.store(input_sums + (2 * program + 1) * num_inputs + i, offset_bar, mask=is_input)
