"""Long sequences in chunks of time: a backward pass whose memory does not grow with their length.

Forwards, only the state between two chunks is kept; backwards, each chunk is run once more, with
what its gradient needs, before it is led back. So memory is that of one chunk, and time that of one
more forward pass. It works above the interface of cells: for any cell, on a kernel or without.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ncp_control.cells import Cell
from ncp_control.generators import drawn_from, generator_states


def run_in_chunks(
    cell: Cell, inputs: Tensor, state: Tensor, dt_s: Tensor, reset: Tensor | None, chunk: int
) -> tuple[Tensor, Tensor]:
    """Return the output at every frame and the state after the last, as `Cell.sequence`.

    Args:
        cell: The cell.
        inputs: As for `Cell.sequence`, like what follows.
        state: State before the first frame.
        dt_s: Time elapsed before each frame [s].
        reset: Frames before which the state is cleared.
        chunk: Frames that are led back together, >= 1.

    Raises:
        ValueError: If weights of the cell are found from others before a call, e.g. by pruning.
    """
    weights, parts = _Weights(cell), []
    for first in range(0, max(inputs.shape[1], 1), chunk):
        frames = slice(first, first + chunk)
        resets = None if reset is None else reset[:, frames]
        given = inputs[:, frames], state, dt_s[:, frames], resets
        outputs, state = _Chunk.apply(weights, *given, *weights.learned)
        parts.append(outputs)
    return torch.cat(parts, dim=1), state


class _Weights:
    """A cell with its weights as they are now.

    They may be exchanged for others later, as `torch.func.functional_call` and circuits of half
    precision do: both give the cell its own back when the call ends.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self._slots: list[tuple[dict[str, Any], str, Tensor]] = [
            (tensors, name, tensor)
            for part in cell.modules()
            for tensors in (part._parameters, part._buffers)
            for name, tensor in tensors.items()
            if tensor is not None
        ]
        # A tensor may stand in several places; it is learned once.
        learned = {id(tensor): tensor for *_, tensor in self._slots if tensor.requires_grad}
        self.learned: tuple[Tensor, ...] = tuple(learned.values())
        self._place = {key: place for place, key in enumerate(learned)}
        _check_no_others(cell)

    @contextmanager
    def exchanged(self, learned: tuple[Tensor, ...]) -> Iterator[None]:
        """Let the cell have these in the place of those that are learned, until the end."""
        later: list[Any] = [(tensors, name, tensors[name]) for tensors, name, _ in self._slots]
        try:
            for tensors, name, tensor in self._slots:
                place = self._place.get(id(tensor))
                tensors[name] = tensor if place is None else learned[place]
            yield
        finally:
            for tensors, name, tensor in later:
                tensors[name] = tensor

    def run(self, inputs: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
        """Run the cell on the other arguments of `Cell.sequence`, then what is learned."""
        state, dt_s, reset, *learned = arguments
        with self.exchanged(tuple(learned)):
            outputs, last = self.cell.sequence(inputs, state, dt_s, reset)
        return outputs, last.clone()  # a view would keep the states of the whole chunk


def _check_no_others(cell: nn.Module) -> None:
    """Refuse weights that no chunk could lead back to."""
    for part in cell.modules():
        for name, value in vars(part).items():
            if isinstance(value, Tensor) and value.requires_grad:
                raise ValueError(
                    f"`chunk` must be left out for a cell whose {name!r} is found from other"
                    " weights before a call, as by pruning. Make that permanent first."
                )


class _Chunk(torch.autograd.Function):
    """A chunk of a sequence, which keeps its arguments alone."""

    @staticmethod
    def forward(ctx: Any, weights: _Weights, *given: Any) -> tuple[Tensor, Tensor]:
        ctx.weights, ctx.drawn = weights, generator_states(given[0].device)
        ctx.save_for_backward(*given)
        ctx.set_materialize_grads(False)
        return weights.run(*given)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *bars: Tensor | None) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[1:]
        given: list[Any] = [
            tensor if tensor is None else tensor.detach().requires_grad_(is_wanted)
            for tensor, is_wanted in zip(ctx.saved_tensors, wanted, strict=True)
        ]
        # From the same states, for a cell that draws numbers, e.g. by dropout.
        with torch.enable_grad(), drawn_from(ctx.drawn, given[0].device):
            results = ctx.weights.run(*given)
        pairs = [
            (result, bar)
            for result, bar in zip(results, bars, strict=True)
            if bar is not None and result.requires_grad
        ]
        leaves: list[Any] = [
            tensor for tensor, is_wanted in zip(given, wanted, strict=True) if is_wanted
        ]
        if not pairs:
            return (None,) * (1 + len(wanted))
        ends, end_bars = zip(*pairs, strict=True)
        gradients = iter(torch.autograd.grad(ends, leaves, end_bars, allow_unused=True))
        return None, *(next(gradients) if is_wanted else None for is_wanted in wanted)
