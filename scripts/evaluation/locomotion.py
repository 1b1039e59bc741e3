"""Worlds of numbers put together: where a policy is measured, its returns, and their table."""

import csv
import dataclasses
import functools
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
from scipy import stats

from envs.locomotion import WORLDS as BODIES
from envs.locomotion import disturb
from ncp_control import files
from ncp_control.contract import VectorContract
from ncp_control.learning.closed_loop import PolicyPilot
from ncp_control.learning.rollouts import episode_returns
from ncp_control.names import check_name
from ncp_control.policy import Policy
from ncp_control.worlds import World, find_world, read_options, world_names
from scripts.markdown import markdown_table

DISTURBANCES = {
    "sensor_noise_std": "noise",
    "drop_probability": "drop",
    "overwrite_probability": "overwrite",
    "delay_steps": "delay",
}
"""What can be put between a policy and its body, with the short names of tables."""


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
        """The world without disturbances.

        Raises:
            ValueError: If it does not show numbers or take continuous actions.
        """
        return world_named(self.env, self.observe, self.options)

    @property
    def words(self) -> tuple[str, ...]:
        """All options of the world as name=value."""
        return (
            self.options if self.observe == "full" else (f"observe={self.observe}", *self.options)
        )

    @property
    def max_steps(self) -> int:
        """Steps after which an episode is over."""
        return self.world.max_steps

    def make_world(self, render_mode: str | None = None, **rendering: Any) -> gymnasium.Env:
        """Build one environment with its disturbances.

        Args:
            render_mode: How it is drawn, e.g. "rgb_array".
            **rendering: Settings of the camera of halfcheetah and walker2d; of no use elsewhere.
        """
        settings = rendering if self.env in BODIES else {}
        env = self.world.make(render_mode=render_mode, **settings)
        return disturb(env, **{name: getattr(self, name) for name in DISTURBANCES})

    def describe(self) -> str:
        """Return all but the seed as one cell of the results file."""
        disturbances = [f"{short}={getattr(self, name):g}" for name, short in DISTURBANCES.items()]
        return " ".join(
            [self.env, self.observe, *self.options, *disturbances, f"episodes={self.episodes}"]
        )


Row = tuple[str, WalkSettings, np.ndarray]
"""Model, where it walked, return of each episode."""


@functools.cache
def open_world(name: str, options: tuple[str, ...] = ()) -> World:
    """Return a world by its name or short name.

    Args:
        name: halfcheetah, walker2d, or a name that `find_world` knows.
        options: Options of the world as name=value.

    Raises:
        ValueError: If the name or an option is unknown.
    """
    if ":" not in name:
        known = [*BODIES, *world_names()]
        check_name("world", name, [*known, "gymnasium:<id>", "<module>:<function>"])
    return find_world(BODIES.get(name, name), **read_options(options))


def world_named(env: str, observe: str = "full", options: tuple[str, ...] = ()) -> World:
    """Return a world of numbers and continuous actions.

    Args:
        env: halfcheetah, walker2d, or a name that `find_world` knows.
        observe: full, or what else its option `observe` takes.
        options: Further options as name=value.

    Raises:
        ValueError: If the name is unknown, or the world shows or takes something else.
    """
    world = open_world(env, WalkSettings(env=env, observe=observe, options=options).words)
    contract = world.contract
    if not isinstance(contract.observation, VectorContract) or any(
        entry.choices for entry in contract.action
    ):
        raise ValueError(
            f"`world` must show numbers and take continuous actions, got {env!r}, which shows"
            f" {contract.observation.kind} and takes {contract.action[0].name!r}."
        )
    return world


def plain_stem(env: str) -> str:
    """Return the name of a world as a part of a file's name, e.g. "Hopper-v5"."""
    return re.sub(r"[^\w.-]", "-", env.removeprefix("gymnasium:"))


def home_of(policy: Policy) -> tuple[str, str, tuple[str, ...]]:
    """Return the world of a policy as jobs name it, what it observes there, and further options.

    Raises:
        ValueError: If its contract names none.
    """
    contract = policy.contract
    if contract is None or not contract.world:
        raise ValueError(
            "`world` must be given for a policy whose config.json has no contract with a world, got"
            " None. Name the world that it was trained in, e.g. --world walker2d."
        )
    short = {name: body for body, name in BODIES.items()}
    options = dict(contract.world_options)
    observe = str(options.pop("observe", "full"))
    words = tuple(f"{name}={json.dumps(value)}" for name, value in options.items())
    return short.get(contract.world, contract.world), observe, words


def walk(policy: Policy, where: WalkSettings) -> np.ndarray:
    """Return the return of each episode, shape (episodes,)."""
    check_observation("policy", policy, where)
    worlds = [where.make_world() for _ in range(where.episodes)]
    returns = episode_returns(
        cast(Any, worlds),
        PolicyPilot(policy),
        max_steps=where.max_steps,
        frame_s=where.world.frame_s,
        seeds=range(where.seed, where.seed + where.episodes),
    )
    for world in worlds:
        world.close()
    return returns


def check_observation(name: str, policy: Policy, where: WalkSettings) -> None:
    """Compare a policy with the world that it is to act in.

    Raises:
        ValueError: If its contract does not fit the world's; or, where it has none, if it takes
            observations or gives actions of another size, or decides at another rate.
    """
    offered = where.world.contract
    if policy.contract is not None:
        policy.contract.check_offer(offered, f"{where.env!r} with observe={where.observe!r}")
        return
    assert isinstance(offered.observation, VectorContract)
    size, num_actions = getattr(policy, "observation_size", None), policy.circuit.cell.output_size
    if (size, num_actions) != (offered.observation.size, len(offered.action)):
        raise ValueError(
            f"`{name}` must take {offered.observation.size} numbers and give {len(offered.action)}"
            f" actions in {where.env!r} with observe={where.observe!r}, got {size!r} and"
            f" {num_actions}. Choose another policy, or what is observed."
        )
    frame_s = policy.circuit.frame_s
    if not math.isclose(frame_s, offered.frame_s, rel_tol=0.01):
        raise ValueError(
            f"`{name}` must decide every {offered.frame_s:g} s in {where.env!r}, got"
            f" {frame_s:g} s. Choose a policy of that world."
        )


def mean_and_std(returns: np.ndarray) -> dict[str, float]:
    """Return `mean_return` and `std_return` as results files have them; no deviation is 0."""
    std = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    return {"mean_return": round(float(returns.mean()), 1), "std_return": round(std, 1)}


def half_width(returns: np.ndarray) -> float:
    """Return half the width of the 95 % t interval of the mean; NaN for one episode."""
    if len(returns) < 2:
        return math.nan
    quantile = float(stats.t.ppf(0.975, len(returns) - 1))
    return quantile * float(returns.std(ddof=1)) / math.sqrt(len(returns))


def returns_table(rows: Sequence[Row]) -> str:
    """Return a table of mean returns with their deviation and 95 % interval."""
    header = ["model", "env", "observed", *DISTURBANCES.values(), "episodes", "return", "sd", "min"]
    return markdown_table(header, [_cells(*row) for row in rows])


def write_returns(path: Path, rows: Sequence[Row]) -> None:
    """Write every episode's return as CSV: a line per model, setting and episode."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    fields = (field.name for field in dataclasses.fields(WalkSettings))
    names = [name for name in fields if name not in ("episodes", "options")]
    writer.writerow(["model", *names, "episode", "return"])
    for model, where, returns in rows:
        settings = [getattr(where, name) for name in names]
        for episode, value in enumerate(returns):
            writer.writerow([model, *settings, episode, float(value)])
    files.write_file(path, table.getvalue())


def _cells(model: str, where: WalkSettings, returns: np.ndarray) -> list[str]:
    is_known = len(returns) > 1
    return [
        model,
        where.env,
        where.observe,
        *(f"{getattr(where, name):g}" for name in DISTURBANCES),
        str(len(returns)),
        f"{returns.mean():.0f}" + (f" ± {half_width(returns):.0f}" if is_known else ""),
        f"{returns.std(ddof=1):.0f}" if is_known else "–",
        f"{returns.min():.0f}",
    ]
