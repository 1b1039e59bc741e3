"""Continuous-time recurrent networks: the leaky CT-RNN, and neural ODEs without a leak.

With x = W u + U v + b over inputs u and state v, and time in seconds:

    CT-RNN      τ_i dv_i/dt = tanh(x_i) − v_i
    Neural ODE  φ dv/dt = tanh(x)
    ODE-RNN     φ dv/dt = tanh(B tanh(A v + a) + c) between frames, v ← GRU(u, v) at a frame

| symbol     | name         | per  | value                                              |
|------------|--------------|------|----------------------------------------------------|
| τ          | timescales   | unit | > 0 [s] by construction, initially one frame       |
| φ          | frame_s      | –    | nominal frame interval [s], the models' unit of t  |

Sources: CT-RNN: Funahashi & Nakamura 1993, Neural Networks 6:801; Neural ODE: Chen et al. 2018
(arXiv 1806.07366), constant inputs over a frame as in Hasani et al. 2021 (arXiv 2006.04439);
ODE-RNN: Rubanova et al. 2019 (arXiv 1907.03907), algorithm 1. Differs: τ is learned for each unit
(Hasani et al. fix one for all); a frame is one unit of time (0.6 in their code); the CT-RNN takes
exponential Euler steps, which are stable at any step length.
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
    """Base class of cells whose rate of change depends on tanh(W u + U v + b)."""

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
        hidden_size: Number of units.
        output_size: Width of the readout.
        unfolds: Number of exponential Euler steps in each frame, >= 1.
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
        one_frame = math.log(math.expm1(1.0))  # softplus(one_frame) = 1
        self.raw_timescale = nn.Parameter(torch.full((hidden_size,), one_frame))

    def time_constants_s(self) -> Float[Tensor, " hidden"]:
        """Return τ [s] of each unit."""
        return self.frame_s * F.softplus(self.raw_timescale)

    def program(self) -> Program | None:
        """Return the maps of inputs and state, and τ [frames]."""
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
        """Relax for `dt_s` seconds, with a constant target within each sub-step."""
        approach = -torch.expm1(-dt_s[:, None] / self.unfolds / self.time_constants_s())
        for _ in range(self.unfolds):
            target = self.field(projected, state).to(state.dtype)  # lower precision under autocast
            state = torch.lerp(state, target, approach)
        return state

    @property
    def has_timescales(self) -> bool:
        """Always True: each unit has a learned time constant."""
        return True

    def timescales(
        self, inputs: Float[Tensor, "batch input"], state: Float[Tensor, "batch state"]
    ) -> Float[Tensor, "batch state"]:
        """Return τ [s] of each unit, which does not depend on inputs and state."""
        return self.time_constants_s().expand(state.shape[0], -1)


class NeuralODE(_RecurrentField):
    """Units that change by tanh(W u + U v + b) per frame, with a linear readout.

    Args:
        input_size: Width of the inputs.
        hidden_size: Number of units.
        output_size: Width of the readout.
        unfolds: Number of Runge-Kutta steps in each frame, >= 1.
        frame_s: Nominal frame interval [s], the model's unit of time.

    Raises:
        ValueError: If a size is not positive.
    """

    def program(self) -> Program | None:
        """Return the maps of inputs and state."""
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
    """A GRU whose state follows a neural ODE between frames, with a linear readout.

    Args:
        input_size: Width of the inputs.
        hidden_size: Number of units in the state and in the ODE's hidden layer.
        output_size: Width of the readout.
        unfolds: Number of Runge-Kutta steps between frames, >= 1.
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
        """Return both layers of the ODE, and the maps of the GRU."""
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
        """Solve the ODE over `dt_s` seconds, then update the state with the GRU."""
        frames = (dt_s / self.frame_s)[:, None]
        state = runge_kutta(self.field, state, frames, self.unfolds)
        return self.gru(projected, state)
