"""The closed-form continuous-time (CfC) neuron over a sparse wiring.

Each head h of neuron i (see `ncp_control.cells.cfc`) is linear in the nodes presynaptic to i:

    h_i = b_hi + Σ_j w_hij x_j,   j over the presynaptic nodes of i, and i itself

The layers are updated in order, so x_j is an input, the new state of a neuron in an earlier layer,
or the old state of a neuron in the same or a later layer. A neuron always sees its own old state,
as a membrane does, even if the wiring has no such synapse. It sees no other nodes.

| symbol | name   | per              | stored as       |
|--------|--------|------------------|-----------------|
| w      | weight | head and synapse | (heads, edges)  |
| b      | bias   | head and neuron  | (heads, neurons)|

Only existing edges are stored. The signs of the wiring are not used: a weight may have either sign.

Source: Hasani et al. 2022 (see `cfc`); layer by layer: the code published with it. Differs: time
gates and recurrence follow the wiring, which they ignore in that code.
"""

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ncp_control.cells.base import Cell, Step
from ncp_control.cells.cfc import NUM_HEADS, ClosedForm
from ncp_control.kernels.dense_op import Program
from ncp_control.wiring import Wiring, check_wiring


class WiredCfC(Cell):
    """Closed-form continuous-time neurons connected by a wiring, read out at the motor neurons.

    Args:
        wiring: The synapses between inputs and neurons; fixed.
        mode: default, no_gate or pure; see `ncp_control.cells.cfc`.
        frame_s: Nominal frame interval [s]; the model counts time in frames.

    Raises:
        TypeError: If `wiring` is not a Wiring.
        ValueError: If the mode is unknown.
    """

    source: Tensor
    target: Tensor
    row: Tensor

    def __init__(self, wiring: Wiring, *, mode: str = "default", frame_s: float = 1 / 30) -> None:
        check_wiring(wiring)
        super().__init__(wiring.num_sensory, wiring.num_neurons, wiring.num_motor, frame_s=frame_s)
        self.wiring = wiring
        self.mode = mode
        self.solution = ClosedForm(mode, wiring.num_neurons)
        self.layers = _layers(wiring)
        source, target = _edges(wiring)
        num_heads, fan_in = NUM_HEADS[mode], torch.bincount(target)
        self.register_buffer("source", source)
        self.register_buffer("target", target)
        self.register_buffer("row", _rows(self.layers, num_heads))
        bound = (3.0 / fan_in[target]).sqrt()  # unit variance of the sum (LeCun et al. 1998)
        self.weight = nn.Parameter(bound * torch.empty(num_heads, len(source)).uniform_(-1.0, 1.0))
        bias_bound = 1.0 / math.sqrt(wiring.num_neurons)
        self.bias = nn.Parameter(
            torch.empty(num_heads, wiring.num_neurons).uniform_(-bias_bound, bias_bound)
        )
        self.output_scale = nn.Parameter(torch.ones(wiring.num_motor))
        self.output_offset = nn.Parameter(torch.zeros(wiring.num_motor))

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"wiring": self.wiring, "mode": self.mode, "frame_s": self.frame_s}

    @property
    def neuron_names(self) -> list[str]:
        """`inter_0`, …, `command_0`, …, `motor_0`, in the order of the state."""
        return self.wiring.neuron_names

    def readout(self, state: Float[Tensor, "*any state"]) -> Float[Tensor, "*any output"]:
        """Scale and shift the states of the motor neurons."""
        return state[..., -self.output_size :] * self.output_scale + self.output_offset

    def program(self) -> Program | None:
        """Return each layer's map to its heads and, in pure mode, leak rates and amplitudes."""
        if type(self) is not WiredCfC:
            return None
        matrix, bias, sizes = self._matrix(), self._layered_bias(), self._sizes()
        inputs, states = matrix.split([self.input_size, self.state_size], dim=1)
        parts = (whole.split(sizes) for whole in (states, inputs, bias))
        matrices: list[tuple[Tensor, ...]] = list(zip(*parts, strict=True))
        if self.mode == "pure":
            matrices += [(self.solution.leak_rate,), (self.solution.amplitude,)]
        return Program("wired_cfc", matrices, (list(NUM_HEADS).index(self.mode),))

    def project(self, inputs: Float[Tensor, "*any input"]) -> Float[Tensor, "*any projected"]:
        """Return the contribution of the inputs to all heads, layer by layer."""
        return F.linear(inputs, self._matrix()[:, : self.input_size], self._layered_bias())

    def stepper(self) -> Step:
        """Return `step` with the matrices from neurons to heads built in advance."""
        matrix = self._matrix()[:, self.input_size :]
        sizes = self._sizes()
        return partial(self._advance, [part.t() for part in matrix.split(sizes)], sizes)

    def _advance(
        self,
        matrices: list[Tensor],
        sizes: list[int],
        projected: Float[Tensor, "batch projected"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch state"]:
        """Advance the layers by `dt_s` seconds, from first to last."""
        frames = (dt_s / self.frame_s)[:, None]
        shares = projected.split(sizes, dim=1)
        for layer, share, matrix in zip(self.layers, shares, matrices, strict=True):
            new = self.solution(torch.addmm(share, state, matrix), frames, layer)
            state = torch.cat([state[:, : layer.start], new, state[:, layer.stop :]], dim=1)
        return state

    def _sizes(self) -> list[int]:
        """Return the number of heads of each layer."""
        return [len(self.weight) * (layer.stop - layer.start) for layer in self.layers]

    def _layered_bias(self) -> Float[Tensor, " projected"]:
        return torch.cat([self.bias[:, layer].flatten() for layer in self.layers])

    def _matrix(self) -> Float[Tensor, "projected nodes"]:
        """Return the weights as a dense matrix over inputs and neurons, zero without a synapse."""
        zeros = self.weight.new_zeros(self.bias.numel(), self.input_size + self.state_size)
        return zeros.index_put((self.row[:, self.target], self.source), self.weight)

    @property
    def has_timescales(self) -> bool:
        """True in pure mode; the gates of the other modes do not relax exponentially."""
        return self.mode == "pure"

    def timescales(
        self, inputs: Float[Tensor, "batch input"], state: Float[Tensor, "batch state"]
    ) -> Float[Tensor, "batch state"]:
        """Return τ = frame_s / (|w| + |f|) [s] at the given inputs and state (pure mode)."""
        if not self.has_timescales:
            return super().timescales(inputs, state)
        heads = self.project(inputs) + F.linear(state, self._matrix()[:, self.input_size :])
        return self.frame_s / self.solution.rate(heads)


def _layers(wiring: Wiring) -> tuple[slice, ...]:
    """Return the positions of each layer's neurons in the state."""
    first = wiring.num_sensory
    layers = list(wiring.layers.values())[1:]
    return tuple(slice(nodes.start - first, nodes.stop - first) for nodes in layers if nodes)


def _edges(wiring: Wiring) -> tuple[Tensor, Tensor]:
    """Return source node and target neuron of each synapse and of each neuron's self-connection."""
    pairs = {(s.source, s.target - wiring.num_sensory) for s in wiring.synapses}
    pairs |= {(wiring.num_sensory + i, i) for i in range(wiring.num_neurons)}
    source, target = torch.tensor(sorted(pairs, key=lambda pair: (pair[1], pair[0]))).unbind(1)
    return source.contiguous(), target.contiguous()


def _rows(layers: tuple[slice, ...], num_heads: int) -> Tensor:
    """Return the matrix row of each head, shape (heads, neurons), with rows grouped by layer."""
    blocks, first = [], 0
    for layer in layers:
        size = layer.stop - layer.start
        rows = first + torch.arange(num_heads * size)
        blocks.append(rows.reshape(num_heads, size))
        first += num_heads * size
    return torch.cat(blocks, dim=1)
