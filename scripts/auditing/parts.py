"""The parts of an audit: each measures one thing and returns its tables, figures and sentences.

If a part cannot be made, it raises a ValueError; the report shows its message instead.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch

from ncp_control.audit import activity as neurons
from ncp_control.audit.ablation import ablation_effects, can_hold_neurons, sensor_effects
from ncp_control.audit.bounds import Certificate
from ncp_control.audit.checks import check_finite
from ncp_control.audit.inspection import choice_names
from ncp_control.audit.robustness import largest_steps
from ncp_control.audit.timescales import (
    LEAST_SAMPLES,
    Correlation,
    correlate,
    frame_interval_s,
    summarize_timescales,
    timescales_of,
)
from ncp_control.cells import LTC
from ncp_control.episode import Episode
from ncp_control.markdown import plain
from ncp_control.policy import Policy
from scripts.auditing import audit_figures as figures
from scripts.evaluation import episode_figures
from scripts.reporting import Part, Table

_MAX_MAPS, _MAX_TRACES, _MAX_LISTED = 7, 24, 20
_CONSTANT, _TOO_SHORT = "–", "too short"
_UNKNOWN = {
    _CONSTANT: "–: no correlation, because the neuron or the signal is constant.",
    _TOO_SHORT: "too short: the neuron or the signal changes so slowly that no correlation can be"
    " told from too few frames that are independent of each other. Audit more --seconds.",
}
"""What an entry of a table without a correlation means."""


def followed_neurons(audited: Episode) -> list[str]:
    """Return the neurons for which the inspector shows maps: motor first, then command."""
    chosen = traced_neurons(audited)
    return sorted(chosen, key=lambda name: not name.startswith("motor"))[:_MAX_MAPS]


def traced_neurons(audited: Episode) -> list[str]:
    """Return the neurons to plot: command and motor; the first 4 if there are no layers."""
    names = audited.recorded_activity.neuron_names
    chosen = [name for name in names if name.startswith(("command", "motor"))]
    return chosen[:_MAX_TRACES] if chosen else names[:4]


def _largest(sizes: Sequence[float]) -> list[int]:
    """Return the indices of the `_MAX_LISTED` largest entries, in ascending order."""
    return sorted(sorted(range(len(sizes)), key=lambda i: -sizes[i])[:_MAX_LISTED])


def sensors_part(policy: Policy, audited: Episode, names: Sequence[str]) -> Part:
    """List the sensors and the action of each output of the circuit, with their ranges.

    Each sensor has the name of its circuit input, unless an encoder mixes the sensors. Of choices,
    the table of actions tells how often each one was made.
    """
    is_wired = audited.recorded_activity.neuron_names[-1].startswith("motor_")
    source, target = ("sensory", "motor") if is_wired else ("input", "output")
    source = "sensor" if audited.sensor_names is None else source

    def rows(
        node: str, names: Sequence[str], values: np.ndarray, first: int = 0
    ) -> list[tuple[object, ...]]:
        return [
            (f"{node}_{i}", name, float(x.mean()), float(x.min()), float(x.max()))
            for i, (name, x) in enumerate(zip(names, values.T, strict=True), first)
        ]

    header = ("mean", "min", "max")
    first = len(names) - audited.numbers.shape[1]  # sensors come after the head's features
    sensed = rows(source, names[first:], audited.numbers, first)
    text = "Sensors over the episode in their own units; actions, or forecasts, as the policy gives"
    text += " them: scaled to -1 to 1."
    acted = Table(
        header=("output", "action", *header),
        rows=rows(target, audited.action_names, audited.actions),
    )
    if policy.choices:
        text = "Sensors over the episode in their own units; and how often each choice was made."
        chosen = [
            float(np.mean(numbers == k))
            for numbers, count in zip(audited.actions.T, policy.choices, strict=True)
            for k in range(count)
        ]
        named = enumerate(zip(score_names(policy, audited), chosen, strict=True))
        listed = [i for i in _largest(chosen) if chosen[i]]
        acted = Table(
            header=("output", "choice", "share of frames"),
            rows=[(f"{target}_{i}", name, share) for i, (name, share) in named],
            listed=listed,
            choice=f"the {len(listed)} most frequent",
        )
    return Part(
        text=[text],
        tables={
            "sensors": Table(header=("input", "sensor", *header), rows=sensed),
            "actions": acted,
        },
    )


def score_names(policy: Policy, audited: Episode) -> list[str]:
    """Return the choice of each output of a policy that chooses; of several actions, both names."""
    return [
        name if len(policy.choices) == 1 else f"{action}: {name}"
        for action, names in zip(audited.action_names, choice_names(policy), strict=True)
        for name in names
    ]


def sensor_effects_part(policy: Policy, audited: Episode, names: Sequence[str]) -> Part:
    """Report how each entry of the action changes on the same frames with each sensor held."""
    names = names[len(names) - audited.numbers.shape[1] :]  # the head's features come first
    effects = sensor_effects(
        policy, audited.recorded_observations, audited.recorded_activity.dt_s[0], names
    )
    actions = score_names(policy, audited) if policy.choices else list(audited.action_names)
    largest = max(effects, key=lambda effect: float(effect.rms.max()))
    rows = [(effect.name, *map(float, effect.rms)) for effect in effects]
    strongest = _largest([float(effect.rms.max()) for effect in effects])
    what = "the scores of the choices" if policy.choices else "actions"
    text = [f"In open loop, each sensor held at its mean over the episode: RMS change of {what}."]
    if len(effects) > 1:
        text.append(
            f"What counts most is {plain(largest.name)}. Sensors that change together can stand in"
            " for each other, and then each has a small effect."
        )
    return Part(
        text=text,
        tables={
            "sensor_effects": Table(
                header=("sensor held", *actions),
                rows=rows,
                listed=strongest,
                choice=f"the {len(strongest)} with the largest effect",
            )
        },
        figures={"sensor_effects": figures.sensors(actions, effects)},
    )


def timescales_part(audited: Episode, certificate: Certificate | None) -> Part:
    """Report each neuron's time constants and their correlation with the signals."""
    if audited.recorded_activity.timescales_s is None:
        raise ValueError("The neurons of this policy have no time constants.")
    signals = audited.signals if len(audited.time_s) >= LEAST_SAMPLES else {}
    found = summarize_timescales(audited.recorded_activity, signals)
    frame_s = frame_interval_s(audited.recorded_activity)
    unit = episode_figures.unit_of_taus(audited)
    header = ["neuron", f"mean τ [{unit.name}]", "min", "max", "mean τ / frame"]
    header += ["certified min", "certified max"] if certificate else []
    header += [f"r with {name}" for name in signals]
    rows = []
    for i, row in enumerate(found):
        limits = [float(x[i]) / unit.seconds for x in certificate.tau_s] if certificate else []
        times = [x / unit.seconds for x in (row.mean_s, row.low_s, row.high_s)]
        in_frames = row.mean_s / frame_s if frame_s else math.nan
        correlations = map(_interval, row.correlations.values())
        rows.append([row.neuron, *times, in_frames, *limits, *correlations])
    turn = "|curvature| [1/m]"
    faster = [row.neuron for row in found if turn in row.correlations
              and row.correlations[turn].high < 0.0]  # fmt: skip
    text = ["τ of every neuron over the episode; intervals of r are for 95 % confidence and count"
            " effective samples, since both signals are slow."]  # fmt: skip
    if not signals:
        text = [f"τ of every neuron; {LEAST_SAMPLES} frames are needed to correlate it."]
    num_quick = sum(row.mean_s < frame_s for row in found)
    text.append(
        f"Against the frame interval of {unit.text(frame_s)}: {num_quick} of {len(found)} neurons"
        " have a shorter mean τ and keep less than 37 % of what they knew one frame before."
    )
    if turn in signals:
        text.append(f"Certain to quicken in turns of either side: {', '.join(faster) or 'none'}.")
    text += _meanings(rows)
    taus_s, traced = timescales_of(audited.recorded_activity), traced_neurons(audited)
    if len(traced) < len(found):
        is_layered = traced[0].startswith(("command", "motor"))
        which = "of the command and motor layers" if is_layered else "the first ones"
        text.append(
            f"The figure shows {len(traced)} of the {len(found)} neurons, {which}; the table shows"
            " all."
        )
    figure = figures.tau_traces(audited, taus_s, traced, certificate)
    return Part(
        text=text,
        tables={"timescales": Table(header=header, rows=rows)},
        figures={"timescales": figure},
    )


def activity_part(policy: Policy, audited: Episode) -> Part:
    """Report the activity over the episode, its principal components and its correlations."""
    names, states = neurons.unit_activity(policy.circuit.cell, audited.recorded_activity)
    check_finite("activity.states", states, names)
    found = neurons.principal_components(states)
    num_components = found.count_for(0.9)
    shares = [(k + 1, x, y) for k, (x, y) in enumerate(
        zip(found.explained, np.cumsum(found.explained), strict=True))]  # fmt: skip
    num_listed = min(len(shares), _MAX_LISTED)
    tables = {
        "components": Table(
            header=("component", "variance explained", "together"),
            rows=shares,
            listed=range(num_listed),
            choice=f"the first {num_listed}",
        )
    }
    drawn = {
        "activity": episode_figures.activity(audited),
        "components": figures.components(audited, found),
    }
    text = [
        episode_figures.OF_ACTIVITY,
        f"Principal components needed for 90 % of the variance of {len(names)} neurons:"
        f" {num_components} (the first explains {found.explained[0]:.0%}).",
    ]
    if len(states) >= LEAST_SAMPLES:
        by_signal = {key: follow(names, states, values) for key, values in audited.signals.items()}
        rows = [[name, *(_interval(by[name]) for by in by_signal.values())] for name in names]
        tables["activity_correlations"] = Table(
            header=["neuron", *(f"r with {s}" for s in by_signal)], rows=rows
        )
        drawn["activity_correlations"] = figures.correlations(by_signal)
        text += _meanings(rows)
    return Part(text=text, tables=tables, figures=drawn)


def follow(names: Sequence[str], states: np.ndarray, signal: np.ndarray) -> dict[str, Correlation]:
    """Correlate every neuron's activity with a signal."""
    return {name: correlate(state, signal) for name, state in zip(names, states.T, strict=True)}


def synapses_part(policy: Policy, audited: Episode) -> Part:
    """Split each motor command into parts of its synapses, and report all synaptic currents."""
    cell, currents = policy.circuit.cell, audited.recorded_activity.synaptic_currents
    if not isinstance(cell, LTC):
        raise ValueError(
            "Only in a circuit of LTC neurons do the parts of single synapses add up to the"
            f" command; this policy has {type(cell).__name__}."
        )
    features = torch.from_numpy(audited.recorded_features)
    terms = neurons.motor_contributions(cell, features, audited.recorded_activity.states[0])
    assert currents is not None  # an LTC records them
    flow = check_finite("synaptic currents", currents[0].cpu().numpy())
    rows = [
        (audited.label(name), *map(float, (values.mean(), values.min(), values.max())))
        for name, values in zip(neurons.synapse_names(cell), flow.T, strict=True)
    ]
    strongest = _largest(np.abs(flow).max(axis=0).tolist())
    split = [
        (audited.label(name), *map(float, (values.mean(), values.std())))
        for name, values in zip(terms[0], terms[1].T, strict=True)
    ]
    return Part(
        text=[
            "Each synapse pulls its motor neuron towards its reversal potential; the parts add"
            " up to the command that the neuron is heading for. Parts of opposite sign cancel, so"
            " each may be larger than the command, beyond ±1, too. *Read* is what the command"
            " takes from another neuron directly."
        ],
        tables={
            "motor_contributions": Table(header=("term", "mean part", "deviation"), rows=split),
            "synaptic_currents": Table(
                header=("synapse", "mean current", "min", "max"),
                rows=rows,
                listed=strongest,
                choice=f"the {len(strongest)} strongest",
            ),
        },
        figures={"motor_contributions": figures.motor_shares(audited, *terms)},
    )


def ablation_part(policy: Policy, audited: Episode) -> Part:
    """Report how the actions on the same frames change without each neuron or synapse."""
    cell, activity = policy.circuit.cell, audited.recorded_activity
    if not can_hold_neurons(cell):
        raise ValueError(
            "Single neurons can be held only in circuits of LTC or wired CfC neurons and in"
            f" networks without a wiring; this policy has {type(cell).__name__}."
        )
    has_currents = activity.synaptic_currents is not None
    effects = ablation_effects(
        policy,
        torch.from_numpy(audited.recorded_features),
        activity.dt_s[0],
        neurons=resting_values(policy, audited),
        synapses=neurons.synapse_names(cell) if has_currents else [],
    )
    num_neurons = len(neurons.unit_activity(cell, activity)[0])
    rows = [(audited.label(effect.name), effect.rms, effect.largest) for effect in effects]
    worst = max(effects, key=lambda effect: effect.rms)
    cut = _largest([effect.rms for effect in effects[num_neurons:]])
    return Part(
        text=[
            "In open loop, each neuron held at its mean"
            f"{', each synapse cut' if has_currents else ''}. What changes the action most is the"
            f" loss of {audited.label(worst.name)} (RMS {worst.rms:.3f})."
        ],
        tables={
            "ablation": Table(
                header=("without", "RMS change of the action", "largest"),
                rows=rows,
                listed=[*range(num_neurons), *(num_neurons + i for i in cut)],
                choice="every neuron"
                + (f" and the {len(cut)} synapses with the largest effect" if cut else ""),
            )
        },
        figures={"ablation": figures.ablations(audited, effects)},
    )


def resting_values(policy: Policy, audited: Episode) -> dict[str, float]:
    """Return the mean activity of every neuron: the value at which ablation holds it."""
    names, states = neurons.unit_activity(policy.circuit.cell, audited.recorded_activity)
    check_finite("activity.states", states, names)
    return dict(zip(names, states.mean(axis=0).tolist(), strict=True))


def steps_part(cells_and_episodes: Sequence[tuple[Policy, Episode]]) -> Part:
    """Report the largest change of each neuron's activity from one frame to the next."""
    steps, rows = {}, []
    for policy, audited in cells_and_episodes:
        names, states = neurons.unit_activity(policy.circuit.cell, audited.recorded_activity)
        steps[audited.name] = largest_steps(states)
        rows += [(audited.name, *row) for row in zip(names, steps[audited.name], strict=True)]
    return Part(
        text=[
            "The largest step of each neuron from one frame to the next, sorted: what the NCP"
            " paper shows as a Lipschitz estimate."
        ],
        tables={"largest_steps": Table(header=("policy", "neuron", "largest step"), rows=rows)},
        figures={"largest_steps": figures.largest_steps(steps)},
    )


def _interval(found: Correlation) -> str:
    """Return r with its interval, e.g. "−0.83 [−0.95, −0.51]", or why it is not known."""
    if not found.is_known:
        return _CONSTANT if math.isnan(found.r) else _TOO_SHORT
    return f"{found.r:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def _meanings(rows: Sequence[Sequence[object]]) -> list[str]:
    """Return what the entries of a table without a correlation mean."""
    return [text for entry, text in _UNKNOWN.items() if any(entry in row for row in rows)]
