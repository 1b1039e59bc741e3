"""The LTC equation for constant inputs, in plain torch, as integrators need it.

Equations and symbols as in `ncp_control.cells.ltc`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ncp_control.integrators import Layer
from ncp_control.wiring import Wiring


class SynapseParameters(NamedTuple):
    """Effective values of some synapses, each of shape (synapses,)."""

    weight: Tensor
    threshold: Tensor
    slope: Tensor
    reversal_potential: Tensor


class InnerSynapses(NamedTuple):
    """The parts of the neuron equation that do not depend on the inputs."""

    capacitance_s: Tensor
    parameters: SynapseParameters
    source: Tensor
    target: Tensor
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class HeldMembrane:
    """The neuron equation for constant inputs: see `ncp_control.integrators.Membrane`."""

    synapses: InnerSynapses
    held_conductance: Tensor
    held_drive: Tensor

    @property
    def capacitance_s(self) -> Tensor:
        """Capacitance of each neuron [s]."""
        return self.synapses.capacitance_s

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in signal order; empty unless the integrator works layer by layer."""
        return self.synapses.layers

    def conductance_and_drive(
        self, potential: Tensor, layer: Layer | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return a(v) and b(v) for all neurons, or for those of one layer."""
        inner, held = self.synapses, (self.held_conductance, self.held_drive)
        if layer is None:
            sums = synaptic_sums(
                inner.parameters, potential, inner.source, inner.target, potential.shape[1]
            )
            return held[0] + sums[0], held[1] + sums[1]
        neurons, here = layer.neurons, layer.synapses
        sums = synaptic_sums(
            SynapseParameters(*(p[here] for p in inner.parameters)),
            potential,
            inner.source[here],
            inner.target[here] - neurons.start,
            neurons.stop - neurons.start,
        )
        return held[0][:, neurons] + sums[0], held[1][:, neurons] + sums[1]


def synaptic_sums(
    parameters: SynapseParameters, signal: Tensor, source: Tensor, target: Tensor, num_targets: int
) -> tuple[Tensor, Tensor]:
    """Return Σ_j w s(x_j) and Σ_j w s(x_j) E of each target, each of shape (batch, targets)."""
    p = parameters
    opened = p.weight * torch.sigmoid(p.slope * (signal.index_select(1, source) - p.threshold))
    zeros = signal.new_zeros(signal.shape[0], num_targets)
    return (
        zeros.index_add(1, target, opened),
        zeros.index_add(1, target, opened * p.reversal_potential),
    )


def find_layers(wiring: Wiring) -> tuple[Layer, ...]:
    """Group the neurons so that every synapse comes from the same or an earlier layer.

    Raises:
        ValueError: If a synapse leads from a later to an earlier layer of the wiring.
    """
    first_neuron, first_inner = wiring.num_sensory, wiring.num_sensory_synapses
    sources = wiring.sources[first_inner:]
    targets = wiring.targets[first_inner:]
    layers = []
    for name, nodes in list(wiring.layers.items())[1:]:
        if not nodes:
            continue
        incoming = (targets >= nodes.start) & (targets < nodes.stop)
        backwards = incoming & (sources >= nodes.stop)
        if backwards.any():
            raise ValueError(
                "`integrator` must not be 'layered_midpoint' for a wiring with synapses from a"
                f" later to an earlier layer, got one into the {name} layer."
                " Use 'exponential_euler' or 'semi_implicit_euler'."
            )
        positions = incoming.nonzero()[0]
        start = int(positions[0]) if len(positions) else 0
        layers.append(
            Layer(
                neurons=slice(nodes.start - first_neuron, nodes.stop - first_neuron),
                synapses=slice(start, start + len(positions)),
                is_recurrent=bool((incoming & (sources >= nodes.start)).any()),
            )
        )
    return tuple(layers)
