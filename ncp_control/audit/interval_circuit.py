"""Interval arithmetic on the neuron equation of an LTC circuit; see `bounds` for the certificates.

Symbols as in `ncp_control.cells.ltc`; c = w s is the conductance of a synapse, a = g + Σ c the
total conductance of a neuron. All numbers are in double precision.
"""

from typing import Any, NamedTuple

import numpy as np

from ncp_control.cells import LTC, Cell, SynapticCell

Array = np.ndarray

_AFFINE = ("input_scale", "input_offset", "output_scale", "output_offset")
_POSITIVE = ("capacitance_s", "leak_conductance", "elastance_width")


class Interval(NamedTuple):
    """Lower and upper limits, elementwise."""

    low: Array
    high: Array

    @property
    def size(self) -> Array:
        """Upper limit minus lower limit."""
        return self.high - self.low


class IntervalCircuit:
    """Parameters of an LTC cell, and ranges of the quantities computed from them.

    Args:
        cell: An LTC cell.

    Raises:
        ValueError: If the cell is not an LTC, its integrator can overshoot, a parameter is not
            finite, a capacitance or leak is not positive, or a weight is negative.
    """

    def __init__(self, cell: Cell) -> None:
        if not isinstance(cell, LTC):
            raise ValueError(
                f"`cell` must be an LTC, STC or LRC to be certified, got {type(cell).__name__!r}."
                " The bounds rest on its conductances. Of a policy give policy.circuit.cell, of a"
                " circuit circuit.cell."
            )
        numbers = self._take(cell)
        self.reversal = numbers["reversal_potential"]

    def _take(self, cell: SynapticCell) -> dict[str, Array]:
        """Store the parameters that all cells with conductances have; return all parameters."""
        if cell.integrator == "rk4":
            raise ValueError(
                "`cell` must be integrated without overshooting, got integrator 'rk4'."
                " Choose another: nothing is certain of its states."
            )
        numbers = _numbers(cell)
        self.capacitance_s, self.leak, self.leak_potential = (
            numbers[name] for name in ("capacitance_s", "leak_conductance", "leak_potential")
        )
        self.weight, self.threshold, self.slope = (
            numbers[name] for name in ("weight", "threshold", "slope")
        )
        self.source, self.target = cell.source.cpu().numpy(), cell.target.cpu().numpy()
        self.input_scale, self.input_offset, self.output_scale, self.output_offset = (
            numbers[name] for name in _AFFINE
        )
        self.read_neurons, self.read_weight = cell.read_neurons, numbers["read_weight"]
        self.num_inputs, self.num_neurons = cell.input_size, cell.state_size
        self.integrator, self.unfolds, self.layers = cell.integrator, cell.unfolds, cell.layers
        return numbers

    def affine_inputs(self, low: float | Array, high: float | Array) -> Interval:
        """Return the range of the scaled inputs.

        Raises:
            ValueError: If a limit is NaN or of another shape, or the range is empty.
        """
        ends = np.stack([self._limits("input_low", low), self._limits("input_high", high)])
        if not (ends[0] <= ends[1]).all():
            k = int(np.argmax(~(ends[0] <= ends[1])))
            raise ValueError(
                f"`input_low` must be at most `input_high`, got {float(ends[0, k])!r} and"
                f" {float(ends[1, k])!r}"
                f" for input {k}. Swap them."
            )
        with np.errstate(invalid="ignore"):
            ends = np.where(self.input_scale == 0.0, 0.0, ends * self.input_scale)
        ends = ends + self.input_offset
        return Interval(ends.min(axis=0), ends.max(axis=0))

    def _limits(self, name: str, values: float | Array) -> Array:
        """Return one limit for each input; raise ValueError if they are NaN or of another shape."""
        limits, shape = np.asarray(values, float), (self.num_inputs,)
        if limits.shape not in ((), (1,), shape):
            raise ValueError(
                f"`{name}` must be one number or have shape {shape}, got shape {limits.shape}."
                " Give one limit for each input."
            )
        if np.isnan(limits).any():
            raise ValueError(
                f"`{name}` must be numbers, got NaN among them. Give an infinite limit where none"
                " is known."
            )
        return np.broadcast_to(limits, shape)

    def widest_state(self) -> Interval:
        """Return [min(V_i, E_i·, 0), max(V_i, E_i·, 0)] of every neuron."""
        low, high = np.minimum(self.leak_potential, 0.0), np.maximum(self.leak_potential, 0.0)
        np.minimum.at(low, self.target, self.reversal)
        np.maximum.at(high, self.target, self.reversal)
        return Interval(low, high)

    def conductances(self, inputs: Interval, state: Interval) -> Interval:
        """Return the range of c of every synapse; s is monotonic in its input."""
        ends = []
        for presynaptic in (np.concatenate(x) for x in zip(inputs, state, strict=True)):
            ends.append(self.weight * self._opening(presynaptic[self.source]))
        return Interval(np.minimum(*ends), np.maximum(*ends))

    def state_interval(self, conductance: Interval) -> Interval:
        """Return the hull of 0 and the range of v∞ over the box of conductances.

        v∞ is a weighted mean. At its largest value, the conductances of all reversal potentials
        above that value are at their upper limit, and the others at their lower limit.
        """
        low = -self._largest_mean(-self.leak_potential, -self.reversal, conductance)
        high = self._largest_mean(self.leak_potential, self.reversal, conductance)
        return Interval(np.minimum(low, 0.0), np.maximum(high, 0.0))

    def _largest_mean(self, leak_potential: Array, reversal: Array, conductance: Interval) -> Array:
        """Return the largest v∞ by Dinkelbach's method (1967).

        Chosen for some value, the conductances give a mean of at most the largest one. Chosen for
        that mean, they give a higher one, until it is the largest.
        """

        def mean_chosen_for(value: Array) -> Array:
            chosen = np.where(reversal > value[self.target], conductance.high, conductance.low)
            drive = self.leak * leak_potential + self._per_neuron(chosen * reversal)
            return drive / np.maximum(self._total(chosen), 1e-300)

        mean = mean_chosen_for(leak_potential)
        while ((higher := mean_chosen_for(mean)) > mean).any():
            mean = np.maximum(mean, higher)
        return mean

    def tau_interval(self, conductance: Interval) -> Interval:
        """Return the range of C / (g + Σ c) [s]."""
        low, high = (self.capacitance_s / self._total(c) for c in reversed(conductance))
        return Interval(low, high)

    def largest_speed(self, conductance: Interval, state: Interval) -> Array:
        """Return the largest abs(dv/dt) [1/s], which occurs at a limit of v: dv/dt falls with v."""
        rates = []
        for v, pick in ((state.low, np.maximum), (state.high, np.minimum)):
            pull = self.reversal - v[self.target]
            current = pick(conductance.low * pull, conductance.high * pull)
            rate = self.leak * (self.leak_potential - v) + self._per_neuron(current)
            rates.append(np.abs(rate) / self.capacitance_s)
        return np.maximum(*rates)

    def output_interval(self, state: Interval) -> Interval:
        """Return the range of each output: scaled motor potential plus direct reads of neurons."""
        num_outputs = len(self.output_scale)
        ends = np.stack([v[-num_outputs:] for v in state]) * self.output_scale + self.output_offset
        read = np.stack([self.read_weight * v[self.read_neurons] for v in state])
        low = ends.min(axis=0) + read.min(axis=0).sum(axis=1)
        return Interval(low, ends.max(axis=0) + read.max(axis=0).sum(axis=1))

    def output_gains(
        self, inputs: Interval, conductance: Interval, state: Interval, dt_s: float
    ) -> tuple[Array, Array]:
        """Return the largest change of each output per change of each input.

        Returns:
            The gain over one frame of at most `dt_s` [s] with the state before it held, and the
            lasting gain, which is infinite unless the spectral radius of A⁻¹ J is below 1. Shapes
            (outputs, inputs).
        """
        from_inputs, from_neurons = self._slopes(inputs, conductance, state)
        total = self._least_total(conductance)[:, None]
        gain = self._frame_gain(from_inputs, from_neurons, total, dt_s)
        lasting = np.full_like(gain, np.inf)
        if np.abs(np.linalg.eigvals(from_neurons / total)).max() < 1.0:
            lasting = np.linalg.solve(np.diag(total[:, 0]) - from_neurons, from_inputs)
        return self._read_gain(gain), self._read_gain(lasting)

    def _read_gain(self, gain: Array) -> Array:
        """Return the largest change of each output if the potentials change by at most `gain`."""
        scale, read = np.abs(self.output_scale)[:, None], np.abs(self.read_weight)[:, :, None]
        outputs = _times(scale, gain[-len(scale) :])
        return outputs + _times(read, gain[self.read_neurons]).sum(axis=1)

    def _slopes(self, inputs: Interval, conductance: Any, state: Interval) -> tuple[Array, Array]:
        """Return J_u and J: the largest change of C dv/dt per change of an input or potential."""
        low, high = (np.concatenate(x)[self.source] for x in zip(inputs, state, strict=True))
        nearest = np.clip(self.threshold, low, high)  # where s(1 − s) is largest
        opening = self._opening(nearest)
        pull = np.maximum(
            *(np.abs(self.reversal - v[self.target]) for v in (state.low, state.high))
        )
        slope = self.weight * np.abs(self.slope) * opening * (1.0 - opening) * pull
        return self._jacobians(slope)

    def _jacobians(self, slope: Array) -> tuple[Array, Array]:
        """Return the contributions of the synapses as matrices over inputs and over neurons."""
        jacobian = np.zeros((self.num_neurons, self.num_inputs + self.num_neurons))
        np.add.at(jacobian, (self.target, self.source), slope)
        from_inputs, from_neurons = np.split(jacobian, [self.num_inputs], axis=1)
        return from_inputs * np.abs(self.input_scale), from_neurons

    def _frame_gain(
        self, from_inputs: Array, from_neurons: Array, total: Array, dt_s: float
    ) -> Array:
        """Return the largest change of each potential per change of each input in one frame.

        Each sub-step of the integrator is linearized and bounded term by term. The bound grows with
        the sub-step, so the bound for the longest frame holds for shorter ones.
        """
        h, capacitance_s = dt_s / self.unfolds, self.capacitance_s[:, None]

        def relax(gain: Array, drive: Array, duration_s: float, here: slice) -> Array:
            """Return the bound after exact relaxation with conductances and drive held."""
            rate = total[here] / capacitance_s[here]
            # 1 - exp(-x) by expm1, which also holds for rates that are almost 0.
            share = np.divide(
                -np.expm1(-duration_s * rate),
                rate,
                out=np.full_like(rate, duration_s),
                where=rate > 0,
            )
            return np.exp(-duration_s * rate) * gain[here] + share / capacitance_s[here] * drive

        everyone, gain = slice(None), np.zeros_like(from_inputs)
        for _ in range(self.unfolds):
            if self.integrator == "semi_implicit_euler":
                drive = from_inputs + from_neurons @ gain
                gain = (capacitance_s * gain + h * drive) / (capacitance_s + h * total)
            elif self.integrator == "exponential_euler":
                gain = relax(gain, from_inputs + from_neurons @ gain, h, everyone)
            elif self.integrator == "explicit_euler":
                # Fraction of the distance to equilibrium that a step covers.
                share = np.minimum(1.0, h * total / capacitance_s)
                drive = from_inputs + from_neurons @ gain
                gain = (1.0 - share) * gain + share / total * drive
            else:  # the layered midpoint, as in `integrators`
                middle, end = gain.copy(), gain.copy()
                for layer in self.layers:
                    here = layer.neurons
                    drive = from_inputs[here] + from_neurons[here] @ middle
                    middle[here] = relax(gain, drive, h / 2, here)
                    if layer.is_recurrent:
                        drive = from_inputs[here] + from_neurons[here] @ middle
                    end[here] = relax(gain, drive, h, here)
                gain = end
        return gain

    def _opening(self, presynaptic: Array) -> Array:
        """Return s, also for infinite inputs; 1/2 if the slope is zero."""
        with np.errstate(invalid="ignore", over="ignore"):
            exponent = self.slope * (presynaptic - self.threshold)
            return 1.0 / (1.0 + np.exp(-np.where(self.slope == 0.0, 0.0, exponent)))

    def _per_neuron(self, values: Array) -> Array:
        """Sum values of synapses over their targets."""
        return np.bincount(self.target, values, minlength=self.num_neurons)

    def _least_total(self, conductance: Any) -> Array:
        """Return the smallest a of every neuron."""
        return self._total(conductance.low)

    def _total(self, conductance: Array) -> Array:
        """Return a = g + Σ c."""
        return self.leak + self._per_neuron(conductance)


def _numbers(cell: SynapticCell) -> dict[str, Array]:
    """Return the effective parameters that a cell has, by name.

    Raises:
        ValueError: If a parameter is not finite or outside its valid range.
    """
    p = {name: x for name, x in cell.effective_parameters()._asdict().items() if x is not None}
    p |= {name: getattr(cell, name) for name in _AFFINE}
    none = cell.output_scale.new_zeros(cell.output_size, 0)
    p["read_weight"] = none if cell.read_weight is None else cell.read_weight
    numbers = {name: value.detach().cpu().double().numpy() for name, value in p.items()}
    for name, value in numbers.items():
        rule, is_bad = "finite", ~np.isfinite(value)
        if name in _POSITIVE:
            rule, is_bad = "finite and > 0", is_bad | (value <= 0.0)
        elif name == "weight":
            rule, is_bad = "finite and >= 0", is_bad | (value < 0.0)
        if is_bad.any():
            raise ValueError(
                f"`{name}` must be {rule}, got {float(value[is_bad][0])!r}."
                " Nothing can be certified for such a circuit."
            )
    return numbers


def _times(weight: Array, gain: Array) -> Array:
    """Return weight · gain; 0 where the weight is 0, even if the gain is infinite."""
    with np.errstate(invalid="ignore"):
        return np.where(weight == 0.0, 0.0, weight * gain)
