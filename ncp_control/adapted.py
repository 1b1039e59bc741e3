"""`Adapted`: wrapper that makes a Gymnasium environment follow its contract."""

import math
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import RescaleAction

from ncp_control.contract import Contract, DictContract, FramesContract
from ncp_control.gymnasium_contracts import parts_of
from ncp_control.json_files import shorten
from ncp_control.records import array_of, entries_of, numbers_in, pack, record_frame


class Adapted(gymnasium.Wrapper):
    """Wrapper that makes an environment follow its contract.

    Actions are numbers in [-1, 1], or the number of a choice, from 0. An observation is one array:
    a frame (height, width, channels) or numbers (n,). Frames and numbers in a Dict become a record,
    see `ncp_control.records`. `info` holds `time_s`, the time since the first frame [s], `dt_s`,
    the time since the previous frame [s], and `full_observation`, the observation before any
    disturbance, for experts.

    Args:
        env: The environment.
        contract: Contract of the environment.
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
        self._time_s: float | None = None  # time of the previous observation, if it was reported
        self._first: Any = getattr(env.action_space, "start", 0)
        if np.any(self._first):
            self.action_space = _from_zero(env.action_space)
        self._shape, dtype = array_of(contract.observation)
        self._frame = record_frame(contract.observation)
        self._parts: DictContract | None = None
        if isinstance(env.observation_space, spaces.Dict):
            observation = contract.observation
            is_dict = isinstance(observation, DictContract)  # its parts may be in another order
            self._parts = observation if is_dict else parts_of(env.observation_space)
            low, high = _ends(env.observation_space, dtype)
            self.observation_space = spaces.Box(low, high, self._shape, cast(Any, dtype))
        elif self._shape != env.observation_space.shape:
            box = cast(spaces.Box, env.observation_space)
            ends = box.low.reshape(self._shape), box.high.reshape(self._shape)
            self.observation_space = spaces.Box(*ends, dtype=cast(Any, box.dtype))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode.

        Raises:
            ValueError: If the environment's observation does not follow the contract.
        """
        observation, info = self._checked("reset", self.env.reset(seed=seed, options=options), 2)
        self._steps, self._time_s = 0, None
        observation = self._shaped(observation)
        return observation, self._with_times(observation, info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Apply an action for one frame.

        Raises:
            ValueError: If the environment's observation does not follow the contract, or its reward
                is not one finite number.
        """
        if self._is_choice:
            chosen = np.asarray(action).astype(np.int64) + self._first
            action = int(chosen.reshape(-1)[0]) if self._is_single else chosen
        result = self._checked("step", self.env.step(action), 5)
        observation, reward, terminated, truncated, info = result
        self._steps += 1
        number = np.asarray(reward)
        if number.size != 1 or number.dtype.kind not in "biuf" or not np.isfinite(number).all():
            raise ValueError(
                f"`reward` of {self.contract.world!r} must be a finite number, got"
                f" {shorten(number.tolist())} in step {self._steps}. Correct the environment's"
                " reward."
            )
        observation, reward = self._shaped(observation), float(number.item())
        return observation, reward, terminated, truncated, self._with_times(observation, info)

    def _checked(self, method: str, values: Any, count: int) -> Any:
        """Check that a method returned a tuple of `count` values, the last of them an info."""
        if not isinstance(values, tuple) or len(values) != count:
            parts = {
                2: "(observation, info)",
                5: "(observation, reward, terminated, truncated, info)",
            }
            got = f"{len(values)} values" if isinstance(values, tuple) else type(values).__name__
            raise ValueError(
                f"`{method}` of {self.contract.world!r} must return {parts[count]}, got {got}."
                f" Correct the environment's `{method}`."
            )
        if not isinstance(values[-1], dict):
            raise ValueError(
                f"`info` of {self.contract.world!r} must be a dict, got {shorten(values[-1])} from"
                f" `{method}`. Return {{}} if there is nothing to tell."
            )
        return values

    def _shaped(self, observation: Any) -> Any:
        """Return an observation as one array.

        Raises:
            ValueError: If it does not follow the contract, or a number is not finite.
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
                f" {numbers[first]} as {entry.name!r} in step {self._steps}. Correct the"
                " environment's observation."
            )
        return shaped

    def _check_shape(self, observation: np.ndarray) -> None:
        """Check the shape and dtype of frames, or the count of numbers."""
        space = cast(spaces.Box, self.env.observation_space)
        is_same = observation.size == math.prod(self._shape)
        if isinstance(self.contract.observation, FramesContract):
            is_same = (observation.shape, observation.dtype) == (space.shape, space.dtype)
        if not is_same:
            raise ValueError(
                f"`observation` of {self.contract.world!r} must be {space.dtype} of shape"
                f" {space.shape}, as its observation_space says, got {observation.dtype} of shape"
                f" {observation.shape}. Correct the observation or the space."
            )

    def _with_times(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        """Return an info with `time_s`, `dt_s` and `full_observation`.

        Values that the environment reports take precedence. If it reports only one of `time_s` and
        `dt_s`, the other is computed from it.
        """
        frame_s, before_s = self.contract.frame_s, self._time_s
        times = {"time_s": self._steps * frame_s, "dt_s": frame_s}
        if "time_s" in info:
            if before_s is not None:
                times["dt_s"] = float(info["time_s"]) - before_s
        elif "dt_s" in info and self._steps:
            times["time_s"] = (before_s or 0.0) + float(info["dt_s"])
        full_info = times | {"full_observation": observation} | info
        reports_time = not info.keys().isdisjoint(times)
        self._time_s = float(full_info["time_s"]) if reports_time else None
        return full_info


def _ends(space: spaces.Dict, dtype: type[np.generic]) -> Any:
    """Return the lowest and highest values of the array that a Dict observation becomes."""
    if dtype == np.uint8:
        return 0, 255
    boxes = cast(Any, space.spaces).values()
    ends = ([box.low for box in boxes], [box.high for box in boxes])
    with np.errstate(over="ignore"):  # an overflow becomes infinity, which means no limit
        return tuple(np.concatenate([np.ravel(one) for one in end]).astype(dtype) for end in ends)


def _from_zero(space: spaces.Space) -> spaces.Space:
    """Return the same choices, numbered from 0."""
    if isinstance(space, spaces.Discrete):
        return spaces.Discrete(int(space.n))
    return spaces.MultiDiscrete(cast(spaces.MultiDiscrete, space).nvec)


def _is_unit(space: spaces.Space) -> bool:
    box = cast(spaces.Box, space)
    return bool(np.all(box.low == -1.0) and np.all(box.high == 1.0))
