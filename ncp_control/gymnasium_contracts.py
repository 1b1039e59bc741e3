"""Contracts of Gymnasium environments, derived from their spaces.

A Box of numbers becomes a vector; a uint8 Box with two or three axes becomes frames. A Dict of one
Box of frames and other Boxes of numbers becomes a dict of parts; a Dict of numbers alone becomes
one vector. Entries that `gymnasium_names` knows get names and units. Actions of a Box become
numbers in [-1, 1]; Discrete and MultiDiscrete actions become choices. `ncp_control.adapted` makes
an environment follow its contract.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces

from ncp_control.contract import (
    ActionContract,
    Contract,
    DictContract,
    Entry,
    FramesContract,
    ObservationContract,
    VectorContract,
)
from ncp_control.gymnasium_names import known_actions, known_entries
from ncp_control.ranges import is_number
from ncp_control.records import entries_of, sizes_of

_COLOURS = {1: "grey", 3: "RGB"}
_MOST_COLOURS = 4
"""A picture may have this many channels even if it has fewer rows, e.g. of a line camera."""


def contract_of_env(
    env: gymnasium.Env,
    *,
    name: str,
    options: Mapping[str, Any] | None = None,
    frame_s: float | None = None,
) -> Contract:
    """Derive the contract of an environment from its spaces.

    Args:
        env: The environment.
        name: Name of the world.
        options: Options of the world.
        frame_s: Interval between frames [s]; if None: taken from the environment.

    Raises:
        ValueError: If a policy cannot use a space, or the environment does not state its frame
            interval.
    """
    return Contract(
        observation=observation_of(env.observation_space, known_entries(env)),
        action=actions_of(env.action_space, known_actions(env)),
        frame_s=frame_interval_s(env, name) if frame_s is None else frame_s,
        world=name,
        world_options=dict(options or {}),
    )


def observation_of(space: spaces.Space, entries: tuple[Entry, ...] = ()) -> ObservationContract:
    """Return the contract of an observation space.

    Args:
        space: The space.
        entries: Known names, units and ranges of its numbers; ignored if their count differs.

    Raises:
        ValueError: If it is not a Box of numbers or frames or a Dict of them, or it is an empty
            Box, or a Box of pictures in another layout or dtype.
    """
    if isinstance(space, spaces.Box):
        _check_box(space)
    if isinstance(space, spaces.Dict):
        found = parts_of(space)
        parts = list(found.parts.values())
        if isinstance(parts[0], FramesContract) and len(parts) == 1:
            return parts[0]
        is_numbers = not any(isinstance(part, FramesContract) for part in parts)
        return VectorContract(entries=entries_of(found)) if is_numbers else found
    if isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) in (2, 3):
        height, width, channels = (*space.shape, 1)[:3]
        colour = _COLOURS.get(channels, f"{channels} channels")
        return FramesContract(shape=(height, width, channels), colour=colour)
    if isinstance(space, spaces.Box):
        low, high = space.low.reshape(-1), space.high.reshape(-1)
        if len(entries) == len(low):
            return VectorContract(entries=entries)
        ranges = zip(low.tolist(), high.tolist(), strict=True)
        named = [Entry(name=f"entry {i}", range=one) for i, one in enumerate(ranges)]
        return VectorContract(entries=tuple(named))
    raise ValueError(
        f"`observation_space` must be a Box of numbers or uint8 frames, or a Dict of them, got"
        f" {space!r}. Wrap the environment, e.g. with gymnasium.wrappers.FlattenObservation."
    )


def _check_box(space: spaces.Box) -> None:
    """Refuse an empty Box, and pictures with channels first or of floating-point numbers."""
    message = f"`observation_space` must {{}}, got {space.dtype} of shape {space.shape}. {{}}"
    if 0 in space.shape:
        raise ValueError(message.format("have entries", "Show at least one number."))
    if len(space.shape) != 3:
        return
    if space.dtype != np.uint8:
        remedy = "Show pictures as uint8 from 0 to 255, and numbers in one axis."
        raise ValueError(message.format("have one axis, or be a picture of uint8", remedy))
    if space.shape[2] > max(space.shape[0], _MOST_COLOURS):
        remedy = "Move the channels behind the width, e.g. with TransformObservation."
        raise ValueError(message.format("be height, width and channels", remedy))


def parts_of(space: spaces.Dict) -> DictContract:
    """Return the contract of each part of a Dict space; a single number is named after its part.

    Raises:
        ValueError: If a part is not a Box, or more than one part has frames.
    """
    parts: dict[str, FramesContract | VectorContract] = {}
    for name, part in space.spaces.items():
        if not isinstance(part, spaces.Box):
            raise ValueError(
                f"`observation_space` must have a Box as its part {name!r}, got {part!r}. Wrap the"
                " environment, or leave the part out with gymnasium.wrappers.FilterObservation."
            )
        contract = cast(FramesContract | VectorContract, observation_of(part))
        if isinstance(contract, VectorContract) and contract.size == 1:
            contract = VectorContract(entries=(replace(contract.entries[0], name=name),))
        parts[name] = contract
    frames = [name for name, part in parts.items() if isinstance(part, FramesContract)]
    if not parts or len(frames) > 1:
        got = f"frames as {frames}" if frames else "no part"
        raise ValueError(
            f"`observation_space` must be a Dict of one Box of frames and any of numbers, got"
            f" {got}. Show several cameras as channels of one frame."
        )
    return DictContract(parts=parts)


def actions_of(
    space: spaces.Space, known: tuple[ActionContract, ...] = ()
) -> tuple[ActionContract, ...]:
    """Return the contract of an action space.

    Args:
        space: The space.
        known: Known contracts of its entries; ignored if their count differs.

    Raises:
        ValueError: If it is not a bounded Box of one axis, Discrete or MultiDiscrete, or an entry
            of the Box cannot change.
    """
    if isinstance(space, spaces.Box) and not np.issubdtype(space.dtype, np.floating):
        raise ValueError(
            f"`action_space` must be a Box of real numbers, got {space!r}. Round them in the"
            " environment, or take choices as Discrete or MultiDiscrete."
        )
    if isinstance(space, spaces.Box) and len(space.shape) == 1 and space.is_bounded():
        if (fixed := np.flatnonzero(space.low >= space.high)).size:
            entry = int(fixed[0])
            raise ValueError(
                f"`action_space` must have low < high, got {space.low[entry]} to"
                f" {space.high[entry]} for action {entry}. Let the environment set an action that"
                " cannot change by itself."
            )
        if len(known) == space.shape[0]:
            return known
        ranges = enumerate(zip(space.low.tolist(), space.high.tolist(), strict=True))
        return tuple(
            ActionContract(name=f"action {i}", unit=_unit(low, high)) for i, (low, high) in ranges
        )
    if isinstance(space, spaces.Discrete):
        is_known = len(known) == 1 and len(known[0].choices) == space.n
        return known if is_known else (_choice("action", int(space.n)),)
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
        return tuple(_choice(f"action {i}", int(n)) for i, n in enumerate(space.nvec))
    raise ValueError(
        "`action_space` must be a bounded Box of one axis, Discrete or MultiDiscrete, got"
        f" {space!r}. Wrap the environment."
    )


def frame_interval_s(env: gymnasium.Env, name: str) -> float:
    """Return the interval between two steps of an environment [s].

    Source: its attribute `dt` (MuJoCo, Pendulum) or `tau` (CartPole), or its `render_fps`.

    Args:
        env: The environment.
        name: Name of the world in the error message.

    Raises:
        ValueError: If the environment has none of them.
    """
    for attribute in ("dt", "tau"):
        value: Any = getattr(env.unwrapped, attribute, None)
        if is_number(value) and value > 0:
            return float(value)
    rate_hz = env.metadata.get("render_fps")
    if rate_hz:
        return 1.0 / float(rate_hz)
    raise ValueError(
        f"`frame_s` must be given for the world {name!r}, which does not say it. Give the seconds"
        " between two steps: --world-options frame_s=0.02, or an attribute `dt` of the environment."
    )


def stated_of_env(stated: Contract, found: Contract, space: Any) -> Contract:
    """Check a contract that a user stated against an environment's spaces, and return it.

    An action whose range is the environment's own, e.g. -10 to 10 N, becomes a command from -1 to 1
    with the scale to that range.

    Args:
        stated: Contract that the user stated.
        found: Contract derived from the spaces.
        space: Action space of the environment.

    Raises:
        ValueError: If the sizes differ, or a range is neither that of commands nor the space's.
    """
    sizes = [(sizes_of(one.observation), len(one.action)) for one in (stated, found)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"`contract` must be of what the environment shows and of its number of actions,"
            f" {sizes[1]}, got {sizes[0]}. Give each of them an entry."
        )
    if stated.choices or found.choices:
        return stated
    ends = zip(space.low.tolist(), space.high.tolist(), strict=True)
    action = tuple(_scaled(*each) for each in zip(stated.action, ends, strict=True))
    return replace(stated, action=action)


def _scaled(entry: ActionContract, ends: tuple[float, float]) -> ActionContract:
    """Return an entry of a stated action as a command from -1 to 1, with its scale."""
    low, high = entry.range
    if entry.range == (-1.0, 1.0) or (ends == (-1.0, 1.0) and -1.0 <= low and high <= 1.0):
        return entry
    if entry.scale is not None or not np.allclose(entry.range, ends, rtol=1e-6):
        raise ValueError(
            f"`range` of the action {entry.name!r} must be [-1, 1], what a policy commands, or the"
            f" environment's own, {list(ends)}, got {list(entry.range)}. Leave it out, or state"
            " that of the environment's action_space."
        )
    scale = ((ends[0] + ends[1]) / 2.0, (ends[1] - ends[0]) / 2.0)
    return replace(entry, range=(-1.0, 1.0), scale=scale)


def _unit(low: float, high: float) -> str:
    return "" if (low, high) == (-1.0, 1.0) else f"-1 is {low:g}, 1 is {high:g}"


def _choice(name: str, count: int) -> ActionContract:
    return ActionContract(
        name=name, range=(0.0, count - 1.0), choices=tuple(f"choice {i}" for i in range(count))
    )


@contextmanager
def silent_deprecations() -> Iterator[None]:
    """Silence MuJoCo's deprecation note on HalfCheetah's `settotalmass`.

    Otherwise MuJoCo writes it into a file in the working folder. Other messages become warnings.
    """
    try:
        import mujoco
    except ImportError:
        yield
        return

    messages: list[str] = []
    simulator = cast(Any, mujoco)  # a compiled module without stubs
    before = simulator.get_mju_user_warning()
    # MuJoCo ends the process if its callback raises. `list.append` runs no Python code, in which
    # Ctrl-C or a warning turned into an error could raise.
    simulator.set_mju_user_warning(messages.append)
    try:
        yield
    finally:
        simulator.set_mju_user_warning(before)
    for message in messages:
        if "settotalmass" not in message:
            warnings.warn(message, RuntimeWarning, stacklevel=3)
