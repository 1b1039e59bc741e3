"""The closed-form continuous-time (CfC) neuron: a liquid neuron without an integrator.

With features z of inputs and state, and elapsed time t in frames:

    default  v ← tanh f(z) · (1 − s) + tanh g(z) · s,   s = 1 / (1 + exp(−(a(z) t + b(z))))
    no_gate  v ← tanh f(z) + tanh g(z) · s
    pure     v ← A − A f(z) exp(−(|w| + |f(z)|) t)

| symbol     | name      | per    | value                                               |
|------------|-----------|--------|-----------------------------------------------------|
| z          | features  | –      | a backbone of dense layers over [inputs, state]     |
| f, g, a, b | heads     | neuron | linear in z                                         |
| t          | frames    | sample | dt_s / frame_s                                      |
| w          | leak_rate | neuron | rate without input [1/frame], pure mode             |
| A          | amplitude | neuron | value at which the state settles, pure mode         |

In pure mode the neuron has a time constant, τ = frame_s / (|w| + |f|) [s].

Source: Hasani et al. 2022, "Closed-form continuous-time neural networks", Nature Machine
Intelligence 4:992, equations 2 to 4; names of the modes: ncps; backbone and Glorot initial weights:
the code published with the paper. Differs: w begins between 0 and 1, there at 0.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ncp_control.cells.dense import DenseCell, glorot_, is_linear
from ncp_control.kernels.dense_op import Program
from ncp_control.names import check_name
from ncp_control.ranges import check_count


def lecun_tanh(values: Tensor) -> Tensor:
    """Return 1.7159 tanh(0.666 x), which keeps unit variance (LeCun et al. 1998)."""
    return 1.7159 * torch.tanh(0.666 * values)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "lecun_tanh": lecun_tanh,
    "tanh": torch.tanh,
    "relu": F.relu,
    "silu": F.silu,
    "gelu": F.gelu,
}
"""Activations of the backbone by name."""

NUM_HEADS = {"default": 4, "no_gate": 4, "pure": 1}
"""Number of linear maps of the features (heads) per neuron in each mode."""

MAX_BACKBONE_LAYERS = 1_000
"""Largest number of layers that is accepted; a much larger one comes from a damaged file."""


class ClosedForm(nn.Module):
    """The last stage of a CfC neuron: heads and elapsed time to the next state.

    Args:
        mode: A name in `NUM_HEADS`.
        num_units: Number of neurons.

    Raises:
        ValueError: If the mode is unknown.
    """

    def __init__(self, mode: str, num_units: int) -> None:
        super().__init__()
        check_name("mode", mode, NUM_HEADS)
        self.mode = mode
        if mode == "pure":
            self.leak_rate = nn.Parameter(torch.empty(num_units).uniform_(0.0, 1.0))
            self.amplitude = nn.Parameter(torch.ones(num_units))

    def forward(
        self,
        heads: Float[Tensor, "batch heads"],
        frames: Float[Tensor, "batch 1"],
        units: slice = slice(None),
    ) -> Float[Tensor, "batch units"]:
        """Return the state after `frames` frames of the neurons `units`, given their heads."""
        if self.mode == "pure":
            amplitude, decay = self.amplitude[units], torch.exp(-frames * self.rate(heads, units))
            return amplitude - amplitude * decay * heads
        states, gates = heads.chunk(2, dim=1)
        first, second = torch.tanh(states).chunk(2, dim=1)
        slope, offset = gates.chunk(2, dim=1)
        gate = torch.sigmoid(torch.addcmul(offset, slope, frames))
        if self.mode == "no_gate":
            return torch.addcmul(first, second, gate)
        return torch.lerp(first, second, gate.to(first.dtype))  # autocast may mix the dtypes

    def rate(
        self, heads: Float[Tensor, "batch units"], units: slice = slice(None)
    ) -> Float[Tensor, "batch units"]:
        """Return the decay rate |w| + |f| [1/frame] of the pure mode."""
        return self.leak_rate[units].abs() + heads.abs()


class CfC(DenseCell):
    """Closed-form continuous-time neurons over a dense backbone, with a linear readout.

    Args:
        input_size: Width of the inputs.
        hidden_size: Number of neurons.
        output_size: Width of the readout.
        mode: default, no_gate or pure; see the module.
        backbone_units: Width of each layer of the backbone.
        backbone_layers: Number of backbone layers; with 0, the heads act on [inputs, state].
        activation: A name in `ACTIVATIONS`.
        frame_s: Nominal frame interval [s]; the model counts time in frames.

    Raises:
        ValueError: If a size is not positive or a name is unknown.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        *,
        mode: str = "default",
        backbone_units: int = 128,
        backbone_layers: int = 1,
        activation: str = "lecun_tanh",
        frame_s: float = 1 / 30,
    ) -> None:
        super().__init__(input_size, hidden_size, output_size, frame_s=frame_s)
        backbone_units = check_count("backbone_units", backbone_units)
        backbone_layers = check_count("backbone_layers", backbone_layers, 0)
        if backbone_layers > MAX_BACKBONE_LAYERS:
            raise ValueError(
                f"`backbone_layers` must be at most {MAX_BACKBONE_LAYERS}, got {backbone_layers!r}."
            )
        check_name("activation", activation, ACTIVATIONS)
        self.mode = mode
        self.backbone_units = backbone_units
        self.backbone_layers = backbone_layers
        self.activation = activation
        self.solution = ClosedForm(mode, hidden_size)
        widths = [backbone_units] * backbone_layers + [NUM_HEADS[mode] * hidden_size]
        # The first map is split in two, so that the inputs of all frames are projected at once.
        self.input_map = nn.Linear(input_size, widths[0])
        self.state_map = nn.Linear(hidden_size, widths[0], bias=False)
        deeper_maps = [nn.Linear(width, next_width) for width, next_width in pairwise(widths)]
        self.deeper_maps = nn.ModuleList(deeper_maps)
        blocks = [1] * backbone_layers + [NUM_HEADS[mode]]
        glorot_(self.input_map.weight, self.state_map.weight, blocks=blocks[0])
        for layer, num_blocks in zip(deeper_maps, blocks[1:], strict=True):
            glorot_(layer.weight, blocks=num_blocks)

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().settings() | {
            "mode": self.mode,
            "backbone_units": self.backbone_units,
            "backbone_layers": self.backbone_layers,
            "activation": self.activation,
        }

    @torch.no_grad()
    def spread_gates_(self, longest_s: float, *, sharpness: float = 4.0) -> None:
        """Set the time gates to open one after the other, from one frame to `longest_s`.

        With the default initial values, most gates open within one frame or never, so a model
        that must distinguish elapsed times learns slowly. This method sets the gate biases so that
        the gate of neuron i opens after the time t_i: a = sharpness / frame, b = -sharpness t_i.

        Args:
            longest_s: Longest elapsed time that must be distinguished from shorter ones [s].
            sharpness: Steepness of the gates [1/frame].

        Raises:
            ValueError: If the mode has no gates or `longest_s` is shorter than a frame.

        Source: after chrono initialisation of gated cells, Tallec & Ollivier 2018
        (arXiv 1804.11188).
        """
        if self.mode == "pure":
            raise ValueError(
                "`mode` must be 'default' or 'no_gate' to spread gates, got 'pure'."
                " Its neurons have a leak rate instead."
            )
        longest = longest_s / self.frame_s
        if not longest >= 1.0:
            raise ValueError(
                f"`longest_s` must be at least one frame of {self.frame_s} s, got {longest_s!r}."
                " Give the longest gap between frames."
            )
        opens = torch.linspace(1.0, longest, self.hidden_size)
        last = self.last_map
        last.bias[2 * self.hidden_size : 3 * self.hidden_size] = sharpness
        last.bias[3 * self.hidden_size :] = -sharpness * opens

    @property
    def last_map(self) -> nn.Linear:
        """The last linear map, whose outputs are the heads f, g, a and b."""
        last = self.deeper_maps[-1] if self.deeper_maps else self.input_map
        assert isinstance(last, nn.Linear)
        return last

    def program(self) -> Program | None:
        """Return all linear maps and, in pure mode, leak rates and amplitudes."""
        layers = [self.input_map, self.state_map, *self.deeper_maps]
        if type(self) is not CfC or not all(map(is_linear, layers)):
            return None
        first = self.state_map.weight, self.input_map.weight, self.input_map.bias
        matrices = [first, *((layer.weight, layer.bias) for layer in self.deeper_maps)]
        if self.mode == "pure":
            matrices += [(self.solution.leak_rate,), (self.solution.amplitude,)]
        modes, activations = list(NUM_HEADS), list(ACTIVATIONS)
        options = modes.index(self.mode), activations.index(self.activation)
        return Program("cfc", matrices, options)  # type: ignore[arg-type]

    def project(self, inputs: Float[Tensor, "*any input"]) -> Float[Tensor, "*any projected"]:
        """Apply the part of the first map that acts on the inputs."""
        return self.input_map(inputs)

    def step(
        self,
        projected: Float[Tensor, "batch projected"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch state"]:
        """Advance the state by `dt_s` seconds with constant inputs."""
        heads = self._heads(torch.addmm(projected, state, self.state_map.weight.t()))
        return self.solution(heads, (dt_s / self.frame_s)[:, None])

    def _heads(self, values: Tensor) -> Tensor:
        """Apply all layers after the first map."""
        for layer in self.deeper_maps:
            values = layer(ACTIVATIONS[self.activation](values))
        return values

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
        heads = self._heads(self.project(inputs) + self.state_map(state))
        return self.frame_s / self.solution.rate(heads)
