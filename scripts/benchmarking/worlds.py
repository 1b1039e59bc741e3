"""What a step of many worlds at once costs in mujoco-warp, and how much memory they take."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from ncp_control.gymnasium_contracts import silent_deprecations
from ncp_control.markdown import markdown_table
from ncp_control.tensor_worlds import TensorWorlds
from ncp_control.worlds import World, find_world
from scripts.timing import Action, measure

PLACES: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "HalfCheetah-v5": ("HalfCheetah-v5", {}),
        "LaneKeeping-v0 in numbers": (
            "LaneKeeping-v0",
            {"observe": "numbers", "on_crash": "recover"},
        ),
        "LaneKeeping-v0 in frames": ("LaneKeeping-v0", {"on_crash": "recover"}),
    }
)
"""What is simulated: the world, and its options. A car that crashes is put back, since a reset in
MuJoCo's C paints a track."""
COUNTS = {"cpu": (16, 64, 256), "cuda": (64, 1024, 4096)}
"""Worlds side by side, by device."""
ACTIONS = 16
"""Different random actions that are applied in turn."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast worlds are stepped."""

    place: str
    """What is simulated."""
    name: str
    """Who steps it."""
    num_worlds: int
    """How many at once."""
    steps_per_s: float
    """Frames a second, all worlds together."""
    spread: float
    """Half the range between the quartiles, as a share of the median."""
    world_kb: float | None
    """Memory that a world takes [kB], where it is known."""


def measure_worlds(device: torch.device, rounds: int) -> list[Speed]:
    """Step each world of `PLACES` in MuJoCo's C, and many in mujoco-warp, in turn.

    Args:
        device: Where mujoco-warp's are.
        rounds: Times that each is measured.
    """
    found = []
    for place, (name, options) in PLACES.items():
        found += _measure_place(place, find_world(name, **options), device, rounds)
    return found


def _measure_place(place: str, world: World, device: torch.device, rounds: int) -> list[Speed]:
    make = world.make_batch
    assert make is not None, "a world of PLACES has it"
    batches = {f"mujoco-warp, {n} worlds": make(n, device) for n in COUNTS[device.type]}
    actions: dict[str, Action] = {"MuJoCo's C": _one(world)}
    actions |= {name: _many(batch) for name, batch in batches.items()}
    speeds = []
    for row in measure(place, actions, rounds, 1):
        batch = batches.get(row.name)
        count = 1 if batch is None else batch.num_worlds
        speed = Speed(
            place=place,
            name=row.name,
            num_worlds=count,
            steps_per_s=count * 1e6 / row.median_us,
            spread=row.spread,
            world_kb=None if batch is None else batch.bytes_each / 1000,
        )
        speeds.append(speed)
    return speeds


def worlds_table(rows: list[Speed], device: str) -> str:
    """Return frames a second and memory a world, a table a place."""
    header = ["simulator", "frames/s, all worlds together", "kB a world"]
    tables = []
    for place in dict.fromkeys(row.place for row in rows):
        lines = [
            [
                row.name,
                f"{row.steps_per_s:,.0f} ± {row.spread:.0%}",
                "" if row.world_kb is None else f"{row.world_kb:.1f}",
            ]
            for row in rows
            if row.place == place
        ]
        tables.append(f"### {place} on {device}, 1 thread\n\n{markdown_table(header, lines)}")
    return "\n\n".join(tables)


def _one(world: World) -> Action:
    with silent_deprecations():
        env = world.make()
    env.reset(seed=0)
    env.action_space.seed(0)
    drawn = [env.action_space.sample() for _ in range(ACTIONS)]

    def step() -> None:
        env.step(drawn[0])
        drawn.append(drawn.pop(0))

    return step


def _many(worlds: TensorWorlds) -> Action:
    worlds.seed(0)
    worlds.reset()
    generator = torch.Generator(worlds.device).manual_seed(0)
    shape = (ACTIONS, worlds.num_worlds, *worlds.action_space.shape)
    drawn = [*(2.0 * torch.rand(shape, generator=generator, device=worlds.device) - 1.0)]

    def step() -> None:
        worlds.step(drawn[0])
        drawn.append(drawn.pop(0))

    return step
