"""The episode that an audit looks into; here driven or taken from a log, in `robot` walked."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from envs.driving.metrics import LaneTrace
from envs.recorded import load_recording
from ncp_control.audit.saliency import previous_states
from ncp_control.circuit import Activity
from ncp_control.policy import Policy
from scripts.evaluation.episode import (
    Episode,
    drive_episode,
    kept_as_demonstrations,
    replay_episode,
)


@dataclass(frozen=True, kw_only=True)
class Audited:
    """What a policy saw, did and felt, whatever its world."""

    name: str
    """Who acts."""
    where: str
    """In which world, for headings."""
    time_s: np.ndarray
    """Time of each frame [s], shape (time,)."""
    observations: np.ndarray
    """What it saw, shape (time, …)."""
    features: np.ndarray
    """What its circuit was given, shape (time, input)."""
    actions: np.ndarray
    """What it did, shape (time, action)."""
    action_names: list[str]
    """What each entry of the action is."""
    activity: Activity
    """What every neuron did; batch of one."""
    signals: dict[str, np.ndarray]
    """Signals with which activity is compared, by name and unit, each of shape (time,)."""
    overlays: dict[str, str] = field(default_factory=dict)
    """Signals drawn in the plot of another, on one scale: the signal's name to the other's."""
    sensor_names: list[str] | None = None
    """What each sensory input of the circuit measures, with its unit; None if it has no name."""
    pictures: np.ndarray | None = None
    """RGB uint8 pictures of what happened, shape (time, height, width, 3)."""
    episode: Episode | None = None
    """The driving episode behind it."""
    notes: list[str] = field(default_factory=list)
    """What could not be had."""

    @property
    def has_frames(self) -> bool:
        """Whether the observations are camera frames."""
        return self.observations.ndim == 4

    @property
    def trace(self) -> LaneTrace | None:
        """Where the car was, if it drove."""
        return self.episode.trace if self.episode else None

    @property
    def main_signal(self) -> str:
        """The signal that figures show first: the road's curvature, if there is a road."""
        road = "curvature [1/m]"
        return road if road in self.signals else next(iter(self.signals))

    def label(self, name: str) -> str:
        """Return a neuron or synapse with its sensor: "sensory_0 (height) → inter_3"."""
        source, arrow, target = name.partition(" → ")
        layer, _, number = source.partition("_")
        if self.sensor_names is None or layer != "sensory":
            return name
        sensor = self.sensor_names[int(number)].partition(" [")[0]
        return f"{source} ({sensor}){arrow}{target}"

    def state_before(self) -> torch.Tensor:
        """Return the state before each frame, shape (time, state), begun from zeros."""
        return previous_states(self.activity)


def drive(policy: Policy, name: str, *, track: int, seconds: float, seed: int) -> Audited:
    """Let a policy drive a track."""
    episode = drive_episode(policy, track=track, seconds=seconds, seed=seed)
    trace = episode.trace
    assert trace is not None and episode.speed_mps is not None  # it drove
    curvature_1pm = np.array(trace.curvature_1pm)
    signals = {
        "steering": episode.actions,
        "curvature [1/m]": curvature_1pm,
        "|curvature| [1/m]": np.abs(curvature_1pm),
        "speed [m/s]": episode.speed_mps,
        "cross-track error [m]": np.array(trace.cross_track_m),
    }
    return _from_episode(episode, name, f"track {track}", signals)


def replay(policy: Policy, name: str, log: Path, *, seconds: float) -> Audited:
    """Show a policy the longest episode of a recording.

    Args:
        policy: Who watches.
        name: Its name.
        log: The recording.
        seconds: How much of it is shown [s].
    """
    with kept_as_demonstrations(load_recording(log).center_only()) as store:
        num_frames = max(round(seconds / float(np.median(store.dt_s))), 1)
        episode = replay_episode(policy, store, max_frames=num_frames)
    human = f"{episode.expert_name} steering"
    signals = {"steering": episode.actions, human: episode.expert_actions}
    where = f"recording {log.resolve().name}"
    return _from_episode(episode, name, where, signals, overlays={human: "steering"})


def _from_episode(
    episode: Episode,
    name: str,
    where: str,
    signals: dict[str, np.ndarray],
    *,
    overlays: dict[str, str] | None = None,
) -> Audited:
    return Audited(
        name=name,
        where=where,
        time_s=episode.time_s,
        observations=episode.observations,
        features=episode.features,
        actions=episode.actions[:, None],
        action_names=["steering"],
        activity=episode.activity,
        signals=signals,
        overlays=overlays or {},
        pictures=episode.observations,
        episode=episode,
    )
