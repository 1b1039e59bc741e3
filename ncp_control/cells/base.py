"""Base class of all neuron models.

A state is always a single tensor (an LSTM packs h and c), so learning, reinforcement learning,
export and audit never ask which cell they hold.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ncp_control.kernels.dense_op import Program
from ncp_control.kernels.dispatch import run_dense
from ncp_control.ranges import is_number

Step = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Projected inputs, state and elapsed time [s] of one frame to the next state."""


@runtime_checkable
class ControlStep(Protocol):
    """A cell with a state of its own that takes one observation a call, at the speed of control."""

    @property
    def state(self) -> np.ndarray:
        """The state after the last call, shape (state,): the live array."""
        ...

    @property
    def is_current(self) -> bool:
        """False if the cell's settings have changed since this object was made."""
        ...

    def __call__(self, features: np.ndarray, dt_s: float) -> np.ndarray:
        """Advance the state by `dt_s` seconds with the features held; return a new readout."""
        ...

    def reset(self) -> None:
        """Clear the state: an episode begins."""
        ...


class Cell(nn.Module):
    """One step of a recurrent circuit: (inputs, state, elapsed time) to the next state.

    A neuron model defines `step`; what it can work out before the state is known goes into
    `project` (from the inputs, for all frames at once) and `stepper` (from the parameters).

    Args:
        input_size: Width of the inputs.
        state_size: Width of the state.
        output_size: Width of the readout.
        frame_s: Nominal frame interval [s], the elapsed time assumed where none is given.

    Raises:
        ValueError: If `frame_s` is not a positive finite number.
    """

    def __init__(
        self, input_size: int, state_size: int, output_size: int, *, frame_s: float
    ) -> None:
        super().__init__()
        if not (is_number(frame_s) and frame_s > 0.0):
            raise ValueError(
                f"`frame_s` must be a positive time in seconds, got {frame_s!r}."
                " Give the interval between frames, e.g. 1/30."
            )
        self.input_size = input_size
        self.state_size = state_size
        self.output_size = output_size
        self.frame_s = float(frame_s)  # a NumPy number could not be saved

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Refuse weights of a cell that was built otherwise, e.g. over another wiring.

        Parameters are learned; buffers follow from the constructor's arguments, so those that are
        loaded must be those that are there.
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
        raise NotImplementedError

    @property
    def neuron_names(self) -> list[str]:
        """One name per entry of the state."""
        return [f"unit_{i}" for i in range(self.state_size)]

    @property
    def num_visible(self) -> int:
        """Entries of the state, from the first on, that other units see; the rest is memory."""
        return self.state_size

    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """Return the state before the first frame: zeros, in the parameters' dtype and device."""
        parameter = next(self.parameters())
        return parameter.new_zeros(batch, self.state_size)

    def forward(
        self,
        inputs: Float[Tensor, "batch input"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch state"]:
        """Advance the state by `dt_s` seconds with the inputs held."""
        return self.stepper()(self.project(inputs), state, dt_s)

    def control_step(self) -> ControlStep | None:
        """Return what steps single observations faster than `forward`, or None if nothing does.

        It follows the parameters of the cell, which may go on learning.
        """
        from ncp_control.kernels.dense_step import DenseStep  # whose operators take a while

        return DenseStep(self) if DenseStep.supports(self) else None

    def program(self) -> Program | None:
        """Return what the kernel of dense cells needs to run this one, or None if it cannot."""
        return None

    def project(self, inputs: Float[Tensor, "*any input"]) -> Float[Tensor, "*any projected"]:
        """Return what `step` needs to know of the inputs, whatever the state."""
        return inputs

    def stepper(self) -> Step:
        """Return `step` with all that stays the same over a sequence worked out once."""
        return self.step

    def step(
        self,
        projected: Float[Tensor, "batch projected"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch state"]:
        """Advance the state by `dt_s` seconds, given the projected inputs."""
        raise NotImplementedError

    def readout(self, state: Float[Tensor, "*any state"]) -> Float[Tensor, "*any output"]:
        """Map states to outputs."""
        raise NotImplementedError

    @property
    def has_timescales(self) -> bool:
        """Whether the neurons have time constants that `timescales` can tell."""
        return False

    def timescales(
        self, inputs: Float[Tensor, "batch input"], state: Float[Tensor, "batch state"]
    ) -> Float[Tensor, "batch state"]:
        """Return τ [s] of each entry of the state at the given inputs and state.

        Raises:
            ValueError: If the model has none; `has_timescales` tells beforehand.
        """
        raise ValueError(
            f"`cell` must have time constants, got {type(self).__name__!r}, which has none."
            " Ask a liquid cell, e.g. LTC."
        )

    @property
    def has_synaptic_currents(self) -> bool:
        """Whether `synaptic_currents` can tell the current through each synapse."""
        return False

    def synaptic_currents(
        self, inputs: Float[Tensor, "batch input"], state: Float[Tensor, "batch state"]
    ) -> Float[Tensor, "batch synapses"]:
        """Return the current through each synapse, in the order of the wiring.

        Raises:
            ValueError: If the model has none; `has_synaptic_currents` tells beforehand.
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
        """Apply the cell over time: on a fused kernel where it has one, see `program`.

        Args:
            inputs: One input vector a frame.
            state: State before the first frame.
            dt_s: Time elapsed before each frame [s], >= 0.
            reset: Frames before which the state is cleared to `initial_state`.

        Returns:
            The state after every frame.
        """
        states = run_dense(self, inputs, state, dt_s, reset)
        return self._loop(inputs, state, dt_s, reset) if states is None else states

    def _loop(self, inputs: Tensor, state: Tensor, dt_s: Tensor, reset: Tensor | None) -> Tensor:
        """Apply the cell frame by frame, in plain torch: the reference of every kernel."""
        if inputs.shape[1] == 0:
            return inputs.new_empty(inputs.shape[0], 0, self.state_size)
        step, fresh = self.stepper(), self.initial_state(inputs.shape[0])
        # Unbinding costs autograd one node; indexing each frame would cost it a copy a frame.
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
        """Return the output at every frame and the state after the last; arguments as `unroll`."""
        states = self.unroll(inputs, state, dt_s, reset)
        return self.readout(states), states[:, -1] if states.shape[1] else state


def _are_equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same values, in whatever type and wherever."""
    return one.shape == other.shape and torch.allclose(one.cpu().double(), other.cpu().double())
