"""`Circuit`: runs a cell over sequences with elapsed times and resets, and records its neurons."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ncp_control.cells import Cell
from ncp_control.cells.base import reference_tensor
from ncp_control.cells.precision import working_dtype, working_precision
from ncp_control.chunks import run_in_chunks
from ncp_control.elapsed_times import elapsed_times
from ncp_control.ranges import check_count


@dataclass(frozen=True, kw_only=True)
class Activity:
    """Recorded activity of every neuron, frame by frame."""

    neuron_names: list[str]
    """Name of each entry of the state."""
    dt_s: Float[Tensor, "batch time"]
    """Time elapsed before each frame [s]."""
    reset: Bool[Tensor, "batch time"] | None
    """True at frames before which the state was cleared; None if it never was."""
    outputs: Float[Tensor, "batch time output"]
    """Output of the circuit after each frame."""
    states: Float[Tensor, "batch time state"]
    """State after each frame; membrane potentials for a liquid circuit."""
    timescales_s: Float[Tensor, "batch time state"] | None
    """Time constant τ [s] of each entry of the state at the end of each frame; None if the cell has
    no time constants."""
    synaptic_currents: Float[Tensor, "batch time synapses"] | None
    """Current w s(x_j)(E − v_i) of each synapse at the end of each frame, in the order of the
    wiring; None if the cell has no synapses."""

    @property
    def states_before(self) -> Float[Tensor, "time state"]:
        """State before each frame of the first sequence of the batch, which started from zeros."""
        states = self.states[0]
        return torch.cat([torch.zeros_like(states[:1]), states[:-1]])


class Circuit(nn.Module):
    """Recurrent circuit: runs a cell over sequences of shape (batch, time, input).

    Outputs and states have the dtype of the circuit's weights. A circuit with bfloat16 or float16
    weights computes in float32. Inputs and states may mix half and single precision, unless the
    weights are float64.

    The cell is not called frame by frame, so forward hooks on it never run; use `record` to observe
    its neurons. `torch.nn.utils.parametrize` works on its parameters, hook-based pruning does not.

    Args:
        cell: The neuron model.

    Raises:
        TypeError: If `cell` is not a Cell.

    Example:
        >>> circuit = Circuit(LTC(NCP19))
        >>> steering, state = circuit(torch.zeros(1, 16, 32), dt_s=1 / 30)
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        if not isinstance(cell, Cell):
            raise TypeError(
                f"`cell` must be a Cell, got {type(cell).__name__!r}. Build one, e.g. LTC(wiring)."
            )
        self.cell = cell

    @property
    def frame_s(self) -> float:
        """Nominal frame interval [s], used where no elapsed time is given."""
        return self.cell.frame_s

    def forward(
        self,
        inputs: Float[Tensor, "batch time input"],
        state: Float[Tensor, "batch state"] | None = None,
        *,
        dt_s: float | Tensor | None = None,
        reset: Bool[Tensor, "batch time"] | None = None,
        chunk: int | None = None,
    ) -> tuple[Float[Tensor, "batch time output"], Float[Tensor, "batch state"]]:
        """Run the circuit over a sequence.

        Args:
            inputs: Inputs, one vector per frame.
            state: State before the first frame; if None: the cell's initial state.
            dt_s: Time elapsed before each frame [s], >= 0: one number, one per sample (batch,),
                or one per sample and frame (batch, time). If None: `frame_s`.
            reset: True at frames before which the state is cleared (the first frame of each
                episode).
            chunk: Number of frames per backpropagation chunk, e.g. 256. The backward pass then runs
                each chunk a second time and needs the memory of one chunk only. If None: the whole
                sequence at once, which is faster if memory suffices.

        Returns:
            The output at every frame, and the state after the last frame (a copy, so it does not
            keep the other states in memory).

        Raises:
            ValueError: If a shape or dtype does not fit, a time is negative or not finite, or
                `chunk` is not a whole number of at least 1. Times on an accelerator are not
                checked, to avoid waiting for it.
            RuntimeError: If a time is negative or not finite, in compiled and exported circuits.
        """
        dtype = self._dtype
        inputs, state, dt_s = self._check(dtype, inputs, state, dt_s, reset)
        with working_precision(self.cell, dtype):
            if chunk is None:
                outputs, last = self.cell.sequence(inputs, state, dt_s, reset)
            else:
                outputs, last = run_in_chunks(
                    self.cell, inputs, state, dt_s, reset, check_count("chunk", chunk)
                )
        return _as_type(outputs, dtype), last.clone() if last.dtype == dtype else last.to(dtype)

    @torch.no_grad()
    def record(
        self,
        inputs: Float[Tensor, "batch time input"],
        state: Float[Tensor, "batch state"] | None = None,
        *,
        dt_s: float | Tensor | None = None,
        reset: Bool[Tensor, "batch time"] | None = None,
    ) -> Activity:
        """Run over a sequence and record every neuron; arguments as in `forward`."""
        dtype = self._dtype
        inputs, state, dt_s = self._check(dtype, inputs, state, dt_s, reset)
        timescales_s = currents = None
        with working_precision(self.cell, dtype):
            states = self.cell.unroll(inputs, state, dt_s, reset)
            frames = inputs.flatten(0, 1), states.flatten(0, 1)
            if self.cell.has_timescales:
                timescales_s = self.cell.timescales(*frames).unflatten(0, states.shape[:2])
            if self.cell.has_synaptic_currents:
                currents = self.cell.synaptic_currents(*frames).unflatten(0, states.shape[:2])
            outputs = self.cell.readout(states)
        return Activity(
            neuron_names=self.cell.neuron_names,
            dt_s=dt_s,
            reset=reset,
            outputs=_as_type(outputs, dtype),
            states=_as_type(states, dtype),
            timescales_s=timescales_s,
            synaptic_currents=None if currents is None else _as_type(currents, dtype),
        )

    @property
    def _dtype(self) -> torch.dtype:
        return reference_tensor(self.cell).dtype

    def _check(
        self,
        dtype: torch.dtype,
        inputs: Tensor,
        state: Tensor | None,
        dt_s: Any,
        reset: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Check the arguments of `forward`, fill in defaults, and convert dtypes."""
        cell = self.cell
        for name, values in (("inputs", inputs), ("state", state), ("reset", reset)):
            if values is not None and not isinstance(values, Tensor):
                raise ValueError(
                    f"`{name}` must be one tensor, got {type(values).__name__!r}."
                    " Convert an array with torch.from_numpy; an LSTM's state is one tensor, too."
                )
        if inputs.ndim != 3 or inputs.shape[2] != cell.input_size:
            raise ValueError(
                f"`inputs` must have shape (batch, time, {cell.input_size}), got"
                f" {tuple(inputs.shape)}. The last axis is the width of the circuit's input."
            )
        if not inputs.is_floating_point():
            raise ValueError(
                f"`inputs` must be floating-point numbers, got {inputs.dtype}."
                " Convert them with .float()."
            )
        batch, time = inputs.shape[:2]
        if state is None:
            state = cell.initial_state(batch)
        elif state.shape != (batch, cell.state_size):
            raise ValueError(
                f"`state` must have shape ({batch}, {cell.state_size}), got {tuple(state.shape)}."
                " Pass the state that the circuit returned for the same batch."
            )
        if reset is not None and (reset.shape != (batch, time) or reset.dtype != torch.bool):
            raise ValueError(
                f"`reset` must be bool of shape ({batch}, {time}), got {reset.dtype} of shape"
                f" {tuple(reset.shape)}. Mark the first frame of each episode."
            )
        for name, values in (("inputs", inputs), ("state", state)):
            # Half and single precision may be mixed. Mixing with double would silently lose
            # precision, or turn the whole computation into double.
            if (values.dtype == torch.float64) != (dtype == torch.float64):
                raise ValueError(
                    f"`{name}` must be {dtype} as the circuit is, got {values.dtype}."
                    f" Convert with .to({dtype})."
                )
        working = working_dtype(dtype)
        inputs, state = _as_type(inputs, working), _as_type(state, working)
        return inputs, state, elapsed_times(cell.frame_s if dt_s is None else dt_s, inputs)


def _as_type(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor if tensor.dtype == dtype else tensor.to(dtype)  # the check is 10 x faster
