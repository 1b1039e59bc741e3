"""The liquid time-constant (LTC) neuron over a wiring.

    C_i dv_i/dt = g_i (V_i − v_i) + Σ_j w_ij s(x_j; μ_ij, γ_ij) (E_ij − v_i)
    s(x; μ, γ)  = 1 / (1 + exp(−γ (x − μ)))

j runs over the sensory inputs and neurons with a synapse to i; x_j is the affinely scaled input
or the presynaptic potential. Time is in seconds; g and w are dimensionless, so
τ_i = C_i / (g_i + Σ_j w_ij s_ij) comes out in seconds.

| symbol | name                 | per     | range by construction       | initial value         |
|--------|----------------------|---------|-----------------------------|-----------------------|
| C      | capacitance_s        | neuron  | > 0 [s]                     | 0.4 to 0.6 frame_s    |
| g      | leak_conductance     | neuron  | > 0                         | 0.001 to 1            |
| V      | leak_potential       | neuron  | any                         | −0.2 to 0.2           |
| w      | weight               | synapse | > 0                         | 0.01 to 1             |
| μ      | threshold            | synapse | any                         | 0.3 to 0.8            |
| γ      | slope                | synapse | any                         | 3 to 8                |
| E      | reversal_potential   | synapse | > 0 excites, < 0 inhibits   | ±1 by the wiring      |

See `ncp_control.cells.synaptic` for how the outputs are read from the neurons.

Source: Hasani et al. 2021, "Liquid time-constant networks" (arXiv 2006.04439), equation 1 and
appendix; initial ranges: the code published with Lechner et al. 2020. Differs: only existing
synapses are stored; the ranges apply to the effective values (raw values are set by the inverse
softplus); a frame is one unit of time. The code of Hasani et al. counts six units per frame, begins
at C = 0.5 and g = 1, and lets the sign of E change.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ncp_control.cells.base import ControlStep
from ncp_control.cells.membrane import (
    HeldMembrane,
    InnerSynapses,
    SynapseParameters,
    synaptic_sums,
)
from ncp_control.cells.synaptic import SynapticCell, inverse_softplus, uniform
from ncp_control.kernels.dense_op import Program
from ncp_control.kernels.dispatch import run_ltc
from ncp_control.kernels.step import FusedStep
from ncp_control.wiring import Wiring


class LTCParameters(NamedTuple):
    """Effective values of an LTC circuit, per neuron (N,) and per synapse (S,)."""

    capacitance_s: Float[Tensor, " neurons"]
    leak_conductance: Float[Tensor, " neurons"]
    leak_potential: Float[Tensor, " neurons"]
    weight: Float[Tensor, " synapses"]
    threshold: Float[Tensor, " synapses"]
    slope: Float[Tensor, " synapses"]
    reversal_potential: Float[Tensor, " synapses"]

    def synapses(self, which: slice) -> SynapseParameters:
        """Return the parameters of a slice of the synapses."""
        return SynapseParameters(*(p[which] for p in self[3:]))


class LTC(SynapticCell):
    """Liquid time-constant neurons connected by a wiring.

    Parameters: 4 per synapse, 3 per neuron, and a scale and an offset for each sensory input and
    each motor neuron.

    Args:
        wiring: The synapses between inputs and neurons; fixed.
        frame_s: Nominal frame interval [s]; initial capacitances are multiples of it.
        integrator: A name in `ncp_control.integrators.INTEGRATORS`.
        unfolds: Sub-steps of the integrator in each frame, from 1 to a million.
        reads: Neurons that the outputs are read from: motor (each output from its motor neuron),
            command (linearly from the command neurons as well), or all (from all other neurons as
            well).

    Raises:
        TypeError: If `wiring` is not a Wiring.
        ValueError: If the integrator is unknown or does not suit the wiring, `unfolds` is out of
            range, or `reads` is unknown or names neurons that the wiring lacks.
    """

    def __init__(
        self,
        wiring: Wiring,
        *,
        frame_s: float = 1 / 30,
        integrator: str = "semi_implicit_euler",
        unfolds: int = 6,
        reads: str = "motor",
    ) -> None:
        super().__init__(
            wiring, frame_s=frame_s, integrator=integrator, unfolds=unfolds, reads=reads
        )
        num_neurons, num_synapses = wiring.num_neurons, wiring.num_synapses
        self.raw_capacitance = nn.Parameter(inverse_softplus(uniform(num_neurons, 0.4, 0.6)))
        self.raw_leak_conductance = nn.Parameter(inverse_softplus(uniform(num_neurons, 0.001, 1.0)))
        self.leak_potential = nn.Parameter(uniform(num_neurons, -0.2, 0.2))
        self.raw_weight = nn.Parameter(inverse_softplus(uniform(num_synapses, 0.01, 1.0)))
        self.threshold = nn.Parameter(uniform(num_synapses, 0.3, 0.8))
        self.slope = nn.Parameter(uniform(num_synapses, 3.0, 8.0))
        self.raw_reversal = nn.Parameter(inverse_softplus(torch.ones(num_synapses)))
        self._add_maps()

    def effective_parameters(self) -> LTCParameters:
        """Map the free parameters to the physical values of the neuron equation."""
        return LTCParameters(
            capacitance_s=self.frame_s * F.softplus(self.raw_capacitance),
            leak_conductance=F.softplus(self.raw_leak_conductance),
            leak_potential=self.leak_potential,
            weight=F.softplus(self.raw_weight),
            threshold=self.threshold,
            slope=self.slope,
            reversal_potential=self.sign * F.softplus(self.raw_reversal),
        )

    def control_step(self) -> ControlStep | None:
        """Return the kernel that runs this circuit frame by frame; None if there is none."""
        return FusedStep(self) if FusedStep.supports(self) else super().control_step()

    def program(self) -> Program | None:
        """Return the description for kernels that run it inside a cell or by other integrators."""
        if type(self) is not LTC:
            return None
        p = self.effective_parameters()
        neurons = (
            p.capacitance_s / self.frame_s,
            p.leak_conductance,
            p.leak_conductance * p.leak_potential,
        )
        return self._make_program("ltc", (p.weight, p.weight * p.reversal_potential), neurons)

    def project(self, inputs: Float[Tensor, "*any input"]) -> Float[Tensor, "*any projected"]:
        """Return the parts of a and b from leak and sensory synapses, shape (…, 2 neurons)."""
        parameters, end = self.effective_parameters(), self._num_sensory_synapses
        scaled = (inputs * self.input_scale + self.input_offset).flatten(0, -2)
        conductance, drive = synaptic_sums(
            parameters.synapses(slice(0, end)),
            scaled,
            self.source[:end],
            self.target[:end],
            self.state_size,
        )
        leak = parameters.leak_conductance
        held = (leak + conductance, leak * parameters.leak_potential + drive)
        return torch.cat(held, dim=-1).unflatten(0, inputs.shape[:-1])

    def unroll(
        self,
        inputs: Float[Tensor, "batch time input"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, "batch time"],
        reset: Bool[Tensor, "batch time"] | None,
    ) -> Float[Tensor, "batch time state"]:
        """Apply the cell over time, with a fused kernel if one applies; see `Cell.unroll`."""
        run = run_ltc(self, inputs, state, dt_s, reset) if type(self) is LTC else None
        return super().unroll(inputs, state, dt_s, reset) if run is None else run[0]

    def sequence(
        self,
        inputs: Float[Tensor, "batch time input"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, "batch time"],
        reset: Bool[Tensor, "batch time"] | None,
    ) -> tuple[Float[Tensor, "batch time output"], Float[Tensor, "batch state"]]:
        """Return the outputs of all frames and the last state; see `unroll`."""
        run = run_ltc(self, inputs, state, dt_s, reset) if type(self) is LTC else None
        if run is None:
            return super().sequence(inputs, state, dt_s, reset)
        states, outputs = run
        if self.read_weight is not None:
            outputs = outputs + self._read(states)
        return outputs, states[:, -1] if states.shape[1] else state

    def _inner(self) -> InnerSynapses:
        parameters, first = self.effective_parameters(), self._num_sensory_synapses
        return InnerSynapses(
            capacitance_s=parameters.capacitance_s,
            parameters=parameters.synapses(slice(first, None)),
            source=self.source[first:] - self.input_size,
            target=self.target[first:],
            layers=self.layers,
        )

    def _hold(self, inner: InnerSynapses, projected: Tensor) -> HeldMembrane:
        return HeldMembrane(inner, *projected.chunk(2, dim=-1))

    @property
    def has_synaptic_currents(self) -> bool:
        """Always True: every synapse has a conductance and a reversal potential."""
        return True

    def synaptic_currents(
        self, inputs: Float[Tensor, "batch input"], state: Float[Tensor, "batch state"]
    ) -> Float[Tensor, "batch synapses"]:
        """Return w s(x_j) (E − v_i) of every synapse, in the order of the wiring."""
        p = self.effective_parameters()
        presynaptic = torch.cat([inputs * self.input_scale + self.input_offset, state], dim=-1)
        opening = torch.sigmoid(p.slope * (presynaptic[:, self.source] - p.threshold))
        return p.weight * opening * (p.reversal_potential - state[:, self.target])
