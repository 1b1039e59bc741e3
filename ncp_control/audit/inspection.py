"""Collect the content of the inspector's page from an episode and its policy."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from ncp_control.audit.activity import visible_part
from ncp_control.audit.bounds import Certificate, drawn_tau_s
from ncp_control.audit.inspector import Panel, TrackMap
from ncp_control.audit.rerun import rerun_data
from ncp_control.audit.saliency import saliency
from ncp_control.audit.timescales import timescales_of
from ncp_control.cells import Cell
from ncp_control.cells.plain_numbers import to_float32
from ncp_control.cells.synaptic import SynapticCell
from ncp_control.episode import Episode
from ncp_control.layers import num_parameters
from ncp_control.policy import Policy


def maps_over_time(
    policy: Policy, episode: Episode, method: str, *, stride: int, neuron: str | None = None
) -> np.ndarray:
    """Return saliency maps for all frames of an episode, for use in a `Panel`.

    Args:
        policy: The policy that acted.
        episode: The episode, with recorded activity.
        method: A name in `ncp_control.audit.saliency.METHODS`.
        stride: Compute a map every `stride` frames; the frames between repeat the last map.
        neuron: Name of the neuron to explain; if None: the action.

    Returns:
        Maps of shape (time, height, width), uint8.

    Raises:
        ValueError: If the method does not apply to the policy.
    """
    frames = np.arange(0, len(episode), stride)
    levels = np.rint(255.0 * maps_of_frames(policy, episode, frames, method, neuron=neuron))
    return levels.astype(np.uint8).repeat(stride, axis=0)[: len(episode)]


def maps_of_frames(
    policy: Policy,
    episode: Episode,
    frames: np.ndarray,
    method: str,
    *,
    neuron: str | None = None,
) -> np.ndarray:
    """Return the saliency maps of some frames, in [0, 1], given the state before each frame.

    Args:
        policy: The policy that acted.
        episode: The episode, with recorded activity.
        frames: Indices of the frames.
        method: A name in `ncp_control.audit.saliency.METHODS`.
        neuron: Name of the neuron to explain; if None: the action.

    Raises:
        ValueError: If the method does not apply to the policy.
    """
    index = torch.from_numpy(frames)
    return saliency(
        policy,
        episode.recorded_observations[frames],
        method,
        neuron=neuron,
        state=episode.recorded_activity.states_before[index],
        dt_s=episode.recorded_activity.dt_s[0][index],
    ).numpy()


def inspected(
    policy: Policy,
    episode: Episode,
    *,
    maps: Mapping[str, np.ndarray] | None = None,
    certificate: Certificate | None = None,
    track: TrackMap | None = None,
) -> Panel:
    """Return the panel of the inspector's page for an episode with recorded activity.

    Args:
        policy: The policy that acted.
        episode: The episode.
        maps: Saliency maps of all frames, by method, see `Panel.maps`.
        certificate: Certified bounds of the circuit.
        track: Map of the track, if there is one.
    """
    visible = visible_part(policy.circuit.cell, episode.recorded_activity)
    wiring = getattr(policy.circuit.cell, "wiring", None)
    if wiring is None or list(visible.neuron_names) != wiring.neuron_names:
        # A wiring inside another cell, or of neurons with other names, is not drawn.
        wiring, visible = None, replace(visible, synaptic_currents=None)
    facts = {
        "neurons": str(len(visible.neuron_names)),
        "circuit parameters": f"{num_parameters(policy.circuit):,}",
    }
    if "crashed" in episode.infos:
        facts["crashes"] = str(int(episode.infos["crashed"].sum()))
    sensor_names = None if wiring is None else episode.sensor_names
    tau_bounds_s = None
    if certificate is not None and episode.recorded_activity.timescales_s is not None:
        limits = drawn_tau_s(certificate, timescales_of(episode.recorded_activity))
        tau_bounds_s = np.stack(limits, axis=1)
    rerun, why_no_rerun = None, ""
    try:
        rerun = rerun_data(policy, episode)
    except ValueError as error:
        why_no_rerun = str(error)
    return Panel(
        rerun=rerun,
        why_no_rerun=why_no_rerun,
        episode=replace(episode, activity=visible, sensor_names=sensor_names),
        wiring=wiring,
        read_weights=_read_weights(policy.circuit.cell),
        choice_names=choice_names(policy),
        state_bounds=None if certificate is None else np.stack(certificate.state, axis=1),
        timescale_bounds_s=tau_bounds_s,
        maps=(maps or {}) if episode.has_frames else {},
        track=track,
        facts=facts,
    )


def choice_names(policy: Policy) -> list[Sequence[str]]:
    """Return the names of the choices of each action, numbers if there is no contract."""
    if policy.contract is None:
        return [[str(i) for i in range(count)] for count in policy.choices]
    return [entry.choices for entry in policy.contract.action if entry.choices]


@torch.no_grad()
def _read_weights(cell: Cell) -> np.ndarray | None:
    """Return the weights (outputs, neurons) with which outputs read neurons.

    None if each output reads only its motor neuron.
    """
    if not isinstance(cell, SynapticCell) or cell.read_weight is None:
        return None
    weights = cell.read_weight.new_zeros(cell.output_size, cell.state_size)
    weights[:, cell.read_neurons] = cell.read_weight
    weights[:, -cell.output_size :] = torch.diag(cell.output_scale)
    return to_float32(weights)
