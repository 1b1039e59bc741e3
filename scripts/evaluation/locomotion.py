"""Worlds of numbers put together: where a policy is measured, its returns, and their table."""

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from envs.faults import disturbances_of
from ncp_control import files
from ncp_control.contract import VectorContract
from ncp_control.keyword_options import read_options
from ncp_control.policy import FramesPolicy, Policy
from ncp_control.worlds import World, check_home, find_world, full_name, short_name_of
from scripts.disturbances import DISTURBANCE_OF, DISTURBANCES
from scripts.evaluation.places import (
    DRIVING_WORLD,
    Place,
    check_fit,
    measured_options,
    validation_options,
)
from scripts.evaluation.tables import Measured, of_returns, results_table, returns_of_each
from scripts.reporting import csv_text


@dataclass(frozen=True, kw_only=True)
class WalkSettings:
    """Where a policy walks to be measured."""

    env: str
    """halfcheetah, walker2d, or another world of numbers, e.g. gymnasium:Hopper-v5."""
    observe: str = "full"
    """full, or what else the world's option `observe` takes, e.g. positions."""
    options: tuple[str, ...] = ()
    """Further options of the world as name=value."""
    sensor_noise_std: float = 0.0
    """Deviation of the noise on each entry of the observation, in its own unit."""
    drop_probability: float = 0.0
    """Share of frames that are dropped."""
    overwrite_probability: float = 0.0
    """Share of frames in which the body gets a random action."""
    delay_steps: int = 0
    """Frames between choosing an action and its effect."""
    episodes: int = 20
    """Episodes, each in a world of its own."""
    seed: int = 10_000
    """Seed of the first world; the others count up from it."""

    @property
    def world(self) -> World:
        """The world without disturbances."""
        return open_world(self.env, self.words)

    @property
    def words(self) -> tuple[str, ...]:
        """All options of the world as name=value."""
        return words_of(self.observe, self.options)

    @property
    def strengths(self) -> dict[str, float]:
        """Strength of each disturbance by its name."""
        return {short: getattr(self, name) for name, short in DISTURBANCE_OF.items()}

    @property
    def place(self) -> Place:
        """Where the policy is measured, disturbances included."""
        told = (self.env, self.observe, *self.options)
        return place_in(self.world, told, self.strengths, self.episodes, self.seed)

    def make_world(self, render_mode: str | None = None, **rendering: Any) -> gymnasium.Env:
        """Build one environment with its disturbances.

        Args:
            render_mode: How it is drawn, e.g. "rgb_array".
            **rendering: Settings of the camera, in worlds that have one; of no use elsewhere.
        """
        settings = rendering if self.world.has_camera else {}
        return self.place.disturbed.make(render_mode=render_mode, **settings)

    def held_out(self) -> "WalkSettings":
        """Return the same as it is measured: on tracks that nobody learns on, where it has tracks.

        On the road the car is put back after a crash. Options that were asked for stay.
        """
        options = measured_options(full_name(self.env), read_options(self.options))
        return replace(self, options=words_of("full", options))

    def validation(self) -> "WalkSettings":
        """Return the same as it chooses a checkpoint: on the validation tracks, where it has such.

        All else is as in `held_out`.
        """
        options = validation_options(full_name(self.env), read_options(self.options))
        return replace(self, options=words_of("full", options))

    def describe(self) -> str:
        """Return all but the seed as one cell of the results file."""
        return self.place.described


def place_in(
    world: World, told: Sequence[str], strengths: Mapping[str, float], episodes: int, seed: int
) -> Place:
    """Return a place in a world whose episodes begin by their seeds alone.

    Args:
        world: The world.
        told: Its name for tables, what is observed, and its further options.
        strengths: Strength of each disturbance by name.
        episodes: How many.
        seed: Seed of the first episode; the others count up from it.
    """
    texts = {name: f"{strengths.get(name, 0):g}" for name in DISTURBANCES}
    words = [*told, *(f"{k}={text}" for k, text in texts.items()), f"episodes={episodes}"]
    return Place(
        world=world,
        seeds=range(seed, seed + episodes),
        strengths=strengths,
        labels={"env": told[0], "observed": told[1], **texts, "episodes": f"{episodes}"},
        described=" ".join(words),
        where=told[0],
    )


Row = tuple[str, WalkSettings, np.ndarray]
"""Model, where it walked, return of each episode."""


@functools.cache
def open_world(name: str, options: tuple[str, ...] = ()) -> World:
    """Return a world with the disturbances that suit it.

    Args:
        name: A name that `find_world` knows.
        options: Options of the world as name=value.

    Raises:
        ValueError: If the name or an option is unknown.
    """
    world = find_world(name, **read_options(options))
    return replace(world, disturbances=world.disturbances or disturbances_of(world.contract))


def check_continuous(env: str, world: World) -> None:
    """Raise ValueError unless a world shows numbers and takes continuous actions."""
    contract = world.contract
    if not isinstance(contract.observation, VectorContract) or any(
        entry.choices for entry in contract.action
    ):
        raise ValueError(
            f"`world` must show numbers and take continuous actions, got {env!r}, which shows"
            f" {contract.observation.kind} and takes {contract.action[0].name!r}."
        )


def plain_stem(env: str) -> str:
    """Return the name of a world as a part of a file's name, e.g. "Hopper-v5"."""
    return re.sub(r"[^\w.-]", "-", env.removeprefix("gymnasium:"))


def home_of(policy: Policy) -> tuple[str, str, tuple[str, ...]]:
    """Return the world of a policy as jobs name it, what it observes there, and further options.

    Raises:
        ValueError: If its contract names none, or one that is not known here.
    """
    contract = policy.contract
    if contract is None or not contract.world:
        raise ValueError(
            "`world` must be given for a policy whose config.json has no contract with a world, got"
            " None. Name the world that it was trained in, e.g. --world walker2d. A policy that"
            " learned from a recording takes --log; one of a time series acts nowhere, and its"
            " training has measured it."
        )
    check_home(contract)
    options = dict(contract.world_options)
    observe = str(options.pop("observe", "full"))
    return short_name_of(contract.world), observe, words_of("full", options)


def where_to_act(
    policy: Policy, world: str | None, words: Sequence[str]
) -> tuple[str, str, tuple[str, ...]]:
    """Return a world for a policy, what it observes there, and further options, as `home_of` does.

    Args:
        policy: Who is to act. One on frames without a contract drives in `DRIVING_WORLD`.
        world: The world; the policy's own if None.
        words: Options as name=value, which replace those of its own world.
    """
    known: tuple[str, str, tuple[str, ...]] = (world or DRIVING_WORLD, "full", ())
    if world is None and (policy.contract is not None or not isinstance(policy, FramesPolicy)):
        known = home_of(policy)
    options = {"observe": known[1], **read_options(known[2])}
    options |= measured_options(known[0], read_options(words))
    seen = str(options.pop("observe"))
    return known[0], seen, words_of("full", options)


def words_of(observe: str, options: Mapping[str, Any] | Sequence[str]) -> tuple[str, ...]:
    """Return options of a world as name=value."""
    if isinstance(options, Mapping):
        options = [f"{name}={json.dumps(value)}" for name, value in options.items()]
    return (*options,) if observe == "full" else (f"observe={observe}", *options)


def walk(policy: Policy, where: WalkSettings) -> np.ndarray:
    """Return the return of each episode, shape (episodes,)."""
    check_observation("policy", policy, where)
    return np.array([episode.total_reward for episode in where.place.run(policy)])


def check_observation(name: str, policy: Policy, where: WalkSettings) -> None:
    """Compare a policy with the world that it is to act in, see `check_fit`."""
    check_fit(name, policy, where.world, f"{where.env!r} with observe={where.observe!r}")


def mean_and_std(returns: np.ndarray) -> dict[str, float]:
    """Return `mean_return` and `std_return`; NaN is the deviation of one episode."""
    std = float(returns.std(ddof=1)) if len(returns) > 1 else math.nan
    return {"mean_return": float(returns.mean()), "std_return": std}


def measured_walk(model: str, where: WalkSettings, returns: np.ndarray) -> Measured:
    """Return what a model earned where, from the return of each episode."""
    place = where.place
    return Measured(
        model=model,
        labels=place.labels,
        measures=of_returns(returns),
        returns=returns,
        strengths=place.strengths,
    )


def returns_table(rows: Sequence[Row]) -> str:
    """Return a table of mean returns with their deviation and 95 % interval."""
    return results_table([measured_walk(*row) for row in rows])


def write_returns(path: Path, rows: Sequence[Row]) -> None:
    """Write every episode's return as CSV: a line per model, setting and episode."""
    table = returns_of_each([measured_walk(*row) for row in rows])
    files.write_file(path, csv_text(*table))
