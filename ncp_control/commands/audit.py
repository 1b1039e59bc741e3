"""`ncp audit`: certified bounds of a policy, and a table of the activity of its neurons."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ncp_control.audit.bounds import Certificate
    from ncp_control.episode import Episode
    from ncp_control.policy import Policy

UNKNOWN = "unknown"
"""Entry of the table of neurons where only other neurons have a value."""


@dataclass(frozen=True, kw_only=True)
class AuditPolicy:
    """Inspect a policy without a world: its bounds, its neurons and its memory.

    The policy acts on recorded observations: on the excerpt beside it, which some shipped policies
    have and `ncp_control.audit.excerpt.write_excerpt` writes, or on a recorded drive.
    `scripts/audit.py` of a clone inspects a policy in its world.
    """

    policy: tyro.conf.Positional[str]
    """Folder of the policy, or the name of a shipped one, e.g. drive-ncp."""
    drive: Path | None = None
    """Recording of ncp run --record that the policy acts on; if None: the excerpt beside the
    policy."""


def audit_policy(settings: AuditPolicy) -> None:
    """Print certified bounds, the activity of the neurons, and the effect of the memory.

    Raises:
        ValueError: If there is neither an excerpt nor a recorded drive.
    """
    from ncp_control.audit.bounds import certificate_of, describe_violations, find_violations
    from ncp_control.audit.memory import describe_reach, describe_wipe, reach_of, wipe_effects
    from ncp_control.cells import Feedforward
    from ncp_control.command_line import use_threads
    from ncp_control.commands.info import print_description
    from ncp_control.commands.watching import watch
    from ncp_control.learning.run import policy_name
    from ncp_control.markdown import markdown_table
    from ncp_control.policy import at_least_single, load, policy_folder

    use_threads(1)
    folder = policy_folder(settings.policy)
    policy = at_least_single(load(folder))
    print_description(policy)
    episode, _ = watch(policy, folder, settings.drive, name=policy_name(folder))
    certificate = certificate_of(policy.circuit.cell)
    print(f"shown     {len(episode):,} frames, {episode.time_s[-1]:.1f} s, of {episode.where}\n")
    columns = neuron_columns(policy, episode, certificate)
    print(markdown_table(list(columns), list(zip(*columns.values(), strict=True))), end="\n\n")
    if certificate is not None:
        found = find_violations(certificate, episode.recorded_activity)
        print(f"bounds: {describe_violations(found)} in {len(episode):,} frames")
    features, dt_s = _tensors(episode)
    if not isinstance(policy.circuit.cell, Feedforward):  # which has no memory
        (effect,) = wipe_effects(policy, features, dt_s)
        print(f"memory: {describe_wipe(effect).replace('*', '')}")
        reach = reach_of(policy, features, dt_s, episode.recorded_activity.states_before)
        print(f"reach: the effect of a frame on later actions. {describe_reach(reach)}")


def neuron_columns(
    policy: "Policy", episode: "Episode", certificate: "Certificate | None"
) -> dict[str, list[str]]:
    """Return the table of neurons: potential, certified bounds, τ, and effect on the action.

    A column is left out if it is unknown for every neuron, e.g. τ of an LSTM.
    """
    import numpy as np

    from ncp_control.audit.ablation import ablation_effects
    from ncp_control.audit.activity import unit_activity
    from ncp_control.audit.timescales import frame_interval_s, time_unit, timescales_of
    from ncp_control.intervals import outward

    cell, activity = policy.circuit.cell, episode.recorded_activity
    names, states = unit_activity(cell, activity)
    features, dt_s = _tensors(episode)
    held = dict(zip(names, states.mean(axis=0).tolist(), strict=True))
    effects: dict[str, str] = {}
    with contextlib.suppress(ValueError):  # neurons of this cell cannot be held one by one
        effects = {
            effect.name: f"{effect.rms:.3g}"
            for effect in ablation_effects(policy, features, dt_s, neurons=held)
        }
    certified: dict[str, str] = {}
    if certificate is not None:
        ends = zip(certificate.neuron_names, *certificate.state, strict=True)
        certified = {name: " to ".join(outward(low, high)) for name, low, high in ends}
    taus, in_frames = {}, {}
    frame_s = frame_interval_s(activity)
    unit = time_unit(frame_s)
    if activity.timescales_s is not None:
        for name, taus_s in zip(activity.neuron_names, timescales_of(activity).T, strict=True):
            if not np.isnan(taus_s).any():
                least, mean, most = taus_s.min(), taus_s.mean(), taus_s.max()
                in_unit = (tau_s / unit.seconds for tau_s in (least, mean, most))
                taus[name] = ", ".join(_digits(tau, 3) for tau in in_unit)
                in_frames[name] = _digits(mean / frame_s, 2)
    found = {
        "certified": certified,
        f"τ [{unit.name}]: least, mean, most": taus,
        "mean τ [frames]": in_frames,
        "action changes without it (RMS)": effects,
    }
    spans = zip(states.min(axis=0), states.max(axis=0), strict=True)
    state = "potential" if hasattr(cell, "wiring") else "activity"
    columns = {"neuron": list(names), state: [_span(ends) for ends in spans]}
    return columns | {
        column: [values.get(name, UNKNOWN) for name in names]
        for column, values in found.items()
        if any(name in values for name in names)
    }


def _span(ends: "Iterable[float]") -> str:
    return " to ".join(f"{end:z.2f}" for end in ends)


def _digits(value: float, count: int) -> str:
    """Return a number with some significant digits, and a large one without an exponent."""
    return f"{float(f'{value:.{count}g}'):g}"


def _tensors(episode: "Episode"):
    import torch

    return torch.from_numpy(episode.recorded_features), episode.recorded_activity.dt_s[0]
