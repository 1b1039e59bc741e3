"""Gated recurrent cells (LSTM and GRU): baselines for liquid circuits.

Both are the implementations of torch and ignore elapsed time: every frame counts the same. With
`sees_time`, the elapsed time is an additional input.

Sources: LSTM: Hochreiter & Schmidhuber 1997, as implemented by `torch.nn.LSTM`; GRU: Cho et al.
2014 (arXiv 1406.1078), as implemented by `torch.nn.GRU`.
"""

from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ncp_control.cells.dense import DenseCell, does_as
from ncp_control.kernels.dense_op import Program
from ncp_control.kernels.dispatch import run_dense


class FusedCell(DenseCell):
    """Base class of cells for which torch has a fused loop over time, with a linear readout.

    Args:
        input_size: Width of the inputs.
        hidden_size: Number of units.
        output_size: Width of the readout.
        frame_s: Nominal frame interval [s], the unit of the elapsed-time input.
        sees_time: Whether the elapsed time [frames] is an additional, last input.
        state_size: Width of the state; if None: `hidden_size`.

    Raises:
        ValueError: If a size is not positive, or `sees_time` is not a bool.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        *,
        frame_s: float,
        sees_time: bool,
        state_size: int | None = None,
    ) -> None:
        if not isinstance(sees_time, bool):
            raise ValueError(
                f"`sees_time` must be True or False, got {sees_time!r}. Elapsed time is one input."
            )
        super().__init__(
            input_size, hidden_size, output_size, frame_s=frame_s, state_size=state_size
        )
        self.sees_time = sees_time

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().settings() | {"sees_time": self.sees_time}

    def _pieces(self, weight: Tensor) -> tuple[Tensor, ...]:
        """Split the columns of the inputs from the column of the elapsed time, if there is one."""
        return weight.split([self.input_size, 1], dim=1) if self.sees_time else (weight,)

    def run(
        self, inputs: Float[Tensor, "batch time input"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch time hidden"], Float[Tensor, "batch state"]]:
        """Return the hidden activity at every frame and the state after the last one."""
        raise NotImplementedError

    def step(
        self,
        projected: Float[Tensor, "batch input"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch state"]:
        """Advance the state by one frame, whatever its duration."""
        _, state = self.run(self._with_time(projected, dt_s)[:, None], state)
        return state

    def sequence(
        self,
        inputs: Float[Tensor, "batch time input"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, "batch time"],
        reset: Bool[Tensor, "batch time"] | None,
    ) -> tuple[Float[Tensor, "batch time output"], Float[Tensor, "batch state"]]:
        """Return the outputs of all frames and the last state; arguments as in `unroll`.

        Without a fused kernel, torch's own loop runs from one reset to the next.
        """
        states = run_dense(self, inputs, state, dt_s, reset)
        if states is not None:
            return self.readout(states), states[:, -1] if states.shape[1] else state
        if inputs.shape[0] == 0 or inputs.shape[1] == 0:
            return super().sequence(inputs, state, dt_s, reset)
        inputs = self._with_time(inputs, dt_s)
        starts = [0]
        if reset is not None:
            starts += [t for t in reset.any(dim=0).nonzero()[:, 0].tolist() if t > 0]
        hidden = []
        for start, end in pairwise([*starts, inputs.shape[1]]):
            if reset is not None:
                state = state.masked_fill(reset[:, start, None], 0.0)
            part, state = self.run(inputs[:, start:end], state)
            hidden.append(part)
        return self.output(torch.cat(hidden, dim=1)), state

    def _with_time(
        self, inputs: Float[Tensor, "*any input"], dt_s: Float[Tensor, "*any"]
    ) -> Float[Tensor, "*any seen"]:
        """Append the elapsed time [frames] to the inputs if `sees_time`."""
        if not self.sees_time:
            return inputs
        return torch.cat([inputs, (dt_s / self.frame_s)[..., None]], dim=-1)


class LSTM(FusedCell):
    """`torch.nn.LSTM` with a linear readout.

    The state packs hidden and memory values side by side: [h, c].

    Args:
        input_size: Width of the inputs.
        hidden_size: Number of units; the state is twice as wide.
        output_size: Width of the readout.
        frame_s: Nominal frame interval [s], the unit of the elapsed-time input.
        sees_time: Whether the elapsed time [frames] is an additional, last input.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        *,
        frame_s: float = 1 / 30,
        sees_time: bool = False,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            output_size,
            frame_s=frame_s,
            sees_time=sees_time,
            state_size=2 * hidden_size,
        )
        self.lstm = nn.LSTM(input_size + sees_time, hidden_size, batch_first=True)

    @property
    def num_visible(self) -> int:
        """Number of hidden values, without the memory."""
        return self.hidden_size

    @property
    def neuron_names(self) -> list[str]:
        """`hidden_0`, …, `memory_0`, …."""
        return [f"{kind}_{i}" for kind in ("hidden", "memory") for i in range(self.hidden_size)]

    def program(self) -> Program | None:
        """Return the map to the gates."""
        lstm = self.lstm
        if type(self) is not LSTM or not does_as(nn.LSTM, lstm):
            return None
        bias = torch.add(lstm.bias_ih_l0, lstm.bias_hh_l0)  # type: ignore[arg-type]
        input_pieces = self._pieces(lstm.weight_ih_l0)  # type: ignore[arg-type]
        matrix = lstm.weight_hh_l0, *input_pieces, bias
        return Program("lstm", [matrix], (int(self.sees_time),))  # type: ignore[arg-type]

    def run(
        self, inputs: Float[Tensor, "batch time input"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch time hidden"], Float[Tensor, "batch state"]]:
        """Return the hidden activity at every frame and the state after the last one."""
        hidden, memory = state[None].split(self.hidden_size, dim=-1)
        every_hidden, last = self.lstm(inputs, (hidden.contiguous(), memory.contiguous()))
        return every_hidden, torch.cat(last, dim=-1)[0]


class GRU(FusedCell):
    """`torch.nn.GRU` with a linear readout.

    Args:
        input_size: Width of the inputs.
        hidden_size: Number of units.
        output_size: Width of the readout.
        frame_s: Nominal frame interval [s], the unit of the elapsed-time input.
        sees_time: Whether the elapsed time [frames] is an additional, last input.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        *,
        frame_s: float = 1 / 30,
        sees_time: bool = False,
    ) -> None:
        super().__init__(input_size, hidden_size, output_size, frame_s=frame_s, sees_time=sees_time)
        self.gru = nn.GRU(input_size + sees_time, hidden_size, batch_first=True)

    def program(self) -> Program | None:
        """Return the maps of inputs and state to the gates."""
        gru = self.gru
        if type(self) is not GRU or not does_as(nn.GRU, gru):
            return None
        input_pieces = *self._pieces(gru.weight_ih_l0), gru.bias_ih_l0  # type: ignore[arg-type]
        matrices = [input_pieces, (gru.weight_hh_l0, gru.bias_hh_l0)]
        return Program("gru", matrices, (int(self.sees_time),))  # type: ignore[arg-type]

    def run(
        self, inputs: Float[Tensor, "batch time input"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch time hidden"], Float[Tensor, "batch state"]]:
        """Return the hidden activity at every frame and the state after the last one."""
        every_hidden, last = self.gru(inputs, state[None].contiguous())
        return every_hidden, last[0]
