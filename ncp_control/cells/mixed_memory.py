"""Mixed memory: any cell with an additional LSTM-like memory, for long dependencies.

Before each frame, the output of the memory replaces the cell's state. So gradients reach far back
through c, and the cell itself still uses the elapsed time:

    [i, g, f, o] = W u + b + U v
    c ← σ(f) c + σ(i) tanh(g)
    v ← cell(u, σ(o) tanh(c), dt_s)

| symbol     | name                             | per              |
|------------|----------------------------------|------------------|
| u          | inputs                           | –                |
| v, c       | state of the cell, its memory    | entry of v       |
| i, f, o    | input, forget, output gate       | entry of v       |
| g          | candidate                        | entry of v       |

Sources: Lechner & Hasani 2020, "Learning long-term dependencies in irregularly-sampled time
series" (arXiv 2006.04418), figure 3; Hasani et al. 2022 (CfC-mmRNN).
"""

from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ncp_control.cells.base import Cell, Step, reference_tensor
from ncp_control.cells.dense import glorot_, is_linear
from ncp_control.cells.feedforward import Feedforward
from ncp_control.kernels.dense_op import KINDS, Program


class MixedMemory(Cell):
    """A cell with an additional LSTM-like memory of the same width as the cell's state.

    The state is [v, c]: the state of the cell, then the memory.

    Args:
        cell: The cell that uses elapsed time, e.g. an LTC or a CfC.

    Raises:
        TypeError: If `cell` is not a Cell, or is a MixedMemory or a Feedforward.
    """

    def __init__(self, cell: Cell) -> None:
        if not isinstance(cell, Cell) or isinstance(cell, MixedMemory | Feedforward):
            raise TypeError(
                "`cell` must be a Cell with a state of its own and no mixed memory yet, got"
                f" {type(cell).__name__!r}. Give one that obeys time, e.g. an LTC or a CfC."
            )
        super().__init__(
            cell.input_size, 2 * cell.state_size, cell.output_size, frame_s=cell.frame_s
        )
        self.cell = cell
        # A cell with a faster `unroll` of its own uses it even for single frames.
        self._runs_unrolled = type(cell).unroll is not Cell.unroll
        width, dtype = cell.state_size, reference_tensor(cell).dtype
        self.input_map = nn.Linear(cell.input_size, 4 * width, dtype=dtype)
        self.state_map = nn.Linear(width, 4 * width, bias=False, dtype=dtype)
        glorot_(self.input_map.weight, blocks=4)
        nn.init.orthogonal_(self.state_map.weight)
        with torch.no_grad():
            self.input_map.bias.uniform_(-0.1, 0.1)
            self.input_map.bias[2 * width : 3 * width] += 1.0  # forget gate: remember at first

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"cell": self.cell}

    @property
    def neuron_names(self) -> list[str]:
        """The cell's names, then `memory_0`, …."""
        return self.cell.neuron_names + [f"memory_{i}" for i in range(self.cell.state_size)]

    @property
    def num_visible(self) -> int:
        """Number of visible entries of the cell; the memory is not visible."""
        return self.cell.num_visible

    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """Return the cell's initial state and an empty memory."""
        state = self.cell.initial_state(batch)
        return torch.cat([state, torch.zeros_like(state)], dim=1)

    def program(self) -> Program | None:
        """Return the map to the gates, followed by the cell's own description."""
        maps, inner = (self.input_map, self.state_map), self.cell.program()
        if type(self) is not MixedMemory or inner is None or not all(map(is_linear, maps)):
            return None
        gates = self.state_map.weight, self.input_map.weight, self.input_map.bias
        options = KINDS.index(inner.kind), *inner.options
        return Program("mixed_memory", [gates, *inner.matrices], options, inner.wiring)

    def project(self, inputs: Float[Tensor, "*any input"]) -> Float[Tensor, "*any projected"]:
        """Return the contribution of the inputs to the gates, then the cell's projected inputs."""
        cell_inputs = inputs if self._runs_unrolled else self.cell.project(inputs)
        return torch.cat([self.input_map(inputs), cell_inputs], dim=-1)

    def stepper(self) -> Step:
        """Return `step` with the stepper of the inner cell."""
        step = self._unroll_frame if self._runs_unrolled else self.cell.stepper()
        return partial(self._advance, step)

    def _unroll_frame(self, inputs: Tensor, state: Tensor, dt_s: Tensor) -> Tensor:
        return self.cell.unroll(inputs[:, None], state, dt_s[:, None], None)[:, 0]

    def _advance(
        self,
        advance_cell: Step,
        projected: Float[Tensor, "batch projected"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch state"]:
        """Update the memory, then advance the cell from the memory's output by `dt_s` seconds."""
        width = self.cell.state_size
        own, memory = state.split(width, dim=1)
        gate_inputs, cell_inputs = projected.tensor_split([4 * width], dim=1)
        gates = torch.addmm(gate_inputs, own, self.state_map.weight.t())
        enter, candidate, forget, show = gates.chunk(4, dim=1)
        memory = torch.sigmoid(forget) * memory + torch.sigmoid(enter) * torch.tanh(candidate)
        own = advance_cell(cell_inputs, torch.sigmoid(show) * torch.tanh(memory), dt_s)
        return torch.cat([own, memory], dim=1)

    def readout(self, state: Float[Tensor, "*any state"]) -> Float[Tensor, "*any output"]:
        """Return the readout of the cell; the memory acts only through the cell."""
        return self.cell.readout(state[..., : self.cell.state_size])

    @property
    def has_timescales(self) -> bool:
        """Same as for the inner cell."""
        return self.cell.has_timescales

    def timescales(
        self, inputs: Float[Tensor, "batch input"], state: Float[Tensor, "batch state"]
    ) -> Float[Tensor, "batch state"]:
        """Return τ [s] of the cell's entries; NaN for the memory, which has no time constant."""
        own, memory = state.split(self.cell.state_size, dim=1)
        own_s = self.cell.timescales(inputs, own)
        return torch.cat([own_s, torch.full_like(memory, torch.nan)], dim=1)

    @property
    def has_synaptic_currents(self) -> bool:
        """Same as for the inner cell."""
        return self.cell.has_synaptic_currents

    def synaptic_currents(
        self, inputs: Float[Tensor, "batch input"], state: Float[Tensor, "batch state"]
    ) -> Float[Tensor, "batch synapses"]:
        """Return the cell's synaptic currents."""
        return self.cell.synaptic_currents(inputs, state[:, : self.cell.state_size])
