"""What a liquid circuit can never do, whatever it sees: intervals certified from weights alone.

A synapse opens by s in (0, 1), or in [s(low), s(high)] where its input is known to stay in
[low, high]; its conductance c = w s then lies in [c⁻, c⁺]. An LTC's potential v moves towards
v∞ = (g V + Σ c E) / (g + Σ c):

| quantity    | certificate                                                                        |
|-------------|------------------------------------------------------------------------------------|
| v           | hull of 0, where it starts, and the range of v∞ over the box of conductances       |
| τ           | C / (g + Σ c⁺) ≤ τ ≤ C / (g + Σ c⁻)                                                |
| abs(dv/dt)  | largest abs(g (V − v) + Σ c (E − v)) / C over the boxes of c and v                 |
| gain        | the integrator's own sub-steps for δv, driven by J δv + J_u, from δv = 0           |
| at last     | (A − J)⁻¹ J_u, if the spectral radius of A⁻¹ J is below 1, else infinite           |

with J = w abs(γ) max s(1 − s) max abs(E − v) of each synapse and A = diag(g + Σ c⁻).

What STC and LRC have instead is told in `interval_saturated`; the rest is the same.

*v* only ever moves towards v∞, in the equation as in every step of the integrators (but RK4, which
may overshoot). Intervals of v give narrower ones of the inner synapses, so the rule is repeated;
every repetition holds.
*Gain*: the largest change of v per change of an input, after one frame from a held state, and at
last between two runs whose inputs always differ by at most so much: the linearised step, bounded
term by term, e.g. δv ← (C δv + h (J δv + J_u)) / (C + h A) for semi-implicit Euler. The last one is
the point that the sub-steps of all of them leave where it is, so it holds for any elapsed times.

Source: Hasani et al. 2021 (arXiv 2006.04439), theorems 1 and 2, here per neuron and with known
inputs; small gain: Khalil 2002, "Nonlinear Systems", section 5.4.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ncp_control.audit.checks import check_finite
from ncp_control.audit.interval_circuit import Array, Interval, IntervalCircuit
from ncp_control.audit.interval_saturated import SaturatedIntervals
from ncp_control.cells import LTC, STC, Cell
from ncp_control.circuit import Activity
from ncp_control.ranges import check_not_negative

VACUOUS_SHARE = 0.01
"""A bound that excludes less of what is possible is called vacuous."""
VACUOUS_TAU_S = 1e6
"""A neuron that is certain to be no slower than this, eleven days, may be as slow as it likes."""
_REPETITIONS = 20
_ROUNDING = 1e-4
"""Allowance for single precision, as a share of an interval's size."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What every neuron of a circuit is certain to respect, begun from the zero state."""

    neuron_names: list[str]
    """The neurons."""
    state: Interval
    """Membrane potential of each."""
    tau_s: Interval
    """Time constant [s] of each."""
    speed: Array
    """Largest abs(dv/dt) [1/s] of each."""
    output: Interval
    """Readout of each motor neuron."""
    frame_gain: Array
    """Largest change of each output per change of an input during one frame of at most
    `gain_dt_s`, the state before it held, shape (outputs, inputs)."""
    gain_dt_s: float
    """Longest elapsed time [s] for which `frame_gain` holds."""
    lasting_gain: Array
    """The same between two runs whose inputs differ throughout; infinite if not certain."""


@dataclass(frozen=True, kw_only=True)
class Violation:
    """One value that should have been impossible: the worst of its neuron and quantity."""

    quantity: str
    """state, tau or speed."""
    neuron: str
    """Whose."""
    sequence: int
    """In which recorded sequence."""
    frame: int
    """In which frame."""
    value: float
    """What was recorded."""
    limit: float
    """The limit that it broke."""

    def __str__(self) -> str:
        unit = {"state": "", "tau": " s", "speed": " 1/s"}[self.quantity]
        excess = abs(self.value - self.limit)
        return (
            f"{self.quantity} of {self.neuron} at frame {self.frame} of sequence {self.sequence}:"
            f" {self.value:.6g}{unit}, {excess:.3g}{unit} beyond its limit {self.limit:.6g}{unit}"
        )


@torch.no_grad()
def certify(
    cell: Cell,
    input_low: float | Array = -np.inf,
    input_high: float | Array = np.inf,
    *,
    gain_dt_s: float | None = None,
) -> Certificate:
    """Bound every neuron of an LTC, STC or LRC circuit for inputs in a range.

    Args:
        cell: The cell.
        input_low: Least value of the inputs, one number or shape (inputs,).
        input_high: Largest value.
        gain_dt_s: Longest time between two frames [s] for `frame_gain`; the cell's frame interval
            if None. All else holds for any times.

    Raises:
        ValueError: If the cell is another one, or integrated by RK4, its conductances are not
            finite and positive, the range is empty, or the time is negative or not finite.
    """
    if gain_dt_s is not None:
        check_not_negative("gain_dt_s", gain_dt_s)
    circuit = _intervals(cell)
    inputs = circuit.affine_inputs(input_low, input_high)
    state = circuit.widest_state()
    for _ in range(_REPETITIONS):
        state = circuit.state_interval(circuit.conductances(inputs, state))
    conductance = circuit.conductances(inputs, state)
    gain_dt_s = cell.frame_s if gain_dt_s is None else gain_dt_s
    frame_gain, lasting_gain = circuit.output_gains(inputs, conductance, state, gain_dt_s)
    return Certificate(
        neuron_names=cell.neuron_names,
        state=state,
        tau_s=circuit.tau_interval(conductance),
        speed=circuit.largest_speed(conductance, state),
        output=circuit.output_interval(state),
        frame_gain=frame_gain,
        gain_dt_s=gain_dt_s,
        lasting_gain=lasting_gain,
    )


def certificate_of(cell: Cell) -> Certificate | None:
    """Return what is certain of a cell whatever it sees; None if it is none of those with bounds.

    Raises:
        ValueError: As `certify`, for conductances that are not finite and positive.
    """
    has_bounds = isinstance(cell, LTC | STC) and cell.integrator != "rk4"
    return certify(cell) if has_bounds else None


def _intervals(cell: Cell) -> IntervalCircuit:
    return SaturatedIntervals(cell) if isinstance(cell, STC) else IntervalCircuit(cell)


def is_vacuous_range(low: Array, high: Array, least: float = -1.0, most: float = 1.0) -> Array:
    """Tell which bounds of a value say no more than what limits it anyway.

    Args:
        low: Certified lowest value.
        high: Certified highest value, of the same shape.
        least: Lowest value that there can be, e.g. of an action that is clipped.
        most: Highest value.

    Returns:
        True where a bound excludes less than a hundredth of the range from `least` to `most`.
    """
    left = np.minimum(high, most) - np.maximum(low, least)
    return left > (1.0 - VACUOUS_SHARE) * (most - least)


def drawn_tau_s(certificate: Certificate, measured_s: Array) -> Interval:
    """Return the certified time constants with upper ends that a figure can show.

    Args:
        certificate: The certificate.
        measured_s: Time constants [s] to be seen in the figure, shape (time, neurons).

    Returns:
        The interval, cut at ten times the largest measured one where it is vacuous.
    """
    low, high = certificate.tau_s
    shown = np.maximum(10.0 * measured_s.max(axis=0), low)
    return Interval(low, np.where(high > VACUOUS_TAU_S, shown, high))


def is_vacuous_gain(gain: Array, input_range: Array, output_range: Array) -> Array:
    """Tell which gains allow an input to move an output further than it can move anyway.

    Args:
        gain: Largest change of each output per change of each input, shape (outputs, inputs).
        input_range: How far each input can change, shape (inputs,).
        output_range: How far each output can change, shape (outputs,).

    Returns:
        True where a gain is infinite, or the input's whole range times the gain is at least the
        output's whole range, shape (outputs, inputs).
    """
    is_infinite = ~np.isfinite(gain)
    change = np.where(is_infinite, 0.0, gain) * input_range
    return is_infinite | (change >= output_range[:, None])


def find_violations(certificate: Certificate, activity: Activity) -> list[Violation]:
    """Check every frame of every recorded sequence; an empty list means never violated.

    The speed is checked on the differences between frames; a reset is no motion. Sequences must
    begin from the zero state.

    Raises:
        ValueError: If the activity is of other neurons, has no time constants, or is not finite.
    """
    if activity.neuron_names != certificate.neuron_names or activity.timescales_s is None:
        raise ValueError(
            "`activity` must be of the certified circuit, got neurons"
            f" {activity.neuron_names[0]!r} to {activity.neuron_names[-1]!r}. Record it again."
        )
    states = _batches("activity.states", activity.states)
    tau_s = _batches("activity.timescales_s", activity.timescales_s)
    dt_s = _batches("activity.dt_s", activity.dt_s)[:, :, None]
    if not states.size:
        return []
    before = np.concatenate([np.zeros_like(states[:, :1]), states[:, :-1]], axis=1)
    if activity.reset is not None:
        before[activity.reset.cpu().numpy()] = 0.0
    steps = np.abs(states - before)
    c = certificate
    allowance = _ROUNDING * np.maximum(c.state.size, 1e-6)
    # In no time nothing may move.
    speed = np.where(steps > allowance, np.inf, 0.0)
    np.divide(steps, dt_s, out=speed, where=dt_s > 0)
    state = Interval(c.state.low - allowance, c.state.high + allowance)
    tau = Interval(c.tau_s.low * (1.0 - _ROUNDING), c.tau_s.high * (1.0 + _ROUNDING))
    rate = Interval(-np.ones_like(c.speed), c.speed * (1.0 + _ROUNDING) + _ROUNDING)
    return [
        *_beyond("state", c, states, state),
        *_beyond("tau", c, tau_s, tau),
        *_beyond("speed", c, speed, rate),
    ]


def describe_violations(violations: list[Violation]) -> str:
    """Return "never violated", or where and by how much."""
    if not violations:
        return "never violated"
    worst = "; ".join(str(violation) for violation in violations[:5])
    more = f"; and {len(violations) - 5} more" if len(violations) > 5 else ""
    return f"violated: {worst}{more}"


def _beyond(
    quantity: str, certificate: Certificate, values: Array, limits: Interval
) -> list[Violation]:
    """Return the worst violation of each neuron, shape of values (sequences, frames, neurons)."""
    excess = np.maximum(values - limits.high, limits.low - values)
    violations = []
    for i, name in enumerate(certificate.neuron_names):
        sequence, frame = np.unravel_index(int(excess[:, :, i].argmax()), excess.shape[:2])
        if excess[sequence, frame, i] > 0.0:
            value = float(values[sequence, frame, i])
            limit = limits.high[i] if value > limits.high[i] else limits.low[i]
            violations.append(
                Violation(
                    quantity=quantity,
                    neuron=name,
                    sequence=int(sequence),
                    frame=int(frame),
                    value=value,
                    limit=float(limit),
                )
            )
    return violations


def _batches(name: str, values: torch.Tensor) -> Array:
    return check_finite(name, values.cpu().numpy())
