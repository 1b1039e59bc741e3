"""The inspector's page of one audited episode, or of two side by side."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ncp_control.audit.activity import visible_part
from ncp_control.audit.bounds import Certificate
from ncp_control.audit.inspector import InspectorEpisode, write_inspector
from ncp_control.policy import Policy
from scripts.auditing.episode import Audited
from scripts.auditing.maps import Saliency
from scripts.evaluation.live import track_map

_NOT_DRAWN = ("steering", "|curvature| [1/m]")  # the actions are there, and the curvature with sign


def write_page(path: Path, where: str, episodes: Sequence[InspectorEpisode]) -> None:
    """Write the page.

    Raises:
        ValueError: If a recorded value is not finite, or the page would be too large.
    """
    names = " and ".join(episode.name for episode in episodes)
    write_inspector(path, episodes, title=f"{names}: {where}")


def inspected(
    policy: Policy, audited: Audited, maps: Saliency | None, certificate: Certificate | None
) -> InspectorEpisode:
    """Gather what the page shows of one policy."""
    recorded = visible_part(policy.circuit.cell, audited.activity)
    circuit = sum(parameter.numel() for parameter in policy.circuit.parameters())
    drawn_elsewhere = {*_NOT_DRAWN, *audited.action_names}
    traces = {key: v for key, v in audited.signals.items() if key not in drawn_elsewhere}
    wiring = getattr(policy.circuit.cell, "wiring", None)
    currents, taus_s = recorded.synaptic_currents, recorded.timescales_s
    return InspectorEpisode(
        name=audited.name,
        time_s=audited.time_s,
        neuron_names=recorded.neuron_names,
        states=recorded.states[0].cpu().numpy(),
        actions=audited.actions,
        action_names=audited.action_names,
        wiring=wiring,
        timescales_s=None if taus_s is None else taus_s[0].cpu().numpy(),
        state_bounds=None if certificate is None else np.stack(certificate.state, axis=1),
        timescale_bounds_s=None if certificate is None else np.stack(certificate.tau_s, axis=1),
        synaptic_currents=None if currents is None or wiring is None
        else currents[0].cpu().numpy(),
        features=audited.features if wiring is not None else None,
        frames=audited.pictures,
        maps=maps.over_time if maps is not None and audited.has_frames else {},
        traces=traces,
        overlays=audited.overlays,
        sensory_names=audited.sensor_names if wiring is not None else None,
        track=track_map(audited.trace) if audited.trace is not None else None,
        facts={
            "neurons": str(len(recorded.neuron_names)),
            "circuit parameters": f"{circuit:,}",
        },
    )  # fmt: skip
