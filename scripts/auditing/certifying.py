"""The parts of an audit on certified bounds: what no input can make a circuit do."""

from collections.abc import Iterable

import numpy as np
import torch

from ncp_control.audit.action_bounds import to_actions
from ncp_control.audit.bounds import (
    VACUOUS_TAU_S,
    Certificate,
    certify,
    describe_violations,
    find_violations,
    is_vacuous_gain,
)
from ncp_control.cells import LTC, STC
from ncp_control.episode import Episode
from ncp_control.intervals import is_vacuous_range, outward
from ncp_control.markdown import plain
from ncp_control.policy import Policy, VectorPolicy
from scripts.auditing import audit_figures as figures
from scripts.evaluation import episode_figures
from scripts.reporting import Part, Table


def certified_bounds(policy: Policy, audited: Episode) -> Certificate:
    """Certify the circuit of a policy for any input, and its gain for the longest frame."""
    cell = policy.circuit.cell
    if not isinstance(cell, LTC | STC):
        raise ValueError(
            "Bounds are known only for circuits of LTC, STC or LRC neurons; this policy has"
            f" {type(cell).__name__}."
        )
    return certify(cell, gain_dt_s=float(audited.recorded_activity.dt_s.max()))


def bounds_part(policy: Policy, audited: Episode, certificate: Certificate) -> Part:
    """Certify bounds of the circuit's states and outputs, and check the episode against them."""
    cell = policy.circuit.cell
    known = certify(
        cell, audited.recorded_features.min(axis=0), audited.recorded_features.max(axis=0)
    )
    violations = find_violations(certificate, audited.recorded_activity)
    violations += find_violations(known, audited.recorded_activity)
    unit = episode_figures.unit_of_taus(audited)
    of_taus = [f"τ min [{unit.name}]", f"τ max [{unit.name}]"]
    header = ["neuron", "v min", "v max", *of_taus, "|dv/dt| max [1/s]"]
    rows = []
    for i, name in enumerate(certificate.neuron_names):
        taus = [float(x[i]) / unit.seconds for x in certificate.tau_s]
        v = [float(x[i]) for x in certificate.state]
        rows.append([name, *v, *taus, float(certificate.speed[i])])
    limits = _limits(certificate.output)
    if len(limits) == len(audited.action_names) > 1:
        limits = [f"{x} ({name})" for x, name in zip(limits, audited.action_names, strict=True)]
    slow = int((certificate.tau_s.high > VACUOUS_TAU_S).sum())
    of_tau = (
        f"The upper bound of τ is **vacuous** for {slow} of {len(rows)} neurons: nothing that they"
        " may see keeps their elastance away from 0, where a neuron holds its value for good."
    )
    empty, of_frame, of_lasting = _vacuous(policy, audited, certificate)
    gains = (certificate.frame_gain, certificate.lasting_gain)
    gain, lasting = (outward(0.0, gain.max())[1] for gain in gains)
    measured = _largest_gradient(policy, audited)
    text = [
        f"In this episode: **{describe_violations(violations)}**.",
        f"Whatever the circuit sees, its output stays within {', '.join(limits)}"
        f"{_after_squash(policy, certificate)}.{empty}",
        f"A change of one sensory input changes the output of the next frame, at most"
        f" {unit.text(certificate.gain_dt_s)} later, by at most {gain} per unit"
        f" (largest in the episode: {measured:.3g}).{of_frame}",
        "Of a lasting change "
        + (f"it changes by at most {lasting} per unit.{of_lasting}" if lasting != "inf"
           else "nothing is certain, because the recurrent synapses may amplify it: the bound is"
           " infinite, so **vacuous**."),
        *([of_tau] if slow else []),
    ]  # fmt: skip
    return Part(
        text=text,
        tables={"bounds": Table(header=header, rows=rows)},
        figures={"bounds": figures.certificates(audited, certificate, known)},
    )


def _after_squash(policy: Policy, certificate: Certificate) -> str:
    """Return the bounds of the commands as a phrase, if a tanh turns outputs into commands."""
    if policy.choices or not isinstance(policy, VectorPolicy) or policy.squash_name != "tanh":
        return ""
    outputs = torch.from_numpy(np.stack(certificate.output))
    limits = _limits(policy.respond(outputs).numpy())
    return f", and the commands that are made of it within {', '.join(limits)}"


def _limits(ends: Iterable[np.ndarray]) -> list[str]:
    """Return lowest and highest values as intervals."""
    return [f"[{', '.join(outward(low, high, 4))}]" for low, high in zip(*ends, strict=True)]


def _vacuous(policy: Policy, audited: Episode, certificate: Certificate) -> tuple[str, str, str]:
    """Return sentences on vacuous bounds: of the output, the one-frame gain and the lasting gain.

    Bounds are compared with the limits [-1, 1] of the actions, if they have any; choices do not.
    """
    low, high = certificate.output
    empty = ""
    actions = to_actions(policy, certificate.output)
    if actions is not None:
        low, high = np.clip(actions, -1.0, 1.0)
        names = [
            name
            for name, is_empty in zip(
                audited.action_names, is_vacuous_range(low, high), strict=True
            )
            if is_empty
        ]
        if names:
            empty = (
                f" **Vacuous** for {', '.join(map(plain, names))}: an action lies in [-1, 1] in any"
                " case, and the bound excludes less than 1 % of that."
            )
    input_range = np.ptp(audited.recorded_features.astype(np.float64), axis=0)
    sentences = []
    for gain in (certificate.frame_gain, certificate.lasting_gain):
        is_vacuous = is_vacuous_gain(gain, input_range, high - low)
        count = int(is_vacuous.sum())
        sentences.append(
            f" **Vacuous** for {count} of {is_vacuous.size} pairs of input and output: over the"
            " input's whole range in this episode it allows all that the output can do."
            if count
            else ""
        )
    return empty, sentences[0], sentences[1]


def _largest_gradient(policy: Policy, audited: Episode) -> float:
    """Return the largest abs(∂output/∂input) over one frame in the episode."""
    features = torch.from_numpy(audited.recorded_features)[:, None].requires_grad_()
    outputs, _ = policy.circuit(
        features, audited.recorded_activity.states_before, dt_s=audited.recorded_activity.dt_s[0]
    )
    gradients = [
        torch.autograd.grad(outputs[..., k].sum(), features, retain_graph=True)[0]
        for k in range(outputs.shape[2])
    ]
    return max(float(gradient.abs().max()) for gradient in gradients)
