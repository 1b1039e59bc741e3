"""The parts of an audit: each measures one thing and returns its tables, figures and sentences.

A part that cannot be made raises a ValueError whose sentence stands in the report in its place.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from matplotlib.figure import Figure

from ncp_control.audit import activity as neurons
from ncp_control.audit.ablation import ablation_effects
from ncp_control.audit.bounds import Certificate, certify, describe_violations, find_violations
from ncp_control.audit.checks import check_finite
from ncp_control.audit.robustness import largest_steps
from ncp_control.audit.timescales import Correlation, correlate, summarize_timescales, timescales_of
from ncp_control.policy import Policy
from scripts.auditing import figures
from scripts.auditing.episode import Audited

Table = tuple[Sequence[str], Sequence[Sequence[object]]]
"""Header and rows."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one part of an audit found."""

    text: list[str]
    """Sentences."""
    tables: dict[str, Table] = field(default_factory=dict)
    """Tables by file name."""
    figures: dict[str, Figure] = field(default_factory=dict)
    """Figures by file name."""


def followed_neurons(audited: Audited) -> list[str]:
    """Return the neurons that the inspector maps and the figures trace: command and motor."""
    names = audited.activity.neuron_names
    chosen = [name for name in names if name.startswith(("command", "motor"))]
    return chosen[:7] if chosen else names[:4]


def timescales_part(audited: Audited, certificate: Certificate | None) -> Part:
    """Tell how fast each neuron is, and what makes it faster."""
    found = summarize_timescales(audited.activity, audited.signals)
    header = ["neuron", "mean τ [ms]", "min", "max"]
    header += ["certified min", "certified max"] if certificate else []
    header += [f"r with {name}" for name in audited.signals]
    rows = []
    for i, row in enumerate(found):
        limits = [1e3 * float(x[i]) for x in certificate.tau_s] if certificate else []
        times = [1e3 * x for x in (row.mean_s, row.low_s, row.high_s)]
        rows.append([row.neuron, *times, *limits, *map(_interval, row.correlations.values())])
    turn = "|curvature| [1/m]"
    faster = [row.neuron for row in found if turn in row.correlations
              and row.correlations[turn].high < 0.0]  # fmt: skip
    text = ["τ of every neuron over the episode; intervals of r are for 95 % confidence and count"
            " effective samples, since both signals are slow."]  # fmt: skip
    if turn in audited.signals:
        text.append(f"Certain to quicken in turns of either side: {', '.join(faster) or 'none'}.")
    taus_s, shown = timescales_of(audited.activity), followed_neurons(audited)
    figure = figures.tau_traces(audited, taus_s, shown, certificate)
    return Part(text=text, tables={"timescales": (header, rows)}, figures={"timescales": figure})


def activity_part(policy: Policy, audited: Audited) -> Part:
    """Analyse what the neurons do together, and what each follows."""
    names, states = neurons.unit_activity(policy.circuit.cell, audited.activity)
    check_finite("activity.states", states, names)
    found = neurons.principal_components(states)
    num_components = found.count_for(0.9)
    shares = [(k + 1, x, y) for k, (x, y) in enumerate(
        zip(found.explained, np.cumsum(found.explained), strict=True))]  # fmt: skip
    tables: dict[str, Table] = {
        "components": (("component", "variance explained", "together"), shares)
    }
    signal = "curvature [1/m]" if "curvature [1/m]" in audited.signals else next(
        iter(audited.signals))  # fmt: skip
    drawn = {"components": figures.components(audited, found)}
    text = [
        f"Principal components needed for 90 % of the variance of {len(names)} neurons:"
        f" {num_components} (the first explains {found.explained[0]:.0%})."
    ]
    if len(states) >= 4:
        by_signal = {key: follow(names, states, values) for key, values in audited.signals.items()}
        rows = [[name, *(_interval(by[name]) for by in by_signal.values())] for name in names]
        tables["activity_correlations"] = (["neuron", *(f"r with {s}" for s in by_signal)], rows)
        drawn["activity_correlations"] = figures.correlations(by_signal[signal], signal)
    return Part(text=text, tables=tables, figures=drawn)


def follow(names: Sequence[str], states: np.ndarray, signal: np.ndarray) -> dict[str, Correlation]:
    """Correlate every neuron's activity with a signal."""
    return {name: correlate(state, signal) for name, state in zip(names, states.T, strict=True)}


def synapses_part(policy: Policy, audited: Audited) -> Part:
    """Split the motor command by its synapses and tell the current of every synapse."""
    cell, currents = policy.circuit.cell, audited.activity.synaptic_currents
    features = torch.from_numpy(audited.features)
    terms = neurons.motor_contributions(cell, features, audited.activity.states[0])
    assert currents is not None  # an LTC has them
    flow = check_finite("synaptic currents", currents[0].cpu().numpy())
    rows = [
        (name, *map(float, (values.mean(), values.min(), values.max())))
        for name, values in zip(neurons.synapse_names(cell), flow.T, strict=True)
    ]
    shares = [
        (name, *map(float, (values.mean(), values.std())))
        for name, values in zip(terms[0], terms[1].T, strict=True)
    ]
    return Part(
        text=[
            "Each synapse pulls its motor neuron towards its reversal potential; the shares add"
            " up to the command that the neuron is heading for."
        ],
        tables={
            "motor_contributions": (("term", "mean share", "deviation"), shares),
            "synaptic_currents": (("synapse", "mean current", "min", "max"), rows),
        },
        figures={"motor_contributions": figures.motor_shares(audited, *terms)},
    )


def ablation_part(policy: Policy, audited: Audited) -> Part:
    """Take away one neuron or synapse at a time, on the same frames."""
    cell = policy.circuit.cell
    effects = ablation_effects(
        policy,
        torch.from_numpy(audited.features),
        audited.activity.dt_s[0],
        neurons=resting_values(policy, audited),
        synapses=neurons.synapse_names(cell) if audited.activity.synaptic_currents is not None
        else [],
    )  # fmt: skip
    rows = [(effect.name, effect.rms, effect.largest) for effect in effects]
    worst = max(effects, key=lambda effect: effect.rms)
    return Part(
        text=[
            "In open loop, each neuron held at its mean, each synapse cut. What changes the"
            f" action most is the loss of {worst.name} (RMS {worst.rms:.3f})."
        ],
        tables={"ablation": (("without", "RMS change of the action", "largest"), rows)},
        figures={"ablation": figures.ablations(effects)},
    )


def resting_values(policy: Policy, audited: Audited) -> dict[str, float]:
    """Return the mean activity of every neuron, at which it is held when it is ablated."""
    names, states = neurons.unit_activity(policy.circuit.cell, audited.activity)
    check_finite("activity.states", states, names)
    return dict(zip(names, states.mean(axis=0).tolist(), strict=True))


def bounds_part(policy: Policy, audited: Audited, certificate: Certificate) -> Part:
    """Certify what the circuit can never do, and check the episode."""
    cell = policy.circuit.cell
    known = certify(cell, audited.features.min(axis=0), audited.features.max(axis=0))
    violations = find_violations(certificate, audited.activity)
    violations += find_violations(known, audited.activity)
    header = ["neuron", "v min", "v max", "τ min [ms]", "τ max [ms]", "|dv/dt| max [1/s]"]
    rows = []
    for i, name in enumerate(certificate.neuron_names):
        taus_ms = [1e3 * float(x[i]) for x in certificate.tau_s]
        v = [float(x[i]) for x in certificate.state]
        rows.append([name, *v, *taus_ms, float(certificate.speed[i])])
    low, high = (", ".join(f"{x:.3f}" for x in limit) for limit in certificate.output)
    gain, lasting = certificate.frame_gain.max(), certificate.lasting_gain.max()
    measured = _largest_gradient(policy, audited)
    text = [
        f"In this episode: **{describe_violations(violations)}**.",
        f"Whatever the circuit sees, its output stays within [{low}] and [{high}].",
        f"A change of one sensory input changes the output of the next frame, at most"
        f" {1e3 * certificate.gain_dt_s:.0f} ms later, by at most {gain:.3g} per unit"
        f" (largest in the episode: {measured:.3g}); of a lasting change "
        + (f"at most {lasting:.3g}." if math.isfinite(lasting)
           else "nothing is certain, because the recurrent synapses may amplify it."),
    ]  # fmt: skip
    return Part(
        text=text,
        tables={"bounds": (header, rows)},
        figures={"bounds": figures.certificates(audited, certificate, known)},
    )


def _largest_gradient(policy: Policy, audited: Audited) -> float:
    """Return the largest abs(∂output/∂input) over one frame that the episode shows."""
    features = torch.from_numpy(audited.features)[:, None].requires_grad_()
    outputs, _ = policy.circuit(features, audited.state_before(), dt_s=audited.activity.dt_s[0])
    gradients = [
        torch.autograd.grad(outputs[..., k].sum(), features, retain_graph=True)[0]
        for k in range(outputs.shape[2])
    ]
    return max(float(gradient.abs().max()) for gradient in gradients)


def steps_part(cells_and_episodes: Sequence[tuple[Policy, Audited]]) -> Part:
    """Tell how far each neuron moves between two frames at most."""
    steps, rows = {}, []
    for policy, audited in cells_and_episodes:
        names, states = neurons.unit_activity(policy.circuit.cell, audited.activity)
        steps[audited.name] = largest_steps(states)
        rows += [(audited.name, *row) for row in zip(names, steps[audited.name], strict=True)]
    return Part(
        text=[
            "The largest step of each neuron from one frame to the next, sorted: what the NCP"
            " paper shows as a Lipschitz estimate."
        ],
        tables={"largest_steps": (("policy", "neuron", "largest step"), rows)},
        figures={"largest_steps": figures.largest_steps(steps)},
    )


def _interval(found: Correlation) -> str:
    """Return e.g. "−0.83 [−0.95, −0.51]"; empty if a signal is constant."""
    if math.isnan(found.r):
        return ""
    return f"{found.r:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
