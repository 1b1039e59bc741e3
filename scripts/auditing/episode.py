"""The episode that an audit looks into: driven, taken from a log, or walked."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from envs.driving.metrics import LaneTrace
from envs.recorded import load_recording
from ncp_control.audit.saliency import previous_states
from ncp_control.circuit import Activity
from ncp_control.policy import Policy
from policies.locomotion import LocomotionPolicy
from scripts.evaluation.episode import (
    Episode,
    drive_episode,
    kept_as_demonstrations,
    look_inside,
    replay_episode,
)
from scripts.evaluation.locomotion import WalkSettings
from scripts.evaluation.opengl import headless_opengl

_PICTURE_SIZE_PX = (240, 160)
_MAX_PICTURES = 150


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
    signals = {"steering": episode.actions, "human steering": episode.expert_actions}
    return _from_episode(episode, name, f"recording {log.name}", signals)


def _from_episode(
    episode: Episode, name: str, where: str, signals: dict[str, np.ndarray]
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
        pictures=episode.observations,
        episode=episode,
    )


def walk(
    policy: LocomotionPolicy, name: str, where: WalkSettings, *, seconds: float, seed: int
) -> Audited:
    """Let a policy move a robot until the time is over or it falls."""
    with headless_opengl():
        return _walk(policy, name, where, seconds=seconds, seed=seed)


def _walk(
    policy: LocomotionPolicy, name: str, where: WalkSettings, *, seconds: float, seed: int
) -> Audited:
    width, height = _PICTURE_SIZE_PX
    size = {"width": width, "height": height}
    world: Any = where.make_world("rgb_array", camera_name="track", **size)
    quality = world.unwrapped.model.vis.quality
    quality.offsamples = quality.shadowsize = 0  # without a graphics card these cost the most
    dt_s = float(world.unwrapped.dt)
    num_steps = max(round(seconds / dt_s), 1)
    stride = -(-num_steps // _MAX_PICTURES)
    policy.reset()
    observation, _ = world.reset(seed=seed)
    seen, actions, speeds_mps, pictures, notes = [], [], [], [], []
    for k in range(num_steps):
        seen.append(np.asarray(observation, dtype=np.float32))
        actions.append(policy.act(seen[-1], dt_s))
        observation, _, is_over, _, info = world.step(actions[-1])
        speeds_mps.append(info["x_velocity"])
        if not notes and k % stride == 0:
            try:
                pictures.append(np.asarray(world.render()))
            except Exception as error:  # every OpenGL binding has exceptions of its own
                notes.append(f"pictures of the robot: OpenGL failed ({error}).")
        if is_over:
            notes.append(f"the robot fell after {(k + 1) * dt_s:.1f} s; the episode ends there.")
            break
    world.close()
    observations = np.stack(seen)
    features, activity = look_inside(policy, observations, np.full(len(seen), dt_s, np.float32))
    shown = np.stack(pictures).repeat(stride, axis=0)[: len(seen)] if pictures else None
    names = [f"torque_{i}" for i in range(actions[0].shape[0])]
    return Audited(
        name=name,
        where=where.env,
        time_s=dt_s * np.arange(len(seen)),
        observations=observations,
        features=features,
        actions=np.stack(actions),
        action_names=names,
        activity=activity,
        signals={"speed [m/s]": np.array(speeds_mps), names[0]: np.stack(actions)[:, 0]},
        pictures=shown if shown is not None and len(shown) == len(seen) else None,
        notes=notes,
    )
