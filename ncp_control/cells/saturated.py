"""The equation of saturated neurons (STC and LRC) for constant inputs, as integrators need it.

    C_i dv_i/dt = ε_i(y_i) (e_i tanh(u_i) − σ(f_i) v_i)

with three sums over the synapses of neuron i, whose openings are s_ij = σ(γ_ij (x_j − μ_ij)):

    f_i = g_i + Σ_j w_ij s_ij,   u_i = g_i + Σ_j k_ij s_ij,   y_i = p_i + Σ_j o_ij x_j

An STC has ε = 1 and no y; an LRC has C = frame_s, and ε is its elastance. As a membrane, this has
the conductance a = ε σ(f) and the drive b = ε e tanh(u). Symbols as in `stc` and `lrc`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ncp_control.integrators import Layer

LARGEST_LOGIT = 30.0
"""Limit of abs(y) in the elastance σ(y): at −30 a neuron barely moves, but ε is not yet zero."""


class SaturatedParameters(NamedTuple):
    """Effective values of a circuit of saturated neurons, per neuron (N,) and per synapse (S,)."""

    capacitance_s: Tensor
    """C (N,)."""
    leak_conductance: Tensor
    """g (N,)."""
    leak_potential: Tensor
    """e (N,)."""
    weight: Tensor
    """w (S,)."""
    update_weight: Tensor
    """k (S,)."""
    threshold: Tensor
    """μ (S,)."""
    slope: Tensor
    """γ (S,)."""
    elastance_bias: Tensor | None = None
    """p (N,); None for an STC."""
    elastance_weight: Tensor | None = None
    """o (S,); None for an STC."""
    elastance_width: Tensor | None = None
    """h (N,) of a symmetric elastance; None for others."""

    def synapses(self, which: slice) -> "SynapseSums":
        """Return the parameters of a slice of the synapses."""
        values = self.weight, self.update_weight, self.threshold, self.slope
        return SynapseSums(*values, self.elastance_weight).among(which)


class SynapseSums(NamedTuple):
    """Effective values of some synapses, each of shape (synapses,), with the sums over them."""

    weight: Tensor
    update_weight: Tensor
    threshold: Tensor
    slope: Tensor
    elastance_weight: Tensor | None

    def among(self, which: slice) -> "SynapseSums":
        """Return the values of a slice of these synapses."""
        elastance = self.elastance_weight
        return SynapseSums(
            self.weight[which],
            self.update_weight[which],
            self.threshold[which],
            self.slope[which],
            None if elastance is None else elastance[which],
        )

    def over(
        self, signal: Tensor, source: Tensor, target: Tensor, num_targets: int
    ) -> tuple[Tensor, ...]:
        """Return Σ w s, Σ k s and, for an LRC, Σ o x of each target: shape (batch, targets)."""
        presynaptic = signal.index_select(1, source)
        opening = torch.sigmoid(self.slope * (presynaptic - self.threshold))
        terms = [opening * self.weight, opening * self.update_weight]
        if self.elastance_weight is not None:
            terms.append(presynaptic * self.elastance_weight)
        zeros = signal.new_zeros(signal.shape[0], num_targets)
        return tuple(zeros.index_add(1, target, term) for term in terms)


def elastance(logit: Tensor, width: Tensor | None) -> Tensor:
    """Return ε from y: σ(y), or σ(y + h) − σ(y − h) for a symmetric elastance.

    The difference is computed as a product, which stays precise where ε is small.
    """
    logit = logit.clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
    if width is None:
        return torch.sigmoid(logit)
    both = torch.sigmoid(width + logit) * torch.sigmoid(width - logit)
    return both * -torch.expm1(-2.0 * width)


class SaturatedCircuit(NamedTuple):
    """The parts of the neuron equation that do not depend on the inputs."""

    capacitance_s: Tensor
    leak_potential: Tensor
    elastance_width: Tensor | None
    synapses: SynapseSums
    source: Tensor
    target: Tensor
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class SaturatedMembrane:
    """The neuron equation for constant inputs: see `ncp_control.integrators.Membrane`."""

    circuit: SaturatedCircuit
    held: tuple[Tensor, ...]
    """Contributions of leak and inputs to f, u and y, each of shape (batch, neurons)."""

    @property
    def capacitance_s(self) -> Tensor:
        """Capacitance of each neuron [s]."""
        return self.circuit.capacitance_s

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in signal order; empty unless the integrator works layer by layer."""
        return self.circuit.layers

    def conductance_and_drive(
        self, potential: Tensor, layer: Layer | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return a(v) and b(v) for all neurons, or for those of one layer."""
        circuit, here = self.circuit, slice(None)
        synapses, source, target = circuit.synapses, circuit.source, circuit.target
        num_targets = potential.shape[1]
        if layer is not None:
            here, some = layer.neurons, layer.synapses
            synapses, source = synapses.among(some), source[some]
            target, num_targets = target[some] - here.start, here.stop - here.start
        sums = synapses.over(potential, source, target, num_targets)
        forget, update, *logit = (a[:, here] + b for a, b in zip(self.held, sums, strict=True))
        conductance = torch.sigmoid(forget)
        drive = circuit.leak_potential[here] * torch.tanh(update)
        if not logit:
            return conductance, drive
        width = circuit.elastance_width
        share = elastance(logit[0], None if width is None else width[here])
        return share * conductance, share * drive
