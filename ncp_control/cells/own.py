"""Checks of a cell that a user has written, before it is trained or saved.

A faulty cell is reported in one sentence, and a policy that could not be loaded again is refused
before hours of training. The checks run on copies, so the cell, its mode and torch's random numbers
stay as they are.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from ncp_control.cells.base import Cell

_SEED = 0


def check_step(name: str, cell: Cell) -> None:
    """Let a copy of a cell take one step, and compare the results with the sizes of the cell.

    Args:
        name: Name of the cell.
        cell: The untrained cell.

    Raises:
        ValueError: If a weight has no size yet, `step` or `readout` returns something other than a
            tensor, or a result has another shape or is not finite.
    """
    if any(map(is_lazy, chain(cell.parameters(), cell.buffers()))):
        raise ValueError(
            f"`build` of cell {name!r} must give every weight its size, got a lazy module."
            " Use `sizes.num_inputs`."
        )
    with _apart(cell) as (one,):
        inputs, state, dt_s = _example(one)
        after = one.stepper()(one.project(inputs), state, dt_s)
        _check_result(
            f"`step` of cell {name!r}",
            after,
            (len(state), cell.state_size),
            "A cell has one state: put h and c side by side with torch.cat([h, c], dim=1), and give"
            " their common width as `state_size`.",
        )
        outputs = one.readout(after)
        shape = (len(state), cell.output_size)
        _check_result(f"`readout` of cell {name!r}", outputs, shape, "`output_size` is its width.")


def check_comes_back(name: str, cell: Cell, twin: Cell) -> None:
    """Refuse a cell whose `settings` build another cell.

    Args:
        name: Name of the cell.
        cell: The cell.
        twin: The cell built from its settings; it gets the weights of `cell`.

    Raises:
        ValueError: If the twin does not take the weights, or gives other results with them.
    """
    advice = (
        f"Let `settings` of {type(cell).__name__} return every argument of its constructor by name:"
        " a policy is loaded with these."
    )
    with _apart(cell, twin) as (one, other):
        state = one.initial_state(2)
        other.to(device=state.device, dtype=state.dtype)
        try:
            other.load_state_dict(one.state_dict())
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"`settings` of cell {name!r} must build an equal cell, got one that does not take"
                f" its weights: {reason} {advice}"
            ) from error
        wanted, found = _answer(one), _answer(other)
    if not torch.allclose(wanted, found, rtol=1e-4, atol=1e-6, equal_nan=True):
        raise ValueError(
            f"`settings` of cell {name!r} must build an equal cell, got one that answers otherwise"
            f" with the same weights. {advice}"
        )


@contextmanager
def _apart(*cells: Cell) -> Iterator[list[Cell]]:
    """Yield copies of cells in evaluation mode; torch's random numbers stay as they are."""
    devices = {p.device for cell in cells for p in cell.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=list(devices), device_type="cuda"), torch.no_grad():
        yield [copy.deepcopy(cell).eval() for cell in cells]


def _answer(cell: Cell) -> Tensor:
    """Return the state after one step and the outputs, as one vector."""
    inputs, state, dt_s = _example(cell)
    torch.manual_seed(_SEED)  # equal draws for a cell with noise
    after = cell.stepper()(cell.project(inputs), state, dt_s)
    return torch.cat([after.flatten(), cell.readout(after).flatten()]).double()


def _example(cell: Cell) -> tuple[Tensor, Tensor, Tensor]:
    """Return inputs, the first state and elapsed times of a batch of two."""
    state = cell.initial_state(2)
    count = 2 * cell.input_size
    inputs = torch.linspace(-1.0, 1.0, count, dtype=state.dtype, device=state.device)
    dt_s = torch.full((2,), cell.frame_s, dtype=state.dtype, device=state.device)
    return inputs.view(2, cell.input_size), state, dt_s


def _check_result(what: str, result: Any, shape: tuple[int, int], advice: str) -> None:
    """Raise ValueError unless a result is a finite tensor of a shape."""
    if not isinstance(result, Tensor):
        raise ValueError(
            f"{what} must return a tensor of shape {shape}, got {type(result).__name__!r}. {advice}"
        )
    if result.shape != shape:
        raise ValueError(f"{what} must be of shape {shape}, got {tuple(result.shape)}. {advice}")
    if not torch.isfinite(result).all():
        raise ValueError(
            f"{what} must be finite, got NaN or infinity for inputs from -1 to 1 before any"
            " training."
        )
