"""Sequence models for `forecasting`: any cell, with a linear readout if needed."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from ncp_control.cells import LTC, Build, Cell, CellSizes, MixedMemory, make_cell
from ncp_control.cells.known import SATURATED
from ncp_control.circuit import Circuit
from ncp_control.wiring_rules import fully_connected

TIME_BLIND = ("lstm", "gru")
"""Models whose cell does not get the elapsed time; see `CellSizes.sees_time`."""


class Forecaster(nn.Module):
    """Circuit with an optional linear readout.

    Args:
        circuit: The circuit.
        readout_size: Number of outputs of a linear layer on top of the circuit's outputs; if None:
            no such layer.
    """

    def __init__(self, circuit: Circuit, readout_size: int | None = None) -> None:
        super().__init__()
        self.circuit = circuit
        self.readout = (
            nn.Identity()
            if readout_size is None
            else nn.Linear(circuit.cell.output_size, readout_size)
        )

    def forward(
        self, inputs: Float[Tensor, "batch time input"], dt_s: Tensor | None = None
    ) -> Float[Tensor, "batch time output"]:
        """Return the output after every frame; arguments as in `Circuit.forward`."""
        outputs, _ = self.circuit(inputs, dt_s=dt_s)
        return self.readout(outputs)


def _full(make: Callable[..., Cell]) -> Build:
    """Return a builder of fully connected cells in which every neuron is a motor neuron.

    The dense readout on top reads all of them, as in the papers on LTC and LRC.
    """

    def build(sizes: CellSizes) -> Cell:
        wiring = sizes.draw_wiring(fully_connected, num_motor=sizes.num_units)
        return make(wiring, frame_s=sizes.frame_s)

    return build


RECIPES: dict[str, Build] = {
    "ltc": _full(LTC),
    "mixed_ltc": lambda sizes: MixedMemory(_full(LTC)(sizes)),
    **{name: _full(make) for name, make in SATURATED.items()},
}
"""Cells that are built differently from the registry of cells, with a readout on top."""


def make_forecaster(model: str, sizes: CellSizes) -> Forecaster:
    """Build an untrained model.

    Args:
        model: A name in `ncp_control.CELLS`.
        sizes: Numbers of inputs, units and outputs, and further sizes.

    Raises:
        ValueError: If the name is unknown; the nearest known one is suggested.
    """
    circuit = Circuit(make_cell(model, sizes, RECIPES))
    needs_readout = model in RECIPES or circuit.cell.output_size != sizes.num_outputs
    return Forecaster(circuit, sizes.num_outputs if needs_readout else None)
