"""The LTC circuit in Triton: the recursion.

One program walks one sample through time, with the whole circuit in its registers. Symbols as in
`triton_synapses.py`, and h sub-step [s], C capacitance [s]; the equations are those of
`ncp_control.integrators`. LAYERS lists first neuron, end, is recurrent, is driven by neurons of
every layer, for layered midpoint; without layers the integrator is semi-implicit Euler.
"""
# Kernels are Triton, not Python; and Triton is optional.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportMissingImports=false

import triton
import triton.language as tl

from ncp_control.kernels.triton_synapses import (
    flow,
    flow_adjoint,
    load_parameters,
    load_slots,
    store_sums,
    sum_rows,
)

LONGEST_S = tl.constexpr(1e15)
"""As in `ncp_control.integrators`."""


@triton.jit
def _sub_step(dt_s, unfolds):
    """Return h, at most LONGEST_S; NaN stays NaN."""
    h = dt_s / unfolds
    return tl.where(h > LONGEST_S, LONGEST_S, h)


@triton.jit
def _approach(x):
    """Return 1 - exp(-x) for x >= 0, exact for small x too: Taylor's series below 1/2."""
    series = tl.zeros_like(x)
    for i in tl.static_range(15):
        series = 1.0 - x * series / (16.0 - i)
    return tl.where(x < 0.5, x * series, 1.0 - tl.exp(-x))


@triton.jit
def _relax(v, a, b, time_per_c):
    return v + (b / a - v) * _approach(time_per_c * a)


@triton.jit
def _relax_adjoint(v, a, b, time_per_c, end_bar):
    """Return the gradients of v, a, b and time_per_c."""
    resting, approach = b / a, _approach(time_per_c * a)
    decay = 1.0 - approach
    resting_bar = end_bar * approach
    exponent_bar = end_bar * (resting - v) * decay
    a_bar = exponent_bar * time_per_c - resting_bar * resting / a
    return end_bar * decay, a_bar, resting_bar / a, exponent_bar * a


@triton.jit
def _inner_flow_adjoint(
    v, a_bar, b_bar, source, target, p, slots, sums, ROWS: tl.constexpr, SLOTS: tl.constexpr
):
    """Return v_bar and the grown sums of the flow between neurons."""
    x = tl.gather(v, source, 0)
    a_bar, b_bar = tl.gather(a_bar, target, 0), tl.gather(b_bar, target, 0)
    x_bar, sums = flow_adjoint(x, a_bar, b_bar, p, sums)
    return sum_rows(x_bar, slots, ROWS, SLOTS), sums


@triton.jit
def _midpoint(
    v, h, c, held_a, held_b, source, p, slots,
    LAYERS: tl.constexpr, ROWS: tl.constexpr, SLOTS: tl.constexpr,
):  # fmt: skip
    """Return v after a sub-step, and a, b over half of it and over the whole."""
    n = tl.arange(0, v.shape[0])
    half_a, half_b, a, b, middle = held_a, held_b, held_a, held_b, v
    for k in tl.static_range(0, len(LAYERS), 4):
        is_here = (n >= LAYERS[k]) & (n < LAYERS[k + 1])
        if LAYERS[k + 3]:
            flow_a, flow_b = flow(tl.gather(middle, source, 0), p, slots, ROWS, SLOTS)
            half_a = tl.where(is_here, held_a + flow_a, half_a)
            half_b = tl.where(is_here, held_b + flow_b, half_b)
        middle = tl.where(is_here, _relax(v, half_a, half_b, 0.5 * h / c), middle)
        if LAYERS[k + 2]:
            flow_a, flow_b = flow(tl.gather(middle, source, 0), p, slots, ROWS, SLOTS)
            a = tl.where(is_here, held_a + flow_a, a)
            b = tl.where(is_here, held_b + flow_b, b)
        else:
            a, b = tl.where(is_here, half_a, a), tl.where(is_here, half_b, b)
    return _relax(v, a, b, h / c), half_a, half_b, a, b


@triton.jit
def _midpoint_adjoint(
    v, h, c, half_a, half_b, a, b, end_bar, source, target, p, slots, sums,
    LAYERS: tl.constexpr, ROWS: tl.constexpr, SLOTS: tl.constexpr,
):  # fmt: skip
    """Return the gradients of v, held a, held b, h (for each neuron) and C, and the grown sums."""
    n = tl.arange(0, v.shape[0])
    middle = _relax(v, half_a, half_b, 0.5 * h / c)
    v_bar, whole_a_bar, whole_b_bar, per_c_bar = _relax_adjoint(v, a, b, h / c, end_bar)
    middle_bar = tl.zeros_like(v)
    held_a_bar, held_b_bar = middle_bar, middle_bar
    for k_back in tl.static_range(4, len(LAYERS) + 1, 4):
        first, end = LAYERS[len(LAYERS) - k_back], LAYERS[len(LAYERS) - k_back + 1]
        is_here, is_before = (n >= first) & (n < end), n < first
        a_bar = tl.where(is_here, whole_a_bar, 0.0)
        b_bar = tl.where(is_here, whole_b_bar, 0.0)
        held_a_bar += a_bar
        held_b_bar += b_bar
        if LAYERS[len(LAYERS) - k_back + 2]:
            seen_bar, sums = _inner_flow_adjoint(
                middle, a_bar, b_bar, source, target, p, slots, sums, ROWS, SLOTS
            )
            middle_bar += seen_bar
            a_bar, b_bar = tl.zeros_like(v), tl.zeros_like(v)
        start_bar, half_a_bar, half_b_bar, half_per_c_bar = _relax_adjoint(
            v, half_a, half_b, 0.5 * h / c, tl.where(is_here, middle_bar, 0.0)
        )
        v_bar += start_bar
        per_c_bar += 0.5 * half_per_c_bar
        held_a_bar += half_a_bar
        held_b_bar += half_b_bar
        if LAYERS[len(LAYERS) - k_back + 3]:
            seen_bar, sums = _inner_flow_adjoint(
                tl.where(is_before, middle, v), a_bar + half_a_bar, b_bar + half_b_bar,
                source, target, p, slots, sums, ROWS, SLOTS,
            )  # fmt: skip
            middle_bar += tl.where(is_before, seen_bar, 0.0)
            v_bar += tl.where(is_before, 0.0, seen_bar)
    return v_bar, held_a_bar, held_b_bar, per_c_bar / c, -per_c_bar * h / (c * c), sums


@triton.jit
def scan(
    held, table, sources, slots, rows, capacitance, state, dt_s, reset, states, tape,
    num_steps, num_neurons, num_synapses, stride, unfolds,
    NODES: tl.constexpr, SYNAPSES: tl.constexpr, ROWS: tl.constexpr, SLOTS: tl.constexpr,
    LAYERS: tl.constexpr, HAS_RESET: tl.constexpr, HAS_TAPE: tl.constexpr,
):  # fmt: skip
    """Walk forwards.

    The tape holds v, a, b of every sub-step; layered midpoint adds a, b over half of it, before
    those over the whole.
    """
    n, position = tl.arange(0, NODES), tl.arange(0, SYNAPSES)
    is_neuron, is_synapse = n < num_neurons, position < num_synapses
    source = tl.load(sources + position, mask=is_synapse, other=0)
    p = load_parameters(table, stride, position, is_synapse)
    into = load_slots(slots, rows, ROWS, SLOTS, NODES)
    c = tl.load(capacitance + n, mask=is_neuron, other=1.0)
    sample = tl.program_id(0).to(tl.int64)
    v = tl.load(state + sample * num_neurons + n, mask=is_neuron, other=0.0)
    record = tape + sample * num_steps * unfolds * (5 if len(LAYERS) > 0 else 3) * num_neurons + n
    for frame in range(sample * num_steps, (sample + 1) * num_steps):
        if HAS_RESET:
            v = tl.where(tl.load(reset + frame) != 0, 0.0, v)
        h = _sub_step(tl.load(dt_s + frame), unfolds)
        held_a = tl.load(held + 2 * frame * num_neurons + n, mask=is_neuron, other=1.0)
        held_b = tl.load(held + (2 * frame + 1) * num_neurons + n, mask=is_neuron, other=0.0)
        for _ in range(unfolds):
            if HAS_TAPE:
                tl.store(record, v, mask=is_neuron)
                record += num_neurons
            if len(LAYERS) > 0:
                v, half_a, half_b, a, b = _midpoint(
                    v, h, c, held_a, held_b, source, p, into, LAYERS, ROWS, SLOTS
                )
                if HAS_TAPE:
                    tl.store(record, half_a, mask=is_neuron)
                    tl.store(record + num_neurons, half_b, mask=is_neuron)
                    record += 2 * num_neurons
            else:
                flow_a, flow_b = flow(tl.gather(v, source, 0), p, into, ROWS, SLOTS)
                a, b = held_a + flow_a, held_b + flow_b
                v += h * (b - a * v) / (c + h * a)
            if HAS_TAPE:
                tl.store(record, a, mask=is_neuron)
                tl.store(record + num_neurons, b, mask=is_neuron)
                record += 2 * num_neurons
        tl.store(states + frame * num_neurons + n, v, mask=is_neuron)


@triton.jit
def scan_adjoint(
    table, sources, targets, slots, rows, capacitance, dt_s, reset, tape, states_bar,
    held_bar, state_bar, dt_s_bar, synapse_sums, capacitance_bar,
    num_steps, num_neurons, num_synapses, stride, unfolds,
    NODES: tl.constexpr, SYNAPSES: tl.constexpr, ROWS: tl.constexpr, SLOTS: tl.constexpr,
    LAYERS: tl.constexpr, HAS_RESET: tl.constexpr,
):  # fmt: skip
    """Walk backwards, from the tape of `scan`; sums are those of the sample."""
    n, position = tl.arange(0, NODES), tl.arange(0, SYNAPSES)
    is_neuron, is_synapse = n < num_neurons, position < num_synapses
    source = tl.load(sources + position, mask=is_synapse, other=0)
    target = tl.load(targets + position, mask=is_synapse, other=0)
    p = load_parameters(table, stride, position, is_synapse)
    out_of = load_slots(slots, rows, ROWS, SLOTS, NODES)
    c = tl.load(capacitance + n, mask=is_neuron, other=1.0)
    sample = tl.program_id(0).to(tl.int64)
    none, v_bar = tl.zeros_like(p[0]), tl.zeros_like(c)
    sums, c_bar = (none, none, none, none), v_bar
    record_size = (5 if len(LAYERS) > 0 else 3) * num_neurons
    record = tape + (sample + 1) * num_steps * unfolds * record_size + n
    for steps_before in range(num_steps):
        frame = (sample + 1) * num_steps - 1 - steps_before
        v_bar += tl.load(states_bar + frame * num_neurons + n, mask=is_neuron, other=0.0)
        h, h_bar = _sub_step(tl.load(dt_s + frame), unfolds), tl.zeros_like(c)
        held_a_bar, held_b_bar = h_bar, h_bar
        for _ in range(unfolds):
            record -= record_size
            v = tl.load(record, mask=is_neuron, other=0.0)
            a = tl.load(record + record_size - 2 * num_neurons, mask=is_neuron, other=1.0)
            b = tl.load(record + record_size - num_neurons, mask=is_neuron, other=0.0)
            if len(LAYERS) > 0:
                half_a = tl.load(record + num_neurons, mask=is_neuron, other=1.0)
                half_b = tl.load(record + 2 * num_neurons, mask=is_neuron, other=0.0)
                v_bar, a_bar, b_bar, h_term, c_term, sums = _midpoint_adjoint(
                    v, h, c, half_a, half_b, a, b, v_bar, source, target, p, out_of, sums,
                    LAYERS, ROWS, SLOTS,
                )  # fmt: skip
            else:
                end = v + h * (b - a * v) / (c + h * a)
                change_bar = v_bar / (c + h * a)
                a_bar, b_bar = -h * end * change_bar, h * change_bar
                h_term, c_term = (b - a * end) * change_bar, (v - end) * change_bar
                seen_bar, sums = _inner_flow_adjoint(
                    v, a_bar, b_bar, source, target, p, out_of, sums, ROWS, SLOTS
                )
                v_bar = c * change_bar + seen_bar
            held_a_bar += a_bar
            held_b_bar += b_bar
            h_bar += h_term
            c_bar += c_term
        tl.store(held_bar + 2 * frame * num_neurons + n, held_a_bar, mask=is_neuron)
        tl.store(held_bar + (2 * frame + 1) * num_neurons + n, held_b_bar, mask=is_neuron)
        tl.store(dt_s_bar + frame, tl.sum(tl.where(is_neuron, h_bar, 0.0), 0) / unfolds)
        if HAS_RESET:
            v_bar = tl.where(tl.load(reset + frame) != 0, 0.0, v_bar)
    tl.store(state_bar + sample * num_neurons + n, v_bar, mask=is_neuron)
    tl.store(capacitance_bar + sample * num_neurons + n, c_bar, mask=is_neuron)
    out = synapse_sums + sample * 4 * num_synapses
    store_sums(out, num_synapses, position, is_synapse, sums)
