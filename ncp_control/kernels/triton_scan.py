"""Circuits of synapses in Triton: the recursion over time.

One program runs one sample through time, with the whole circuit in its registers. Symbols as in
`triton_synapses.py` and `triton_equations.py`; the integrators are those of
`ncp_control.integrators`. For layered midpoint, LAYERS lists first neuron, end, is recurrent, is
driven by neurons, for each layer; without layers, INTEGRATOR is one of the Euler methods. m is the
value of a mixed memory around the circuit, with gates as in mixed_memory.h.

| argument  | holds                                                                             |
|-----------|-----------------------------------------------------------------------------------|
| held      | per frame: f, u and y without the synapses between neurons                        |
| own       | e, h and E of every neuron, if its equation has them                              |
| gates     | per frame: contributions of inputs and bias to i, g, f and o                      |
| recurrent | weights from v to these gates, (4 neurons, neurons)                               |
| tape      | per sub-step: v, then f, u, y; layered midpoint puts f, u, y of the half step before |
| beside    | per frame: i, g, f and o, then v and m before the frame                           |
"""
# Kernels are Triton, not Python; and Triton is optional.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportMissingImports=false
# pyright: reportAssignmentType=false

import triton
import triton.language as tl

from ncp_control.kernels.triton_equations import (
    advance,
    advance_adjoint,
    close,
    close_adjoint,
    load_own,
    relax,
    relax_adjoint,
    sub_step,
)
from ncp_control.kernels.triton_memory import remember, remember_adjoint
from ncp_control.kernels.triton_synapses import (
    flow,
    flow_adjoint,
    load_parameters,
    load_slots,
    load_triple,
    store_sums,
    store_triple,
    sum_rows,
)


@triton.jit
def _add(x, y):
    return x[0] + y[0], x[1] + y[1], x[2] + y[2]


@triton.jit
def _where(condition, x, y):
    first = tl.where(condition, x[0], y[0])
    return first, tl.where(condition, x[1], y[1]), tl.where(condition, x[2], y[2])


@triton.jit
def _inner_flow_adjoint(
    v, bars, source, target, p, slots, grown,
    SUMS: tl.constexpr, ROWS: tl.constexpr, SLOTS: tl.constexpr,
):  # fmt: skip
    """Return v_bar, and add one term to the gradients of the synapses between neurons."""
    x_bar, grown = flow_adjoint(tl.gather(v, source, 0), bars, target, p, grown, SUMS)
    return sum_rows(x_bar, slots, ROWS, SLOTS), grown


@triton.jit
def _midpoint(
    v, h, c, held, own, source, p, slots,
    EQUATION: tl.constexpr, LAYERS: tl.constexpr, SUMS: tl.constexpr,
    ROWS: tl.constexpr, SLOTS: tl.constexpr,
):  # fmt: skip
    """Return v after a sub-step, and the sums used for its first half and for the whole."""
    n = tl.arange(0, v.shape[0])
    half, whole, middle = held, held, v
    for k in tl.static_range(0, len(LAYERS), 4):
        is_here = (n >= LAYERS[k]) & (n < LAYERS[k + 1])
        if LAYERS[k + 3]:
            added = flow(tl.gather(middle, source, 0), p, slots, SUMS, ROWS, SLOTS)
            half = _where(is_here, _add(held, added), half)
        a, b = close(half, own, EQUATION)
        middle = tl.where(is_here, relax(v, a, b, 0.5 * h / c), middle)
        if LAYERS[k + 2]:
            added = flow(tl.gather(middle, source, 0), p, slots, SUMS, ROWS, SLOTS)
            whole = _where(is_here, _add(held, added), whole)
        else:
            whole = _where(is_here, half, whole)
    a, b = close(whole, own, EQUATION)
    return relax(v, a, b, h / c), half, whole


@triton.jit
def _midpoint_adjoint(
    v, h, c, half, whole, own, end_bar, own_bar, source, target, p, slots, grown,
    EQUATION: tl.constexpr, LAYERS: tl.constexpr, SUMS: tl.constexpr,
    ROWS: tl.constexpr, SLOTS: tl.constexpr,
):  # fmt: skip
    """Return the gradients of v, held sums, h (per neuron) and C, and the summed gradients."""
    n = tl.arange(0, v.shape[0])
    half_a, half_b = close(half, own, EQUATION)
    middle = relax(v, half_a, half_b, 0.5 * h / c)
    a, b = close(whole, own, EQUATION)
    v_bar, a_bar, b_bar, per_c_bar = relax_adjoint(v, a, b, h / c, end_bar)
    whole_bar, own_bar = close_adjoint(whole, a_bar, b_bar, own, own_bar, EQUATION)
    middle_bar = tl.zeros_like(v)
    none = (middle_bar, middle_bar, middle_bar)
    held_bar = none
    for k_back in tl.static_range(4, len(LAYERS) + 1, 4):
        first, end = LAYERS[len(LAYERS) - k_back], LAYERS[len(LAYERS) - k_back + 1]
        is_here, is_before = (n >= first) & (n < end), n < first
        bars = _where(is_here, whole_bar, none)
        held_bar = _add(held_bar, bars)
        if LAYERS[len(LAYERS) - k_back + 2]:
            inner_bar, grown = _inner_flow_adjoint(
                middle, bars, source, target, p, slots, grown, SUMS, ROWS, SLOTS
            )
            middle_bar += inner_bar
            bars = none
        start_bar, a_bar, b_bar, half_per_c_bar = relax_adjoint(
            v, half_a, half_b, 0.5 * h / c, tl.where(is_here, middle_bar, 0.0)
        )
        half_bar, own_bar = close_adjoint(half, a_bar, b_bar, own, own_bar, EQUATION)
        v_bar += start_bar
        per_c_bar += 0.5 * half_per_c_bar
        held_bar = _add(held_bar, half_bar)
        if LAYERS[len(LAYERS) - k_back + 3]:
            inner_bar, grown = _inner_flow_adjoint(
                tl.where(is_before, middle, v), _add(bars, half_bar),
                source, target, p, slots, grown, SUMS, ROWS, SLOTS,
            )  # fmt: skip
            middle_bar += tl.where(is_before, inner_bar, 0.0)
            v_bar += tl.where(is_before, 0.0, inner_bar)
    return v_bar, held_bar, per_c_bar / c, -per_c_bar * h / (c * c), own_bar, grown


@triton.jit
def scan(
    held, table, sources, slots, rows, capacitance, own, gates, recurrent, state, time, reset,
    states, tape, beside, num_steps, num_neurons, num_synapses, stride, unfolds,
    NODES: tl.constexpr, SYNAPSES: tl.constexpr, ROWS: tl.constexpr, SLOTS: tl.constexpr,
    SUMS: tl.constexpr, OWN: tl.constexpr, EQUATION: tl.constexpr, INTEGRATOR: tl.constexpr,
    LAYERS: tl.constexpr, HAS_MEMORY: tl.constexpr, HAS_RESET: tl.constexpr,
    HAS_TAPE: tl.constexpr,
):  # fmt: skip
    """Run forward over all frames; OWN is the number of e, h and E: 0, 1 or 3."""
    n, position = tl.arange(0, NODES), tl.arange(0, SYNAPSES)
    is_neuron, is_synapse = n < num_neurons, position < num_synapses
    source = tl.load(sources + position, mask=is_synapse, other=0)
    p = load_parameters(table, stride, position, is_synapse, SUMS)
    into = load_slots(slots, rows, ROWS, SLOTS, NODES)
    c = tl.load(capacitance + n, mask=is_neuron, other=1.0)
    e = load_own(own, num_neurons, n, is_neuron, OWN)
    sample = tl.program_id(0).to(tl.int64)
    EVALUATIONS: tl.constexpr = 2 if len(LAYERS) > 0 else 1
    WIDTH: tl.constexpr = 2 if HAS_MEMORY else 1
    first = state + WIDTH * sample * num_neurons + n
    v = tl.load(first, mask=is_neuron, other=0.0)
    m = v
    if HAS_MEMORY:
        m = tl.load(first + num_neurons, mask=is_neuron, other=0.0)
    record_size = (1 + EVALUATIONS * SUMS) * num_neurons
    record = tape + sample * num_steps * unfolds * record_size + n
    for frame in range(sample * num_steps, (sample + 1) * num_steps):
        if HAS_RESET:
            is_reset = tl.load(reset + frame) != 0
            v, m = tl.where(is_reset, 0.0, v), tl.where(is_reset, 0.0, m)
        if HAS_MEMORY:
            v, m = remember(
                v, m, gates + 4 * frame * num_neurons, recurrent,
                beside + 6 * frame * num_neurons, num_neurons, is_neuron, n, HAS_TAPE,
            )  # fmt: skip
        h = sub_step(tl.load(time + frame), unfolds)
        sums = load_triple(held + SUMS * frame * num_neurons, num_neurons, n, is_neuron, SUMS)
        for _ in range(unfolds):
            if HAS_TAPE:
                tl.store(record, v, mask=is_neuron)
                record += num_neurons
            if len(LAYERS) > 0:
                v, half, whole = _midpoint(
                    v, h, c, sums, e, source, p, into, EQUATION, LAYERS, SUMS, ROWS, SLOTS
                )
                if HAS_TAPE:
                    store_triple(record, num_neurons, 0, is_neuron, half, SUMS)
                    record += SUMS * num_neurons
            else:
                added = flow(tl.gather(v, source, 0), p, into, SUMS, ROWS, SLOTS)
                whole = _add(sums, added)
                a, b = close(whole, e, EQUATION)
                v = advance(v, a, b, h, c, INTEGRATOR)
            if HAS_TAPE:
                store_triple(record, num_neurons, 0, is_neuron, whole, SUMS)
                record += SUMS * num_neurons
        tl.store(states + WIDTH * frame * num_neurons + n, v, mask=is_neuron)
        if HAS_MEMORY:
            tl.store(states + (2 * frame + 1) * num_neurons + n, m, mask=is_neuron)


@triton.jit
def scan_adjoint(
    table, sources, targets, slots, rows, capacitance, own, recurrent, time, reset, tape, beside,
    states_bar, held_bar, gates_bar, state_bar, time_bar, synapse_sums, neurons_bar,
    num_steps, num_neurons, num_synapses, stride, unfolds,
    NODES: tl.constexpr, SYNAPSES: tl.constexpr, ROWS: tl.constexpr, SLOTS: tl.constexpr,
    SUMS: tl.constexpr, OWN: tl.constexpr, EQUATION: tl.constexpr, INTEGRATOR: tl.constexpr,
    LAYERS: tl.constexpr, HAS_MEMORY: tl.constexpr, HAS_RESET: tl.constexpr,
):  # fmt: skip
    """Run backward over all frames, with the tape of `scan`.

    Gradients are summed per sample; `neurons_bar` holds those of C, e, h and E.
    """
    n, position = tl.arange(0, NODES), tl.arange(0, SYNAPSES)
    is_neuron, is_synapse = n < num_neurons, position < num_synapses
    source = tl.load(sources + position, mask=is_synapse, other=0)
    target = tl.load(targets + position, mask=is_synapse, other=0)
    p = load_parameters(table, stride, position, is_synapse, SUMS)
    out_of = load_slots(slots, rows, ROWS, SLOTS, NODES)
    c = tl.load(capacitance + n, mask=is_neuron, other=1.0)
    e = load_own(own, num_neurons, n, is_neuron, OWN)
    sample = tl.program_id(0).to(tl.int64)
    EVALUATIONS: tl.constexpr = 2 if len(LAYERS) > 0 else 1
    WIDTH: tl.constexpr = 2 if HAS_MEMORY else 1
    none, v_bar = tl.zeros_like(p[0]), tl.zeros_like(c)
    grown, c_bar, m_bar = (none, none, none, none, none), v_bar, v_bar
    own_bar = (v_bar, v_bar, v_bar)
    record_size = (1 + EVALUATIONS * SUMS) * num_neurons
    record = tape + (sample + 1) * num_steps * unfolds * record_size + n
    for steps_before in range(num_steps):
        frame = (sample + 1) * num_steps - 1 - steps_before
        bar = states_bar + WIDTH * frame * num_neurons + n
        v_bar += tl.load(bar, mask=is_neuron, other=0.0)
        if HAS_MEMORY:
            m_bar += tl.load(bar + num_neurons, mask=is_neuron, other=0.0)
        h, h_bar = sub_step(tl.load(time + frame), unfolds), tl.zeros_like(c)
        sums_bar = (h_bar, h_bar, h_bar)
        for _ in range(unfolds):
            record -= record_size
            v = tl.load(record, mask=is_neuron, other=0.0)
            last = record + record_size - SUMS * num_neurons
            whole = load_triple(last, num_neurons, 0, is_neuron, SUMS)
            if len(LAYERS) > 0:
                half = load_triple(record + num_neurons, num_neurons, 0, is_neuron, SUMS)
                v_bar, bars, h_term, c_term, own_bar, grown = _midpoint_adjoint(
                    v, h, c, half, whole, e, v_bar, own_bar, source, target, p, out_of, grown,
                    EQUATION, LAYERS, SUMS, ROWS, SLOTS,
                )  # fmt: skip
            else:
                a, b = close(whole, e, EQUATION)
                v_bar, a_bar, b_bar, h_term, c_term = advance_adjoint(
                    v, a, b, h, c, v_bar, INTEGRATOR
                )
                bars, own_bar = close_adjoint(whole, a_bar, b_bar, e, own_bar, EQUATION)
                inner_bar, grown = _inner_flow_adjoint(
                    v, bars, source, target, p, out_of, grown, SUMS, ROWS, SLOTS
                )
                v_bar += inner_bar
            sums_bar = _add(sums_bar, bars)
            h_bar += h_term
            c_bar += c_term
        store_triple(
            held_bar + SUMS * frame * num_neurons, num_neurons, n, is_neuron, sums_bar, SUMS
        )
        tl.store(time_bar + frame, tl.sum(tl.where(is_neuron, h_bar, 0.0), 0) / unfolds)
        if HAS_MEMORY:
            v_bar, m_bar = remember_adjoint(
                v_bar, m_bar, recurrent, beside + 6 * frame * num_neurons,
                gates_bar + 4 * frame * num_neurons, num_neurons, is_neuron, n,
            )  # fmt: skip
        if HAS_RESET:
            is_reset = tl.load(reset + frame) != 0
            v_bar, m_bar = tl.where(is_reset, 0.0, v_bar), tl.where(is_reset, 0.0, m_bar)
    first = state_bar + WIDTH * sample * num_neurons + n
    tl.store(first, v_bar, mask=is_neuron)
    if HAS_MEMORY:
        tl.store(first + num_neurons, m_bar, mask=is_neuron)
    to = neurons_bar + sample * (1 + OWN) * num_neurons + n
    tl.store(to, c_bar, mask=is_neuron)
    if OWN > 0:
        tl.store(to + num_neurons, own_bar[0], mask=is_neuron)
    if OWN == 3:
        tl.store(to + 2 * num_neurons, own_bar[1], mask=is_neuron)
        tl.store(to + 3 * num_neurons, own_bar[2], mask=is_neuron)
    out = synapse_sums + sample * (2 + SUMS) * num_synapses
    store_sums(out, num_synapses, position, is_synapse, grown, SUMS)
