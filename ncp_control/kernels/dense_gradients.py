"""Gradients of the weights of a dense cell on a GPU, from the records of a sequence.

The forward pass stores the inputs of all layers for each frame (the record). The backward pass
stores the derivatives with respect to their outputs (`bars`). The gradient of a layer is the
product of both over all frames. For each cell, a function here assigns parts of record and bars to
its matrices. x̄ is the derivative of the loss with respect to x.
"""

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ncp_control.kernels.dense_layout import MEMORY_GATES

if TYPE_CHECKING:
    from ncp_control.kernels.dense_triton import DenseSequence

Layers = list[tuple[Tensor, list[Tensor | None]]]
"""For each matrix: derivatives of its outputs, and the input of each of its pieces (None is 1)."""


class Left(NamedTuple):
    """Records of a sequence, one row per frame; see `triton_dense.py`."""

    record: Tensor
    bars: Tensor
    others: Tensor
    frames: Tensor
    """Elapsed time [frames], a column."""
    inputs: list[Tensor | None]
    """Inputs of a matrix besides the state: inputs, elapsed time (for some cells), 1 (as None)."""


class DenseGradients(NamedTuple):
    """Gradients of inputs and elapsed time, one row per frame, and of all weights."""

    input_bar: Tensor | None
    frames_bar: Tensor
    """Without the part that the kernel computed."""
    weights_bar: Tensor


def find_gradients(
    cell: "DenseSequence", record: Tensor, bars: Tensor, others: Tensor, has_input_bar: bool
) -> DenseGradients:
    """Return the gradients computed from records, bars and `other_bars` of all frames."""
    layout, inputs = cell.layout, cell.q.input.flatten(0, 1)
    frames = cell.frames.view(-1, 1)
    has_time = cell.seeing()[0][1] is not None
    left = Left(
        record, bars, others, frames, [inputs, frames, None] if has_time else [inputs, None]
    )
    layers, frames_bar = _MAPS[layout.kind](cell, left)
    held_bars = [layers[k][0] for k in layout.seeing]
    if layout.has_memory:
        first = layout.record_width - layout.state_width
        state = record[:, first : first + layout.width]
        gates = bars[:, layout.bars_width :]
        assert gates.shape[1] == MEMORY_GATES * layout.width
        layers = [(gates, [state, inputs, None]), *layers]
        held_bars.append(gates)
    for bar, (_, time, _) in zip(held_bars, cell.seeing(), strict=True):
        if time is not None:
            frames_bar = frames_bar + bar @ time[:, 0]
    input_bar = None
    if has_input_bar:
        weight = torch.cat([weight for weight, *_ in cell.seeing()])
        input_bar = torch.cat(held_bars, dim=1) @ weight
    pieces = [
        bar.sum(0) if x is None else (bar.t() @ x).flatten() for bar, xs in layers for x in xs
    ]
    return DenseGradients(input_bar, frames_bar, torch.cat(pieces))


def _lstm(cell: "DenseSequence", left: Left) -> tuple[Layers, Tensor]:
    units, kept = cell.layout.units, cell.layout.tape_width
    state = left.record[:, kept : kept + units]
    return [(left.bars[:, : 4 * units], [state, *left.inputs])], _no_time(left)


def _gru(cell: "DenseSequence", left: Left) -> tuple[Layers, Tensor]:
    units, bars = cell.layout.units, left.bars
    state = left.record[:, 4 * units : 5 * units]
    of_state = torch.cat([bars[:, : 2 * units], bars[:, 3 * units : 4 * units]], dim=1)
    layers: Layers = [(bars[:, : 3 * units], left.inputs), (of_state, [state, None])]
    return layers, _no_time(left)


def _ctrnn(cell: "DenseSequence", left: Left) -> tuple[Layers, Tensor]:
    n, units, time = cell.layout.unfolds, cell.layout.units, cell.own[2][0][:, 0]
    states, bars = _box(left.record, n, 2, units)[:, :, 0], _box(left.bars, n, 1, units)[:, :, 0]
    share_bar = left.others * torch.exp(-left.frames / n / time) / (n * time)
    layers: Layers = [
        (bars.sum(1), left.inputs),
        (bars.flatten(0, 1), [states.flatten(0, 1)]),
        (-share_bar * left.frames / time, [None]),
    ]
    return layers, share_bar.sum(1)


def _neural_ode(cell: "DenseSequence", left: Left) -> tuple[Layers, Tensor]:
    stages, units = 4 * cell.layout.unfolds, cell.layout.units
    states = _box(left.record, stages, 2, units)[:, :, 0].flatten(0, 1)
    bars = _box(left.bars, stages, 1, units)[:, :, 0]
    return [(bars.sum(1), left.inputs), (bars.flatten(0, 1), [states])], _no_time(left)


def _ode_rnn(cell: "DenseSequence", left: Left) -> tuple[Layers, Tensor]:
    stages, units = 4 * cell.layout.unfolds, cell.layout.units
    stage_inputs = _box(left.record[:, 5 * units :], stages, 3, units).flatten(0, 1)
    bars = _box(left.bars[:, 4 * units :], stages, 2, units).flatten(0, 1)
    layers, frames_bar = _gru(cell, left)
    return [*((bars[:, k], [stage_inputs[:, k], None]) for k in range(2)), *layers], frames_bar


def _ctgru(cell: "DenseSequence", left: Left) -> tuple[Layers, Tensor]:
    units = cell.layout.units
    scale_bars, event_bar = left.bars[:, : 3 * units].split([2 * units, units], dim=1)
    h, retrieved = left.record[:, 3 * units : 5 * units].split(units, dim=1)
    layers: Layers = [(scale_bars, [h, *left.inputs]), (event_bar, [retrieved, *left.inputs])]
    return layers, _no_time(left)


def _cfc(cell: "DenseSequence", left: Left) -> tuple[Layers, Tensor]:
    layout, record = cell.layout, left.record
    hidden, n = layout.hidden, layout.layers
    bounds = [*itertools.accumulate([hidden] * n, initial=0), layout.bars_width]
    state = record[:, layout.tape_width : layout.tape_width + layout.units]
    layers: Layers = []
    for k, (first, end) in enumerate(itertools.pairwise(bounds)):
        x = record[:, (2 * k - 1) * hidden : 2 * k * hidden]
        layers.append((left.bars[:, first:end], [x, None] if k else [state, *left.inputs]))
    f = record[:, 2 * n * hidden : 2 * n * hidden + layout.units]
    return [*layers, *_closing(cell, left, f)], _no_time(left)


def _wired_cfc(cell: "DenseSequence", left: Left) -> tuple[Layers, Tensor]:
    layout, units, heads = cell.layout, cell.layout.units, cell.layout.heads
    new, old = left.record[:, heads * units : (heads + 2) * units].split(units, dim=1)
    bars = left.bars[:, : heads * units].unflatten(1, (heads, units))
    layers: Layers = []
    for first, end in itertools.pairwise(layout.ends):
        state = torch.cat([new[:, :first], old[:, first:]], dim=1)
        layers.append((bars[:, :, first:end].flatten(1), [state, *left.inputs]))
    return [*layers, *_closing(cell, left, left.record[:, :units])], _no_time(left)


def _closing(cell: "DenseSequence", left: Left, f: Tensor) -> Layers:
    """Return the entries of w and A in pure mode, computed from v̄ after each frame."""
    if not cell.layout.is_pure:
        return []
    leak, most = (matrix[0][:, 0] for matrix in cell.own[-2:])
    decayed = f * torch.exp(-(leak.abs() + f.abs()) * left.frames)
    leak_bar = left.others * most * decayed * left.frames * leak.sign()
    return [(leak_bar, [None]), (left.others * (1.0 - decayed), [None])]


def _box(values: Tensor, uses: int, kinds: int, units: int) -> Tensor:
    """Return the first numbers of each frame in the shape (frames, uses, kinds, units)."""
    return values[:, : uses * kinds * units].reshape(-1, uses, kinds, units)


def _no_time(left: Left) -> Tensor:
    return torch.zeros_like(left.frames[:, 0])


_MAPS: dict[str, Callable[["DenseSequence", Left], tuple[Layers, Tensor]]] = {
    "cfc": _cfc,
    "wired_cfc": _wired_cfc,
    "lstm": _lstm,
    "gru": _gru,
    "ctrnn": _ctrnn,
    "neural_ode": _neural_ode,
    "ode_rnn": _ode_rnn,
    "ctgru": _ctgru,
}
