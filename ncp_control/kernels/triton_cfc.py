"""CfC and WiredCfC in Triton: a frame and its adjoint.

Equations and symbols are those of cfc.h. `triton_dense.py` runs the loop over frames and explains
the arguments. Values that a frame stores:

| cell      | on the tape                                            | in `bars`                 |
|-----------|--------------------------------------------------------|---------------------------|
| cfc       | slope and x of each layer, then f, g, a, b (pure: f)   | of each layer, then heads |
| wired_cfc | f, g, a, b (pure: f) of all neurons, v after the frame | of heads                  |

The heads of a WiredCfC are stored like those of a CfC without a backbone. Its layers are updated
one after the other, selected by masks.
"""
# Kernels are Triton, not Python; and Triton is optional.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportMissingImports=false
# pyright: reportAssignmentType=false

import triton
import triton.language as tl

from ncp_control.kernels.triton_math import (
    activate,
    back,
    load,
    row,
    sigmoid,
    sign,
    store,
    tanh,
    times,
)


@triton.jit
def _close(f, g, a, b, t, MODE: tl.constexpr):
    """Return v, given the heads; MODE as in cfc.h, but not pure."""
    p, q, s = tanh(f), tanh(g), sigmoid(a * t + b)
    return p + s * (q - p) if MODE == 0 else p + s * q


@triton.jit
def _close_adjoint(v_bar, f, g, a, b, t, MODE: tl.constexpr):
    """Return the derivatives of f, g, a and b, and of the elapsed time."""
    p, q, s = tanh(f), tanh(g), sigmoid(a * t + b)
    kept = 1.0 if MODE == 0 else 0.0
    b_bar = v_bar * (q - kept * p) * s * (1.0 - s)
    f_bar = v_bar * (1.0 - kept * s) * (1.0 - p * p)
    return f_bar, v_bar * s * (1.0 - q * q), b_bar * t, b_bar, tl.sum(b_bar * a, 1)


@triton.jit
def _close_pure(f, t, leak, most):
    return most - most * tl.exp(-(tl.abs(leak) + tl.abs(f)) * t) * f


@triton.jit
def _close_pure_adjoint(v_bar, f, t, leak, most):
    """Return the derivatives of f, and of the elapsed time."""
    rate = tl.abs(leak) + tl.abs(f)
    scaled = v_bar * most * tl.exp(-rate * t)
    return scaled * f * t * sign(f) - scaled, tl.sum(scaled * f * rate, 1)


@triton.jit
def _head(
    k, x, held, held_width, frame, units, hidden, weight, last, NUM_HEADS: tl.constexpr,
    LAYERS: tl.constexpr, UNITS: tl.constexpr, HIDDEN: tl.constexpr,
):  # fmt: skip
    """Return the output of one head, from the last features or, without layers, from the state."""
    if LAYERS > 0:
        bias = last + NUM_HEADS * units * hidden + k * units
        y = times(x, last + k * units * hidden, units, hidden, UNITS, HIDDEN)
        y += row(bias, units, UNITS)
    else:
        y = load(held, frame, held_width, k * units, units, UNITS)
        y += times(x, weight + k * units * units, units, units, UNITS, UNITS)
    return y


@triton.jit
def cfc(
    v, held, held_width, elapsed, frame, units, hidden, weight, deep, closing,
    tape, tape_width: tl.constexpr, MODE: tl.constexpr, ACTIVATION: tl.constexpr,
    LAYERS: tl.constexpr, UNITS: tl.constexpr, HIDDEN: tl.constexpr,
):  # fmt: skip
    """Return v after a frame."""
    NUM_HEADS: tl.constexpr = 1 if MODE == 2 else 4
    x, first, t = v, LAYERS * 2 * hidden, elapsed[:, None]
    if LAYERS > 0:
        pre = load(held, frame, held_width, 0, hidden, HIDDEN)
        pre += times(v, weight, hidden, units, HIDDEN, UNITS)
        x, slope = activate(pre, ACTIVATION)
        store(tape, frame, tape_width, 0, hidden, slope)
        store(tape, frame, tape_width, hidden, hidden, x)
        for k in tl.static_range(1, LAYERS):
            pre = times(x, deep, hidden, hidden, HIDDEN, HIDDEN)
            pre += row(deep + hidden * hidden, hidden, HIDDEN)
            deep += hidden * hidden + hidden
            x, slope = activate(pre, ACTIVATION)
            store(tape, frame, tape_width, 2 * k * hidden, hidden, slope)
            store(tape, frame, tape_width, (2 * k + 1) * hidden, hidden, x)
    f = _head(
        0, x, held, held_width, frame, units, hidden, weight, deep, NUM_HEADS,
        LAYERS, UNITS, HIDDEN,
    )  # fmt: skip
    store(tape, frame, tape_width, first, units, f)
    if MODE == 2:
        leak, most = row(closing, units, UNITS), row(closing + units, units, UNITS)
        v = _close_pure(f, t, leak, most)
    else:
        g = _head(
            1, x, held, held_width, frame, units, hidden, weight, deep, NUM_HEADS,
            LAYERS, UNITS, HIDDEN,
        )  # fmt: skip
        a = _head(
            2, x, held, held_width, frame, units, hidden, weight, deep, NUM_HEADS,
            LAYERS, UNITS, HIDDEN,
        )  # fmt: skip
        b = _head(
            3, x, held, held_width, frame, units, hidden, weight, deep, NUM_HEADS,
            LAYERS, UNITS, HIDDEN,
        )  # fmt: skip
        store(tape, frame, tape_width, first + units, units, g)
        store(tape, frame, tape_width, first + 2 * units, units, a)
        store(tape, frame, tape_width, first + 3 * units, units, b)
        v = _close(f, g, a, b, t, MODE)
    return v


@triton.jit
def _lead_head_back(
    k, bar, units, hidden, weight, last, LAYERS: tl.constexpr, UNITS: tl.constexpr,
    HIDDEN: tl.constexpr,
):  # fmt: skip
    """Return the derivative with respect to the input of a head."""
    if LAYERS > 0:
        x_bar = back(bar, last + k * units * hidden, units, hidden, UNITS, HIDDEN)
    else:
        x_bar = back(bar, weight + k * units * units, units, units, UNITS, UNITS)
    return x_bar


@triton.jit
def cfc_adjoint(
    v_bar, elapsed, frame, units, hidden, weight, deep, closing, tape, tape_width: tl.constexpr,
    bars, bars_width: tl.constexpr, MODE: tl.constexpr, LAYERS: tl.constexpr,
    UNITS: tl.constexpr, HIDDEN: tl.constexpr,
):  # fmt: skip
    """Return the derivatives of v before a frame, and of the elapsed time."""
    first, to = LAYERS * 2 * hidden, LAYERS * hidden
    last = deep
    if LAYERS > 1:
        last = deep + (LAYERS - 1) * (hidden * hidden + hidden)
    t, f = elapsed[:, None], load(tape, frame, tape_width, first, units, UNITS)
    if MODE == 2:
        leak, most = row(closing, units, UNITS), row(closing + units, units, UNITS)
        f_bar, elapsed_bar = _close_pure_adjoint(v_bar, f, t, leak, most)
    else:
        g = load(tape, frame, tape_width, first + units, units, UNITS)
        a = load(tape, frame, tape_width, first + 2 * units, units, UNITS)
        b = load(tape, frame, tape_width, first + 3 * units, units, UNITS)
        f_bar, g_bar, a_bar, b_bar, elapsed_bar = _close_adjoint(v_bar, f, g, a, b, t, MODE)
    store(bars, frame, bars_width, to, units, f_bar)
    x_bar = _lead_head_back(0, f_bar, units, hidden, weight, last, LAYERS, UNITS, HIDDEN)
    if MODE != 2:
        store(bars, frame, bars_width, to + units, units, g_bar)
        store(bars, frame, bars_width, to + 2 * units, units, a_bar)
        store(bars, frame, bars_width, to + 3 * units, units, b_bar)
        x_bar += _lead_head_back(1, g_bar, units, hidden, weight, last, LAYERS, UNITS, HIDDEN)
        x_bar += _lead_head_back(2, a_bar, units, hidden, weight, last, LAYERS, UNITS, HIDDEN)
        x_bar += _lead_head_back(3, b_bar, units, hidden, weight, last, LAYERS, UNITS, HIDDEN)
    for i in tl.static_range(LAYERS):
        k = LAYERS - 1 - i
        bar = x_bar * load(tape, frame, tape_width, 2 * k * hidden, hidden, HIDDEN)
        store(bars, frame, bars_width, k * hidden, hidden, bar)
        if i < LAYERS - 1:
            matrix = deep + (k - 1) * (hidden * hidden + hidden)
            x_bar = back(bar, matrix, hidden, hidden, HIDDEN, HIDDEN)
        else:
            x_bar = back(bar, weight, hidden, units, HIDDEN, UNITS)
    return x_bar, elapsed_bar


@triton.jit
def wired_cfc(
    v, held, held_width, elapsed, frame, units, weight, closing, tape, tape_width: tl.constexpr,
    MODE: tl.constexpr, ENDS: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """Return v after a frame; ENDS as in `dense_layout.Layout.ends`."""
    i = tl.arange(0, UNITS)[None, :]
    t, square = elapsed[:, None], units * units
    f_held = load(held, frame, held_width, 0, units, UNITS)
    f = tl.zeros_like(v)
    if MODE == 2:
        leak, most = row(closing, units, UNITS), row(closing + units, units, UNITS)
    else:
        g_held = load(held, frame, held_width, units, units, UNITS)
        a_held = load(held, frame, held_width, 2 * units, units, UNITS)
        b_held = load(held, frame, held_width, 3 * units, units, UNITS)
        g, a, b = f, f, f
    for k in tl.static_range(0, len(ENDS) - 1):
        is_here = (i >= ENDS[k]) & (i < ENDS[k + 1])
        f = tl.where(is_here, f_held + times(v, weight, units, units, UNITS, UNITS), f)
        if MODE == 2:
            new = _close_pure(f, t, leak, most)
        else:
            g_new = g_held + times(v, weight + square, units, units, UNITS, UNITS)
            a_new = a_held + times(v, weight + 2 * square, units, units, UNITS, UNITS)
            b_new = b_held + times(v, weight + 3 * square, units, units, UNITS, UNITS)
            g, a = tl.where(is_here, g_new, g), tl.where(is_here, a_new, a)
            b = tl.where(is_here, b_new, b)
            new = _close(f, g, a, b, t, MODE)
        v = tl.where(is_here, new, v)
    store(tape, frame, tape_width, 0, units, f)
    if MODE == 2:
        store(tape, frame, tape_width, units, units, v)
    else:
        store(tape, frame, tape_width, units, units, g)
        store(tape, frame, tape_width, 2 * units, units, a)
        store(tape, frame, tape_width, 3 * units, units, b)
        store(tape, frame, tape_width, 4 * units, units, v)
    return v


@triton.jit
def wired_cfc_adjoint(
    v_bar, elapsed, frame, units, weight, closing, tape, tape_width: tl.constexpr,
    bars, bars_width: tl.constexpr, MODE: tl.constexpr, ENDS: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """Return the derivatives of v before a frame, of the elapsed time, and of v after it."""
    i = tl.arange(0, UNITS)[None, :]
    t, square = elapsed[:, None], units * units
    f = load(tape, frame, tape_width, 0, units, UNITS)
    new_bar, elapsed_bar = tl.zeros_like(v_bar), tl.zeros_like(elapsed)
    if MODE == 2:
        leak, most = row(closing, units, UNITS), row(closing + units, units, UNITS)
    else:
        g = load(tape, frame, tape_width, units, units, UNITS)
        a = load(tape, frame, tape_width, 2 * units, units, UNITS)
        b = load(tape, frame, tape_width, 3 * units, units, UNITS)
    for j in tl.static_range(0, len(ENDS) - 1):
        is_here = (i >= ENDS[len(ENDS) - 2 - j]) & (i < ENDS[len(ENDS) - 1 - j])
        own_bar = tl.where(is_here, v_bar, 0.0).to(v_bar.dtype)
        v_bar = tl.where(is_here, 0.0, v_bar).to(v_bar.dtype)
        new_bar += own_bar
        if MODE == 2:
            f_bar, t_bar = _close_pure_adjoint(own_bar, f, t, leak, most)
        else:
            f_bar, g_bar, a_bar, b_bar, t_bar = _close_adjoint(own_bar, f, g, a, b, t, MODE)
            v_bar += back(g_bar, weight + square, units, units, UNITS, UNITS)
            v_bar += back(a_bar, weight + 2 * square, units, units, UNITS, UNITS)
            v_bar += back(b_bar, weight + 3 * square, units, units, UNITS, UNITS)
        v_bar += back(f_bar, weight, units, units, UNITS, UNITS)
        elapsed_bar += t_bar
    if MODE == 2:
        f_bar, _ = _close_pure_adjoint(new_bar, f, t, leak, most)
    else:
        f_bar, g_bar, a_bar, b_bar, _ = _close_adjoint(new_bar, f, g, a, b, t, MODE)
        store(bars, frame, bars_width, units, units, g_bar)
        store(bars, frame, bars_width, 2 * units, units, a_bar)
        store(bars, frame, bars_width, 3 * units, units, b_bar)
    store(bars, frame, bars_width, 0, units, f_bar)
    return v_bar, elapsed_bar, new_bar
