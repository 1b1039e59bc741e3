"""Continuous-time recurrent networks: a leaky one, and neural ODEs without a leak.

With x = W u + U v + b over inputs u and state v, and time in seconds:

    CT-RNN      τ_i dv_i/dt = tanh(x_i) − v_i
    Neural ODE  φ dv/dt = tanh(x)
    ODE-RNN     φ dv/dt = tanh(B tanh(A v + a) + c) between frames, v ← GRU(u, v) at a frame

| symbol     | name         | per  | value                                              |
|------------|--------------|------|----------------------------------------------------|
| τ          | timescales   | unit | > 0 [s] by construction, initially one frame       |
| φ          | frame_s      | –    | nominal frame interval [s], the models' unit of t  |

Sources: CT-RNN: Funahashi & Nakamura 1993, Neural Networks 6:801; Neural ODE: Chen et al. 2018
(arXiv 1806.07366), inputs held over a frame as in Hasani et al. 2021 (arXiv 2006.04439); ODE-RNN:
Rubanova et al. 2019 (arXiv 1907.03907), algorithm 1. Differs: τ is learned for each unit, where
Hasani et al. fix it for all; a frame is one unit of time, where their code takes 0.6; the CT-RNN
takes exponential Euler steps, stable at any step length.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ncp_control.cells.dense import DenseCell, does_as, glorot_, is_linear
from ncp_control.integrators import runge_kutta
from ncp_control.kernels.dense_op import Program
from ncp_control.ranges import check_count


class _RecurrentField(DenseCell):
    """A cell whose motion follows tanh(W u + U v + b), solved in sub-steps."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        *,
        unfolds: int = 6,
        frame_s: float = 1 / 30,
    ) -> None:
        unfolds = check_count("unfolds", unfolds)
        super().__init__(input_size, hidden_size, output_size, frame_s=frame_s)
        self.unfolds = unfolds
        self.input_map = nn.Linear(input_size, hidden_size)
        self.state_map = nn.Linear(hidden_size, hidden_size, bias=False)
        glorot_(self.input_map.weight, self.state_map.weight)

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().settings() | {"unfolds": self.unfolds}

    def project(self, inputs: Float[Tensor, "*any input"]) -> Float[Tensor, "*any projected"]:
        """Return W u + b."""
        return self.input_map(inputs)

    def field(self, projected: Tensor, state: Tensor) -> Tensor:
        """Return tanh(W u + b + U v)."""
        return torch.tanh(torch.addmm(projected, state, self.state_map.weight.t()))


class CTRNN(_RecurrentField):
    """Leaky units that relax towards tanh(W u + U v + b), with a linear readout.

    Args:
        input_size: Width of the inputs.
        hidden_size: Units.
        output_size: Width of the readout.
        unfolds: Exponential Euler steps in each frame, >= 1.
        frame_s: Nominal frame interval [s], the initial time constant.

    Raises:
        ValueError: If a size is not positive.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        *,
        unfolds: int = 6,
        frame_s: float = 1 / 30,
    ) -> None:
        super().__init__(input_size, hidden_size, output_size, unfolds=unfolds, frame_s=frame_s)
        one_frame = math.log(math.expm1(1.0))  # softplus of it is 1
        self.raw_timescale = nn.Parameter(torch.full((hidden_size,), one_frame))

    def time_constants_s(self) -> Float[Tensor, " hidden"]:
        """Return τ [s] of each unit."""
        return self.frame_s * F.softplus(self.raw_timescale)

    def program(self) -> Program | None:
        """Return both maps and τ in frames."""
        maps = self.input_map, self.state_map
        if type(self) is not CTRNN or not all(map(is_linear, maps)):
            return None
        inputs = self.input_map.weight, self.input_map.bias
        time = F.softplus(self.raw_timescale)
        return Program("ctrnn", [inputs, (self.state_map.weight,), (time,)], (self.unfolds,))

    def step(
        self,
        projected: Float[Tensor, "batch projected"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch state"]:
        """Relax for `dt_s` seconds, the target held over each sub-step."""
        approach = -torch.expm1(-dt_s[:, None] / self.unfolds / self.time_constants_s())
        for _ in range(self.unfolds):
            target = self.field(projected, state).to(state.dtype)  # which autocast makes coarser
            state = torch.lerp(state, target, approach)
        return state

    @property
    def has_timescales(self) -> bool:
        """Always: one for each unit, whatever the inputs."""
        return True

    def timescales(
        self, inputs: Float[Tensor, "batch input"], state: Float[Tensor, "batch state"]
    ) -> Float[Tensor, "batch state"]:
        """Return τ [s] of each unit, whatever the inputs and the state."""
        return self.time_constants_s().expand(state.shape[0], -1)


class NeuralODE(_RecurrentField):
    """Units that move at the rate tanh(W u + U v + b) a frame, with a linear readout.

    Args:
        input_size: Width of the inputs.
        hidden_size: Units.
        output_size: Width of the readout.
        unfolds: Runge-Kutta steps in each frame, >= 1.
        frame_s: Nominal frame interval [s], the model's unit of time.

    Raises:
        ValueError: If a size is not positive.
    """

    def program(self) -> Program | None:
        """Return both maps."""
        maps = self.input_map, self.state_map
        if type(self) is not NeuralODE or not all(map(is_linear, maps)):
            return None
        inputs = self.input_map.weight, self.input_map.bias
        return Program("neural_ode", [inputs, (self.state_map.weight,)], (self.unfolds,))

    def step(
        self,
        projected: Float[Tensor, "batch projected"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch state"]:
        """Solve the differential equation over `dt_s` seconds."""
        frames = (dt_s / self.frame_s)[:, None]
        return runge_kutta(lambda v: self.field(projected, v), state, frames, self.unfolds)


class ODERNN(DenseCell):
    """A GRU whose state moves by a neural ODE between frames, with a linear readout.

    Args:
        input_size: Width of the inputs.
        hidden_size: Units of the state and of the field's hidden layer.
        output_size: Width of the readout.
        unfolds: Runge-Kutta steps between frames, >= 1.
        frame_s: Nominal frame interval [s], the model's unit of time.

    Raises:
        ValueError: If a size is not positive.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        *,
        unfolds: int = 6,
        frame_s: float = 1 / 30,
    ) -> None:
        unfolds = check_count("unfolds", unfolds)
        super().__init__(input_size, hidden_size, output_size, frame_s=frame_s)
        self.unfolds = unfolds
        self.field = nn.Sequential(
            nn.Linear(hidden_size, hidden_size),
            nn.Tanh(),
            nn.Linear(hidden_size, hidden_size),
            nn.Tanh(),
        )
        self.gru = nn.GRUCell(input_size, hidden_size)

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().settings() | {"unfolds": self.unfolds}

    def program(self) -> Program | None:
        """Return both layers of the field, and the maps of the GRU."""
        gru, layers = self.gru, [layer for layer in self.field if not isinstance(layer, nn.Tanh)]
        if type(self) is not ODERNN or not does_as(nn.GRUCell, gru):
            return None
        if len(self.field) != 4 or len(layers) != 2 or not all(map(is_linear, layers)):
            return None
        matrices = [(layer.weight, layer.bias) for layer in layers]
        matrices += [(gru.weight_ih, gru.bias_ih), (gru.weight_hh, gru.bias_hh)]
        return Program("ode_rnn", matrices, (self.unfolds,))  # type: ignore[arg-type]

    def step(
        self,
        projected: Float[Tensor, "batch input"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch state"]:
        """Let the state move for `dt_s` seconds, then take in the frame."""
        frames = (dt_s / self.frame_s)[:, None]
        state = runge_kutta(self.field, state, frames, self.unfolds)
        return self.gru(projected, state)
