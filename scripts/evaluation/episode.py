"""One drive looked at closely: what the policy did, what the expert would have done, and why.

An evaluation keeps a few numbers of many tracks; an `Episode` keeps everything of one.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from envs.driving import LaneKeepingEnv
from envs.driving.metrics import LaneTrace
from envs.driving.road import HELD_OUT_TRACKS
from envs.recorded import Recording
from ncp_control.circuit import Activity
from ncp_control.learning.closed_loop import Info
from ncp_control.learning.demonstrations import Demonstrations, DemonstrationWriter
from ncp_control.policy import Policy
from scripts.evaluation.driving import drive_track, make_expert
from scripts.evaluation.film import Film, Shot

_CHUNK_FRAMES = 64


@dataclass(frozen=True, kw_only=True)
class Episode:
    """What a policy saw, did and felt, frame by frame."""

    time_s: np.ndarray
    """Time of each frame [s], shape (time,)."""
    actions: np.ndarray
    """Steering of the policy in [-1, 1], positive to the left, shape (time,)."""
    expert_actions: np.ndarray
    """Steering that the expert would have chosen at the same places, shape (time,)."""
    expert_name: str
    """Who the expert is."""
    observations: np.ndarray
    """What the policy saw, shape (time, height, width, 3), uint8."""
    features: np.ndarray
    """What the circuit was given, shape (time, features)."""
    activity: Activity
    """What every neuron did; batch of one."""
    trace: LaneTrace | None = None
    """Where the car was after each frame; None for a recording, which cannot be driven."""
    speed_mps: np.ndarray | None = None
    """Speed after each frame [m/s], shape (time,); None for a recording."""

    @property
    def sharpest_frame(self) -> int:
        """The frame in which the expert steers the most: the middle of a bend."""
        return int(np.argmax(np.abs(self.expert_actions)))


def drive_episode(
    policy: Policy,
    *,
    track: int = HELD_OUT_TRACKS[0],
    seconds: float = 20.0,
    seed: int = 0,
    film: Film | None = None,
) -> Episode:
    """Let a policy drive one track, from the start that evaluation takes, and keep everything.

    Args:
        policy: Who drives.
        track: Number of the track.
        seconds: How long [s].
        seed: Seed of the track's appearance, as in evaluation.
        film: Takes a picture of each step, if given.
    """
    world, steps = drive_track(
        policy, track=track, seconds=seconds, seed=seed, render_mode="rgb_array"
    )
    expert = make_expert(world.config)
    trace = LaneTrace(track=track)
    frames, actions, expert_actions, time_s, dt_s, speed_mps = [], [], [], [], [], []
    for step in steps:
        before, after = step.infos[0], step.outcomes[0]
        frames.append(step.observations[0])
        actions.append(float(step.actions[0, 0]))
        expert_actions.append(float(expert(before["preview_m"])[0]))
        time_s.append(before["time_s"])
        dt_s.append(step.dt_s[0])
        speed_mps.append(after["speed_mps"])
        trace.append(after)
        if film is not None:
            film.add(_shot(world, frames[-1], actions[-1], expert_actions[-1], after))
    world.close()
    observations = np.stack(frames)
    features, activity = look_inside(policy, observations, np.array(dt_s, dtype=np.float32))
    return Episode(
        time_s=np.array(time_s),
        actions=np.array(actions),
        expert_actions=np.array(expert_actions),
        expert_name="pure pursuit",
        observations=observations,
        features=features,
        activity=activity,
        trace=trace,
        speed_mps=np.array(speed_mps),
    )


def _shot(
    world: LaneKeepingEnv, frame: np.ndarray, steering: float, expert_steering: float, after: Info
) -> Shot:
    """Return the film's next shot: what the policy saw and did, and what came of it."""
    return Shot(
        picture=np.asarray(world.render()),
        frame=frame,
        steering=steering,
        expert_steering=expert_steering,
        speed_mps=after["speed_mps"],
        cross_track_m=after["cross_track_m"],
        crashed=after["crashed"],
    )


@contextmanager
def kept_as_demonstrations(recording: Recording) -> Iterator[Demonstrations]:
    """Yield a recording as a policy's demonstrations, on the disk until the block ends."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "frames"
        with DemonstrationWriter(folder, recording.observation_shape, np.uint8, 1) as writer:
            recording.write(writer)
        yield Demonstrations.open(folder)


def replay_episode(policy: Policy, store: Demonstrations, *, max_frames: int = 1800) -> Episode:
    """Show a policy the longest episode of a recording and keep everything.

    Args:
        policy: Who watches.
        store: The recording.
        max_frames: Frames shown, from the episode's first on.
    """
    lengths = store.episode_stops - store.episode_starts
    frames = store.episode(int(np.argmax(lengths)))
    frames = slice(frames.start, min(frames.stop, frames.start + max_frames))
    dt_s = np.asarray(store.dt_s[frames])
    observations = np.array(store.observations[frames])  # a copy: the store is a read-only map
    features, activity = look_inside(policy, observations, dt_s)
    return Episode(
        time_s=np.cumsum(dt_s) - dt_s[0],
        actions=activity.outputs[0, :, 0].clamp(-1.0, 1.0).cpu().numpy(),
        expert_actions=np.asarray(store.actions[frames])[:, 0],
        expert_name="human",
        observations=observations,
        features=features,
        activity=activity,
    )


@torch.no_grad()
def look_inside(
    policy: Policy, observations: np.ndarray, dt_s: np.ndarray
) -> tuple[np.ndarray, Activity]:
    """Return the features of consecutive observations and what the circuit makes of them."""
    device = next(policy.eval().parameters()).device
    chunks = [
        policy.perceive(torch.from_numpy(observations[i : i + _CHUNK_FRAMES]).to(device))
        for i in range(0, len(observations), _CHUNK_FRAMES)
    ]
    features = torch.cat(chunks)
    activity = policy.circuit.record(features[None], dt_s=torch.from_numpy(dt_s)[None].to(device))
    return features.cpu().numpy(), activity
