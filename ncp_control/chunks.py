"""Gradient checkpointing over time: long sequences are backpropagated in chunks.

The forward pass keeps only the state between two chunks. The backward pass runs each chunk a second
time, with gradients, and backpropagates through it. So the memory is that of one chunk, and the
extra time is one forward pass. It works for every cell, with or without a kernel.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ncp_control.cells import Cell
from ncp_control.cells.precision import exchanged, places_of
from ncp_control.generators import drawn_from, generator_states


def run_in_chunks(
    cell: Cell, inputs: Tensor, state: Tensor, dt_s: Tensor, reset: Tensor | None, chunk: int
) -> tuple[Tensor, Tensor]:
    """Return the output at every frame and the state after the last, as `Cell.sequence`.

    Args:
        cell: The cell.
        inputs: Inputs of shape (batch, time, input).
        state: State before the first frame, shape (batch, state).
        dt_s: Time elapsed before each frame [s], shape (batch, time).
        reset: True at frames before which the state is cleared, shape (batch, time); None if there
            are none.
        chunk: Number of frames per backpropagation chunk, >= 1.

    Raises:
        ValueError: If weights of the cell are computed from other weights before each call, e.g. by
            pruning.
    """
    weights, parts = _Weights(cell), []
    for first in range(0, max(inputs.shape[1], 1), chunk):
        frames = slice(first, first + chunk)
        resets = None if reset is None else reset[:, frames]
        arguments = inputs[:, frames], state, dt_s[:, frames], resets
        outputs, state = _Chunk.apply(weights, *arguments, *weights.learned)
        parts.append(outputs)
    return torch.cat(parts, dim=1), state


class _Weights:
    """A cell together with the weights that it has now.

    The cell may have other weights by the time of the backward pass: `torch.func.functional_call`
    and half-precision circuits exchange them for the duration of a call.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self._places = places_of(cell)
        # A tensor may be used in several places; it is listed once.
        learned = {id(p.tensor): p.tensor for p in self._places if p.tensor.requires_grad}
        self.learned = tuple(learned.values())
        _check_no_others(cell)

    def run(self, inputs: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
        """Run the cell; `arguments` are state, times, resets and the learned weights."""
        state, dt_s, reset, *learned = arguments
        now = {id(old): new for old, new in zip(self.learned, learned, strict=True)}
        places = [p._replace(tensor=now.get(id(p.tensor), p.tensor)) for p in self._places]
        with exchanged(places):
            outputs, last = self.cell.sequence(inputs, state, dt_s, reset)
        return outputs, last.clone()  # a view would keep the states of the whole chunk


def _check_no_others(cell: nn.Module) -> None:
    """Refuse cells with weights computed from other weights: chunks give those no gradient."""
    for part in cell.modules():
        for name, value in vars(part).items():
            if isinstance(value, Tensor) and value.requires_grad:
                raise ValueError(
                    f"`chunk` must be left out for a cell whose {name!r} is computed from other"
                    " weights before each call, e.g. by pruning. Make the pruning permanent first."
                )


class _Chunk(torch.autograd.Function):
    """One chunk of a sequence; saves only its arguments for the backward pass."""

    @staticmethod
    def forward(ctx: Any, weights: _Weights, *arguments: Any) -> tuple[Tensor, Tensor]:
        ctx.weights, ctx.drawn = weights, generator_states(arguments[0].device)
        ctx.save_for_backward(*arguments)
        ctx.set_materialize_grads(False)
        return weights.run(*arguments)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *bars: Tensor | None) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[1:]
        arguments: list[Any] = [
            tensor if tensor is None else tensor.detach().requires_grad_(is_wanted)
            for tensor, is_wanted in zip(ctx.saved_tensors, wanted, strict=True)
        ]
        # From the same generator states, for cells that draw random numbers, e.g. dropout.
        with torch.enable_grad(), drawn_from(ctx.drawn, arguments[0].device):
            results = ctx.weights.run(*arguments)
        pairs = [
            (result, bar)
            for result, bar in zip(results, bars, strict=True)
            if bar is not None and result.requires_grad
        ]
        leaves: list[Any] = [
            tensor for tensor, is_wanted in zip(arguments, wanted, strict=True) if is_wanted
        ]
        if not pairs:
            return (None,) * (1 + len(wanted))
        ends, end_bars = zip(*pairs, strict=True)
        gradients = iter(torch.autograd.grad(ends, leaves, end_bars, allow_unused=True))
        return None, *(next(gradients) if is_wanted else None for is_wanted in wanted)
