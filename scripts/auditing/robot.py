"""A robot that walks, and what its sensors and motors are called.

The names come from the compiled MuJoCo model: a joint of HalfCheetah-v5 or Walker2d-v5 gives one
position, one rate and, if a motor moves it, one action.
"""

from typing import Any

import numpy as np

from policies.locomotion import LocomotionPolicy
from scripts.auditing.episode import Audited
from scripts.evaluation.episode import look_inside
from scripts.evaluation.locomotion import WalkSettings
from scripts.evaluation.opengl import headless_opengl

_PICTURE_SIZE_PX = (240, 160)
_MAX_PICTURES = 150
_SLIDE, _HINGE = 2, 3
"""MuJoCo's numbers of the joint types that have one coordinate."""
_ROOT = {
    "rootx": ("forward position", "forward velocity"),
    "rootz": ("height", "upward velocity"),
    "rooty": ("pitch", "pitch rate"),
}
"""Coordinates of the body as a whole, which the models call by the axis."""


def sensor_names(world: Any) -> list[str] | None:
    """Return a name with its unit for each entry of the observation, e.g. "bthigh angle [rad]".

    Args:
        world: A Gymnasium MuJoCo environment of version 5.

    Returns:
        The names; None if the model has other joints than slides and hinges, or the observation
        holds more than positions and velocities.
    """
    model, body = world.unwrapped.model, world.unwrapped.observation_structure
    joints = [model.joint(i) for i in range(model.njnt)]
    kinds = [int(joint.type[0]) for joint in joints]
    if not set(kinds) <= {_SLIDE, _HINGE}:
        return None
    positions, rates = [], []
    for joint, kind in zip(joints, kinds, strict=True):
        plain = _plain(joint.name)
        position, rate = _ROOT.get(joint.name, (f"{plain} angle", f"{plain} rate"))
        unit = "m" if kind == _SLIDE else "rad"
        positions.append(f"{position} [{unit}]")
        rates.append(f"{rate} [{unit}/s]")
    names = positions[body["skipped_qpos"] :] + rates
    size = world.observation_space.shape[0]
    return names[:size] if size in (body["qpos"], len(names)) else None


def action_names(world: Any) -> list[str]:
    """Return a name for each entry of the action, e.g. "bthigh torque", a share of full torque."""
    model = world.unwrapped.model
    joints = [model.joint(int(model.actuator(i).trnid[0])) for i in range(model.nu)]
    return [f"{_plain(joint.name)} torque" for joint in joints]


def _plain(joint: str) -> str:
    """Return e.g. "left thigh" for "thigh_left_joint"."""
    part, _, side = joint.removesuffix("_joint").partition("_")
    return f"{side} {part}".strip()


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
    sensors, motors = sensor_names(world), action_names(world)
    world.close()
    observations, acted = np.stack(seen), np.stack(actions)
    features, activity = look_inside(policy, observations, np.full(len(seen), dt_s, np.float32))
    shown = np.stack(pictures).repeat(stride, axis=0)[: len(seen)] if pictures else None
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
        signals={"speed [m/s]": np.array(speeds_mps), **dict(zip(motors, acted.T, strict=True))},
        sensor_names=sensors if is_direct else None,
        pictures=shown if shown is not None and len(shown) == len(seen) else None,
        notes=notes,
    )
