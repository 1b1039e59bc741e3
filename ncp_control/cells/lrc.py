"""The liquid-resistance liquid-capacitance (LRC) neuron: an STC with a liquid capacitance as well.

    φ dv_i/dt = ε_i (e_i tanh(u_i) − σ(f_i) v_i)
    y_i = p_i + Σ_j o_ij x_j,   ε_i = σ(y_i)   or   ε_i = σ(y_i + h_i) − σ(y_i − h_i)

f, u, x and all other symbols are those of `ncp_control.cells.stc`. The parameters are the same too,
except for the capacitance: φ is the nominal frame interval, the model's unit of time, and the
elastance ε, φ over the capacitance, depends on the signals that the neuron receives. The first form
is asymmetric: a neuron is fast when y is large and slow when y is small. The second form is
symmetric: a neuron is slow when y is far from 0.

| symbol | name             | per     | range by construction | initial value                      |
|--------|------------------|---------|-----------------------|------------------------------------|
| o      | elastance_weight | synapse | any                   | evenly within ±√(6 / (in + out))   |
| p      | elastance_bias   | neuron  | any                   | 0                                  |
| h      | elastance_width  | neuron  | > 0                   | 1 (symmetric elastance alone)      |

For a synapse, in is the number of synapses to its target and out the number from its source.

An LRC *unit* (LRCU) is an LRC that takes one explicit Euler step per frame,

    v_i ← v_i + n ε_i (e_i tanh(u_i) − σ(f_i) v_i),   n frames of time

here `LRC(wiring, integrator="explicit_euler", unfolds=1)`, registered under the name `lrcu`. A
signal passes one synapse per step, so in an NCP it reaches a motor neuron in the third frame.

*Guaranteed bounds.* As in an STC, v_i always moves towards v∞ = e_i tanh(u_i) / σ(f_i), which does
not depend on the elastance. So |v_i| ≤ e_i / σ(g_i) < 2 e_i for any inputs and any frame length.
As ε_i < 1, τ_i = φ / (ε_i σ(f_i)) > φ. When ε_i is close to 0, a neuron holds its value: it
remembers. τ_i has a useful upper bound only if y_i is bounded, that is, if the neuron sees only
other neurons, or inputs of known range. abs(y) is limited to 30, so that ε_i stays above zero.

Source: Farsang, Neubauer & Grosu 2024 (arXiv 2403.08791) and the code published with it
(github.com/MoniFarsang/LRC). Differs, besides the differences named in `stc`: the elastance depends
only on the nodes with a synapse to the neuron, theirs on all inputs and neurons; a step of a unit
never overshoots v∞, which matters only if a frame lasts longer than nominal.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ncp_control.cells.saturated import SaturatedParameters
from ncp_control.cells.stc import STC
from ncp_control.cells.synaptic import inverse_softplus
from ncp_control.kernels.dense_op import Program
from ncp_control.names import check_name
from ncp_control.wiring import Wiring

ELASTANCES = ("symmetric", "asymmetric")
"""Forms of the elastance."""


class LRC(STC):
    """Liquid-resistance liquid-capacitance neurons connected by a wiring.

    Parameters: 5 per synapse, 3 per neuron (4 with a symmetric elastance), and a scale and an
    offset for each sensory input and each motor neuron.

    Args:
        wiring: The synapses between inputs and neurons; fixed.
        frame_s: Nominal frame interval [s], the model's unit of time.
        elastance: symmetric or asymmetric.
        integrator: A name in `ncp_control.integrators.INTEGRATORS`.
        unfolds: Sub-steps of the integrator in each frame, from 1 to a million.
        reads: Neurons that the outputs are read from: motor (each output from its motor neuron),
            command (linearly from the command neurons as well), or all (from all other neurons as
            well).

    Raises:
        TypeError: If `wiring` is not a Wiring.
        ValueError: If the elastance is unknown, or for the reasons given in `STC`.
    """

    def __init__(
        self,
        wiring: Wiring,
        *,
        frame_s: float = 1 / 30,
        elastance: str = "symmetric",
        integrator: str = "semi_implicit_euler",
        unfolds: int = 6,
        reads: str = "motor",
    ) -> None:
        check_name("elastance", elastance, ELASTANCES)
        self.elastance = elastance
        super().__init__(
            wiring, frame_s=frame_s, integrator=integrator, unfolds=unfolds, reads=reads
        )

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().settings() | {"elastance": self.elastance}

    def _add_capacitance(self) -> None:
        """Add the parameters of the elastance instead of a capacitance."""
        self.raw_capacitance = None
        fan_out = torch.bincount(self.source, minlength=self.wiring.num_nodes)[self.source]
        bound = (6.0 / (self._fan_in() + fan_out)).sqrt()  # of Glorot & Bengio 2010
        self.elastance_weight = nn.Parameter(bound * torch.empty_like(bound).uniform_(-1.0, 1.0))
        self.elastance_bias = nn.Parameter(torch.zeros(self.state_size))
        self.raw_elastance_width = (
            nn.Parameter(inverse_softplus(torch.ones(self.state_size)))
            if self.elastance == "symmetric"
            else None
        )

    def _capacitance_s(self) -> Tensor:
        return self.elastance_bias.new_full((self.state_size,), self.frame_s)

    def program(self) -> Program | None:
        """Return the description from which the fused kernels run this cell."""
        if type(self) is not LRC:
            return None
        p, end = self.effective_parameters(), self._num_sensory_synapses
        offset = self.input_offset[self.source[:end]]
        bias = self.elastance_bias.index_add(
            0, self.target[:end], offset * self.elastance_weight[:end]
        )
        leak, width = p.leak_conductance, p.elastance_width
        neurons = (torch.ones_like(leak), leak, leak, bias, p.leak_potential)
        if width is not None:
            neurons = (*neurons, width, -torch.expm1(-2.0 * width))
        return self._make_program(
            "lrc" if width is None else "symmetric_lrc",
            (p.weight, p.update_weight),
            neurons,
            signal_weights=(self.elastance_weight,),
        )

    def effective_parameters(self) -> SaturatedParameters:
        """Map the free parameters to the physical values of the neuron equation."""
        width = self.raw_elastance_width
        return (
            super()
            .effective_parameters()
            ._replace(
                elastance_bias=self.elastance_bias,
                elastance_weight=self.elastance_weight,
                elastance_width=None if width is None else F.softplus(width),
            )
        )
