"""Interval arithmetic on the neuron equation of STC and LRC circuits; see `bounds`.

Symbols as in `ncp_control.cells.saturated`. The ranges of f, u and y follow from those of inputs
and potentials. For C dv/dt = b − a v with a = ε σ(f), b = ε e tanh(u), `bounds` needs:

| quantity     | range                                                                             |
|--------------|-----------------------------------------------------------------------------------|
| v∞ = b / a   | e tanh(u) / σ(f): the elastance drops out; within ± e / σ(g), so below 2 e        |
| τ            | C / (ε σ(f)): has no useful upper limit if ε can be near 0                        |
| abs(dv/dt)   | ε / C times the largest abs(e tanh(u) − σ(f) v)                                   |
| J            | ε (e tanh'(u) abs(k) + σ'(f) w abs(v)) abs(γ) s(1 − s) + abs(ε' o (b − a v) / ε)  |

Every factor is the largest one in its interval. The certificates of `bounds` hold with these ranges
for the same reasons: each step of the integrators moves v towards v∞ by some fraction of the
distance, and the step changes with an input by at most J times this fraction, divided by a.
"""

from typing import NamedTuple

import numpy as np

from ncp_control.audit.interval_circuit import Array, Interval, IntervalCircuit
from ncp_control.cells import STC
from ncp_control.cells.saturated import LARGEST_LOGIT


class Flows(NamedTuple):
    """Ranges of the quantities that drive each neuron."""

    forget: Interval
    """σ(f)."""
    update: Interval
    """u."""
    elastance: Interval
    """ε."""
    elastance_slope: Array
    """Largest abs(dε/dy)."""


class SaturatedIntervals(IntervalCircuit):
    """Parameters of an STC or LRC cell, and ranges of the quantities computed from them.

    Args:
        cell: The cell.

    Raises:
        ValueError: If its integrator can overshoot, or a parameter is not finite or outside its
            valid range.
    """

    def __init__(self, cell: STC) -> None:
        numbers = self._take(cell)
        self.update_weight = numbers["update_weight"]
        self.elastance_weight = numbers.get("elastance_weight")
        self.elastance_bias = numbers.get("elastance_bias")
        self.width = numbers.get("elastance_width")

    def widest_state(self) -> Interval:
        """Return ± e / σ(g) of every neuron."""
        size = self.leak_potential / _sigmoid(self.leak)
        return Interval(-size, size)

    def conductances(self, inputs: Interval, state: Interval) -> Flows:
        """Return the ranges of the flows, given the ranges of inputs and potentials."""
        low, high = (np.concatenate(x)[self.source] for x in zip(inputs, state, strict=True))
        ends = self._opening(low), self._opening(high)
        opening = Interval(np.minimum(*ends), np.maximum(*ends))
        forget = Interval(
            *(_sigmoid(self.leak + self._per_neuron(self.weight * s)) for s in opening)
        )
        update = self._sum(self.update_weight, opening)
        update = Interval(*(self.leak + u for u in update))
        if self.elastance_weight is None or self.elastance_bias is None:
            one = np.ones(self.num_neurons)
            return Flows(forget, update, Interval(one, one), 0.0 * one)
        logit = self._sum(self.elastance_weight, Interval(low, high))
        logit = Interval(*(self.elastance_bias + y for y in logit))
        return Flows(forget, update, *self._elastance(logit))

    def _sum(self, weight: Array, values: Interval) -> Interval:
        """Return the range of Σ weight · value of each neuron."""
        with np.errstate(invalid="ignore"):
            ends = [np.where(weight == 0.0, 0.0, weight * x) for x in values]
        return Interval(self._per_neuron(np.minimum(*ends)), self._per_neuron(np.maximum(*ends)))

    def _elastance(self, logit: Interval) -> tuple[Interval, Array]:
        """Return the range of ε and the largest abs(dε/dy), given the range of y."""
        low, high = (np.clip(y, -LARGEST_LOGIT, LARGEST_LOGIT) for y in logit)
        if self.width is None:
            return Interval(_sigmoid(low), _sigmoid(high)), _largest_sigmoid_slope(low, high)
        # ε rises up to its maximum at y = 0 and falls beyond.
        ends = [self._symmetric(y) for y in (low, high)]
        highest = self._symmetric(np.clip(0.0, low, high))
        slopes = [_largest_sigmoid_slope(low + h, high + h) for h in (self.width, -self.width)]
        return Interval(np.minimum(*ends), highest), np.maximum(*slopes)

    def _symmetric(self, logit: Array) -> Array:
        assert self.width is not None
        both = _sigmoid(self.width + logit) * _sigmoid(self.width - logit)
        return both * -np.expm1(-2.0 * self.width)

    def state_interval(self, conductance: Flows) -> Interval:
        """Return the hull of 0 and the range of v∞."""
        flow = conductance
        low, high = (self.leak_potential * np.tanh(u) for u in flow.update)
        low = np.minimum(low, 0.0) / flow.forget.low
        return Interval(low, np.maximum(high, 0.0) / flow.forget.low)

    def tau_interval(self, conductance: Flows) -> Interval:
        """Return the range of C / (ε σ(f)) [s]."""
        ends = zip(conductance.forget, conductance.elastance, strict=True)
        slow, quick = (self.capacitance_s / (forget * share) for forget, share in ends)
        return Interval(quick, slow)

    def largest_speed(self, conductance: Flows, state: Interval) -> Array:
        """Return the largest abs(dv/dt) [1/s]."""
        return conductance.elastance.high / self.capacitance_s * self._distance(conductance, state)

    def _distance(self, flow: Flows, state: Interval) -> Array:
        """Return the largest abs(e tanh(u) − σ(f) v)."""
        drive = Interval(*(self.leak_potential * np.tanh(u) for u in flow.update))
        products = [forget * v for forget in flow.forget for v in state]
        pull = Interval(np.min(products, axis=0), np.max(products, axis=0))
        return np.maximum(np.abs(drive.high - pull.low), np.abs(drive.low - pull.high))

    def _least_total(self, conductance: Flows) -> Array:
        return conductance.elastance.low * conductance.forget.low

    def _slopes(self, inputs: Interval, conductance: Flows, state: Interval) -> tuple[Array, Array]:
        """Return J_u and J: the largest change of C dv/dt per change of an input or potential."""
        flow, target = conductance, self.target
        low, high = (np.concatenate(x)[self.source] for x in zip(inputs, state, strict=True))
        opening = self._opening(np.clip(self.threshold, low, high))  # where s(1 − s) is largest
        nearest = np.clip(0.0, *flow.update)
        update_slope = self.leak_potential / np.cosh(np.clip(nearest, -300.0, 300.0)) ** 2
        # σ'(f) = σ(1 − σ) falls as f grows from g > 0.
        size = np.maximum(np.abs(state.low), np.abs(state.high))
        forget_slope = flow.forget.low * (1.0 - flow.forget.low) * size
        share = flow.elastance.high[target] * np.abs(self.slope) * opening * (1.0 - opening)
        slope = share * (
            update_slope[target] * np.abs(self.update_weight) + forget_slope[target] * self.weight
        )
        if self.elastance_weight is not None:
            by_elastance = flow.elastance_slope * self._distance(flow, state)
            slope = slope + by_elastance[target] * np.abs(self.elastance_weight)
        return self._jacobians(slope)


def _sigmoid(x: Array) -> Array:
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-x))


def _largest_sigmoid_slope(low: Array, high: Array) -> Array:
    """Return the largest σ'(x) for x in [low, high]: the value at the point nearest to 0."""
    nearest = _sigmoid(np.clip(0.0, low, high))
    return nearest * (1.0 - nearest)
