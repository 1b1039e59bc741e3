"""Link to a world of our own, e.g. `--link world` for the world of the policy's contract.

    --link world:LaneKeeping-v0 --link-options tracks=held_out episode_s=120 seed=3

The world advances with the loop's clock: it takes one step for each elapsed frame interval, with
the last command. A command thus takes effect at the next frame, as on a robot.
"""

import threading
from typing import Any

import numpy as np

from ncp_control.contract import Contract
from ncp_control.keyword_options import check_options
from ncp_control.loop.clocks import Clock
from ncp_control.loop.link import LinkEnded, Reading, with_unread
from ncp_control.ranges import check_count
from ncp_control.worlds import WORLDS, World, check_home, find_world, full_name

_SLACK_S = 1e-9


class WorldLink:
    """Link to a world's environment.

    Args:
        world: The world.
        clock: The loop's clock.
        seed: Seed of the episode.
        reset_options: Options of the environment's reset.

    Attributes:
        has_failed: Whether the world terminated the episode early, e.g. by a crash or a fall.
    """

    def __init__(
        self, world: World, clock: Clock, *, seed: int = 0, reset_options: Any = None
    ) -> None:
        self.contract = world.contract
        self._world, self._clock, self._env = world, clock, world.make()
        self._is_braking = False
        # While a step takes long, `stop` comes from another thread, which must not step itself.
        self._stepping, self._is_to_stop = threading.RLock(), False
        action = [entry.neutral for entry in world.contract.action]
        kind = np.int64 if world.contract.choices else np.float32
        self._neutral = self._command = np.array(action, kind)
        observation, info = self._env.reset(seed=seed, options=reset_options)
        self._next_s = clock.now_s()
        self.has_failed = False
        self._end: str | None = None
        self._reading: Reading | None = self._make_reading(observation, info, 0.0)

    def read(self, timeout_s: float) -> Reading | None:
        """Advance the world to now, or to its next frame if that comes within the timeout."""
        with self._stepping:
            self._advance()
            if self._reading is None and self._end is None:
                until_s = min(self._next_s, self._clock.now_s() + timeout_s)
                self._clock.sleep_until(until_s)
                self._advance()
            reading, self._reading = self._reading, None
        if reading is None and self._end is not None:
            raise LinkEnded(self._end)
        return reading

    def send(self, command: np.ndarray) -> None:
        """Set the command that applies from the next frame on."""
        with self._stepping:
            self._is_to_stop = False
            self._advance()
            self._brake(False)
            self._command = np.array(command)

    def stop(self) -> None:
        """Brake, keeping the last steering; a body without a brake gets a neutral command."""
        self._is_to_stop = True
        if not self._stepping.acquire(blocking=False):
            return  # it brakes before its next step
        try:
            self._advance()
            self._brake(True)
        finally:
            self._stepping.release()

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _brake(self, is_braking: bool) -> None:
        self._is_braking = is_braking
        if self._world.brake is not None:
            self._world.brake(self._env, is_braking)
        elif is_braking:
            self._command = self._neutral

    def _advance(self) -> None:
        while self._end is None and self._next_s <= self._clock.now_s() + _SLACK_S:
            if self._is_to_stop and not self._is_braking:
                self._brake(True)
            observation, reward, terminated, truncated, info = self._env.step(self._command)
            reading = self._make_reading(observation, info, float(reward))
            self._reading = with_unread(reading, self._reading)
            if terminated or truncated:
                self.has_failed = terminated
                reason = "it crashed or fell" if terminated else "its time is over"
                self._end = f"the episode ended: {reason}"

    def _make_reading(self, observation: Any, info: dict[str, Any], reward: float) -> Reading:
        time_s = self._next_s
        self._next_s += self.contract.frame_s
        numbers = {key: float(value) for key, value in info.items()
                if np.ndim(value) == 0 and np.asarray(value).dtype.kind in "biuf"}  # fmt: skip
        numbers |= {"reward": reward, "is_braking": float(self._is_braking)}
        return Reading(observation=np.asarray(observation), time_s=time_s, info=numbers)


def open_world_link(
    contract: Contract, target: str, *, clock: Clock, seed: int = 0, **options: Any
) -> WorldLink:
    """Open a link to a world by name.

    Args:
        contract: The policy's contract.
        target: The world's name or short name. If empty: the world of the policy's contract, with
            its options.
        clock: The loop's clock.
        seed: Seed of the episode.
        options: Further options of the world.

    Raises:
        ValueError: If there is no such world or option, or the policy does not fit it.
    """
    check_count("seed", seed, least=0)
    name = target or contract.world
    if not name:
        raise ValueError(
            "`link` must name a world for a policy whose contract names none, got 'world'. Write"
            " --link world:NAME."
        )
    if not WORLDS and ":" not in name:
        raise ValueError(
            f"`link` must be a world of Gymnasium or of your own where no others are known, got"
            f" {name!r}. The worlds of ncp-control come with a clone, not with the wheel: run"
            " scripts/run.py there, or name one as world:gymnasium:ID or world:MODULE:FUNCTION."
        )
    if not target:
        check_home(contract)
    own = contract.world_options if full_name(name) == contract.world else {}
    factory = WORLDS.get(full_name(name))
    if factory is not None:  # the options that the user gave; `find_world` checks all of them
        check_options("link_options", options, factory, besides=["seed"])
    world = find_world(name, **{**own, **options})
    world.check_policy(contract)
    return WorldLink(world, clock, seed=seed)
