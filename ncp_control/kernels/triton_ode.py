"""CT-RNN, and the field of neural ODE and ODE-RNN in Triton: a frame and its adjoint.

Equations and symbols are those of ctrnn.h, neural_ode.h and ode_rnn.h. `triton_dense.py` runs the
loop over frames and explains the arguments. Values that a frame stores:

| cell       | on the tape                            | in `bars`                            |
|------------|----------------------------------------|--------------------------------------|
| ctrnn      | v and y of each sub-step               | derivatives of U v of each sub-step  |
| neural_ode | x and k of each stage                  | derivatives of U x of each stage     |
| ode_rnn    | as a GRU; then x, y, k of each stage   | as a GRU; then of A x, B y of each   |
"""
# Kernels are Triton, not Python; and Triton is optional.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportMissingImports=false
# pyright: reportAssignmentType=false

import triton
import triton.language as tl

from ncp_control.kernels.triton_math import back, load, row, store, tanh, times


@triton.jit
def ctrnn(
    v, held, held_width, share, frame, units, weight, tape, tape_width: tl.constexpr,
    UNFOLDS: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """Return v after a frame; `share` points to s."""
    x = load(held, frame, held_width, 0, units, UNITS)
    s = load(share, frame, units, 0, units, UNITS)
    for k in range(UNFOLDS):
        y = tanh(x + times(v, weight, units, units, UNITS, UNITS))
        store(tape, frame, tape_width, 2 * k * units, units, v)
        store(tape, frame, tape_width, (2 * k + 1) * units, units, y)
        v += s * (y - v)
    return v


@triton.jit
def ctrnn_adjoint(
    v_bar, share, frame, units, weight, tape, tape_width: tl.constexpr,
    bars, bars_width: tl.constexpr, UNFOLDS: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """Return the derivatives of v before a frame, and of s."""
    s = load(share, frame, units, 0, units, UNITS)
    s_bar = tl.zeros_like(s)
    for i in range(UNFOLDS):
        k = UNFOLDS - 1 - i
        v = load(tape, frame, tape_width, 2 * k * units, units, UNITS)
        y = load(tape, frame, tape_width, (2 * k + 1) * units, units, UNITS)
        x_bar = v_bar * s * (1.0 - y * y)
        s_bar += v_bar * (y - v)
        store(bars, frame, bars_width, k * units, units, x_bar)
        v_bar = v_bar * (1.0 - s) + back(x_bar, weight, units, units, UNITS, UNITS)
    return v_bar, s_bar


@triton.jit
def runge_kutta(
    v, x_held, elapsed, frame, units, weight, tape, tape_width: tl.constexpr,
    HAS_LAYER: tl.constexpr, UNFOLDS: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """Return v after the elapsed time: k = tanh(x_held + U x), or tanh(B tanh(A x + a) + c)."""
    WIDTH: tl.constexpr = 3 if HAS_LAYER else 2
    square = units * units
    second = weight + square + units
    h = (elapsed / UNFOLDS)[:, None]
    for unfold in range(UNFOLDS):
        start, k = v, tl.zeros_like(v)
        for s in tl.static_range(4):
            place = (4 * unfold + s) * WIDTH * units
            x = start
            if s > 0:
                x = start + (1.0 if s == 3 else 0.5) * h * k
            store(tape, frame, tape_width, place, units, x)
            k = times(x, weight, units, units, UNITS, UNITS)
            if HAS_LAYER:
                y = tanh(k + row(weight + square, units, UNITS))
                store(tape, frame, tape_width, place + units, units, y)
                k = times(y, second, units, units, UNITS, UNITS)
                k = tanh(k + row(second + square, units, UNITS))
            else:
                k = tanh(k + x_held)
            store(tape, frame, tape_width, place + (WIDTH - 1) * units, units, k)
            v += h * k / (6.0 if s % 3 == 0 else 3.0)
    return v


@triton.jit
def runge_kutta_adjoint(
    v_bar, elapsed, frame, units, weight, tape, tape_width: tl.constexpr,
    bars, bars_width: tl.constexpr,
    HAS_LAYER: tl.constexpr, UNFOLDS: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """Return the derivatives of v before the frame, and of the elapsed time."""
    WIDTH: tl.constexpr = 3 if HAS_LAYER else 2
    BARS: tl.constexpr = 2 if HAS_LAYER else 1
    square = units * units
    h = (elapsed / UNFOLDS)[:, None]
    h_bar = tl.zeros_like(v_bar)
    for i in range(UNFOLDS):
        end_bar, x_bar = v_bar, tl.zeros_like(v_bar)
        for j in tl.static_range(4):
            stage = 4 * (UNFOLDS - i) - 1 - j
            place, to = stage * WIDTH * units, stage * BARS * units
            k = load(tape, frame, tape_width, place + (WIDTH - 1) * units, units, UNITS)
            bar = end_bar / (6.0 if j % 3 == 0 else 3.0)
            if j > 0:
                bar += (1.0 if j == 1 else 0.5) * x_bar
            h_bar += k * bar
            k_bar = h * bar * (1.0 - k * k)
            if HAS_LAYER:
                y = load(tape, frame, tape_width, place + units, units, UNITS)
                store(bars, frame, bars_width, to + units, units, k_bar)
                y_bar = back(k_bar, weight + square + units, units, units, UNITS, UNITS)
                k_bar = y_bar * (1.0 - y * y)
            store(bars, frame, bars_width, to, units, k_bar)
            x_bar = back(k_bar, weight, units, units, UNITS, UNITS)
            v_bar += x_bar
    return v_bar, tl.sum(h_bar, 1) / UNFOLDS
