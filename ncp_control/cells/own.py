"""Checks of a cell that a user has written, before it is trained or saved.

A fault in such a cell is reported in one sentence, and a policy that a file could not bring back is
refused before hours of training.
"""

from typing import Any

import torch
from torch import Tensor

from ncp_control.cells.base import Cell


@torch.no_grad()
def check_step(name: str, cell: Cell) -> None:
    """Let a cell take one step, and compare what it returns with its sizes.

    Args:
        name: Name of the cell.
        cell: The cell, untrained.

    Raises:
        ValueError: If `step` or `readout` returns something other than a tensor, or one of another
            shape, or one that is not finite.
    """
    inputs, state, dt_s = _example(cell)
    after = cell.stepper()(cell.project(inputs), state, dt_s)
    _check_result(
        f"`step` of cell {name!r}",
        after,
        (len(state), cell.state_size),
        "A cell has one state: put h and c side by side with torch.cat([h, c], dim=1), and give"
        " their common width as `state_size`.",
    )
    outputs = cell.readout(after)
    shape = (len(state), cell.output_size)
    _check_result(f"`readout` of cell {name!r}", outputs, shape, "`output_size` is its width.")


@torch.no_grad()
def check_comes_back(name: str, cell: Cell, twin: Cell) -> None:
    """Refuse a cell whose `settings` build another cell.

    Args:
        name: Name of the cell.
        cell: The cell.
        twin: What was built from its settings; it takes the weights of `cell`.

    Raises:
        ValueError: If the twin does not take the weights, or answers otherwise with them.
    """
    advice = (
        f"Let `settings` of {type(cell).__name__} return every argument of its constructor by name:"
        " a policy is loaded with these."
    )
    try:
        twin.load_state_dict(cell.state_dict())
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"`settings` of cell {name!r} must build an equal cell, got one that does not take its"
            f" weights: {reason} {advice}"
        ) from error
    was_training = cell.training
    twin.to(next(cell.parameters()).device).eval()
    cell.eval()
    try:
        first, again, other = (_answer(one) for one in (cell, cell, twin))
    finally:
        cell.train(was_training)
    if torch.equal(first, again) and not torch.allclose(first, other, rtol=1e-4, atol=1e-6):
        raise ValueError(
            f"`settings` of cell {name!r} must build an equal cell, got one that answers otherwise"
            f" with the same weights. {advice}"
        )


def _answer(cell: Cell) -> Tensor:
    """Return the state after one step and the outputs, as one vector."""
    after = cell(*_example(cell))
    return torch.cat([after.flatten(), cell.readout(after).flatten()]).double()


def _example(cell: Cell) -> tuple[Tensor, Tensor, Tensor]:
    """Return inputs, the first state and elapsed times of a batch of two."""
    state = cell.initial_state(2)
    count = 2 * cell.input_size
    inputs = torch.linspace(-1.0, 1.0, count, dtype=state.dtype, device=state.device)
    dt_s = torch.full((2,), cell.frame_s, dtype=state.dtype, device=state.device)
    return inputs.view(2, cell.input_size), state, dt_s


def _check_result(what: str, result: Any, shape: tuple[int, int], advice: str) -> None:
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
