"""CfC, LSTM, GRU and CT-RNN in Triton: the recursion, forwards and backwards.

One program walks BATCH samples through time, their state in its registers. What the inputs give
to the first layer is found for all frames before (`held`), and the gradients of all weights after,
from the derivatives that each frame leaves (`bars`): both are products of large matrices, which
torch forms. What a cell does in a frame stands in `triton_cells.py`.
"""
# Kernels are Triton, not Python; and Triton is optional.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportMissingImports=false
# pyright: reportAssignmentType=false

import triton
import triton.language as tl

from ncp_control.kernels.triton_cells import (
    cfc,
    cfc_adjoint,
    ctrnn,
    ctrnn_adjoint,
    gru,
    gru_adjoint,
    load,
    lstm,
    lstm_adjoint,
    store,
)


@triton.jit
def _is_reset(reset, frame):
    return (tl.load(reset + frame, mask=frame >= 0, other=0) != 0)[:, None]


@triton.jit
def dense_scan(
    held, frames, share, recurrent, deep, closing, state, reset, states, tape,
    batch, steps, units: tl.constexpr, hidden: tl.constexpr, state_width: tl.constexpr,
    tape_width: tl.constexpr,
    KIND: tl.constexpr, MODE: tl.constexpr, ACTIVATION: tl.constexpr, LAYERS: tl.constexpr,
    UNFOLDS: tl.constexpr, UNITS: tl.constexpr, HIDDEN: tl.constexpr, BATCH: tl.constexpr,
    HAS_RESET: tl.constexpr,
):  # fmt: skip
    """Fill states and tape.

    `share` is s of a CT-RNN; `deep` are the layers behind the first one, each followed by its bias;
    `closing` are w and A of a CfC in pure mode.
    """
    sample = tl.program_id(0).to(tl.int64) * BATCH + tl.arange(0, BATCH)
    sample = tl.where(sample < batch, sample, -1)
    kept = tape_width - state_width
    v = load(state, sample, state_width, 0, units, UNITS)
    c = v
    if KIND == "lstm":
        c = load(state, sample, state_width, units, units, UNITS)
    for t in range(steps):
        frame = tl.where(sample >= 0, sample * steps + t, -1)
        if HAS_RESET:
            is_reset = _is_reset(reset, frame)
            v = tl.where(is_reset, 0.0, v).to(state.dtype.element_ty)
            c = tl.where(is_reset, 0.0, c).to(state.dtype.element_ty)
        store(tape, frame, tape_width, kept, units, v)
        if KIND == "lstm":
            store(tape, frame, tape_width, kept + units, units, c)
            v, c = lstm(v, c, held, frame, units, recurrent, tape, tape_width, UNITS)
            store(states, frame, state_width, units, units, c)
        elif KIND == "gru":
            v = gru(v, held, frame, units, recurrent, tape, tape_width, UNITS)
        elif KIND == "ctrnn":
            v = ctrnn(v, held, share, frame, units, recurrent, tape, tape_width, UNFOLDS, UNITS)
        else:
            elapsed = tl.load(frames + frame, mask=frame >= 0, other=0.0)
            v = cfc(
                v, held, elapsed, frame, units, hidden, recurrent, deep, closing,
                tape, tape_width, MODE, ACTIVATION, LAYERS, UNITS, HIDDEN,
            )  # fmt: skip
        store(states, frame, state_width, 0, units, v)


@triton.jit
def dense_scan_adjoint(
    frames, share, recurrent, deep, closing, reset, tape, states_bar,
    bars, other_bars, frames_bar, state_bar,
    batch, steps, units: tl.constexpr, hidden: tl.constexpr, state_width: tl.constexpr,
    tape_width: tl.constexpr, bars_width: tl.constexpr,
    KIND: tl.constexpr, MODE: tl.constexpr, LAYERS: tl.constexpr, UNFOLDS: tl.constexpr,
    UNITS: tl.constexpr, HIDDEN: tl.constexpr, BATCH: tl.constexpr, HAS_RESET: tl.constexpr,
):  # fmt: skip
    """Fill what ends in `bar` or `bars`; `other_bars` are s̄ of a CT-RNN, or v̄ after each frame."""
    sample = tl.program_id(0).to(tl.int64) * BATCH + tl.arange(0, BATCH)
    sample = tl.where(sample < batch, sample, -1)
    v_bar = tl.zeros((BATCH, UNITS), state_bar.dtype.element_ty)
    c_bar = v_bar
    for i in range(steps):
        frame = tl.where(sample >= 0, sample * steps + steps - 1 - i, -1)
        v_bar += load(states_bar, frame, state_width, 0, units, UNITS)
        if KIND == "lstm":
            c_bar += load(states_bar, frame, state_width, units, units, UNITS)
            v_bar, c_bar = lstm_adjoint(
                v_bar, c_bar, frame, units, recurrent, tape, tape_width, bars, bars_width, UNITS
            )
        elif KIND == "gru":
            v_bar = gru_adjoint(
                v_bar, frame, units, recurrent, tape, tape_width, bars, bars_width, UNITS
            )
        elif KIND == "ctrnn":
            v_bar, s_bar = ctrnn_adjoint(
                v_bar, share, frame, units, recurrent, tape, tape_width, bars, bars_width,
                UNFOLDS, UNITS,
            )  # fmt: skip
            store(other_bars, frame, units, 0, units, s_bar)
        else:
            if MODE == 2:
                store(other_bars, frame, units, 0, units, v_bar)
            elapsed = tl.load(frames + frame, mask=frame >= 0, other=0.0)
            v_bar, elapsed_bar = cfc_adjoint(
                v_bar, elapsed, frame, units, hidden, recurrent, deep, closing,
                tape, tape_width, bars, bars_width, MODE, LAYERS, UNITS, HIDDEN,
            )  # fmt: skip
            tl.store(frames_bar + frame, elapsed_bar, mask=frame >= 0)
        if HAS_RESET:
            is_reset = _is_reset(reset, frame)
            v_bar = tl.where(is_reset, 0.0, v_bar).to(state_bar.dtype.element_ty)
            c_bar = tl.where(is_reset, 0.0, c_bar).to(state_bar.dtype.element_ty)
    store(state_bar, sample, state_width, 0, units, v_bar)
    if KIND == "lstm":
        store(state_bar, sample, state_width, units, units, c_bar)
