"""Figures of the conditions: the effect of each, and crashes of the models under them."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from envs.conditions import ACTIONS, CONDITIONS, SEVERITIES, strengths_of
from envs.driving.pure_pursuit import keep_lane
from envs.driving.road import HELD_OUT_TRACKS
from ncp_control.worlds import World, find_world
from scripts.evaluation.places import DRIVING_WORLD
from scripts.palette import BLUE

SHOWN_S, STRIP_S = 2.0, 10.0
"""Time of the frame shown, and duration of the strips for failures over time [s]."""
IN_TIME = ("blackout", "frozen", "lost")
"""Conditions that only a sequence of frames shows, drawn as strips."""


def draw_conditions(seed: int = 4) -> Figure:
    """Draw every condition in its five severities, in the driving world.

    Pictures show one moment of one track. Failures over time are drawn as a strip of 10 s, with one
    column per frame; failures of actions as the command (grey) and the applied action (blue).
    """
    world = find_world(DRIVING_WORLD, tracks="held_out", on_crash="recover")
    size = (2.2 * len(SEVERITIES), 0.92 * len(CONDITIONS))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(CONDITIONS), len(SEVERITIES))
    for row, name in zip(panels, CONDITIONS, strict=True):
        for axes, severity in zip(row, SEVERITIES, strict=True):
            axes.set(xticks=[], yticks=[])
            _draw_one(axes, world, name, severity, seed)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for axes, severity in zip(panels[0], SEVERITIES, strict=True):
        axes.set_title(f"severity {severity}", fontsize=9)
    return figure


def _draw_one(axes: Axes, world: World, name: str, severity: int, seed: int) -> None:
    frame_s = world.frame_s
    if name in ACTIONS:
        time_s = np.arange(0.0, STRIP_S, frame_s)
        commands = 0.5 * np.sin(2.0 * np.pi * time_s / 4.0) * (time_s % 5.0 < 4.0)
        arrived = _applied(world, name, severity, commands, seed)
        axes.plot(time_s, commands, color="#999999", linewidth=1.0)
        axes.plot(time_s, arrived, color=BLUE, linewidth=1.0)
        axes.set_ylim(-1.1, 1.1)
        return
    env = world.disturbed(strengths_of(name, severity)).make()
    options = {"track": HELD_OUT_TRACKS[3], "start_m": 0.0}
    frame, info = env.reset(seed=seed, options=options)
    seconds = STRIP_S if name in IN_TIME else SHOWN_S
    columns = []
    for _ in range(round(seconds / frame_s)):
        columns.append(frame[:, frame.shape[1] // 2])
        frame, _, _, _, info = env.step(keep_lane(env, frame, info))
    env.close()
    axes.imshow(np.stack(columns, axis=1) if name in IN_TIME else frame, aspect="auto")


def _applied(world: World, name: str, severity: int, commands: np.ndarray, seed: int) -> np.ndarray:
    """Return the actions that arrive at the inner environment for the commands `commands`."""
    (disturbance,) = (one for one in world.disturbances if one.name == name)
    strength = strengths_of(name, severity)[name]
    inside = _Arrived(world.make())
    env = disturbance.put(inside, strength)
    env.reset(seed=seed + severity)
    for value in commands:
        env.step(np.array([value], np.float32))
    env.close()
    return np.array(inside.arrived)


class _Arrived(gymnasium.Wrapper):
    """Records the first entry of every action that arrives."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.arrived: list[float] = []

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Record the action and step."""
        self.arrived.append(float(action[0]))
        return self.env.step(action)


def draw_crashes(
    crashes: Mapping[str, Mapping[str, float]],
    conditions: Sequence[str],
    counted: str = "crashes",
) -> Figure:
    """Draw crashes per km, with a row per model and a column per condition.

    Args:
        crashes: Crashes per km by row and condition; missing cells stay white.
        conditions: Conditions of the columns.
        counted: Name of the counted events.
    """
    values = np.array([[row.get(name, np.nan) for name in conditions] for row in crashes.values()])
    names_in = 0.08 * max(map(len, crashes), default=0)
    size = (names_in + 1.2 + 0.62 * len(conditions), 0.8 + 0.42 * len(crashes))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, cmap="Reds", norm=PowerNorm(0.4, 0.0, 15.0), aspect="auto")
    for i, j in np.ndindex(*values.shape):
        if np.isfinite(values[i, j]):
            colour = "white" if values[i, j] > 8.0 else "black"
            axes.text(j, i, f"{values[i, j]:.1f}", ha="center", va="center", fontsize=8,
                      color=colour)  # fmt: skip
    axes.set_xticks(range(len(conditions)), conditions, rotation=45, ha="right")
    axes.set_yticks(range(len(crashes)), list(crashes))
    figure.colorbar(image, label=f"{counted} per km", extend="max")
    return figure
