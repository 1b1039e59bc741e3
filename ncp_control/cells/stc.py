"""The saturated liquid time-constant (STC) neuron over a wiring: an LTC whose flows saturate.

    C_i dv_i/dt = e_i tanh(u_i) − σ(f_i) v_i
    f_i = g_i + Σ_j w_ij s_ij,   u_i = g_i + Σ_j k_ij s_ij,   s_ij = σ(γ_ij (x_j − μ_ij))

σ(x) = 1 / (1 + exp(−x)). j runs over the sensory inputs and neurons with a synapse to i; x_j is the
affinely scaled input or the presynaptic potential. Without σ and tanh this is an LTC of leak
potential e_i and reversal potentials E_ij = k_ij e_i / w_ij. Time is in seconds.

| symbol | name                 | per     | range by construction       | initial value           |
|--------|----------------------|---------|-----------------------------|-------------------------|
| C      | capacitance_s        | neuron  | > 0 [s]                     | frame_s                 |
| g      | leak_conductance     | neuron  | > 0                         | 0.001 to 1              |
| e      | leak_potential       | neuron  | > 0                         | 1                       |
| w      | weight               | synapse | > 0                         | 0.001 to 1              |
| k      | update_weight        | synapse | > 0 excites, < 0 inhibits   | variance 1 / synapses   |
| μ      | threshold            | synapse | any                         | 0.3 to 0.8              |
| γ      | slope                | synapse | any                         | 3 to 8                  |

*Guaranteed bounds.* All w and g are positive, so 1/2 < σ(g_i) < σ(f_i) < 1, and v_i always moves
towards v∞ = e_i tanh(u_i) / σ(f_i), with every integrator except RK4. So for any inputs and any
frame length, a neuron that begins at 0 satisfies

    |v_i| ≤ e_i / σ(g_i) < 2 e_i   and   C_i < τ_i = C_i / σ(f_i) ≤ C_i / σ(g_i) < 2 C_i

Source: Farsang, Neubauer & Grosu 2024, "Liquid Resistance Liquid Capacitance Networks"
(arXiv 2403.08791), with C = 1; initial ranges: the code published with it
(github.com/MoniFarsang/LRC). Differs: C is learned, as in an LTC; e begins at 1, so that potentials
reach the thresholds (their code draws it from −0.2 to 0.2); e stays positive, which loses no
generality, because a neuron of negative e is a sign-flipped neuron of positive e; the wiring sets
the sign of k; only existing synapses are stored.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ncp_control.cells.saturated import SaturatedCircuit, SaturatedMembrane, SaturatedParameters
from ncp_control.cells.synaptic import SynapticCell, inverse_softplus, uniform
from ncp_control.kernels.dense_op import Program
from ncp_control.wiring import Wiring


class STC(SynapticCell):
    """Saturated liquid time-constant neurons connected by a wiring.

    Parameters: 4 per synapse, 3 per neuron, and a scale and an offset for each sensory input and
    each motor neuron.

    Args:
        wiring: The synapses between inputs and neurons; fixed.
        frame_s: Nominal frame interval [s], also the initial capacitance.
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
        self._add_capacitance()
        self.raw_leak_conductance = nn.Parameter(inverse_softplus(uniform(num_neurons, 0.001, 1.0)))
        self.raw_leak_potential = nn.Parameter(inverse_softplus(torch.ones(num_neurons)))
        self.raw_weight = nn.Parameter(inverse_softplus(uniform(num_synapses, 0.001, 1.0)))
        size = torch.randn(num_synapses).abs().clamp(min=1e-3) / self._fan_in().sqrt()
        self.raw_update_weight = nn.Parameter(inverse_softplus(size))
        self.threshold = nn.Parameter(uniform(num_synapses, 0.3, 0.8))
        self.slope = nn.Parameter(uniform(num_synapses, 3.0, 8.0))
        self._add_maps()

    def _add_capacitance(self) -> None:
        """Add the parameters that set the speed of a neuron."""
        one = inverse_softplus(torch.ones(self.state_size))
        self.raw_capacitance: nn.Parameter | None = nn.Parameter(one)

    def _fan_in(self) -> Tensor:
        """Return the number of synapses to the target of each synapse, shape (synapses,)."""
        return torch.bincount(self.target, minlength=self.state_size)[self.target].float()

    def effective_parameters(self) -> SaturatedParameters:
        """Map the free parameters to the physical values of the neuron equation."""
        return SaturatedParameters(
            capacitance_s=self._capacitance_s(),
            leak_conductance=F.softplus(self.raw_leak_conductance),
            leak_potential=F.softplus(self.raw_leak_potential),
            weight=F.softplus(self.raw_weight),
            update_weight=self.sign * F.softplus(self.raw_update_weight),
            threshold=self.threshold,
            slope=self.slope,
        )

    def _capacitance_s(self) -> Tensor:
        assert self.raw_capacitance is not None
        return self.frame_s * F.softplus(self.raw_capacitance)

    def program(self) -> Program | None:
        """Return the description from which the fused kernels run this cell."""
        if type(self) is not STC:
            return None
        p = self.effective_parameters()
        leak, capacitance = p.leak_conductance, p.capacitance_s / self.frame_s
        neurons = (capacitance, leak, leak, p.leak_potential)
        return self._make_program("stc", (p.weight, p.update_weight), neurons)

    def project(self, inputs: Float[Tensor, "*any input"]) -> Float[Tensor, "*any projected"]:
        """Return the contributions of leak and sensory synapses to f, u and y, concatenated."""
        p, end = self.effective_parameters(), self._num_sensory_synapses
        scaled = (inputs * self.input_scale + self.input_offset).flatten(0, -2)
        sums = p.synapses(slice(0, end)).over(
            scaled, self.source[:end], self.target[:end], self.state_size
        )
        biases = [p.leak_conductance, p.leak_conductance]
        if p.elastance_bias is not None:
            biases.append(p.elastance_bias)
        held = [bias + added for bias, added in zip(biases, sums, strict=True)]
        return torch.cat(held, dim=-1).unflatten(0, inputs.shape[:-1])

    def _inner(self) -> SaturatedCircuit:
        p, first = self.effective_parameters(), self._num_sensory_synapses
        return SaturatedCircuit(
            capacitance_s=p.capacitance_s,
            leak_potential=p.leak_potential,
            elastance_width=p.elastance_width,
            synapses=p.synapses(slice(first, None)),
            source=self.source[first:] - self.input_size,
            target=self.target[first:],
            layers=self.layers,
        )

    def _hold(self, inner: Any, projected: Tensor) -> SaturatedMembrane:
        return SaturatedMembrane(inner, projected.split(self.state_size, dim=-1))
