"""Watch a policy while it drives: the inspector's page, written anew every few seconds."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from envs.driving import LaneKeepingConfig
from envs.driving.metrics import LaneTrace
from envs.driving.road import HELD_OUT_TRACKS, make_road
from ncp_control.audit.activity import visible_part
from ncp_control.audit.inspector import InspectorEpisode, TrackMap, write_inspector
from ncp_control.learning.closed_loop import Step
from ncp_control.policy import Policy
from scripts.evaluation.driving import drive_track

_EDGE_POINTS = 400


def drive_live(
    policy: Policy,
    path: Path | str,
    *,
    name: str,
    track: int = HELD_OUT_TRACKS[0],
    seconds: float = 30.0,
    seed: int = 0,
    every_s: float = 5.0,
) -> Path:
    """Drive one track as an evaluation does, and keep a page up to date for a browser.

    While the car drives the page loads itself anew and shows the newest frame; the last page
    written is an ordinary one of the whole drive.

    Args:
        policy: Who drives.
        path: The HTML file.
        name: Name of the policy, for the heading.
        track: Number of the track.
        seconds: Length of the drive [s].
        seed: Seed of the track's appearance, as in evaluation.
        every_s: Wall-clock time between two pages [s].

    Returns:
        The file.
    """
    world, steps = drive_track(policy, track=track, seconds=seconds, seed=seed)
    drive, title = _Drive(trace=LaneTrace(track=track)), f"{name} on track {track}"
    written_s = time.monotonic()
    for step in steps:
        drive.append(policy, step)
        if time.monotonic() - written_s >= every_s:
            write_inspector(path, [drive.look_inside(policy, name)], title=title, reload_s=every_s)
            written_s = time.monotonic()
    world.close()
    return write_inspector(path, [drive.look_inside(policy, name)], title=title)


@dataclass(frozen=True, kw_only=True)
class _Drive:
    """What has been driven so far, frame by frame."""

    trace: LaneTrace
    time_s: list[float] = field(default_factory=list)
    dt_s: list[float] = field(default_factory=list)
    frames: list[np.ndarray] = field(default_factory=list)
    features: list[torch.Tensor] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)

    @torch.inference_mode()
    def append(self, policy: Policy, step: Step) -> None:
        """Add a step."""
        device = next(policy.parameters()).device
        self.time_s.append(step.infos[0]["time_s"])
        self.dt_s.append(float(step.dt_s[0]))
        self.frames.append(step.observations[0])
        self.features.append(policy.perceive(torch.from_numpy(step.observations).to(device))[0])
        self.actions.append(step.actions[0])
        self.trace.append(step.outcomes[0])

    def look_inside(self, policy: Policy, name: str) -> InspectorEpisode:
        """Return the episode up to now with what every neuron did."""
        features = torch.stack(self.features)
        dt_s = torch.tensor([self.dt_s], dtype=features.dtype, device=features.device)
        cell = policy.circuit.cell
        activity = visible_part(cell, policy.circuit.record(features[None], dt_s=dt_s))
        wiring = getattr(cell, "wiring", None)
        taus_s, currents = (
            None if values is None else values[0].cpu().numpy()
            for values in (activity.timescales_s, activity.synaptic_currents)
        )
        return InspectorEpisode(
            name=name,
            time_s=np.array(self.time_s),
            neuron_names=activity.neuron_names,
            states=activity.states[0].cpu().numpy(),
            timescales_s=taus_s,
            wiring=wiring,
            synaptic_currents=currents,
            features=None if wiring is None else features.cpu().numpy(),
            actions=np.stack(self.actions),
            action_names=["steering, left positive"],
            frames=np.stack(self.frames),
            traces={
                "cross-track error [m]": np.array(self.trace.cross_track_m),
                "road curvature [1/m]": np.array(self.trace.curvature_1pm),
            },
            track=track_map(self.trace),
            facts={"crashes": str(sum(self.trace.crashed))},
        )


def track_map(trace: LaneTrace) -> TrackMap:
    """Return the lane's borders and the way driven."""
    road, half_width_m = make_road(trace.track), LaneKeepingConfig().lane_half_width_m
    along_m = np.linspace(0.0, road.length_m, _EDGE_POINTS, endpoint=False)
    return TrackMap(
        left_edge_m=np.stack(road.point_at(along_m, half_width_m), axis=1),
        right_edge_m=np.stack(road.point_at(along_m, -half_width_m), axis=1),
        driven_m=np.stack(trace.position_m),
    )
