"""Record the episode of an audit: in an environment, or by replaying a recording."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from ncp_control.episode import Episode
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.policy import Policy
from ncp_control.records import frames_part
from ncp_control.replay import replay, with_activity
from scripts.evaluation.opengl import headless_opengl, why_not_drawn
from scripts.evaluation.places import Place
from scripts.recordings import opened

_PICTURE_SIZE_PX = {"width": 240, "height": 160}
_MAX_PICTURES = 150
LOG_FRAMES = 900
"""Number of frames of a recording that are used, if no duration is given."""
MOST_FRAMES = 108_000
"""Maximum number of frames of an episode: an hour at 30 frames per second."""


def act(policy: Policy, name: str, place: Place, *, seconds: float) -> Episode:
    """Record the first episode of a policy in a place, with the activity of its circuit.

    If the environment observes colour frames, these are the pictures of the episode. Otherwise
    pictures are rendered, if the environment can draw them.

    Args:
        policy: The acting policy.
        name: Name of the policy.
        place: Environment and episodes.
        seconds: Longest duration [s].
    """
    frames = frames_part(place.world.contract.observation)
    is_colour = frames is not None and frames.shape[2] == 3
    frame_s, notes = place.world.frame_s, []
    stride = -(-count_frames(seconds, frame_s) // _MAX_PICTURES)
    pictures: list[np.ndarray] = []
    with headless_opengl():
        env = None
        if not is_colour:
            try:
                env = _rendered_env(place)
            except Exception as error:
                notes.append(f"pictures of the robot: {why_not_drawn(error)}")
        with place.open(policy, seconds=seconds, name=name, env=env) as opened:
            env, steps, recorder = opened
            for k, step in enumerate(steps):
                recorder.add(step)
                if env.render_mode is not None and not notes and k % stride == 0:
                    try:
                        pictures.append(np.asarray(env.render()))
                    except Exception as error:
                        notes.append(f"pictures of the robot: {why_not_drawn(error)}")
                if recorder.is_over:
                    break
    episode = recorder.episode()
    if episode.is_terminated:
        ended_s = len(episode) * frame_s
        notes.append(f"the world ended the episode after {ended_s:.1f} s.")
    per_frame = np.stack(pictures).repeat(stride, axis=0)[: len(episode)] if pictures else None
    is_whole = per_frame is not None and len(per_frame) == len(episode)
    pictured = replace(episode, notes=notes, pictures=per_frame if is_whole else None)
    return with_activity(policy, pictured)


def watch(
    policy: Policy,
    name: str,
    log: Path,
    *,
    seconds: float | None = None,
    options: dict[str, Any] | None = None,
) -> Episode:
    """Run a policy on the longest episode of a recording. Notes tell how much of it was used.

    Args:
        policy: The policy.
        name: Name of the policy.
        log: The recording: a store of demonstrations, a log of human driving, or a recorded drive.
        seconds: Longest duration to replay [s]; None for `LOG_FRAMES` frames.
        options: Options of the recording's reader.
    """
    with opened(log, policy.contract, options) as (store, driver):
        labels = {"name": name, "where": f"recording {log.resolve().name}", "actor": driver}
        num_frames = LOG_FRAMES
        if seconds is not None:
            frame_s = float(np.median(store.dt_s))
            num_frames = count_frames(seconds, frame_s) if frame_s else MOST_FRAMES
        episode = replay(policy, store, max_frames=num_frames, **labels)
        return replace(episode, notes=_notes_on(store, len(episode)))


def _notes_on(store: Demonstrations, num_used: int) -> list[str]:
    """Return what to say if only a part of a recording was used."""
    longest = int((store.episode_stops - store.episode_starts).max())
    num_episodes = len(store.episode_starts)
    notes = []
    if num_episodes > 1:
        notes.append(f"this is the longest of the recording's {num_episodes:,} episodes.")
    if num_used < longest:
        notes.append(
            f"these are its first {num_used:,} of {longest:,} frames; --seconds sets how many."
        )
    return notes


def count_frames(seconds: float, frame_s: float) -> int:
    """Return the number of frames of `frame_s` seconds each in a duration, at least one.

    Raises:
        ValueError: If these are more than `MOST_FRAMES`.
    """
    if seconds / frame_s > MOST_FRAMES:
        raise ValueError(
            f"`seconds` must be at most {MOST_FRAMES * frame_s:g}, which is {MOST_FRAMES:,} frames,"
            f" got {seconds!r}. Every frame is kept in memory."
        )
    return max(round(seconds / frame_s), 1)


def _rendered_env(place: Place) -> gymnasium.Env:
    """Build an environment whose pictures are small and quick to draw."""
    env = place.make_rendered(**_PICTURE_SIZE_PX)
    body: Any = env.unwrapped
    if hasattr(body, "model") and hasattr(body.model, "vis"):
        quality = body.model.vis.quality
        quality.offsamples = quality.shadowsize = 0  # slowest steps without a GPU
    return env
