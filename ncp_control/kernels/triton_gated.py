"""LSTM, GRU and mixed memory in Triton: a frame and its adjoint; equations in gated.h.

`triton_dense.py` runs the loop over frames and explains the arguments. Values that a frame stores:

| cell   | on the tape                              | in `bars`, x̄ before the activation |
|--------|------------------------------------------|------------------------------------|
| memory | i, f, g, o in the order of their rows    | the same                           |
| gru    | r, z, n, y_n, then h before the frame    | r, z, n, y_n                       |

An LSTM is a memory whose output σ(o) tanh c is the new state; in a mixed memory, this output is the
state from which the inner cell starts its step.
"""
# Kernels are Triton, not Python; and Triton is optional.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportMissingImports=false
# pyright: reportAssignmentType=false

import triton
import triton.language as tl

from ncp_control.kernels.triton_math import back, load, row, sigmoid, store, tanh, times


@triton.jit
def _gate(k, v, held, held_width, frame, width, weight, SIZE: tl.constexpr):
    """Return the input of one of the four gates, before its activation."""
    x = load(held, frame, held_width, k * width, width, SIZE)
    return x + times(v, weight + k * width * width, width, width, SIZE, SIZE)


@triton.jit
def remember(
    v, c, held, held_width, frame, width, weight, tape, tape_width: tl.constexpr,
    CANDIDATE: tl.constexpr, FORGET: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """Return σ(o) tanh c and the new c; the rows of i come first, those of o last."""
    i = sigmoid(_gate(0, v, held, held_width, frame, width, weight, SIZE))
    f = sigmoid(_gate(FORGET, v, held, held_width, frame, width, weight, SIZE))
    g = tanh(_gate(CANDIDATE, v, held, held_width, frame, width, weight, SIZE))
    o = sigmoid(_gate(3, v, held, held_width, frame, width, weight, SIZE))
    store(tape, frame, tape_width, 0, width, i)
    store(tape, frame, tape_width, FORGET * width, width, f)
    store(tape, frame, tape_width, CANDIDATE * width, width, g)
    store(tape, frame, tape_width, 3 * width, width, o)
    c = f * c + i * g
    return o * tanh(c), c


@triton.jit
def remember_adjoint(
    v_bar, c_bar, frame, width, weight, tape, memory, tape_width: tl.constexpr,
    bars, bars_width: tl.constexpr,
    CANDIDATE: tl.constexpr, FORGET: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """Return the derivatives of v and c before a frame; `memory` points to c on the tape."""
    square = width * width
    i = load(tape, frame, tape_width, 0, width, SIZE)
    f = load(tape, frame, tape_width, FORGET * width, width, SIZE)
    g = load(tape, frame, tape_width, CANDIDATE * width, width, SIZE)
    o = load(tape, frame, tape_width, 3 * width, width, SIZE)
    c = load(memory, frame, tape_width, 0, width, SIZE)
    tanh_c = tanh(f * c + i * g)
    c_bar += v_bar * o * (1.0 - tanh_c * tanh_c)
    i_bar = c_bar * g * i * (1.0 - i)
    f_bar = c_bar * c * f * (1.0 - f)
    g_bar = c_bar * i * (1.0 - g * g)
    o_bar = v_bar * tanh_c * o * (1.0 - o)
    store(bars, frame, bars_width, 0, width, i_bar)
    store(bars, frame, bars_width, FORGET * width, width, f_bar)
    store(bars, frame, bars_width, CANDIDATE * width, width, g_bar)
    store(bars, frame, bars_width, 3 * width, width, o_bar)
    v_bar = back(i_bar, weight, width, width, SIZE, SIZE)
    v_bar += back(f_bar, weight + FORGET * square, width, width, SIZE, SIZE)
    v_bar += back(g_bar, weight + CANDIDATE * square, width, width, SIZE, SIZE)
    v_bar += back(o_bar, weight + 3 * square, width, width, SIZE, SIZE)
    return v_bar, c_bar * f


@triton.jit
def gru(
    v, held, held_width, frame, units, weight, tape, tape_width: tl.constexpr, UNITS: tl.constexpr
):
    """Return h after a frame."""
    square, bias = units * units, weight + 3 * units * units
    r = load(held, frame, held_width, 0, units, UNITS) + row(bias, units, UNITS)
    z = load(held, frame, held_width, units, units, UNITS) + row(bias + units, units, UNITS)
    n = load(held, frame, held_width, 2 * units, units, UNITS)
    r = sigmoid(r + times(v, weight, units, units, UNITS, UNITS))
    z = sigmoid(z + times(v, weight + square, units, units, UNITS, UNITS))
    y_n = times(v, weight + 2 * square, units, units, UNITS, UNITS)
    y_n += row(bias + 2 * units, units, UNITS)
    n = tanh(n + r * y_n)
    store(tape, frame, tape_width, 0, units, r)
    store(tape, frame, tape_width, units, units, z)
    store(tape, frame, tape_width, 2 * units, units, n)
    store(tape, frame, tape_width, 3 * units, units, y_n)
    return n + z * (v - n)


@triton.jit
def gru_adjoint(
    v_bar, frame, units, weight, tape, tape_width: tl.constexpr,
    bars, bars_width: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """Return the derivative of h before a frame."""
    square = units * units
    r = load(tape, frame, tape_width, 0, units, UNITS)
    z = load(tape, frame, tape_width, units, units, UNITS)
    n = load(tape, frame, tape_width, 2 * units, units, UNITS)
    y_n = load(tape, frame, tape_width, 3 * units, units, UNITS)
    v = load(tape, frame, tape_width, 4 * units, units, UNITS)
    n_bar = v_bar * (1.0 - z) * (1.0 - n * n)
    r_bar = n_bar * y_n * r * (1.0 - r)
    z_bar = v_bar * (v - n) * z * (1.0 - z)
    y_bar = n_bar * r
    store(bars, frame, bars_width, 0, units, r_bar)
    store(bars, frame, bars_width, units, units, z_bar)
    store(bars, frame, bars_width, 2 * units, units, n_bar)
    store(bars, frame, bars_width, 3 * units, units, y_bar)
    v_bar = v_bar * z + back(r_bar, weight, units, units, UNITS, UNITS)
    v_bar += back(z_bar, weight + square, units, units, UNITS, UNITS)
    return v_bar + back(y_bar, weight + 2 * square, units, units, UNITS, UNITS)
