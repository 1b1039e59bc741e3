"""Base class of all neuron models.

The hidden state is always a single tensor (an LSTM packs h and c into it), so learning,
reinforcement learning, export and audit work with every cell in the same way.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ncp_control.elapsed_times import elapsed_times
from ncp_control.kernels.dense_op import Program
from ncp_control.kernels.dispatch import run_dense
from ncp_control.ranges import check_above_zero

Step = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Function from the projected inputs, state and elapsed time [s] of a frame to the next state."""


@runtime_checkable
class ControlStep(Protocol):
    """A cell that keeps its own state and takes one observation per call, for fast control."""

    @property
    def state(self) -> np.ndarray:
        """The state after the last call, shape (state,): the live array, not a copy."""
        ...

    @property
    def is_current(self) -> bool:
        """False if the cell's settings have changed since this object was made."""
        ...

    def __call__(self, features: np.ndarray, dt_s: float) -> np.ndarray:
        """Advance the state by `dt_s` seconds with constant features; return a new readout."""
        ...

    def reset(self) -> None:
        """Clear the state, as at the start of an episode."""
        ...


class Cell(nn.Module):
    """Base class of all neuron models: maps (inputs, state, elapsed time) to the next state.

    A neuron model defines `step`. Work that does not depend on the state goes into `project`
    (depends on the inputs, done for all frames at once) and `stepper` (depends on the parameters).

    Args:
        input_size: Width of the inputs.
        state_size: Width of the state.
        output_size: Width of the readout.
        frame_s: Nominal frame interval [s], the default elapsed time.

    Raises:
        ValueError: If `frame_s` is not a positive finite number.
    """

    def __init__(
        self, input_size: int, state_size: int, output_size: int, *, frame_s: float
    ) -> None:
        super().__init__()
        check_above_zero("frame_s", frame_s)
        self.input_size = input_size
        self.state_size = state_size
        self.output_size = output_size
        self.frame_s = float(frame_s)  # a NumPy number could not be saved

    def extra_repr(self) -> str:
        """Return the sizes and the frame interval [s], which `print` shows."""
        wiring, units = getattr(self, "wiring", None), getattr(self, "hidden_size", None)
        if wiring is not None:
            middle = f"neurons={wiring.num_neurons}"
        else:
            middle = f"state={self.state_size}" if units is None else f"units={units}"
        sizes = f"inputs={self.input_size}, {middle}, outputs={self.output_size}"
        return f"{sizes}, frame_s={self.frame_s:.4g}"

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Refuse weights of a cell with other settings, e.g. another wiring.

        Parameters are learned. Buffers follow from the constructor's arguments, so the loaded
        buffers must equal those of this cell.
        """
        error_msgs: list[str] = args[-1]
        for name, buffer in self.named_buffers(recurse=False):
            loaded = state_dict.get(prefix + name)
            if loaded is not None and not (buffer.is_meta or _are_equal(loaded, buffer)):
                error_msgs.append(
                    f"`{prefix}{name}` must be what {type(self).__name__} was built with, got that"
                    " of another wiring or size. Build the cell with the settings of the weights."
                )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments, from which an equal, untrained cell can be built."""
        raise not_defined(
            type(self), "settings", "Return the arguments of the constructor by name."
        )

    @property
    def neuron_names(self) -> list[str]:
        """One name per entry of the state."""
        return [f"unit_{i}" for i in range(self.state_size)]

    @property
    def num_visible(self) -> int:
        """Number of leading entries of the state that other units see; the rest is memory."""
        return self.state_size

    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """Return the state before the first frame: zeros, in the parameters' dtype and device."""
        return reference_tensor(self).new_zeros(batch, self.state_size)

    def forward(
        self,
        inputs: Float[Tensor, "batch input"],
        state: Float[Tensor, "batch state"],
        dt_s: float | Tensor,
    ) -> Float[Tensor, "batch state"]:
        """Advance the state by `dt_s` seconds, one number or (batch,), with constant inputs.

        Raises:
            ValueError: If a time is negative or not finite, or there are more or fewer than one or
                one per sample. Times on an accelerator are not checked, to avoid waiting for it.
        """
        elapsed_s = elapsed_times(dt_s, inputs[:, None])[:, 0]
        return self.stepper()(self.project(inputs), state, elapsed_s)

    def control_step(self) -> ControlStep | None:
        """Return a faster `forward` for single observations; None if this cell has none.

        It uses the current parameters of the cell, also while the cell is being trained.
        """
        from ncp_control.kernels.dense_step import DenseStep  # loading its operators is slow

        return DenseStep(self) if DenseStep.supports(self) else None

    def program(self) -> Program | None:
        """Return the description from which fused kernels run this cell; None if they cannot."""
        return None

    def project(self, inputs: Float[Tensor, "*any input"]) -> Float[Tensor, "*any projected"]:
        """Return the part of `step` that depends on the inputs alone."""
        return inputs

    def stepper(self) -> Step:
        """Return `step` with everything that is constant over a sequence computed in advance."""
        return self.step

    def step(
        self,
        projected: Float[Tensor, "batch projected"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch state"]:
        """Advance the state by `dt_s` seconds, given the projected inputs."""
        raise not_defined(type(self), "step", "Return the next state, shape (batch, state).")

    def readout(self, state: Float[Tensor, "*any state"]) -> Float[Tensor, "*any output"]:
        """Map states to outputs."""
        raise not_defined(type(self), "readout", "Return the outputs of states, shape (…, output).")

    @property
    def has_timescales(self) -> bool:
        """True if the neurons have time constants, so that `timescales` works."""
        return False

    def timescales(
        self, inputs: Float[Tensor, "batch input"], state: Float[Tensor, "batch state"]
    ) -> Float[Tensor, "batch state"]:
        """Return τ [s] of each entry of the state at the given inputs and state.

        Raises:
            ValueError: If the model has no time constants; see `has_timescales`.
        """
        raise ValueError(
            f"`cell` must have time constants, got {type(self).__name__!r}, which has none."
            " Ask a liquid cell, e.g. LTC."
        )

    @property
    def has_synaptic_currents(self) -> bool:
        """True if the synapses carry currents, so that `synaptic_currents` works."""
        return False

    def synaptic_currents(
        self, inputs: Float[Tensor, "batch input"], state: Float[Tensor, "batch state"]
    ) -> Float[Tensor, "batch synapses"]:
        """Return the current through each synapse, in the order of the wiring.

        Raises:
            ValueError: If the model has no synaptic currents; see `has_synaptic_currents`.
        """
        raise ValueError(
            f"`cell` must have synaptic currents, got {type(self).__name__!r}, which has none."
            " Ask a cell with conductances, e.g. LTC."
        )

    def unroll(
        self,
        inputs: Float[Tensor, "batch time input"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, "batch time"],
        reset: Bool[Tensor, "batch time"] | None,
    ) -> Float[Tensor, "batch time state"]:
        """Apply the cell over time, with a fused kernel if there is one (see `program`).

        Args:
            inputs: One input vector per frame.
            state: State before the first frame.
            dt_s: Time elapsed before each frame [s], >= 0.
            reset: Frames before which the state is cleared to `initial_state`.

        Returns:
            The state after every frame.
        """
        states = run_dense(self, inputs, state, dt_s, reset)
        return self._loop(inputs, state, dt_s, reset) if states is None else states

    def _loop(self, inputs: Tensor, state: Tensor, dt_s: Tensor, reset: Tensor | None) -> Tensor:
        """Apply the cell frame by frame in plain torch: the reference for every kernel."""
        if inputs.shape[1] == 0:
            return inputs.new_empty(inputs.shape[0], 0, self.state_size)
        step, fresh = self.stepper(), self.initial_state(inputs.shape[0])
        # Unbinding costs autograd one node; indexing would cost it one copy per frame.
        frames = zip(self.project(inputs).unbind(1), dt_s.unbind(1), strict=True)
        states = []
        for t, (projected, elapsed_s) in enumerate(frames):
            if reset is not None:
                state = torch.where(reset[:, t, None], fresh, state)
            state = step(projected, state, elapsed_s)
            states.append(state)
        return torch.stack(states, dim=1)

    def sequence(
        self,
        inputs: Float[Tensor, "batch time input"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, "batch time"],
        reset: Bool[Tensor, "batch time"] | None,
    ) -> tuple[Float[Tensor, "batch time output"], Float[Tensor, "batch state"]]:
        """Return the outputs of all frames and the last state; arguments as in `unroll`."""
        states = self.unroll(inputs, state, dt_s, reset)
        return self.readout(states), states[:, -1] if states.shape[1] else state


def not_defined(cls: type, method: str, advice: str) -> NotImplementedError:
    """Return the error for a method that a user's own class lacks."""
    return NotImplementedError(
        f"`{method}` must be defined by the class {cls.__name__}, got none. {advice}"
    )


def reference_tensor(module: nn.Module) -> Tensor:
    """Return a tensor with a module's dtype and device: a parameter, else a buffer, else any."""
    parameter = next(module.parameters(), None)
    if parameter is not None:
        return parameter
    return next((one for one in module.buffers() if one.is_floating_point()), torch.empty(0))


def _are_equal(one: Tensor, other: Tensor) -> bool:
    """True if two tensors hold the same values; dtype and device may differ."""
    return one.shape == other.shape and torch.allclose(one.cpu().double(), other.cpu().double())
