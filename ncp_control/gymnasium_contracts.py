"""Contracts of Gymnasium environments, and the adapter that keeps to them.

A Box of numbers becomes a vector, a Box of uint8 with two or three axes becomes frames. A Dict of
one Box of frames and others of numbers becomes the parts of a dict, a Dict of numbers alone one
vector. Entries that `gymnasium_names` knows have names and units. Actions of a Box become numbers
in [-1, 1]; Discrete and MultiDiscrete actions become choices.
"""

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import RescaleAction

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
from ncp_control.records import array_of, entries_of, numbers_in, pack, record_frame

_COLOURS = {1: "grey", 3: "RGB"}
_MOST_COLOURS = 4
"""Channels that a picture may have however few rows it has, as one of a line camera."""


def contract_of_env(
    env: gymnasium.Env,
    *,
    name: str,
    options: Mapping[str, Any] | None = None,
    frame_s: float | None = None,
) -> Contract:
    """Return what an environment shows and takes.

    Args:
        env: The environment.
        name: Name of the world.
        options: Options of the world.
        frame_s: Interval between frames [s]; what the environment says if None.

    Raises:
        ValueError: If a space is none that a policy can sense or command, or the environment does
            not say its frame interval.
    """
    return Contract(
        observation=observation_of(env.observation_space, known_entries(env)),
        action=actions_of(env.action_space, known_actions(env)),
        frame_s=frame_interval_s(env) if frame_s is None else frame_s,
        world=name,
        world_options=dict(options or {}),
    )


def observation_of(space: spaces.Space, entries: tuple[Entry, ...] = ()) -> ObservationContract:
    """Return the contract of an observation space.

    Args:
        space: The space.
        entries: Names, units and ranges of its numbers, where they are known and as many.

    Raises:
        ValueError: If it is no Box of numbers or frames, nor a Dict of them, or it is a Box of
            nothing, or of pictures in another form.
    """
    if isinstance(space, spaces.Box):
        _check_box(space)
    if isinstance(space, spaces.Dict):
        found = _parts_of(space)
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
    """Refuse a Box that has no entry, or pictures with channels first or of real numbers."""
    told = f"`observation_space` must {{}}, got {space.dtype} of shape {space.shape}. {{}}"
    if 0 in space.shape:
        raise ValueError(told.format("have entries", "Show at least one number."))
    if len(space.shape) != 3:
        return
    if space.dtype != np.uint8:
        remedy = "Show pictures as uint8 from 0 to 255, and numbers in one axis."
        raise ValueError(told.format("have one axis, or be a picture of uint8", remedy))
    if space.shape[2] > max(space.shape[0], _MOST_COLOURS):
        remedy = "Move the channels behind the width, e.g. with TransformObservation."
        raise ValueError(told.format("be height, width and channels", remedy))


def _parts_of(space: spaces.Dict) -> DictContract:
    """Return the contract of each part of a space; a single number has the name of its part.

    Raises:
        ValueError: If a part is no Box, or more than one shows frames.
    """
    parts: dict[str, FramesContract | VectorContract] = {}
    for name, part in space.spaces.items():
        if not isinstance(part, spaces.Box):
            raise ValueError(
                f"`observation_space` must have a Box as its part {name!r}, got {part!r}. Wrap the"
                " environment, or leave the part out with gymnasium.wrappers.FilterObservation."
            )
        seen = cast(FramesContract | VectorContract, observation_of(part))
        if isinstance(seen, VectorContract) and seen.size == 1:
            seen = VectorContract(entries=(replace(seen.entries[0], name=name),))
        parts[name] = seen
    frames = [name for name, part in parts.items() if isinstance(part, FramesContract)]
    if not parts or len(frames) > 1:
        told = f"frames as {frames}" if frames else "no part"
        raise ValueError(
            f"`observation_space` must be a Dict of one Box of frames and any of numbers, got"
            f" {told}. Show several cameras as channels of one frame."
        )
    return DictContract(parts=parts)


def actions_of(
    space: spaces.Space, known: tuple[ActionContract, ...] = ()
) -> tuple[ActionContract, ...]:
    """Return the contract of an action space.

    Args:
        space: The space.
        known: Contracts of its entries, where they are known and as many.

    Raises:
        ValueError: If it is no bounded Box of one axis, Discrete or MultiDiscrete.
    """
    if isinstance(space, spaces.Box) and not np.issubdtype(space.dtype, np.floating):
        raise ValueError(
            f"`action_space` must be a Box of real numbers, got {space!r}. Round them in the"
            " environment, or take choices as Discrete or MultiDiscrete."
        )
    if isinstance(space, spaces.Box) and len(space.shape) == 1 and space.is_bounded():
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


def frame_interval_s(env: gymnasium.Env) -> float:
    """Return the interval between two steps of an environment [s].

    Source: its own `dt` (MuJoCo's and Pendulum's), `tau` (CartPole's), or its rate of pictures.

    Raises:
        ValueError: If it says none.
    """
    for name in ("dt", "tau"):
        value = getattr(env.unwrapped, name, None)
        if isinstance(value, int | float) and value > 0:
            return float(value)
    rate_hz = env.metadata.get("render_fps")
    if rate_hz:
        return 1.0 / float(rate_hz)
    raise ValueError(
        f"`frame_s` must be given for {env!r}, which does not say it. Give the seconds between two"
        " steps: --world-options frame_s=0.02, or an attribute `dt` of the environment."
    )


class Adapted(gymnasium.Wrapper):
    """An environment that keeps to its contract.

    Takes actions as policies give them: numbers in [-1, 1], or the number of a choice, from 0.
    Observations are one array with the axes of the contract: height, width and channels, or one for
    numbers. Frames and numbers in a dictionary become a record, see `ncp_control.records`.
    `info` carries `time_s`, the time since the first frame [s], `dt_s`, that since the previous
    one, and `full_observation`, what is seen before any disturbance, for teachers.

    Args:
        env: The environment.
        contract: Its contract.
    """

    def __init__(self, env: gymnasium.Env, contract: Contract) -> None:
        self._is_choice = not isinstance(env.action_space, spaces.Box)
        self._is_single = isinstance(env.action_space, spaces.Discrete)
        if not self._is_choice and not _is_unit(env.action_space):
            kind = env.action_space.dtype.type  # type: ignore[union-attr]
            env = RescaleAction(env, kind(-1.0), kind(1.0))
        super().__init__(env)
        self.contract = contract
        self._steps = 0
        self._time_s: float | None = None  # told with the observation before
        self._first: Any = getattr(env.action_space, "start", 0)
        if np.any(self._first):
            self.action_space = _from_zero(env.action_space)
        self._shape, dtype = array_of(contract.observation)
        self._frame = record_frame(contract.observation)
        self._parts: DictContract | None = None
        if isinstance(env.observation_space, spaces.Dict):
            seen = contract.observation
            told = isinstance(seen, DictContract)  # which may have an order of its own
            self._parts = seen if told else _parts_of(env.observation_space)
            low, high = _ends(env.observation_space, dtype)
            self.observation_space = spaces.Box(low, high, self._shape, cast(Any, dtype))
        elif self._shape != env.observation_space.shape:
            box = cast(spaces.Box, env.observation_space)
            ends = box.low.reshape(self._shape), box.high.reshape(self._shape)
            self.observation_space = spaces.Box(*ends, dtype=cast(Any, box.dtype))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self._given("reset", self.env.reset(seed=seed, options=options), 2)
        self._steps, self._time_s = 0, None
        observation = self._shaped(observation)
        return observation, self._told(observation, info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Apply an action for one frame."""
        if self._is_choice:
            chosen = np.asarray(action).astype(np.int64) + self._first
            action = int(chosen.reshape(-1)[0]) if self._is_single else chosen
        given = self._given("step", self.env.step(action), 5)
        observation, reward, terminated, truncated, info = given
        self._steps += 1
        if not np.isfinite(reward):
            raise ValueError(
                f"`reward` of {self.contract.world!r} must be a finite number, got {reward} in step"
                f" {self._steps}. Mend the environment."
            )
        observation = self._shaped(observation)
        return observation, float(reward), terminated, truncated, self._told(observation, info)

    def _given(self, method: str, values: Any, count: int) -> Any:
        """Refuse what a method returned unless it is as many values as Gymnasium asks for."""
        if not isinstance(values, tuple) or len(values) != count:
            parts = {
                2: "(observation, info)",
                5: "(observation, reward, terminated, truncated, info)",
            }
            got = f"{len(values)} values" if isinstance(values, tuple) else type(values).__name__
            raise ValueError(
                f"`{method}` of {self.contract.world!r} must return {parts[count]}, got {got}."
                " Mend the environment."
            )
        return values

    def _shaped(self, observation: Any) -> Any:
        """Return an observation as one array.

        Raises:
            ValueError: If it is not what the contract says, or has numbers that are not finite.
        """
        if self._parts is not None:
            shaped = pack(observation, self._parts)
        else:
            shaped = np.asarray(observation)
            self._check_shape(shaped)
            shaped = shaped.reshape(self._shape)
        numbers = shaped if self._frame is None else numbers_in(shaped, self._frame)
        if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
            first = int(np.isfinite(numbers).argmin())
            entry = entries_of(self.contract.observation)[first]
            raise ValueError(
                f"`observation` of {self.contract.world!r} must be of finite numbers, got"
                f" {numbers[first]} as {entry.name!r} in step {self._steps}. Mend the environment."
            )
        return shaped

    def _check_shape(self, shown: np.ndarray) -> None:
        """Refuse frames of another shape or type, and another count of numbers."""
        space = cast(spaces.Box, self.env.observation_space)
        is_same = shown.size == math.prod(self._shape)
        if isinstance(self.contract.observation, FramesContract):
            is_same = (shown.shape, shown.dtype) == (space.shape, space.dtype)
        if not is_same:
            raise ValueError(
                f"`observation` of {self.contract.world!r} must be {space.dtype} of shape"
                f" {space.shape}, as its observation_space says, got {shown.dtype} of shape"
                f" {shown.shape}. Mend one of them."
            )

    def _told(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        """Return an info with the times and the observation, unless the environment tells them.

        Where it tells the time or the time since the frame before, the other follows from that.
        """
        frame_s, before_s = self.contract.frame_s, self._time_s
        times = {"time_s": self._steps * frame_s, "dt_s": frame_s}
        if "time_s" in info:
            if before_s is not None:
                times["dt_s"] = float(info["time_s"]) - before_s
        elif "dt_s" in info and self._steps:
            times["time_s"] = (before_s or 0.0) + float(info["dt_s"])
        told = times | {"full_observation": observation} | info
        is_told = not info.keys().isdisjoint(times)
        self._time_s = float(told["time_s"]) if is_told else None
        return told


def _ends(space: spaces.Dict, dtype: type[np.generic]) -> Any:
    """Return the lowest and highest values of the array that holds a Dict's parts."""
    if dtype == np.uint8:
        return 0, 255
    boxes = cast(Any, space.spaces).values()
    ends = ([box.low for box in boxes], [box.high for box in boxes])
    with np.errstate(over="ignore"):  # becomes infinite, which is no limit either
        return tuple(np.concatenate([np.ravel(one) for one in end]).astype(dtype) for end in ends)


def _from_zero(space: spaces.Space) -> spaces.Space:
    """Return the same choices, numbered from 0."""
    if isinstance(space, spaces.Discrete):
        return spaces.Discrete(int(space.n))
    return spaces.MultiDiscrete(cast(spaces.MultiDiscrete, space).nvec)


def _is_unit(space: spaces.Space) -> bool:
    box = cast(spaces.Box, space)
    return bool(np.all(box.low == -1.0) and np.all(box.high == 1.0))


def _unit(low: float, high: float) -> str:
    return "" if (low, high) == (-1.0, 1.0) else f"-1 is {low:g}, 1 is {high:g}"


def _choice(name: str, count: int) -> ActionContract:
    return ActionContract(
        name=name, range=(0.0, count - 1.0), choices=tuple(f"choice {i}" for i in range(count))
    )


@contextmanager
def silent_deprecations() -> Iterator[None]:
    """Keep MuJoCo from writing its note on HalfCheetah's `settotalmass` into the user's folder."""
    try:
        import mujoco
    except ImportError:
        yield
        return

    said: list[str] = []
    simulator = cast(Any, mujoco)  # a compiled module without stubs
    before = simulator.get_mju_user_warning()
    # MuJoCo ends the process if what it calls raises. A method of a list runs no Python code, in
    # which Ctrl-C or a warning that counts as an error would do that.
    simulator.set_mju_user_warning(said.append)
    try:
        yield
    finally:
        simulator.set_mju_user_warning(before)
    for message in said:
        if "settotalmass" not in message:
            warnings.warn(message, RuntimeWarning, stacklevel=3)
