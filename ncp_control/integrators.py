"""Numerical integrators of the membrane equation C dv/dt = b(v) − a(v)·v.

Every conductance-based neuron model has this form, with total conductance a > 0 and drive b. The
potential v relaxes towards b/a at the rate a/C, so τ = C/a [s] is its (liquid) time constant.

| name                          | order | keeps v within the reversal potentials |
|-------------------------------|-------|----------------------------------------|
| `semi_implicit_euler`         | 1     | yes, at any step                       |
| `explicit_euler`              | 1     | yes, at any step                       |
| `exponential_euler`           | 1     | yes, at any step                       |
| `layered_midpoint`            | 2     | yes, at any step                       |
| `rk4`                         | 4     | only at small steps                    |

Symbols: v membrane potential, C capacitance [s], h sub-step [s], a conductance, b drive.

Sources: semi-implicit Euler: Hasani et al. 2021 (arXiv 2006.04439), algorithm 1 ("fused solver");
exponential Euler and midpoint: Hochbruck & Ostermann 2010, "Exponential integrators", Acta
Numerica 19; the order of the layers in `layered_midpoint` is ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

LONGEST_S = 1e15
"""Longest elapsed time [s], 30 million years; longer times are clipped to it. Every neuron is at
rest long before, and h·a would overflow in single precision."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Consecutive neurons that receive synapses only from each other and from earlier layers."""

    neurons: slice
    """Slice of the state."""
    synapses: slice
    """Slice of the inner synapses, which are sorted by target."""
    is_recurrent: bool
    """Whether a neuron of this layer has a synapse to this layer."""


@runtime_checkable
class Membrane(Protocol):
    """Right-hand side of a neuron model for constant inputs."""

    @property
    def capacitance_s(self) -> Float[Tensor, " units"]:
        """Capacitance of each neuron [s]."""
        ...

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers from input to output; may be empty unless `layered_midpoint` is used."""
        ...

    def conductance_and_drive(
        self, potential: Float[Tensor, "batch units"], layer: Layer | None = None
    ) -> tuple[Float[Tensor, "batch some"], Float[Tensor, "batch some"]]:
        """Return conductance a(v) and drive b(v) of all neurons, or of one layer."""
        ...


Integrator = Callable[
    [Membrane, Float[Tensor, "batch units"], Float[Tensor, "batch 1"], int],
    Float[Tensor, "batch units"],
]


def semi_implicit_euler(
    membrane: Membrane, potential: Tensor, dt_s: Tensor, unfolds: int
) -> Tensor:
    """Take `unfolds` steps v ← (C v + h b(v)) / (C + h a(v)); order 1, the LTC paper's solver."""
    h, capacitance = _sub_step(dt_s, unfolds), membrane.capacitance_s
    for _ in range(unfolds):
        conductance, drive = membrane.conductance_and_drive(potential)
        potential = (capacitance * potential + h * drive) / (capacitance + h * conductance)
    return potential


def explicit_euler(membrane: Membrane, potential: Tensor, dt_s: Tensor, unfolds: int) -> Tensor:
    """Take `unfolds` steps v ← v + h (b − a v) / C, limited to the resting potential b/a; order 1.

    Without the limit, a step of h > τ would overshoot b/a, and steps of h > 2 τ would diverge.
    """
    h = _sub_step(dt_s, unfolds)
    for _ in range(unfolds):
        conductance, drive = membrane.conductance_and_drive(potential)
        share = (h * conductance / membrane.capacitance_s).clamp(max=1.0)
        potential = potential + share * (drive / conductance - potential)
    return potential


def exponential_euler(membrane: Membrane, potential: Tensor, dt_s: Tensor, unfolds: int) -> Tensor:
    """Take `unfolds` steps of exact relaxation with a and b held constant in a step; order 1."""
    h = _sub_step(dt_s, unfolds)
    for _ in range(unfolds):
        conductance, drive = membrane.conductance_and_drive(potential)
        potential = _relax(potential, conductance, drive, h / membrane.capacitance_s)
    return potential


def layered_midpoint(membrane: Membrane, potential: Tensor, dt_s: Tensor, unfolds: int) -> Tensor:
    """Take `unfolds` exponential midpoint steps, layer after layer; order 2.

    The midpoints of the earlier layers are already known when a layer is computed. Only a recurrent
    layer must predict its own midpoint, so a step costs little more than one evaluation of the
    synapses. A layer without synapses from neurons (the inter neurons) is solved exactly.
    """
    h = _sub_step(dt_s, unfolds)
    for _ in range(unfolds):
        midpoint, end = list(potential.unbind(1)), list(potential.unbind(1))
        for layer in membrane.layers:
            here, capacitance = layer.neurons, membrane.capacitance_s[layer.neurons]
            start = potential[:, here]
            coefficients = membrane.conductance_and_drive(torch.stack(midpoint, 1), layer)
            middle = _relax(start, *coefficients, h / 2 / capacitance)
            midpoint[here] = middle.unbind(1)
            if layer.is_recurrent:
                coefficients = membrane.conductance_and_drive(torch.stack(midpoint, 1), layer)
            end[here] = _relax(start, *coefficients, h / capacitance).unbind(1)
        potential = torch.stack(end, 1)
    return potential


def rk4(membrane: Membrane, potential: Tensor, dt_s: Tensor, unfolds: int) -> Tensor:
    """Take `unfolds` classical Runge-Kutta steps; order 4, explicit, so unstable at large steps."""

    def rate(v: Tensor) -> Tensor:
        conductance, drive = membrane.conductance_and_drive(v)
        return (drive - conductance * v) / membrane.capacitance_s

    return runge_kutta(rate, potential, dt_s, unfolds)


def runge_kutta(
    rate: Callable[[Tensor], Tensor], state: Tensor, time: Tensor, unfolds: int
) -> Tensor:
    """Solve dv/dt = rate(v) over `time` with `unfolds` classical Runge-Kutta steps; order 4."""
    h = _sub_step(time, unfolds)
    half, sixth = h / 2, h / 6
    for _ in range(unfolds):
        k1 = rate(state)
        k2 = rate(torch.addcmul(state, half, k1))
        k3 = rate(torch.addcmul(state, half, k2))
        k4 = rate(torch.addcmul(state, h, k3))
        state = torch.addcmul(state, sixth, torch.add(k1 + k4, k2 + k3, alpha=2))
    return state


INTEGRATORS: dict[str, Integrator] = {
    "semi_implicit_euler": semi_implicit_euler,
    "explicit_euler": explicit_euler,
    "exponential_euler": exponential_euler,
    "layered_midpoint": layered_midpoint,
    "rk4": rk4,
}


def _sub_step(time: Tensor, unfolds: int) -> Tensor:
    """Return the sub-step h, at most LONGEST_S; NaN stays NaN."""
    return (time / unfolds).clamp(max=min(LONGEST_S, torch.finfo(time.dtype).max))


def _relax(potential: Tensor, conductance: Tensor, drive: Tensor, time_per_c: Tensor) -> Tensor:
    """Solve C dv/dt = b − a v with constant a and b: v + (v − v∞) (exp(−h a / C) − 1)."""
    resting = drive / conductance
    return potential + (potential - resting) * torch.expm1(-time_per_c * conductance)
