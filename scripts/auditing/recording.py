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
    stride = -(-max(round(seconds / frame_s), 1) // _MAX_PICTURES)
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
    policy: Policy, name: str, log: Path, *, seconds: float, options: dict[str, Any] | None = None
) -> Episode:
    """Run a policy on the longest episode of a recording.

    Args:
        policy: The policy.
        name: Name of the policy.
        log: The recording: a store of demonstrations, a log of human driving, or a recorded drive.
        seconds: Longest duration to replay [s].
        options: Options of the recording's reader.
    """
    with opened(log, policy.contract, options) as (store, driver):
        labels = {"name": name, "where": f"recording {log.resolve().name}"}
        if driver:
            labels["actor"] = driver
        return replay(policy, store, max_frames=_frames_in(store, seconds), **labels)


def _frames_in(store: Demonstrations, seconds: float) -> int:
    """Return the number of frames in `seconds`, at least one; all if frames have no duration."""
    frame_s = float(np.median(store.dt_s))
    return max(round(seconds / frame_s), 1) if frame_s else len(store)


def _rendered_env(place: Place) -> gymnasium.Env:
    """Build an environment whose pictures are small and quick to draw."""
    env = place.make_rendered(**_PICTURE_SIZE_PX)
    body: Any = env.unwrapped
    if hasattr(body, "model") and hasattr(body.model, "vis"):
        quality = body.model.vis.quality
        quality.offsamples = quality.shadowsize = 0  # slowest steps without a GPU
    return env
