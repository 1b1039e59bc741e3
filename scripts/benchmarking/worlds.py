"""What a step of many bodies at once costs in mujoco-warp, and how much memory they take."""

from dataclasses import dataclass

import gymnasium
import torch

from envs.locomotion.warp_worlds import WarpWorlds
from ncp_control.gymnasium_contracts import silent_deprecations
from ncp_control.markdown import markdown_table
from scripts.benchmarking.timing import Action, measure

BODY = "HalfCheetah-v5"
COUNTS = {"cpu": (16, 64, 256), "cuda": (64, 1024, 4096)}
"""Worlds side by side, by device."""
ACTIONS = 16
"""Different random actions that are applied in turn."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast worlds are stepped."""

    name: str
    """Who steps them."""
    num_worlds: int
    """How many at once."""
    steps_per_s: float
    """Frames a second, all worlds together."""
    spread: float
    """Half the range between the quartiles, as a share of the median."""
    world_kb: float | None
    """Memory that a world takes [kB], where it is known."""


def measure_worlds(device: torch.device, rounds: int) -> list[Speed]:
    """Step a body in MuJoCo's C, and many in mujoco-warp, in turn.

    Args:
        device: Where mujoco-warp's are.
        rounds: Times that each is measured.
    """
    batches = {n: WarpWorlds(BODY, n, device) for n in COUNTS[device.type]}
    actions: dict[str, Action] = {"MuJoCo's C": _one()}
    names = {n: f"mujoco-warp, {n} worlds" for n in batches}
    actions |= {names[n]: _many(batch) for n, batch in batches.items()}
    rows = {row.name: row for row in measure(BODY, actions, rounds, 1)}
    told: dict[str, tuple[int, float | None]] = {"MuJoCo's C": (1, None)}
    told |= {names[n]: (n, batch.num_bytes / n / 1000) for n, batch in batches.items()}
    return [
        Speed(
            name=name,
            num_worlds=count,
            steps_per_s=count * 1e6 / rows[name].median_us,
            spread=rows[name].spread,
            world_kb=world_kb,
        )
        for name, (count, world_kb) in told.items()
    ]


def worlds_table(rows: list[Speed], device: str) -> str:
    """Return frames a second and memory a world as a table."""
    lines = [
        [
            row.name,
            f"{row.steps_per_s:,.0f} ± {row.spread:.0%}",
            "" if row.world_kb is None else f"{row.world_kb:.1f}",
        ]
        for row in rows
    ]
    header = ["simulator", "frames/s, all worlds together", "kB a world"]
    return f"### {BODY} on {device}, 1 thread\n\n{markdown_table(header, lines)}"


def _one() -> Action:
    with silent_deprecations():
        env = gymnasium.make(BODY, disable_env_checker=True).unwrapped
    env.reset(seed=0)
    env.action_space.seed(0)
    drawn = [env.action_space.sample() for _ in range(ACTIONS)]

    def step() -> None:
        env.step(drawn[0])
        drawn.append(drawn.pop(0))

    return step


def _many(worlds: WarpWorlds) -> Action:
    worlds.seed(0)
    worlds.reset()
    generator = torch.Generator(worlds.device).manual_seed(0)
    shape = (ACTIONS, worlds.num_worlds, *worlds.action_space.shape)
    drawn = [*(2.0 * torch.rand(shape, generator=generator, device=worlds.device) - 1.0)]

    def step() -> None:
        worlds.step(drawn[0])
        drawn.append(drawn.pop(0))

    return step
