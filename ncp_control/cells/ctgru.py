"""The continuous-time gated recurrent unit (CT-GRU).

Each unit keeps one trace v_m for each time constant τ̃_m of a fixed table. At a frame, a time t
after the previous one, the traces decay, are read at one time constant, and the detected event is
stored at another. Both time constants depend on inputs and state:

    v_m ← v_m exp(−t / τ̃_m),  h = Σ_m v_m
    r_m = softmax_m −(ln τ_R − ln τ̃_m)²,  ln τ_R = W_R u + U_R h + b_R
    q   = tanh(W_q u + U_q Σ_m r_m v_m + b_q)
    s_m = softmax_m −(ln τ_S − ln τ̃_m)²,  ln τ_S = W_S u + U_S h + b_S
    v_m ← (1 − s_m) v_m + s_m q

| symbol     | name                           | per            | value                             |
|------------|--------------------------------|----------------|-----------------------------------|
| u          | inputs                         | –              |                                   |
| t          | dt_s                           | sample         | time since the last frame [s]     |
| τ̃_m        | scales_s                       | trace          | frame_s 10^(m/2), m = 0, 1, …     |
| τ_R, τ_S   | retrieval and storage scale    | unit           | in frames, as τ̃ inside the log    |
| q          | detected event                 | unit           |                                   |

Source: Mozer, Kazakov & Lindsey 2017, "Discrete event, continuous time RNNs" (arXiv 1710.04110).
Differs: `dt_s` is the time before a frame, so the traces decay at its start; the paper writes the
same decay at the end of the previous frame.
"""

import math
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ncp_control.cells.base import Step
from ncp_control.cells.dense import DenseCell, glorot_, is_linear
from ncp_control.kernels.dense_op import Program
from ncp_control.ranges import check_count


class CTGRU(DenseCell):
    """Continuous-time gated recurrent units with a linear readout of h.

    The state holds the traces, grouped by unit.

    Args:
        input_size: Width of the inputs.
        hidden_size: Number of units; the state is `num_scales` times as wide.
        output_size: Width of the readout.
        num_scales: Number of time constants in the table, half a decade apart, from `frame_s` on.
        frame_s: Nominal frame interval [s], the shortest time constant.

    Raises:
        ValueError: If a size is not positive.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        *,
        num_scales: int = 8,
        frame_s: float = 1 / 30,
    ) -> None:
        num_scales = check_count("num_scales", num_scales)
        super().__init__(
            input_size,
            hidden_size,
            output_size,
            frame_s=frame_s,
            state_size=num_scales * hidden_size,
        )
        self.num_scales = num_scales
        self.input_map = nn.Linear(input_size, 3 * hidden_size)
        self.scale_map = nn.Linear(hidden_size, 2 * hidden_size, bias=False)
        self.event_map = nn.Linear(hidden_size, hidden_size, bias=False)
        scale_inputs, event_inputs = self.input_map.weight.split([2 * hidden_size, hidden_size])
        glorot_(scale_inputs, self.scale_map.weight, blocks=2)
        glorot_(event_inputs, self.event_map.weight)

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().settings() | {"num_scales": self.num_scales}

    @property
    def neuron_names(self) -> list[str]:
        """`unit_0_scale_0`, `unit_0_scale_1`, …."""
        return [
            f"unit_{i}_scale_{m}" for i in range(self.hidden_size) for m in range(self.num_scales)
        ]

    def program(self) -> Program | None:
        """Return the map to both scales and the map to the event, each with its input part."""
        maps = self.input_map, self.scale_map, self.event_map
        if type(self) is not CTGRU or not all(map(is_linear, maps)):
            return None
        sizes = [2 * self.hidden_size, self.hidden_size]
        weights, biases = self.input_map.weight.split(sizes), self.input_map.bias.split(sizes)
        own = self.scale_map.weight, self.event_map.weight
        return Program("ctgru", list(zip(own, weights, biases, strict=True)), (self.num_scales,))

    def project(self, inputs: Float[Tensor, "*any input"]) -> Float[Tensor, "*any projected"]:
        """Return the contributions of the inputs to both scales and to the event."""
        return self.input_map(inputs)

    def stepper(self) -> Step:
        """Return `step` with the table of scales computed in advance."""
        return partial(self._advance, self._log_scales(), self.scales_s())

    def _advance(
        self,
        log_scales: Float[Tensor, " scales"],
        scales_s: Float[Tensor, " scales"],
        projected: Float[Tensor, "batch projected"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch state"]:
        """Let the traces decay for `dt_s` seconds, then read them and store the event."""
        units = self.hidden_size
        fade = torch.exp(-dt_s[:, None] / scales_s)
        traces = state.unflatten(1, (units, self.num_scales)) * fade[:, None]
        scale_inputs, event_inputs = projected.split([2 * units, units], dim=1)
        log_scale = torch.addmm(scale_inputs, traces.sum(dim=2), self.scale_map.weight.t())
        # −(x − ln τ̃)² without x², which is the same for all scales and drops out.
        distance = (2.0 * log_scale[..., None] - log_scales) * log_scales
        retrieval, storage = torch.softmax(distance, dim=-1).split(units, dim=1)
        retrieved = (retrieval * traces).sum(dim=2)
        event = torch.tanh(torch.addmm(event_inputs, retrieved, self.event_map.weight.t()))
        event = event[:, :, None].to(traces.dtype)  # of lower precision under autocast
        return torch.lerp(traces, event, storage).flatten(1)

    def readout(self, state: Float[Tensor, "*any state"]) -> Float[Tensor, "*any output"]:
        """Map h, the sum of each unit's traces, linearly to the outputs."""
        return self.output(state.unflatten(-1, (self.hidden_size, self.num_scales)).sum(dim=-1))

    def scales_s(self) -> Float[Tensor, " scales"]:
        """Return the table of time constants τ̃ [s]."""
        return self.frame_s * self._log_scales().exp()

    def _log_scales(self) -> Float[Tensor, " scales"]:
        weight = self.output.weight
        steps = torch.arange(self.num_scales, dtype=weight.dtype, device=weight.device)
        return math.log(10.0) / 2 * steps

    @property
    def has_timescales(self) -> bool:
        """Always True: each trace has the time constant of its scale."""
        return True

    def timescales(
        self, inputs: Float[Tensor, "batch input"], state: Float[Tensor, "batch state"]
    ) -> Float[Tensor, "batch state"]:
        """Return τ̃ [s] of each trace, which does not depend on inputs and state."""
        return self.scales_s().repeat(self.hidden_size).expand(state.shape[0], -1)
