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

Output k is a_k v_k + b_k + Σ_j R_kj v_j with v_k its motor neuron, and j over the further neurons
that `reads` names: none, as in the papers, or the command neurons, or all that are no motor
neurons. R (read_weight) begins at 0.

Source: Hasani et al. 2021, "Liquid time-constant networks" (arXiv 2006.04439), equation 1 and
appendix; initial ranges: the code published with Lechner et al. 2020. Differs: only synapses that
exist are stored; the ranges hold for the effective values, through the inverse of the softplus; a
frame is one unit of time, where the code of Hasani et al. takes six, which also begins at C = 0.5
and g = 1 and lets the sign of E change.
"""

from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ncp_control.cells.base import Cell, Step
from ncp_control.cells.membrane import (
    HeldMembrane,
    InnerSynapses,
    SynapseParameters,
    find_layers,
    synaptic_sums,
)
from ncp_control.integrators import INTEGRATORS
from ncp_control.kernels.dispatch import run_ltc
from ncp_control.kernels.step import FusedStep
from ncp_control.names import check_name
from ncp_control.ranges import check_count
from ncp_control.wiring import Wiring, check_wiring

READS = ("motor", "command", "all")
"""What the outputs of a circuit are read from: see `LTC`."""
MAX_UNFOLDS = 1_000_000
"""More sub-steps than any frame needs; a number far beyond is a damaged setting."""


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
        """Return what belongs to some of the synapses."""
        return SynapseParameters(*(p[which] for p in self[3:]))


class LTC(Cell):
    """Liquid time-constant neurons connected by a wiring.

    Parameters: 4 a synapse, 3 a neuron, and an affine map into each sensory input and out of each
    motor neuron.

    Args:
        wiring: Who is connected to whom; frozen.
        frame_s: Nominal frame interval [s]; initial capacitances are multiples of it.
        integrator: A name in `ncp_control.integrators.INTEGRATORS`.
        unfolds: Sub-steps of the integrator in each frame, from 1 to a million.
        reads: What the outputs are read from: motor (each from its motor neuron), command (linearly
            from the command neurons as well), or all (from all other neurons as well).

    Raises:
        TypeError: If `wiring` is none.
        ValueError: If the integrator is unknown or does not suit the wiring, `unfolds` is out of
            range, or `reads` is unknown or names neurons that the wiring lacks.
    """

    source: Tensor
    target: Tensor
    sign: Tensor

    def __init__(
        self,
        wiring: Wiring,
        *,
        frame_s: float = 1 / 30,
        integrator: str = "semi_implicit_euler",
        unfolds: int = 6,
        reads: str = "motor",
    ) -> None:
        check_wiring(wiring)
        super().__init__(wiring.num_sensory, wiring.num_neurons, wiring.num_motor, frame_s=frame_s)
        check_name("integrator", integrator, INTEGRATORS)
        unfolds = check_count("unfolds", unfolds)
        if unfolds > MAX_UNFOLDS:
            raise ValueError(f"`unfolds` must be at most {MAX_UNFOLDS}, got {unfolds!r}. Lower it.")
        check_name("reads", reads, READS)
        self.wiring = wiring
        self.reads = reads
        self.integrator = integrator
        self.unfolds = unfolds
        self.layers = find_layers(wiring) if integrator == "layered_midpoint" else ()

        num_neurons, num_synapses = wiring.num_neurons, wiring.num_synapses
        # The wiring finds it at the first use, which torch.compile could not follow.
        self._num_sensory_synapses = wiring.num_sensory_synapses
        self.register_buffer("source", torch.tensor(wiring.sources))
        self.register_buffer("target", torch.tensor(wiring.targets - wiring.num_sensory))
        signs = torch.tensor(wiring.signs, dtype=torch.get_default_dtype())
        self.register_buffer("sign", signs)

        self.raw_capacitance = nn.Parameter(inverse_softplus(_uniform(num_neurons, 0.4, 0.6)))
        self.raw_leak_conductance = nn.Parameter(
            inverse_softplus(_uniform(num_neurons, 0.001, 1.0))
        )
        self.leak_potential = nn.Parameter(_uniform(num_neurons, -0.2, 0.2))
        self.raw_weight = nn.Parameter(inverse_softplus(_uniform(num_synapses, 0.01, 1.0)))
        self.threshold = nn.Parameter(_uniform(num_synapses, 0.3, 0.8))
        self.slope = nn.Parameter(_uniform(num_synapses, 3.0, 8.0))
        self.raw_reversal = nn.Parameter(inverse_softplus(torch.ones(num_synapses)))
        self.input_scale = nn.Parameter(torch.ones(wiring.num_sensory))
        self.input_offset = nn.Parameter(torch.zeros(wiring.num_sensory))
        self.output_scale = nn.Parameter(torch.ones(wiring.num_motor))
        self.output_offset = nn.Parameter(torch.zeros(wiring.num_motor))
        last = wiring.num_neurons - wiring.num_motor
        num_read = {"motor": 0, "command": len(wiring.layers["command"]), "all": last}[reads]
        if reads != "motor" and not num_read:
            raise ValueError(
                f"`reads` must be 'motor' for a wiring without such other neurons, got {reads!r}."
            )
        self.read_neurons = slice(last - num_read, last)
        self.read_weight = (
            nn.Parameter(torch.zeros(wiring.num_motor, num_read)) if num_read else None
        )

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "wiring": self.wiring,
            "frame_s": self.frame_s,
            "integrator": self.integrator,
            "unfolds": self.unfolds,
            **({} if self.reads == "motor" else {"reads": self.reads}),
        }

    @property
    def neuron_names(self) -> list[str]:
        """`inter_0`, …, `command_0`, …, `motor_0`, in the order of the state."""
        return self.wiring.neuron_names

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

    def control_step(self) -> FusedStep | None:
        """Return the kernel that runs this circuit frame by frame, where there is one."""
        return FusedStep(self) if FusedStep.supports(self) else None

    def project(self, inputs: Float[Tensor, "*any input"]) -> Float[Tensor, "*any projected"]:
        """Return what leak and sensory synapses add to a and to b, shape (…, 2 neurons)."""
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

    def stepper(self) -> Step:
        """Return `step` with the parameters mapped and the synapses sorted out once."""
        return partial(self._advance, self._inner_synapses())

    def step(
        self,
        projected: Float[Tensor, "batch projected"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch state"]:
        """Advance the membrane potentials by `dt_s` seconds, given `project(inputs)`."""
        return self._advance(self._inner_synapses(), projected, state, dt_s)

    def _advance(
        self, synapses: InnerSynapses, projected: Tensor, state: Tensor, dt_s: Tensor
    ) -> Tensor:
        integrate = INTEGRATORS[self.integrator]
        membrane = HeldMembrane(synapses, *projected.chunk(2, dim=-1))
        return integrate(membrane, state, dt_s[:, None], self.unfolds)

    def unroll(
        self,
        inputs: Float[Tensor, "batch time input"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, "batch time"],
        reset: Bool[Tensor, "batch time"] | None,
    ) -> Float[Tensor, "batch time state"]:
        """Apply the cell over time: on a fused kernel where one applies, see `Cell.unroll`."""
        run = run_ltc(self, inputs, state, dt_s, reset) if type(self) is LTC else None
        return super().unroll(inputs, state, dt_s, reset) if run is None else run[0]

    def sequence(
        self,
        inputs: Float[Tensor, "batch time input"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, "batch time"],
        reset: Bool[Tensor, "batch time"] | None,
    ) -> tuple[Float[Tensor, "batch time output"], Float[Tensor, "batch state"]]:
        """Return the output at every frame and the state after the last; see `unroll`."""
        run = run_ltc(self, inputs, state, dt_s, reset) if type(self) is LTC else None
        if run is None:
            return super().sequence(inputs, state, dt_s, reset)
        states, outputs = run
        if self.read_weight is not None:
            outputs = outputs + self._read(states)
        return outputs, states[:, -1] if states.shape[1] else state

    def readout(self, state: Float[Tensor, "*any state"]) -> Float[Tensor, "*any output"]:
        """Scale and shift the potentials of the motor neurons; add what else is read."""
        outputs = state[..., -self.output_size :] * self.output_scale + self.output_offset
        return outputs if self.read_weight is None else outputs + self._read(state)

    def _read(self, state: Tensor) -> Tensor:
        """Return what the outputs read from neurons other than their motor neuron."""
        assert self.read_weight is not None
        return F.linear(state[..., self.read_neurons], self.read_weight)

    def membrane(self, inputs: Float[Tensor, "batch input"]) -> HeldMembrane:
        """Evaluate the sensory synapses once and return the equation that is left."""
        return HeldMembrane(self._inner_synapses(), *self.project(inputs).chunk(2, dim=-1))

    def _inner_synapses(self) -> InnerSynapses:
        parameters, first = self.effective_parameters(), self._num_sensory_synapses
        return InnerSynapses(
            capacitance_s=parameters.capacitance_s,
            parameters=parameters.synapses(slice(first, None)),
            source=self.source[first:] - self.input_size,
            target=self.target[first:],
            layers=self.layers,
        )

    @property
    def has_timescales(self) -> bool:
        """Always: they are what makes the neurons liquid."""
        return True

    def timescales(
        self, inputs: Float[Tensor, "batch input"], state: Float[Tensor, "batch state"]
    ) -> Float[Tensor, "batch state"]:
        """Return τ_i = C_i / (g_i + Σ_j w_ij s_ij) [s] at the given inputs and state."""
        membrane = self.membrane(inputs)
        conductance, _ = membrane.conductance_and_drive(state)
        return membrane.capacitance_s / conductance

    @property
    def has_synaptic_currents(self) -> bool:
        """Always: every synapse has a conductance and a reversal potential."""
        return True

    def synaptic_currents(
        self, inputs: Float[Tensor, "batch input"], state: Float[Tensor, "batch state"]
    ) -> Float[Tensor, "batch synapses"]:
        """Return w s(x_j) (E − v_i) of every synapse, in the order of the wiring."""
        p = self.effective_parameters()
        presynaptic = torch.cat([inputs * self.input_scale + self.input_offset, state], dim=-1)
        opening = torch.sigmoid(p.slope * (presynaptic[:, self.source] - p.threshold))
        return p.weight * opening * (p.reversal_potential - state[:, self.target])


def _uniform(size: int, low: float, high: float) -> Tensor:
    return torch.empty(size).uniform_(low, high)


def inverse_softplus(value: Tensor) -> Tensor:
    """Return x with softplus(x) = value, for value > 0."""
    return value + torch.log(-torch.expm1(-value))
