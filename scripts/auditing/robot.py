"""The audit's episode in a world of numbers, e.g. a robot that walks.

Sensors and motors have the names of the world's contract.
"""

from typing import Any

import numpy as np

from ncp_control.contract import VectorContract
from ncp_control.policy import VectorPolicy
from scripts.auditing.episode import Audited
from scripts.evaluation.episode import look_inside
from scripts.evaluation.locomotion import WalkSettings
from scripts.evaluation.opengl import headless_opengl

_PICTURE_SIZE_PX = (240, 160)
_MAX_PICTURES = 150


def walk(
    policy: VectorPolicy, name: str, where: WalkSettings, *, seconds: float, seed: int
) -> Audited:
    """Let a policy move a robot until the time is over or it falls."""
    with headless_opengl():
        return _walk(policy, name, where, seconds=seconds, seed=seed)


def _walk(
    policy: VectorPolicy, name: str, where: WalkSettings, *, seconds: float, seed: int
) -> Audited:
    width, height = _PICTURE_SIZE_PX
    size = {"width": width, "height": height}
    world: Any = where.make_world("rgb_array", camera_name="track", **size)
    if hasattr(world.unwrapped, "model"):
        quality = world.unwrapped.model.vis.quality
        quality.offsamples = quality.shadowsize = 0  # without a graphics card these cost the most
    dt_s = where.world.frame_s
    num_steps = max(round(seconds / dt_s), 1)
    stride = -(-num_steps // _MAX_PICTURES)
    policy.reset()
    observation, _ = world.reset(seed=seed)
    seen, actions, speeds_mps, pictures, notes = [], [], [], [], []
    for k in range(num_steps):
        seen.append(np.asarray(observation, dtype=np.float32))
        actions.append(policy.act(seen[-1], dt_s))
        observation, _, has_ended, is_late, info = world.step(actions[-1])
        speeds_mps.append(info.get("x_velocity", np.nan))
        if world.render_mode is not None and not notes and k % stride == 0:
            try:
                pictures.append(np.asarray(world.render()))
            except Exception as error:  # every OpenGL binding has exceptions of its own
                notes.append(f"pictures of the robot: OpenGL failed ({error}).")
        if has_ended:
            notes.append(f"the world ended the episode after {(k + 1) * dt_s:.1f} s.")
        if has_ended or is_late:
            break
    world.close()
    contract = where.world.contract
    assert isinstance(contract.observation, VectorContract)
    sensors = [f"{e.name} [{e.unit}]" if e.unit else e.name for e in contract.observation.entries]
    motors = [entry.name for entry in contract.action]
    observations, acted = np.stack(seen), np.stack(actions)
    features, activity = look_inside(policy, observations, np.full(len(seen), dt_s, np.float32))
    shown = np.stack(pictures).repeat(stride, axis=0)[: len(seen)] if pictures else None
    speed = {} if np.isnan(speeds_mps).any() else {"speed [m/s]": np.array(speeds_mps)}
    is_direct = not policy.encoder_widths  # an encoder's features have no names
    return Audited(
        name=name,
        where=where.env,
        time_s=dt_s * np.arange(len(seen)),
        observations=observations,
        features=features,
        actions=acted,
        action_names=motors,
        activity=activity,
        signals={**speed, **dict(zip(motors, acted.T, strict=True))},
        sensor_names=sensors if is_direct else None,
        pictures=shown if shown is not None and len(shown) == len(seen) else None,
        notes=notes,
    )
