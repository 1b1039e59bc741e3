"""The kernels of dense cells for GPUs, in Triton: what `dense.c` is for processors.

A sequence is one launch forwards and one backwards (`triton_dense.py`), between products of large
matrices that torch forms: the first layer's share of the inputs before, the gradients of all
weights after. A cell of `KINDS` brings its step and the step's adjoint there, and here its layout
and what each of its layers sees.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ncp_control.kernels.dense_op import MOST_PIECES
from ncp_control.kernels.triton_dense import dense_scan, dense_scan_adjoint

if TYPE_CHECKING:
    from ncp_control.kernels.dense_op import Arguments

BATCH = 16
"""Samples of one program: the least that a product of matrices takes."""
PURE = 2
"""Mode of a CfC, as in cfc.h."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a cell's matrices mean, and how wide its records are."""

    kind: str
    units: int
    state_width: int
    tape_width: int
    """Numbers of a frame on the tape, without the state before it."""
    bars_width: int
    held: int
    """Which matrix sees the inputs."""
    recurrent: int
    """Which one sees the state; the same, where the state is its first piece."""
    mode: int = 0
    activation: int = 0
    layers: int = 0
    """Hidden layers of a CfC."""
    hidden: int = 1
    unfolds: int = 1


def lay_out(kind: str, shapes: Sequence[int], width: int, options: Sequence[int]) -> Layout:
    """Return the layout of a cell.

    Args:
        kind: A name in `KINDS`.
        shapes: Rows and columns of each piece, of all matrices.
        width: Width of the state.
        options: The cell's, see its file of the C kernel.
    """
    common: dict[str, Any] = {"kind": kind, "units": width, "state_width": width, "held": 0}
    if kind == "lstm":
        common["units"] = units = width // 2
        return Layout(**common, tape_width=4 * units, bars_width=4 * units, recurrent=0)
    if kind == "gru":
        return Layout(**common, tape_width=4 * width, bars_width=4 * width, recurrent=1)
    if kind == "ctrnn":
        n = options[0]
        common |= {"tape_width": 2 * n * width, "bars_width": n * width}
        return Layout(**common, recurrent=1, unfolds=n)
    rows = list(shapes[:: MOST_PIECES + 1])
    mode, activation = options[:2]
    heads = (1 if mode == PURE else 4) * width
    layers = len(rows) - 1 - (2 if mode == PURE else 0)
    hidden = rows[0] if layers else 1
    return Layout(
        **common,
        tape_width=layers * 2 * hidden + heads,
        bars_width=layers * hidden + heads,
        recurrent=0,
        mode=mode,
        activation=activation,
        layers=layers,
        hidden=hidden,
    )


def unroll(q: "Arguments", layout: Layout, has_tape: bool) -> tuple[Tensor, Tensor]:
    """Return states and tape."""
    (batch, steps, _), width = q.input.shape, layout.state_width
    cell = _Cell(q, layout)
    states = q.input.new_empty(batch, steps, width)
    tape_width = layout.tape_width + width if has_tape else 0
    tape = q.input.new_empty(batch * steps * tape_width)
    reset = None if q.reset is None else q.reset.contiguous()
    cell.launch(
        dense_scan,
        cell.held(), cell.frames, cell.share(), *cell.weights(), q.state.contiguous(), reset,
        states, tape,
        sizes={"tape_width": tape_width},
        ACTIVATION=layout.activation,
    )  # fmt: skip
    return states, tape


def adjoint(
    q: "Arguments", layout: Layout, tape: Tensor, states_bar: Tensor, has_input_bar: bool
) -> tuple[Tensor, ...]:
    """Return the gradients of inputs (empty if not wanted), state, frames and weights."""
    (batch, steps, _), units = q.input.shape, layout.units
    cell, new_empty = _Cell(q, layout), q.input.new_empty
    tape_width = layout.tape_width + layout.state_width
    bars = new_empty(batch * steps, layout.bars_width)
    other_bars = new_empty(batch * steps, units)
    frames_bar, state_bar = q.frames.new_zeros(batch, steps), new_empty(batch, layout.state_width)
    reset = None if q.reset is None else q.reset.contiguous()
    cell.launch(
        dense_scan_adjoint,
        cell.frames, cell.share(), *cell.weights(), reset, tape.contiguous(),
        states_bar.contiguous(), bars, other_bars, frames_bar, state_bar,
        sizes={"tape_width": tape_width, "bars_width": layout.bars_width},
    )  # fmt: skip
    record = tape.view(batch * steps, tape_width)
    layers, closing = _MAPS[layout.kind](cell, record, bars, other_bars)
    frames_bar = frames_bar.flatten() + closing.frames_bar
    held_bar = layers[layout.held][0]
    _, weight, time, _ = cell.first_layer()
    if time is not None:
        frames_bar = frames_bar + held_bar @ time[:, 0]
    input_bar = (held_bar @ weight).view(q.input.shape) if has_input_bar else new_empty(0)
    pieces = [
        bar.sum(0) if x is None else (bar.t() @ x).flatten() for bar, xs in layers for x in xs
    ]
    weights_bar = torch.cat([*pieces, *closing.weights_bar])
    return input_bar, state_bar, frames_bar.view(batch, steps), weights_bar


class _Cell:
    """A cell's weights, taken apart, and its sequence."""

    def __init__(self, q: "Arguments", layout: Layout) -> None:
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

    def first_layer(self) -> tuple[Tensor | None, Tensor, Tensor | None, Tensor]:
        """Return the pieces for the state, the inputs, the elapsed time, and the bias."""
        pieces = list(self.matrices[self.layout.held])
        state = pieces.pop(0) if self.layout.recurrent == self.layout.held else None
        time = pieces[1] if len(pieces) == 3 else None
        return state, pieces[0], time, pieces[-1]

    def held(self) -> Tensor:
        """Return the first layer's share of inputs, elapsed time and bias."""
        _, weight, time, bias = self.first_layer()
        held = torch.nn.functional.linear(self.q.input, weight, bias[:, 0])
        return held if time is None else held + self.frames[..., None] * time[:, 0]

    def share(self) -> Tensor:
        """Return by how much a CT-RNN moves to its target in each sub-step; else anything."""
        if self.layout.kind != "ctrnn":
            return self.frames
        return _share(self.frames, self.matrices[2][0][:, 0], self.layout.unfolds)

    def weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return where the state's layer, deeper layers, and the closing parameters begin."""
        starts = [*self.starts, len(self.flat)]
        deep = starts[1] if self.layout.layers else 0
        closing = starts[-3] if self.layout.kind == "cfc" and self.layout.mode == PURE else 0
        places = starts[self.layout.recurrent], deep, closing
        recurrent, deeper, last = (self.flat[place:] for place in places)
        return recurrent, deeper, last

    def seen(self) -> list[Tensor | None]:
        """Return what the first layer sees, but for the state."""
        inputs = self.q.input.reshape(-1, self.q.input.shape[2])
        has_time = self.first_layer()[2] is not None
        return [inputs, self.frames.reshape(-1, 1), None] if has_time else [inputs, None]

    def launch(self, kernel: Any, *values: Any, sizes: dict[str, int], **constants: Any) -> None:
        """Start a kernel on the device of its tensors."""
        layout, (batch, steps, _) = self.layout, self.q.input.shape
        if batch == 0:
            return
        hidden = layout.hidden if layout.layers else layout.units
        with torch.cuda.device_of(self.flat):
            kernel[((batch + BATCH - 1) // BATCH,)](
                *values, batch, steps,
                units=layout.units, hidden=layout.hidden, state_width=layout.state_width,
                **sizes, **constants,
                KIND=layout.kind, MODE=layout.mode, LAYERS=layout.layers, UNFOLDS=layout.unfolds,
                UNITS=_pad(layout.units), HIDDEN=_pad(hidden), BATCH=BATCH,
                HAS_RESET=self.q.reset is not None,
                num_warps=4, enable_fp_fusion=True,
            )  # fmt: skip


def _pad(size: int) -> int:
    """Return the power of two, of at least 16, that a product of matrices takes for a size."""
    return max(16, 1 << max(size - 1, 0).bit_length())


def _share(frames: Tensor, time_constant: Tensor, unfolds: int) -> Tensor:
    return -torch.expm1(-frames[..., None] / unfolds / time_constant)


@dataclass(frozen=True, kw_only=True)
class _Closing:
    """What is left to the gradients beside those of layers."""

    frames_bar: Tensor | float = 0.0
    weights_bar: tuple[Tensor, ...] = ()


Layers = list[tuple[Tensor, list[Tensor | None]]]
"""Of each layer the derivatives of what it gives, and what each of its pieces sees; None is 1."""


def _lstm_maps(cell: _Cell, record: Tensor, bars: Tensor, _: Tensor) -> tuple[Layers, _Closing]:
    units, kept = cell.layout.units, cell.layout.tape_width
    return [(bars, [record[:, kept : kept + units], *cell.seen()])], _Closing()


def _gru_maps(cell: _Cell, record: Tensor, bars: Tensor, _: Tensor) -> tuple[Layers, _Closing]:
    units, state = cell.layout.units, record[:, cell.layout.tape_width :]
    of_state = torch.cat([bars[:, : 2 * units], bars[:, 3 * units :]], dim=1)
    return [(bars[:, : 3 * units], cell.seen()), (of_state, [state, None])], _Closing()


def _ctrnn_maps(
    cell: _Cell, record: Tensor, bars: Tensor, share_bar: Tensor
) -> tuple[Layers, _Closing]:
    n, units = cell.layout.unfolds, cell.layout.units
    states = record[:, : 2 * n * units].reshape(-1, n, 2, units)[:, :, 0].reshape(-1, units)
    layers: Layers = [
        (bars.view(-1, n, units).sum(1), cell.seen()),
        (bars.view(-1, units), [states]),
    ]
    time = cell.matrices[2][0][:, 0]
    d = share_bar * (1.0 - _share(cell.frames.flatten(), time, n)) / (n * time)
    time_bar = -(d * cell.frames.reshape(-1, 1) / time).sum(0)
    return layers, _Closing(frames_bar=d.sum(1), weights_bar=(time_bar,))


def _cfc_maps(cell: _Cell, record: Tensor, bars: Tensor, v_bar: Tensor) -> tuple[Layers, _Closing]:
    layout = cell.layout
    hidden, n = layout.hidden, layout.layers
    bounds = [*itertools.accumulate([hidden] * n, initial=0), layout.bars_width]
    state = record[:, layout.tape_width :]
    layers: Layers = []
    for k, (first, end) in enumerate(itertools.pairwise(bounds)):
        x = record[:, (2 * k - 1) * hidden : 2 * k * hidden]
        layers.append((bars[:, first:end], [x, None] if k else [state, *cell.seen()]))
    if layout.mode != PURE:
        return layers, _Closing()
    leak, most = (matrix[0][:, 0] for matrix in cell.matrices[-2:])
    f, t = record[:, 2 * n * hidden : layout.tape_width], cell.frames.reshape(-1, 1)
    decayed = f * torch.exp(-(leak.abs() + f.abs()) * t)
    leak_bar = (v_bar * most * decayed * t).sum(0) * leak.sign()
    return layers, _Closing(weights_bar=(leak_bar, (v_bar * (1.0 - decayed)).sum(0)))


_MAPS: dict[str, Callable[[_Cell, Tensor, Tensor, Tensor], tuple[Layers, _Closing]]] = {
    "cfc": _cfc_maps,
    "lstm": _lstm_maps,
    "gru": _gru_maps,
    "ctrnn": _ctrnn_maps,
}
KINDS = tuple(_MAPS)
"""Cells that the kernels run."""
