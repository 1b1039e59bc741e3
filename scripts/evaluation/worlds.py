"""Environments by name: places to evaluate in, returns of episodes, and their table."""

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from envs.faults import disturbances_of
from ncp_control import files
from ncp_control.contract import VectorContract
from ncp_control.keyword_options import read_options, write_options
from ncp_control.policy import FramesPolicy, Policy
from ncp_control.worlds import World, check_home, find_world, full_name, short_name_of
from scripts.disturbances import DISTURBANCES
from scripts.evaluation.places import DRIVING_WORLD, Place, check_fit, measured_options
from scripts.evaluation.tables import Measured, of_returns, results_table, returns_of_each
from scripts.reporting import csv_text


@dataclass(frozen=True, kw_only=True)
class WorldSettings:
    """Environment with disturbances, and episodes, for the evaluation of a policy."""

    env: str
    """Name of the environment, e.g. halfcheetah, walker2d or gymnasium:Hopper-v5."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the environment, by name."""
    strengths: Mapping[str, float] = field(default_factory=dict)
    """Strength of each disturbance by name."""
    episodes: int = 20
    """Number of episodes."""
    seed: int = 10_000
    """Seed of the first episode; the others count up from it."""

    @property
    def world(self) -> World:
        """The environment without disturbances."""
        return open_world(self.env, self.options)

    @property
    def observe(self) -> str:
        """Option `observe` of the environment; full if it is not given."""
        return str(self.options.get("observe", "full"))

    @property
    def words(self) -> tuple[str, ...]:
        """Name of the environment, observation, and further options as name=value, for tables."""
        options = [
            f"{name}={json.dumps(value)}"
            for name, value in self.options.items()
            if name != "observe"
        ]
        return (self.env, self.observe, *options)

    @property
    def in_words(self) -> str:
        """Environment and observation for messages."""
        return f"{self.env!r} with observe={self.observe!r}"

    @property
    def place(self) -> Place:
        """The place for these settings, with disturbances."""
        return place_in(self.world, self.words, self.strengths, self.episodes, self.seed)

    def make_world(self, render_mode: str | None = None, **rendering: Any) -> gymnasium.Env:
        """Build one environment with its disturbances.

        Args:
            render_mode: Render mode of Gymnasium, e.g. "rgb_array".
            **rendering: Settings of the render camera; ignored by environments without one.
        """
        settings = rendering if self.world.has_camera else {}
        return self.place.disturbed.make(render_mode=render_mode, **settings)

    def held_out(self) -> "WorldSettings":
        """Return the settings for evaluation: on held-out tracks, if the environment has tracks.

        In RoadDriving-v0 the car is also put back after a crash. Given options are kept.
        """
        return self._on("held_out")

    def validation(self) -> "WorldSettings":
        """Return the settings for validation: on validation tracks, if the environment has tracks.

        Everything else is as in `held_out`.
        """
        return self._on("validation")

    def _on(self, tracks: str) -> "WorldSettings":
        options = measured_options(full_name(self.env), self.options, tracks=tracks)
        return replace(self, options=options)


def place_in(
    world: World,
    place_words: Sequence[str],
    strengths: Mapping[str, float],
    episodes: int,
    seed: int,
) -> Place:
    """Return a place in an environment whose episodes start from seeds, without reset options.

    Args:
        world: The environment.
        place_words: Name of the environment for tables, observation, and further options.
        strengths: Strength of each disturbance by name.
        episodes: Number of episodes.
        seed: Seed of the first episode; the others count up from it.
    """
    texts = {name: f"{strengths.get(name, 0):g}" for name in DISTURBANCES}
    words = [*place_words, *(f"{k}={text}" for k, text in texts.items()), f"episodes={episodes}"]
    return Place(
        world=world,
        seeds=range(seed, seed + episodes),
        strengths=strengths,
        labels={
            "env": place_words[0],
            "observed": place_words[1],
            **texts,
            "episodes": f"{episodes}",
        },
        described=" ".join(words),
        where=place_words[0],
    )


Row = tuple[str, WorldSettings, np.ndarray]
"""Model, environment with disturbances, and return of each episode."""


def open_world(name: str, options: Mapping[str, Any] | None = None) -> World:
    """Return an environment with its possible disturbances.

    Args:
        name: A name known to `find_world`.
        options: Options of the environment, by name.

    Raises:
        ValueError: If the name or an option is unknown.
    """
    return _open(name, *write_options(options or {}))


@functools.cache
def _open(name: str, *words: str) -> World:
    world = find_world(name, **read_options(words))
    return replace(world, disturbances=world.disturbances or disturbances_of(world.contract))


def check_continuous(env: str, world: World) -> None:
    """Raise ValueError unless observations are numbers and actions are continuous."""
    has_frames = not isinstance(world.contract.observation, VectorContract)
    if has_frames or world.contract.choices:
        reason = "which shows frames" if has_frames else "whose actions are choices"
        raise ValueError(
            f"`world` must show numbers and take continuous actions, got {env!r}, {reason}. Train"
            " there with `train.py ppo`, which takes both."
        )


def plain_stem(env: str) -> str:
    """Return the name of an environment for use in file names, e.g. "Hopper-v5"."""
    return re.sub(r"[^\w.-]", "-", env.removeprefix("gymnasium:"))


def home_of(policy: Policy) -> WorldSettings:
    """Return the environment of a policy's contract.

    Raises:
        ValueError: If its contract names no environment, or an unknown one.
    """
    contract = policy.contract
    if contract is None or not contract.world:
        raise ValueError(
            "`world` must be given for a policy whose config.json has no contract with a world, got"
            " None. Name the world that it was trained in, e.g. --world walker2d. A policy that"
            " learned from a recording takes --log; one of a time series takes the rows that its"
            " training wrote, e.g. --log runs/RUN/demonstrations/test."
        )
    check_home(contract)
    return WorldSettings(env=short_name_of(contract.world), options=contract.world_options)


def where_to_act(policy: Policy, world: str | None, words: Sequence[str]) -> WorldSettings:
    """Return the environment for a policy to act in.

    Args:
        policy: The policy. With frames and without a contract it drives in `DRIVING_WORLD`.
        world: Name of the environment; None for that of the policy's contract.
        words: Options as name=value, which replace those of the contract.
    """
    where = WorldSettings(env=world or DRIVING_WORLD)
    if world is None and (policy.contract is not None or not isinstance(policy, FramesPolicy)):
        where = home_of(policy)
    asked = measured_options(full_name(where.env), read_options(words))
    return replace(where, options={**where.options, **asked})


def returns_in(policy: Policy, where: WorldSettings) -> np.ndarray:
    """Run a policy and return the return of each episode, shape (episodes,)."""
    check_fit("policy", policy, where.world, where.in_words)
    return np.array([episode.total_reward for episode in where.place.run(policy)])


def mean_and_std(returns: np.ndarray) -> dict[str, float]:
    """Return `mean_return` and `std_return`, the standard deviation; NaN for a single episode."""
    std = float(returns.std(ddof=1)) if len(returns) > 1 else math.nan
    return {"mean_return": float(returns.mean()), "std_return": std}


def measured_returns(model: str, where: WorldSettings, returns: np.ndarray) -> Measured:
    """Return the measures of a model in a place, from the return of each episode."""
    place = where.place
    return Measured(
        model=model,
        labels=place.labels,
        measures=of_returns(returns),
        returns=returns,
        strengths=place.strengths,
    )


def returns_table(rows: Sequence[Row]) -> str:
    """Return a table of mean returns with their standard deviation and 95 % interval."""
    return results_table([measured_returns(*row) for row in rows])


def write_returns(path: Path, rows: Sequence[Row]) -> None:
    """Write the return of each episode as CSV: a line for each model, setting and episode."""
    table = returns_of_each([measured_returns(*row) for row in rows])
    files.write_file(path, csv_text(*table))
