"""Circuits of synapses for GPUs: shared code of LTC, STC and LRC, given effective parameters.

A sequence takes two launches forward (`sense` for all frames at once, then `scan` over time) and
two backward. The host reads a wiring once, at its first use on a device. After that it never waits
for the device, so a warmed-up sequence can be captured in a CUDA graph.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ncp_control.kernels.dense_layout import MEMORY_GATES, MEMORY_RECORD
from ncp_control.kernels.triton_plan import Plan, SlotTable, Synapses, pad
from ncp_control.kernels.triton_scan import scan, scan_adjoint
from ncp_control.kernels.triton_synapses import sense, sense_adjoint

FRAMES = 16
"""Number of frames that one program of the sensory part processes."""


class Frames(NamedTuple):
    """A sequence of B samples and T frames, with I inputs and N neurons; all contiguous."""

    input: Tensor
    """Shape (B, T, I)."""
    state: Tensor
    """State before the first step, shape (B, N); (B, 2 N) with the values of a mixed memory."""
    time: Tensor
    """Elapsed time, in the unit of the capacitance, shape (B, T)."""
    reset: Tensor | None
    """Steps before which the state is cleared, shape (B, T), bool."""


class CircuitGradients(NamedTuple):
    """Gradients of the inputs and parameters of a circuit."""

    input: Tensor
    state: Tensor
    time: Tensor
    table: Tensor
    leak: Tensor
    capacitance: Tensor
    own: Tensor
    gates: Tensor | None


@dataclass(frozen=True, kw_only=True)
class SynapticCircuit:
    """A circuit: S synapses, N neurons, 2 or 3 sums; symbols as in `triton_scan.py`."""

    plan: Plan
    table: Tensor
    """γ, c, w, k and, with 3 sums, o of every synapse, shape (2 + sums, S)."""
    leak: Tensor
    """f, u and, with 3 sums, y of every neuron without its synapses, shape (sums, N)."""
    capacitance: Tensor
    """Shape (N,)."""
    own: Tensor
    """e, h and E, if the equation has them, shape (0, 1 or 3, N)."""
    equation: int
    integrator: int
    unfolds: int
    gates: Tensor | None = None
    """Contributions of inputs and bias to the gates of a mixed memory, shape (B, T, 4 N)."""
    recurrent: Tensor | None = None
    """Weights from the state to these gates, shape (4 N, N)."""

    def unroll(self, q: Frames, has_tape: bool) -> tuple[Tensor, Tensor]:
        """Return the state after every frame, and the tape."""
        (batch, steps, inputs), new_empty = q.input.shape, q.input.new_empty
        (sums, neurons), stride = self.leak.shape, self.table.shape[1]
        held = new_empty(batch, steps, sums, neurons)
        states = new_empty(batch, steps, q.state.shape[1])
        tape = new_empty(batch * steps * self._record_width() if has_tape else 0)
        part = self.plan.sensory
        self._launch(
            sense, _programs(batch * steps), part, part.into,
            q.input, self.table[:, part.first :], part.source, *part.into[:2], self.leak, held,
            batch * steps, inputs, neurons, part.count, stride,
            FRAMES=FRAMES, SUMS=sums,
        )  # fmt: skip
        part = self.plan.inner
        self._launch(
            scan, batch, part, part.into,
            held, self.table[:, part.first :], part.source, *part.into[:2],
            self.capacitance, self.own, *self._memory(), q.state, q.time, q.reset,
            states, tape, self._beside(tape),
            steps, neurons, part.count, stride, self.unfolds,
            **self._constants(q), HAS_TAPE=has_tape,
        )  # fmt: skip
        return states, tape

    def adjoint(self, q: Frames, tape: Tensor, states_bar: Tensor) -> CircuitGradients:
        """Return the gradients, given the gradient of the states."""
        (batch, steps, inputs), new_empty = q.input.shape, q.input.new_empty
        (sums, neurons), stride = self.leak.shape, self.table.shape[1]
        num_own = self.own.shape[0]
        held_bar = new_empty(batch, steps, sums, neurons)
        neurons_bar = new_empty(batch, 1 + num_own, neurons)
        gates_bar = None if self.gates is None else torch.empty_like(self.gates)
        state_bar, time_bar = torch.empty_like(q.state), torch.empty_like(q.time)
        part = self.plan.inner
        inner_sums = new_empty(batch, 2 + sums, part.count)
        self._launch(
            scan_adjoint, batch, part, part.out_of,
            self.table[:, part.first :], part.source, part.target, *part.out_of[:2],
            self.capacitance, self.own, self._memory()[1], q.time, q.reset,
            tape, self._beside(tape), states_bar,
            held_bar, tape if gates_bar is None else gates_bar, state_bar, time_bar, inner_sums,
            neurons_bar, steps, neurons, part.count, stride, self.unfolds,
            **self._constants(q),
        )  # fmt: skip
        part, programs = self.plan.sensory, _programs(batch * steps)
        sensory_sums, input_bar = (
            new_empty(programs, 2 + sums, part.count),
            new_empty(q.input.shape),
        )
        self._launch(
            sense_adjoint, programs, part, part.out_of,
            q.input, self.table[:, part.first :], part.source, part.target, *part.out_of[:2],
            held_bar, input_bar, sensory_sums,
            batch * steps, inputs, neurons, part.count, stride,
            FRAMES=FRAMES, SUMS=sums, NEURONS=pad(neurons),
        )  # fmt: skip
        neurons_bar = neurons_bar.sum(0)
        return CircuitGradients(
            input=input_bar,
            state=state_bar,
            time=time_bar,
            table=torch.cat([sensory_sums.sum(0), inner_sums.sum(0)], dim=1),
            leak=held_bar.sum((0, 1)),
            capacitance=neurons_bar[0],
            own=neurons_bar[1:],
            gates=gates_bar,
        )

    def states_before(self, tape: Tensor) -> Tensor:
        """Return the state before each frame, the input of a memory's gates, one row per frame."""
        neurons = self.capacitance.shape[0]
        return self._beside(tape).view(-1, MEMORY_RECORD, neurons)[:, 4]

    def _record_width(self) -> int:
        """Return how many numbers the tape holds per frame."""
        (sums, neurons), evaluations = self.leak.shape, 2 if self.plan.layers else 1
        width = self.unfolds * (1 + evaluations * sums) * neurons
        return width if self.gates is None else width + MEMORY_RECORD * neurons

    def _beside(self, tape: Tensor) -> Tensor:
        """Return the part of the tape that belongs to a mixed memory."""
        if self.gates is None or not len(tape):
            return tape
        batch, steps, width = self.gates.shape
        return tape[len(tape) - batch * steps * MEMORY_RECORD * (width // MEMORY_GATES) :]

    def _memory(self) -> tuple[Tensor, Tensor]:
        """Return gates and their weights; placeholders if there is no memory."""
        if self.gates is None or self.recurrent is None:
            return self.table, self.table
        return self.gates, self.recurrent

    def _constants(self, q: Frames) -> dict[str, Any]:
        return {
            "SUMS": self.leak.shape[0],
            "OWN": self.own.shape[0],
            "EQUATION": self.equation,
            "INTEGRATOR": self.integrator,
            "LAYERS": self.plan.layers,
            "HAS_MEMORY": self.gates is not None,
            "HAS_RESET": q.reset is not None,
        }

    def _launch(
        self, kernel: Any, programs: int, part: Synapses, table: SlotTable, *values: Any,
        **constants: Any,
    ) -> None:  # fmt: skip
        """Start a kernel for a part of the wiring, on the device of its tensors."""
        slots, synapses, nodes = table.position.shape[0], pad(part.count), table.row.shape[0]
        sizes = {
            "NODES": nodes,
            "SYNAPSES": synapses,
            "ROWS": table.num_rows,
            "SLOTS": slots // table.num_rows,
        }
        # One warp if the circuit fits into it: gathers then only exchange registers.
        square = nodes * nodes // 1024 if constants.get("HAS_MEMORY") else 1
        warps = min(8, max(1, synapses // 128, slots // 256, square))
        with torch.cuda.device_of(table.row):
            kernel[(programs,)](
                *values, **sizes, **constants, num_warps=warps, enable_fp_fusion=True
            )


def _programs(frames: int) -> int:
    return (frames + FRAMES - 1) // FRAMES
