"""CT-GRU in Triton: a frame and its adjoint; equations and symbols are those of ctgru.h.

On the tape, a frame stores ln τ_R, ln τ_S, q, h and the retrieved value, followed by the traces
before the frame. In `bars`, it stores the derivatives of ln τ_R, ln τ_S, and of q before tanh. The
number of scales is a power of two, so that traces have the shape (samples, units, scales).
"""
# Kernels are Triton, not Python; and Triton is optional.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportMissingImports=false
# pyright: reportCallIssue=false, reportOperatorIssue=false
# pyright: reportAssignmentType=false

import triton
import triton.language as tl

from ncp_control.kernels.triton_math import back, load, store, tanh, times

HALF_LOG_10 = tl.constexpr(1.1512925464970229)


@triton.jit
def _log_scales(x, SCALES: tl.constexpr):
    """Return L_m in the dtype of x, shape (1, 1, scales)."""
    return (tl.arange(0, SCALES).to(x.dtype) * HALF_LOG_10)[None, None, :]


@triton.jit
def _softmax(x, log_scales):
    d = (2.0 * x[:, :, None] - log_scales) * log_scales
    p = tl.exp(d - tl.max(d, 2)[:, :, None])
    return p / tl.sum(p, 2)[:, :, None]


@triton.jit
def _softmax_adjoint(p, p_bar, log_scales):
    mean = tl.sum(p * p_bar, 2)[:, :, None]
    return tl.sum(2.0 * log_scales * p * (p_bar - mean), 2)


@triton.jit
def ctgru(
    v, held, held_width, elapsed, frame, units, weight, event, tape, tape_width: tl.constexpr,
    SCALES: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """Return the traces after a frame."""
    BATCH: tl.constexpr = v.shape[0]
    log_scales = _log_scales(v, SCALES)
    traces = tl.reshape(v, (BATCH, UNITS, SCALES))
    traces *= tl.exp(-elapsed[:, None, None] / tl.exp(log_scales))
    h = tl.sum(traces, 2)
    r = load(held, frame, held_width, 0, units, UNITS)
    s = load(held, frame, held_width, units, units, UNITS)
    q = load(held, frame, held_width, 2 * units, units, UNITS)
    r += times(h, weight, units, units, UNITS, UNITS)
    s += times(h, weight + units * units, units, units, UNITS, UNITS)
    retrieved = tl.sum(_softmax(r, log_scales) * traces, 2)
    q = tanh(q + times(retrieved, event, units, units, UNITS, UNITS))
    store(tape, frame, tape_width, 0, units, r)
    store(tape, frame, tape_width, units, units, s)
    store(tape, frame, tape_width, 2 * units, units, q)
    store(tape, frame, tape_width, 3 * units, units, h)
    store(tape, frame, tape_width, 4 * units, units, retrieved)
    traces += _softmax(s, log_scales) * (q[:, :, None] - traces)
    return tl.reshape(traces, (BATCH, UNITS * SCALES))


@triton.jit
def ctgru_adjoint(
    v_bar, elapsed, frame, units, weight, event, tape, tape_width: tl.constexpr,
    bars, bars_width: tl.constexpr, SCALES: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """Return the derivatives of the traces before a frame, and of the elapsed time."""
    BATCH: tl.constexpr = v_bar.shape[0]
    log_scales = _log_scales(v_bar, SCALES)
    scales = tl.exp(log_scales)
    fade = tl.exp(-elapsed[:, None, None] / scales)
    traces = load(tape, frame, tape_width, 5 * units, units * SCALES, UNITS * SCALES)
    traces = tl.reshape(traces, (BATCH, UNITS, SCALES)) * fade
    q = load(tape, frame, tape_width, 2 * units, units, UNITS)
    retrieval = _softmax(load(tape, frame, tape_width, 0, units, UNITS), log_scales)
    storage = _softmax(load(tape, frame, tape_width, units, units, UNITS), log_scales)
    bar = tl.reshape(v_bar, (BATCH, UNITS, SCALES))
    q_bar = tl.sum(bar * storage, 2) * (1.0 - q * q)
    s_bar = _softmax_adjoint(storage, bar * (q[:, :, None] - traces), log_scales)
    retrieved_bar = back(q_bar, event, units, units, UNITS, UNITS)[:, :, None]
    r_bar = _softmax_adjoint(retrieval, retrieved_bar * traces, log_scales)
    h_bar = back(r_bar, weight, units, units, UNITS, UNITS)
    h_bar += back(s_bar, weight + units * units, units, units, UNITS, UNITS)
    store(bars, frame, bars_width, 0, units, r_bar)
    store(bars, frame, bars_width, units, units, s_bar)
    store(bars, frame, bars_width, 2 * units, units, q_bar)
    bar = bar * (1.0 - storage) + retrieved_bar * retrieval + h_bar[:, :, None]
    elapsed_bar = -tl.sum(tl.sum(bar * traces / scales, 2), 1)
    return tl.reshape(bar * fade, (BATCH, UNITS * SCALES)), elapsed_bar
