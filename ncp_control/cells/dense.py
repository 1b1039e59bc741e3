"""Base class and helpers of cells without a wiring: fully connected units, a linear readout."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ncp_control.cells.base import Cell
from ncp_control.ranges import check_count


class DenseCell(Cell):
    """Base class of cells with fully connected hidden units and a linear readout.

    The first `hidden_size` entries of the state are the activity of the hidden units.

    Args:
        input_size: Width of the inputs, >= 1.
        hidden_size: Number of units, >= 1.
        output_size: Width of the readout, >= 1.
        frame_s: Nominal frame interval [s].
        state_size: Width of the state; if None: `hidden_size`.

    Raises:
        ValueError: If a size is not a positive whole number.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        *,
        frame_s: float,
        state_size: int | None = None,
    ) -> None:
        input_size = check_count("input_size", input_size)
        hidden_size = check_count("hidden_size", hidden_size)
        output_size = check_count("output_size", output_size)
        super().__init__(input_size, state_size or hidden_size, output_size, frame_s=frame_s)
        self.hidden_size = hidden_size
        self.output = nn.Linear(hidden_size, output_size)

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "output_size": self.output_size,
            "frame_s": self.frame_s,
        }

    def readout(self, state: Float[Tensor, "*any state"]) -> Float[Tensor, "*any output"]:
        """Map the hidden activity linearly to the outputs."""
        return self.output(state[..., : self.hidden_size])


@torch.no_grad()
def glorot_(*weights: Tensor, blocks: int = 1) -> None:
    """Fill matrices with Glorot initial values as if they were one matrix, joined along columns.

    Args:
        weights: Matrices (outputs, inputs) with the same number of rows.
        blocks: Number of maps stacked along the rows; each is filled as a separate map.

    Source: Glorot & Bengio 2010, uniform variant: ±√(6 / (columns + rows)).
    """
    columns, rows = sum(weight.shape[1] for weight in weights), weights[0].shape[0] // blocks
    bound = math.sqrt(6.0 / (columns + rows))
    for weight in weights:
        weight.uniform_(-bound, bound)


def does_as(kind: type[nn.Module], layer: nn.Module) -> bool:
    """True if a layer computes exactly what torch's class `kind` does, so a kernel may replace it.

    Layers with hooks do not: `torch.nn.utils.prune`, e.g., computes weights before each call.
    """
    has_hooks = layer._forward_pre_hooks or layer._forward_hooks
    return isinstance(layer, kind) and type(layer).forward is kind.forward and not has_hooks


def is_linear(layer: nn.Module) -> bool:
    """True if a layer computes exactly what `nn.Linear` does; see `does_as`."""
    return does_as(nn.Linear, layer)
