"""Names and units of observations and actions of Gymnasium's environments, as far as known.

For MuJoCo environments they come from the joints and actuators of the model, for others from
tables.
"""

from collections.abc import Mapping
from typing import Any, TypeVar, cast

import gymnasium
from gymnasium import spaces

from ncp_control.contract import ActionContract, Entry

_T = TypeVar("_T")
_FREE, _BALL, _SLIDE = 0, 1, 2
"""MuJoCo's joint types; the fourth type is a hinge."""

_CLASSIC = {
    "CartPole": "cart position [m], cart velocity [m/s], pole angle [rad], pole rate [rad/s]",
    "Pendulum": "cosine of the angle, sine of the angle, rate [rad/s]",
    "Acrobot": "cosine of angle 1, sine of angle 1, cosine of angle 2, sine of angle 2,"
    " rate 1 [rad/s], rate 2 [rad/s]",
    "MountainCar": "position, velocity",
}
"""Entries of Gymnasium's classic control. Source: the tables of its documentation."""


_COMMANDS = {
    "CarRacing": (
        ActionContract(name="steering", unit="share of the lock", positive="right"),
        ActionContract(name="gas", unit="-1 is none, 1 is full"),
        ActionContract(name="brake", unit="-1 is none, 1 is full"),
    ),
    "Pendulum": (ActionContract(name="torque", unit="share of 2 N m"),),
    "MountainCarContinuous": (ActionContract(name="force", positive="right"),),
}
"""Commands of environments without MuJoCo. Source: the tables of Gymnasium's documentation."""
_CHOICES = {
    "CarRacing": "do nothing, steer right, steer left, gas, brake",
    "CartPole": "push left, push right",
    "Acrobot": "torque -1, torque 0, torque 1",
    "MountainCar": "push left, do not push, push right",
    "LunarLander": "do nothing, fire left engine, fire main engine, fire right engine",
}
"""Choices of environments with discrete actions, in order. Source: as above."""


def known_entries(env: gymnasium.Env) -> tuple[Entry, ...]:
    """Return names and units of an environment's observed numbers; empty if unknown."""
    text = _of_environment(_CLASSIC, env)
    if text is None:
        return _joint_entries(env)
    split = [one.strip().rstrip("]").split(" [") for one in text.split(",")]
    return tuple(Entry(name=one[0], unit="".join(one[1:])) for one in split)


def known_actions(env: gymnasium.Env) -> tuple[ActionContract, ...]:
    """Return names and units of an environment's actions; empty, or without choices, if unknown."""
    if isinstance(env.action_space, spaces.Discrete):
        text = _of_environment(_CHOICES, env)
        choices = () if text is None else tuple(one.strip() for one in text.split(","))
        ends = (0.0, max(len(choices) - 1.0, 0.0))
        return (ActionContract(name="action", range=ends, choices=choices),)
    return _of_environment(_COMMANDS, env) or _actuators(env)


def _of_environment(table: Mapping[str, _T], env: gymnasium.Env) -> _T | None:
    """Return the value for an environment in a table by names without versions; None if missing."""
    return None if env.spec is None else table.get(env.spec.id.partition("-v")[0])


_ROOT = {
    "rootx": ("forward position", "forward velocity"),
    "rootz": ("height", "upward velocity"),
    "rooty": ("pitch", "pitch rate"),
}
"""Names of position and velocity of a planar body's root joints in MuJoCo's models."""


def _joint_entries(env: gymnasium.Env) -> tuple[Entry, ...]:
    """Return names and units of a MuJoCo environment's observation.

    They come from the joints of the model: a slide joint is in metres, a hinge in radians, a free
    joint has a position and a quaternion. External forces are named after the model's bodies.
    """
    body = cast(Any, env.unwrapped)
    table, model = getattr(body, "observation_structure", None), getattr(body, "model", None)
    if not table or model is None or not isinstance(env.observation_space, spaces.Box):
        return ()
    positions, velocities = [], []
    for i in range(model.njnt):
        more_positions, more_velocities = _coordinates(model.joint(i).name, int(model.jnt_type[i]))
        positions += more_positions
        velocities += more_velocities
    # Environments leave out the first positions: the place of the body on the ground.
    skipped = table.get("skipped_qpos", 0)
    named = positions[skipped:][: table.get("qpos", 0)] + velocities[: table.get("qvel", 0)]
    for key in table:
        if key == "cfrc_ext":
            for one in [model.body(i).name or f"body {i}" for i in range(1, model.nbody)]:
                named += [(f"{one} torque {axis}", "N m") for axis in "xyz"]
                named += [(f"{one} force {axis}", "N") for axis in "xyz"]
        elif key not in ("skipped_qpos", "qpos", "qvel"):
            named += [(f"{key} {i}", "") for i in range(table[key])]
    # A wrapper may show only the positions, which come first.
    size = env.observation_space.shape[0]
    named = named[:size] if size in (table.get("qpos", 0), len(named)) else []
    return tuple(Entry(name=name, unit=unit) for name, unit in named)


def _coordinates(joint: str, kind: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return names and units of a joint's positions and of its velocities."""
    name = _plain(joint)
    if kind == _FREE or kind == _BALL:
        place = [(f"{name} {axis}", "m") for axis in "xyz"] if kind == _FREE else []
        speed = [(f"{name} velocity {axis}", "m/s") for axis in "xyz"] if kind == _FREE else []
        turned = [(f"{name} quaternion {axis}", "") for axis in "wxyz"]
        return place + turned, speed + [(f"{name} rate {axis}", "rad/s") for axis in "xyz"]
    unit, position, change = (
        ("m", "position", "velocity") if kind == _SLIDE else ("rad", "angle", "rate")
    )
    position, change = _ROOT.get(joint, (f"{name} {position}", f"{name} {change}"))
    return [(position, unit)], [(change, f"{unit}/s")]


def _plain(joint: str) -> str:
    """Return e.g. "left thigh" for "thigh_left_joint"."""
    part, _, side = joint.removesuffix("_joint").partition("_")
    return f"{side} {part}".strip() or "joint"


def _actuators(env: gymnasium.Env) -> tuple[ActionContract, ...]:
    """Return the actuators of a MuJoCo environment, named after the joints that they move.

    A command is a share of the largest torque or force: the gear times the upper end of the control
    range.
    """
    model = getattr(cast(Any, env.unwrapped), "model", None)
    if model is None or not hasattr(model, "nu"):
        return ()
    entries = []
    for i in range(model.nu):
        joint = int(model.actuator_trnid[i, 0])
        moves = "force" if int(model.jnt_type[joint]) == _SLIDE else "torque"
        name = f"{_plain(model.joint(joint).name)} {moves}"
        largest = float(model.actuator_gear[i, 0] * model.actuator_ctrlrange[i, 1])
        unit = "N" if moves == "force" else "N m"
        entries.append(ActionContract(name=name, unit=f"share of {largest:g} {unit}"))
    return tuple(entries)
