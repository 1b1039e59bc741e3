"""The inspector's page: of one recorded episode, of two side by side, or of one still going on."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from envs.driving import LaneKeepingConfig
from envs.driving.road import make_road
from ncp_control.audit.activity import visible_part
from ncp_control.audit.bounds import Certificate, drawn_tau_s
from ncp_control.audit.inspector import Panel, TrackMap, write_inspector
from ncp_control.audit.timescales import timescales_of
from ncp_control.episode import Episode, Recorder, looked_into
from ncp_control.policy import Policy
from scripts.auditing.maps import Saliency
from scripts.evaluation.places import Place

_EDGE_POINTS = 400


def watch_live(
    policy: Policy,
    path: Path,
    place: Place,
    *,
    name: str,
    seconds: float = 30.0,
    every_s: float = 5.0,
) -> Path:
    """Let a policy act, and keep a page up to date for a browser.

    Meanwhile the page loads itself anew and shows the newest frame; the last page written is an
    ordinary one of the whole episode.

    Args:
        policy: Who acts.
        path: The HTML file.
        place: Where; the first of its episodes is shown.
        name: Name of the policy, for the heading.
        seconds: Longest time [s].
        every_s: Wall-clock time between two pages [s].

    Returns:
        The file.
    """

    def write(recorder: Recorder, reload_s: float | None) -> Path:
        episode = looked_into(policy, recorder.episode())
        title = f"{name}: {episode.where}"
        return write_inspector(path, [inspected(policy, episode)], title=title, reload_s=reload_s)

    with place.open(policy, seconds=seconds, name=name) as (_, steps, recorder):
        written_s = time.monotonic()
        for step in steps:
            recorder.add(step)
            if time.monotonic() - written_s >= every_s:
                write(recorder, every_s)
                written_s = time.monotonic()
            if recorder.is_over:
                break
        return write(recorder, None)


def inspected(
    policy: Policy,
    episode: Episode,
    maps: Saliency | None = None,
    certificate: Certificate | None = None,
) -> Panel:
    """Gather what the page shows of an episode that was looked into.

    Args:
        policy: Who acted.
        episode: The episode.
        maps: Its saliency maps.
        certificate: Certified bounds of the circuit.
    """
    visible = visible_part(policy.circuit.cell, episode.thought)
    wiring = getattr(policy.circuit.cell, "wiring", None)
    facts = {
        "neurons": str(len(visible.neuron_names)),
        "circuit parameters": f"{sum(p.numel() for p in policy.circuit.parameters()):,}",
    }
    if "crashed" in episode.told:
        facts["crashes"] = str(int(episode.told["crashed"].sum()))
    sensor_names = None if wiring is None else episode.sensor_names
    tau_bounds_s = None
    if certificate is not None and episode.thought.timescales_s is not None:
        limits = drawn_tau_s(certificate, timescales_of(episode.thought))
        tau_bounds_s = np.stack(limits, axis=1)
    return Panel(
        episode=replace(episode, activity=visible, sensor_names=sensor_names),
        wiring=wiring,
        state_bounds=None if certificate is None else np.stack(certificate.state, axis=1),
        timescale_bounds_s=tau_bounds_s,
        maps=maps.over_time if maps is not None and episode.has_frames else {},
        track=track_map(episode) if "track" in episode.told else None,
        facts=facts,
    )


def track_map(episode: Episode) -> TrackMap:
    """Return the lane's borders and the way driven."""
    road = make_road(int(episode.told["track"][0]))
    half_width_m = LaneKeepingConfig().lane_half_width_m
    along_m = np.linspace(0.0, road.length_m, _EDGE_POINTS, endpoint=False)
    return TrackMap(
        left_edge_m=np.stack(road.point_at(along_m, half_width_m), axis=1),
        right_edge_m=np.stack(road.point_at(along_m, -half_width_m), axis=1),
        driven_m=episode.told["position_m"],
    )
