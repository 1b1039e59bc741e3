"""Walking put together: worlds to be measured in, returns and their table."""

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
from scipy import stats

from envs.locomotion import make_locomotion
from ncp_control import files
from ncp_control.learning.closed_loop import PolicyPilot
from ncp_control.learning.rollouts import episode_returns
from ncp_control.policy import Policy
from policies.locomotion import LocomotionPolicy
from scripts.markdown import markdown_table

FRAMES_S = {"halfcheetah": 0.05, "walker2d": 0.008}
"""Frame interval of each world [s]."""

NUM_POSITIONS = 8
"""Numbers of a position-only observation of either world."""

NUM_JOINTS = 6
"""Numbers of an action in either world."""

EPISODE_STEPS = 1000
"""Steps after which Gymnasium ends an episode of either world."""

DISTURBANCES = {
    "sensor_noise_std": "noise",
    "drop_probability": "drop",
    "overwrite_probability": "overwrite",
    "delay_steps": "delay",
}
"""What `make_locomotion` can put between a policy and its body, with the short names of tables."""


@dataclass(frozen=True, kw_only=True)
class WalkSettings:
    """Where a policy walks to be measured."""

    env: str
    """halfcheetah or walker2d."""
    observe: str = "full"
    """full or positions."""
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

    def make_world(self, render_mode: str | None = None, **rendering: Any) -> gymnasium.Env:
        """Build one world; see `make_locomotion` for what draws it."""
        disturbances = {name: getattr(self, name) for name in DISTURBANCES}
        return make_locomotion(
            self.env,
            observe=self.observe,
            render_mode=render_mode,
            **disturbances,
            **rendering,
        )

    def describe(self) -> str:
        """Return all but the seed as one cell of the results file."""
        disturbances = [f"{short}={getattr(self, name):g}" for name, short in DISTURBANCES.items()]
        return " ".join([self.env, self.observe, *disturbances, f"episodes={self.episodes}"])


Row = tuple[str, WalkSettings, np.ndarray]
"""Model, where it walked, return of each episode."""


def home_of(policy: LocomotionPolicy) -> tuple[str, str]:
    """Return the world of a policy and what it observes there, by its frame interval and input."""
    frame_s = policy.circuit.frame_s
    env = min(FRAMES_S, key=lambda name: abs(FRAMES_S[name] - frame_s))
    return env, "positions" if policy.observation_size == NUM_POSITIONS else "full"


def walk(policy: Policy, where: WalkSettings) -> np.ndarray:
    """Return the return of each episode, shape (episodes,)."""
    check_observation("policy", policy, where)
    worlds = [where.make_world() for _ in range(where.episodes)]
    returns = episode_returns(
        cast(Any, worlds),
        PolicyPilot(policy),
        max_steps=EPISODE_STEPS,
        frame_s=float(cast(Any, worlds[0].unwrapped).dt),
        seeds=range(where.seed, where.seed + where.episodes),
    )
    for world in worlds:
        world.close()
    return returns


def check_observation(name: str, policy: Policy, where: WalkSettings) -> None:
    """Refuse a policy that does not fit what a world shows.

    Raises:
        ValueError: If it takes an observation of another size, or decides at another rate: the
            worlds have equal sizes, so a policy of another world would not show otherwise.
    """
    world = where.make_world()
    expected = cast(Any, world.observation_space).shape[0]
    world.close()
    size = getattr(policy, "observation_size", None)
    if size != expected:
        raise ValueError(
            f"`{name}` must take {expected} numbers to walk in {where.env!r} with"
            f" observe={where.observe!r}, got {size!r}. Choose another policy, or what is observed."
        )
    frame_s = policy.circuit.frame_s
    if not math.isclose(frame_s, FRAMES_S[where.env], rel_tol=0.01):
        raise ValueError(
            f"`{name}` must decide every {FRAMES_S[where.env]:g} s to walk in {where.env!r}, got"
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
    names = [field.name for field in dataclasses.fields(WalkSettings) if field.name != "episodes"]
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
