"""Dense cells in Triton: the recursion over time, forward and backward.

One program runs BATCH samples through time, with their state in its registers. The contributions of
the inputs to all layers are computed before, for all frames (`held`). The gradients of all weights
are computed after, from the derivatives that each frame stores (`bars`). Both are products of large
matrices, done by torch. The steps of the cells are in `triton_cfc.py`, `triton_ctgru.py`,
`triton_gated.py` and `triton_ode.py`. Data of a mixed memory are stored after those of the cell
inside it.

| argument  | holds                                                                              |
|-----------|------------------------------------------------------------------------------------|
| held      | per frame: contributions of inputs, elapsed time and bias to each layer            |
| frames    | elapsed time [frames]                                                              |
| share     | s of a CT-RNN                                                                      |
| weight    | the layer that acts on the state: weights, for a GRU followed by the bias          |
| deep      | further layers, each followed by its bias                                          |
| closing   | w and A of a CfC in pure mode                                                      |
| gates     | weights of a mixed memory's gates                                                  |
| tape      | per frame: values of the cell; the state that it started from; values of a memory  |
"""
# Kernels are Triton, not Python; and Triton is optional.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportMissingImports=false
# pyright: reportAssignmentType=false

import triton
import triton.language as tl

from ncp_control.kernels.triton_cfc import cfc, cfc_adjoint, wired_cfc, wired_cfc_adjoint
from ncp_control.kernels.triton_ctgru import ctgru, ctgru_adjoint
from ncp_control.kernels.triton_gated import gru, gru_adjoint, remember, remember_adjoint
from ncp_control.kernels.triton_math import load, store
from ncp_control.kernels.triton_ode import ctrnn, ctrnn_adjoint, runge_kutta, runge_kutta_adjoint


@triton.jit
def _is_reset(reset, frame):
    return (tl.load(reset + frame, mask=frame >= 0, other=0) != 0)[:, None]


@triton.jit
def dense_scan(
    held, frames, share, weight, deep, closing, gates, state, reset, states, tape,
    batch, steps, units: tl.constexpr, hidden: tl.constexpr, width: tl.constexpr,
    held_width: tl.constexpr, tape_width: tl.constexpr, state_column: tl.constexpr,
    KIND: tl.constexpr, HAS_MEMORY: tl.constexpr, MODE: tl.constexpr, ACTIVATION: tl.constexpr,
    LAYERS: tl.constexpr, UNFOLDS: tl.constexpr, SCALES: tl.constexpr, ENDS: tl.constexpr,
    UNITS: tl.constexpr, HIDDEN: tl.constexpr, STATE: tl.constexpr, BATCH: tl.constexpr,
    HAS_RESET: tl.constexpr,
):  # fmt: skip
    """Fill states and tape.

    `width` is the width of the state without memory values; `state_column` is the position on the
    tape of the state from which the cell started its step.
    """
    IS_DOUBLE: tl.constexpr = HAS_MEMORY or KIND == "lstm"
    state_width: tl.constexpr = 2 * width if IS_DOUBLE else width
    kept: tl.constexpr = state_column + 5 * width if HAS_MEMORY else state_column
    sample = tl.program_id(0).to(tl.int64) * BATCH + tl.arange(0, BATCH)
    sample = tl.where(sample < batch, sample, -1)
    v = load(state, sample, state_width, 0, width, STATE)
    c = v
    if IS_DOUBLE:
        c = load(state, sample, state_width, width, width, STATE)
    for step in range(steps):
        frame = tl.where(sample >= 0, sample * steps + step, -1)
        if HAS_RESET:
            is_reset = _is_reset(reset, frame)
            v = tl.where(is_reset, 0.0, v).to(state.dtype.element_ty)
            c = tl.where(is_reset, 0.0, c).to(state.dtype.element_ty)
        store(tape, frame, tape_width, kept, width, v)
        if IS_DOUBLE:
            store(tape, frame, tape_width, kept + width, width, c)
        if HAS_MEMORY:
            v, c = remember(
                v, c, held + (held_width - 4 * width), held_width, frame, width, gates,
                tape + (state_column + width), tape_width, 1, 2, STATE,
            )  # fmt: skip
            store(tape, frame, tape_width, state_column, width, v)
        elapsed = tl.load(frames + frame, mask=frame >= 0, other=0.0)
        if KIND == "lstm":
            v, c = remember(
                v, c, held, held_width, frame, units, weight, tape, tape_width, 2, 1, UNITS
            )
        elif KIND == "gru":
            v = gru(v, held, held_width, frame, units, weight, tape, tape_width, UNITS)
        elif KIND == "ctrnn":
            v = ctrnn(
                v, held, held_width, share, frame, units, weight, tape, tape_width, UNFOLDS, UNITS
            )
        elif KIND == "neural_ode":
            x = load(held, frame, held_width, 0, units, UNITS)
            v = runge_kutta(
                v, x, elapsed, frame, units, weight, tape, tape_width, False, UNFOLDS, UNITS
            )
        elif KIND == "ode_rnn":
            v = runge_kutta(
                v, v, elapsed, frame, units, deep, tape + 5 * units, tape_width, True,
                UNFOLDS, UNITS,
            )  # fmt: skip
            store(tape, frame, tape_width, 4 * units, units, v)
            v = gru(v, held, held_width, frame, units, weight, tape, tape_width, UNITS)
        elif KIND == "ctgru":
            v = ctgru(
                v, held, held_width, elapsed, frame, units, weight, deep, tape, tape_width,
                SCALES, UNITS,
            )  # fmt: skip
        elif KIND == "wired_cfc":
            v = wired_cfc(
                v, held, held_width, elapsed, frame, units, weight, closing, tape, tape_width,
                MODE, ENDS, UNITS,
            )  # fmt: skip
        else:
            v = cfc(
                v, held, held_width, elapsed, frame, units, hidden, weight, deep, closing,
                tape, tape_width, MODE, ACTIVATION, LAYERS, UNITS, HIDDEN,
            )  # fmt: skip
        store(states, frame, state_width, 0, width, v)
        if IS_DOUBLE:
            store(states, frame, state_width, width, width, c)


@triton.jit
def dense_scan_adjoint(
    frames, share, weight, deep, closing, gates, reset, tape, states_bar,
    bars, other_bars, frames_bar, state_bar,
    batch, steps, units: tl.constexpr, hidden: tl.constexpr, width: tl.constexpr,
    tape_width: tl.constexpr, bars_width: tl.constexpr, state_column: tl.constexpr,
    KIND: tl.constexpr, HAS_MEMORY: tl.constexpr, MODE: tl.constexpr, LAYERS: tl.constexpr,
    UNFOLDS: tl.constexpr, SCALES: tl.constexpr, ENDS: tl.constexpr,
    UNITS: tl.constexpr, HIDDEN: tl.constexpr, STATE: tl.constexpr, BATCH: tl.constexpr,
    HAS_RESET: tl.constexpr,
):  # fmt: skip
    """Fill all arrays named `…bar(s)`; `other_bars` is s̄ of a CT-RNN, else v̄ after a frame."""
    IS_DOUBLE: tl.constexpr = HAS_MEMORY or KIND == "lstm"
    state_width: tl.constexpr = 2 * width if IS_DOUBLE else width
    sample = tl.program_id(0).to(tl.int64) * BATCH + tl.arange(0, BATCH)
    sample = tl.where(sample < batch, sample, -1)
    v_bar = tl.zeros((BATCH, STATE), state_bar.dtype.element_ty)
    c_bar = v_bar
    for i in range(steps):
        frame = tl.where(sample >= 0, sample * steps + steps - 1 - i, -1)
        v_bar += load(states_bar, frame, state_width, 0, width, STATE)
        if IS_DOUBLE:
            c_bar += load(states_bar, frame, state_width, width, width, STATE)
        elapsed = tl.load(frames + frame, mask=frame >= 0, other=0.0)
        elapsed_bar = tl.zeros_like(elapsed)
        if KIND == "lstm":
            v_bar, c_bar = remember_adjoint(
                v_bar, c_bar, frame, units, weight, tape, tape + (state_column + units), tape_width,
                bars, bars_width, 2, 1, UNITS,
            )  # fmt: skip
        elif KIND == "gru":
            v_bar = gru_adjoint(
                v_bar, frame, units, weight, tape, tape_width, bars, bars_width, UNITS
            )
        elif KIND == "ctrnn":
            v_bar, s_bar = ctrnn_adjoint(
                v_bar, share, frame, units, weight, tape, tape_width, bars, bars_width,
                UNFOLDS, UNITS,
            )  # fmt: skip
            store(other_bars, frame, units, 0, units, s_bar)
        elif KIND == "neural_ode":
            v_bar, elapsed_bar = runge_kutta_adjoint(
                v_bar, elapsed, frame, units, weight, tape, tape_width, bars, bars_width,
                False, UNFOLDS, UNITS,
            )  # fmt: skip
        elif KIND == "ode_rnn":
            v_bar = gru_adjoint(
                v_bar, frame, units, weight, tape, tape_width, bars, bars_width, UNITS
            )
            v_bar, elapsed_bar = runge_kutta_adjoint(
                v_bar, elapsed, frame, units, deep, tape + 5 * units, tape_width,
                bars + 4 * units, bars_width, True, UNFOLDS, UNITS,
            )  # fmt: skip
        elif KIND == "ctgru":
            v_bar, elapsed_bar = ctgru_adjoint(
                v_bar, elapsed, frame, units, weight, deep, tape, tape_width, bars, bars_width,
                SCALES, UNITS,
            )  # fmt: skip
        elif KIND == "wired_cfc":
            v_bar, elapsed_bar, new_bar = wired_cfc_adjoint(
                v_bar, elapsed, frame, units, weight, closing, tape, tape_width,
                bars, bars_width, MODE, ENDS, UNITS,
            )  # fmt: skip
            store(other_bars, frame, units, 0, units, new_bar)
        else:
            store(other_bars, frame, units, 0, units, v_bar)
            v_bar, elapsed_bar = cfc_adjoint(
                v_bar, elapsed, frame, units, hidden, weight, deep, closing,
                tape, tape_width, bars, bars_width, MODE, LAYERS, UNITS, HIDDEN,
            )  # fmt: skip
        if HAS_MEMORY:
            v_bar, c_bar = remember_adjoint(
                v_bar, c_bar, frame, width, gates, tape + (state_column + width),
                tape + (state_column + 6 * width), tape_width,
                bars + (bars_width - 4 * width), bars_width, 1, 2, STATE,
            )  # fmt: skip
        tl.store(frames_bar + frame, elapsed_bar, mask=frame >= 0)
        if HAS_RESET:
            is_reset = _is_reset(reset, frame)
            v_bar = tl.where(is_reset, 0.0, v_bar).to(state_bar.dtype.element_ty)
            c_bar = tl.where(is_reset, 0.0, c_bar).to(state_bar.dtype.element_ty)
    store(state_bar, sample, state_width, 0, width, v_bar)
    if IS_DOUBLE:
        store(state_bar, sample, state_width, width, width, c_bar)
