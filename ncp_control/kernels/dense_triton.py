"""The kernels of dense cells for GPUs, in Triton: the counterpart of `dense.c` for CPUs.

A sequence takes one launch forward and one backward (`triton_dense.py`). Large matrix products are
left to torch: before, the contributions of the inputs to all layers; after, the gradients of all
weights (`dense_gradients.py`). Each cell defines its step and the step's adjoint in a file of its
own, and its layout in `dense_layout.py`.
"""

import functools
import itertools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ncp_control.kernels.dense_gradients import find_gradients
from ncp_control.kernels.dense_layout import Layout
from ncp_control.kernels.dense_op import MOST_PIECES
from ncp_control.kernels.triton_dense import dense_scan, dense_scan_adjoint

if TYPE_CHECKING:
    from ncp_control.kernels.dense_op import DenseArguments

BATCH = 16
"""Samples per program: the smallest size of Triton's matrix product."""


def unroll(q: "DenseArguments", layout: Layout, has_tape: bool) -> tuple[Tensor, Tensor]:
    """Return states and tape."""
    (batch, steps, _), new_empty = q.input.shape, q.input.new_empty
    cell = DenseSequence(q, layout)
    states = new_empty(batch, steps, layout.state_width)
    tape_width = layout.record_width if has_tape else 0
    tape = new_empty(batch * steps * tape_width)
    reset = None if q.reset is None else q.reset.contiguous()
    cell.launch(
        dense_scan,
        cell.held(), cell.frames, cell.share(), *cell.weights(), q.state.contiguous(), reset,
        states, tape,
        held_width=layout.held_width + layout.memory_width, tape_width=tape_width,
        ACTIVATION=layout.activation,
    )  # fmt: skip
    return states, tape


def adjoint(
    q: "DenseArguments", layout: Layout, tape: Tensor, states_bar: Tensor, has_input_bar: bool
) -> tuple[Tensor, ...]:
    """Return the gradients of inputs (empty if not wanted), state, frames and weights."""
    (batch, steps, _), new_empty = q.input.shape, q.input.new_empty
    cell = DenseSequence(q, layout)
    bars_width = layout.bars_width + layout.memory_width
    bars = new_empty(batch * steps, bars_width)
    other_bars = new_empty(batch * steps, layout.units)
    frames_bar, state_bar = new_empty(batch, steps), new_empty(batch, layout.state_width)
    reset = None if q.reset is None else q.reset.contiguous()
    cell.launch(
        dense_scan_adjoint,
        cell.frames, cell.share(), *cell.weights(), reset, tape.contiguous(),
        states_bar.contiguous(), bars, other_bars, frames_bar, state_bar,
        tape_width=layout.record_width, bars_width=bars_width,
    )  # fmt: skip
    record = tape.view(batch * steps, layout.record_width)
    found = find_gradients(cell, record, bars, other_bars, has_input_bar)
    frames_bar = frames_bar + found.frames_bar.view(batch, steps)
    input_bar = new_empty(0) if found.input_bar is None else found.input_bar.view(q.input.shape)
    return input_bar, state_bar, frames_bar, found.weights_bar


class DenseSequence:
    """A sequence with the cell's weights, split into matrices and pieces."""

    def __init__(self, q: "DenseArguments", layout: Layout) -> None:
        self.q, self.layout = q, layout
        self.frames = q.frames.contiguous()
        self.matrices: list[list[Tensor]] = []
        weights, first, step = q.weights.contiguous(), 0, MOST_PIECES + 1
        self.starts: list[int] = []
        for k in range(0, len(q.shapes), step):
            rows, widths = q.shapes[k], [n for n in q.shapes[k + 1 : k + step] if n]
            self.starts.append(first)
            pieces = []
            for width in widths:
                pieces.append(weights[first : first + rows * width].view(rows, width))
                first += rows * width
            self.matrices.append(pieces)
        self.flat = weights
        self.own = self.matrices[layout.has_memory :]
        """Matrices of the cell, without that of a memory around it."""

    def seeing(self) -> list[tuple[Tensor, Tensor | None, Tensor]]:
        """Return the weights of inputs, elapsed time and bias by layer; a memory's gates last."""
        layout = self.layout
        pieces = [self.own[k][layout.sees_state :] for k in layout.seeing]
        if layout.has_memory:
            pieces.append(self.matrices[0][1:])
        return [(own[0], own[1] if len(own) == 3 else None, own[-1]) for own in pieces]

    def held(self) -> Tensor:
        """Return the contributions of inputs, elapsed time and bias to each layer (B, T, …)."""
        weights, times, biases = zip(*self.seeing(), strict=True)
        weight, bias, size = torch.cat(weights), torch.cat(biases)[:, 0], self.layout.held_width
        rows = self._rows()
        if rows is not None:
            weight = torch.cat([weight[:size][rows], weight[size:]])
            bias = torch.cat([bias[:size][rows], bias[size:]])
        held = torch.nn.functional.linear(self.q.input, weight, bias)
        if times[0] is not None:
            held[..., :size] += self.frames[..., None] * times[0][:, 0]
        return held

    def _rows(self) -> Tensor | None:
        """Return the row order that turns the layers of a WiredCfC into heads of a CfC, or None."""
        layout = self.layout
        if layout.kind != "wired_cfc":
            return None
        return _rows_of_heads(layout.ends, layout.heads, self.flat.device)

    def share(self) -> Tensor:
        """Return the fraction by which a CT-RNN approaches its target in a sub-step.

        Other cells get an unused placeholder.
        """
        if self.layout.kind != "ctrnn":
            return self.frames
        return approach(self.frames, self.own[2][0][:, 0], self.layout.unfolds)

    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return `weight`, `deep`, `closing` and `gates` of `triton_dense.py`."""
        layout, flat, kind = self.layout, self.flat, self.layout.kind
        starts = self.starts[layout.has_memory :]
        # Indices of the matrix that acts on the state, and of the next one.
        places = {"gru": (1, 0), "ctrnn": (1, 0), "neural_ode": (1, 0), "ode_rnn": (3, 0)}
        first, next = places.get(kind, (0, 1 if len(starts) > 1 else 0))
        weight, deep = flat[starts[first] :], flat[starts[next] :]
        closing = flat[starts[-2] :] if layout.is_pure else flat
        rows = self._rows()
        if rows is not None:
            weight = torch.cat([self.own[k][0] for k in layout.seeing])[rows]
        return weight, deep, closing, flat

    def launch(self, kernel: Any, *values: Any, **sizes: int) -> None:
        """Start a kernel on the device of its tensors."""
        layout, (batch, steps, _) = self.layout, self.q.input.shape
        if batch == 0:
            return
        units = _pad(layout.units)
        hidden = layout.hidden if layout.layers else layout.units
        with torch.cuda.device_of(self.flat):
            kernel[((batch + BATCH - 1) // BATCH,)](
                *values, batch, steps,
                units=layout.units, hidden=hidden, width=layout.width,
                state_column=layout.tape_width, **sizes,
                KIND=layout.kind, HAS_MEMORY=layout.has_memory, MODE=layout.mode,
                LAYERS=layout.layers, UNFOLDS=layout.unfolds, SCALES=layout.scales,
                ENDS=layout.ends, UNITS=units, HIDDEN=_pad(hidden), STATE=units * layout.scales,
                BATCH=BATCH, HAS_RESET=self.q.reset is not None,
                num_warps=4, num_stages=1, enable_fp_fusion=True,
            )  # fmt: skip


@functools.lru_cache(maxsize=64)
def _rows_of_heads(ends: tuple[int, ...], heads: int, device: torch.device) -> Tensor:
    """Return the row of each head in matrices that are stacked layer by layer."""
    blocks = [
        torch.arange(heads * first, heads * end, device=device).view(heads, -1)
        for first, end in itertools.pairwise(ends)
    ]
    return torch.cat(blocks, dim=1).flatten()


def approach(frames: Tensor, time_constant: Tensor, unfolds: int) -> Tensor:
    """Return 1 − exp(−h / τ) for sub-steps of h frames, with a last axis for units."""
    return -torch.expm1(-frames[..., None] / unfolds / time_constant)


def _pad(size: int) -> int:
    """Return the padded size for a matrix product: a power of two, at least 16."""
    return max(16, 1 << max(size - 1, 0).bit_length())
