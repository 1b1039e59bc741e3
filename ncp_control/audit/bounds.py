"""Certified bounds of a liquid circuit for all inputs in a range, computed from its weights.

The activation s of a synapse is in (0, 1), or in [s(low), s(high)] if its input stays in
[low, high]; its conductance c = w s then lies in [c⁻, c⁺]. The potential v of an LTC neuron moves
towards v∞ = (g V + Σ c E) / (g + Σ c):

| quantity    | certificate                                                                        |
|-------------|------------------------------------------------------------------------------------|
| v           | hull of its start 0 and the range of v∞ over the box of conductances               |
| τ           | C / (g + Σ c⁺) ≤ τ ≤ C / (g + Σ c⁻)                                                |
| abs(dv/dt)  | largest abs(g (V − v) + Σ c (E − v)) / C over the boxes of c and v                 |
| gain        | the integrator's sub-steps for δv, driven by J δv + J_u, from δv = 0               |
| lasting     | (A − J)⁻¹ J_u, if the spectral radius of A⁻¹ J is below 1, else infinite           |

with J = w abs(γ) max s(1 − s) max abs(E − v) of each synapse and A = diag(g + Σ c⁻).

For STC and LRC, `interval_saturated` gives the corresponding ranges; the rest is the same.

*v* always moves towards v∞, in the equation and in every step of the integrators (except RK4, which
may overshoot). The range of v narrows the ranges of the synapses between neurons, so the rule is
applied repeatedly; the bounds after each repetition hold.
*Gain*: the largest change of v per change of an input. The gain of one frame holds the state before
it; the lasting gain compares two runs whose inputs differ by at most a constant. Both come from the
linearized step, bounded term by term, e.g. δv ← (C δv + h (J δv + J_u)) / (C + h A) for
semi-implicit Euler. The lasting gain is the fixed point of the sub-steps of all integrators, so it
holds for any elapsed times.

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
from ncp_control.ranges import is_number

VACUOUS_TAU_S = 1e6
"""An upper bound of a time constant is vacuous if it is above this [s] (eleven days)."""
_REPETITIONS = 20
ROUNDING = 1e-4
"""Tolerance for single precision, as a fraction of an interval's size."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """Certified bounds of every neuron of a circuit that starts from the zero state."""

    neuron_names: list[str]
    """Names of the neurons."""
    state: Interval
    """Range of the membrane potential of each neuron."""
    tau_s: Interval
    """Range of the time constant of each neuron [s]."""
    speed: Array
    """Largest abs(dv/dt) of each neuron [1/s]."""
    output: Interval
    """Range of each output, before clipping."""
    frame_gain: Array
    """Largest change of each output per change of each input during one frame of at most
    `gain_dt_s`, with the state before it held, shape (outputs, inputs)."""
    gain_dt_s: float
    """Longest elapsed time for which `frame_gain` holds [s]."""
    lasting_gain: Array
    """Largest change of each output per lasting change of each input, shape (outputs, inputs);
    infinite if there is no bound."""


@dataclass(frozen=True, kw_only=True)
class Violation:
    """Worst violation of a certified bound by one neuron and quantity."""

    quantity: str
    """Quantity: state, tau, speed or output."""
    neuron: str
    """Name of the neuron; of an output, its motor neuron."""
    sequence: int
    """Index of the recorded sequence."""
    frame: int
    """Index of the frame."""
    value: float
    """Recorded value."""
    limit: float
    """Violated bound."""

    def __str__(self) -> str:
        unit = {"state": "", "tau": " s", "speed": " 1/s", "output": ""}[self.quantity]
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
    """Return bounds of every neuron of an LTC, STC or LRC circuit for inputs in a range.

    Args:
        cell: The cell.
        input_low: Lowest value of the inputs, one number or shape (inputs,).
        input_high: Highest value of the inputs, one number or shape (inputs,).
        gain_dt_s: Longest time between two frames [s] for `frame_gain`; if None: the cell's frame
            interval. All other bounds hold for any elapsed times.

    Raises:
        ValueError: If the cell is of another kind or integrated by RK4, its conductances are not
            finite and positive, a limit is NaN or of another shape, the range is empty, or the time
            is negative or not finite.
    """
    if gain_dt_s is not None and not (is_number(gain_dt_s) and gain_dt_s >= 0):
        raise ValueError(
            f"`gain_dt_s` must be a finite time >= 0 in seconds, got {gain_dt_s!r}. Give the"
            " longest time between two frames, or None for the cell's frame interval."
        )
    circuit = _intervals(cell)
    inputs = circuit.affine_inputs(input_low, input_high)
    state = _state_interval(circuit, inputs)
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
    """Return the bounds of a cell for all inputs; None if its kind or integrator has no bounds.

    Raises:
        ValueError: If conductances are not finite and positive.
    """
    return certify(cell) if _has_bounds(cell) else None


@torch.no_grad()
def certified_output(cell: Cell) -> Interval | None:
    """Return `certificate_of(cell).output` without the rest, which takes longer.

    Raises:
        ValueError: If conductances are not finite and positive.
    """
    if not _has_bounds(cell):
        return None
    circuit = _intervals(cell)
    inputs = circuit.affine_inputs(-np.inf, np.inf)
    return circuit.output_interval(_state_interval(circuit, inputs))


def _has_bounds(cell: Cell) -> bool:
    return isinstance(cell, LTC | STC) and cell.integrator != "rk4"


def _intervals(cell: Cell) -> IntervalCircuit:
    return SaturatedIntervals(cell) if isinstance(cell, STC) else IntervalCircuit(cell)


def _state_interval(circuit: IntervalCircuit, inputs: Interval) -> Interval:
    state = circuit.widest_state()
    for _ in range(_REPETITIONS):
        before, state = state, circuit.state_interval(circuit.conductances(inputs, state))
        if np.array_equal(before, state):
            break
    return state


def drawn_tau_s(certificate: Certificate, measured_s: Array) -> Interval:
    """Return the certified range of the time constants, limited for display in a figure.

    Args:
        certificate: The certificate.
        measured_s: Measured time constants in the figure [s], shape (time, neurons).

    Returns:
        The interval; a vacuous upper bound is replaced by ten times the largest measured value.
    """
    low, high = certificate.tau_s
    limit_s = np.maximum(10.0 * measured_s.max(axis=0), low)
    return Interval(low, np.where(high > VACUOUS_TAU_S, limit_s, high))


def is_vacuous_gain(gain: Array, input_range: Array, output_range: Array) -> Array:
    """Return which gains are vacuous, i.e. do not limit an output within its possible range.

    Args:
        gain: Largest change of each output per change of each input, shape (outputs, inputs).
        input_range: Size of the range of each input, shape (inputs,).
        output_range: Size of the range of each output, shape (outputs,).

    Returns:
        True where a gain is infinite, or the input's whole range times the gain is at least the
        output's whole range, shape (outputs, inputs).
    """
    is_infinite = ~np.isfinite(gain)
    change = np.where(is_infinite, 0.0, gain) * input_range
    return is_infinite | (change >= output_range[:, None])


def find_violations(certificate: Certificate, activity: Activity) -> list[Violation]:
    """Return the violations of the bounds in all frames of all recorded sequences.

    The speed is computed from the differences between frames; the jump of a reset does not count.
    Gains cannot be checked so: a recording does not tell what another input would have done.
    Sequences must start from the zero state.

    Raises:
        ValueError: If the activity has other neurons, no time constants, or non-finite values.
    """
    if activity.neuron_names != certificate.neuron_names or activity.timescales_s is None:
        raise ValueError(
            "`activity` must be of the certified circuit, got neurons"
            f" {activity.neuron_names[0]!r} to {activity.neuron_names[-1]!r}. Record it again."
        )
    states = _batches("activity.states", activity.states)
    tau_s = _batches("activity.timescales_s", activity.timescales_s)
    outputs = _batches("activity.outputs", activity.outputs)
    dt_s = _batches("activity.dt_s", activity.dt_s)[:, :, None]
    if not states.size:
        return []
    before = np.concatenate([np.zeros_like(states[:, :1]), states[:, :-1]], axis=1)
    if activity.reset is not None:
        before[activity.reset.cpu().numpy()] = 0.0
    steps = np.abs(states - before)
    c = certificate
    allowance = ROUNDING * np.maximum(c.state.size, 1e-6)
    # With dt = 0, nothing may move.
    speed = np.where(steps > allowance, np.inf, 0.0)
    np.divide(steps, dt_s, out=speed, where=dt_s > 0)
    state = Interval(c.state.low - allowance, c.state.high + allowance)
    tau = Interval(c.tau_s.low * (1.0 - ROUNDING), c.tau_s.high * (1.0 + ROUNDING))
    rate = Interval(-np.ones_like(c.speed), c.speed * (1.0 + ROUNDING) + ROUNDING)
    size = c.output.size + np.maximum(np.abs(c.output.low), np.abs(c.output.high))
    output = Interval(c.output.low - ROUNDING * size, c.output.high + ROUNDING * size)
    names = c.neuron_names
    return [
        *_beyond("state", names, states, state),
        *_beyond("tau", names, tau_s, tau),
        *_beyond("speed", names, speed, rate),
        *_beyond("output", names[-outputs.shape[2] :], outputs, output),
    ]


def describe_violations(violations: list[Violation]) -> str:
    """Return "never violated", or the places and amounts of the first violations."""
    if not violations:
        return "never violated"
    worst = "; ".join(str(violation) for violation in violations[:5])
    more = f"; and {len(violations) - 5} more" if len(violations) > 5 else ""
    return f"violated: {worst}{more}"


def _beyond(quantity: str, names: list[str], values: Array, limits: Interval) -> list[Violation]:
    """Return the worst violation of each neuron; `values` (sequences, frames, neurons)."""
    excess = np.maximum(values - limits.high, limits.low - values)
    violations = []
    for i, name in enumerate(names):
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
