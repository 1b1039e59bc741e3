"""Figures of a report; each function returns a matplotlib figure of recorded episodes or metrics.

Figures are made without pyplot, so no display is needed and no figure stays open. Colours are those
of Okabe & Ito 2008, "Color Universal Design".
"""

import csv
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from envs.driving.metrics import mean_cross_track_m
from ncp_control.audit.timescales import TimeUnit, frame_interval_s, time_unit
from ncp_control.drawing import draw_wiring
from ncp_control.episode import Episode
from ncp_control.wiring import Wiring
from scripts.evaluation.lanes import lane_borders
from scripts.evaluation.tables import with_unit
from scripts.palette import BLUE, GREEN, GREY, VERMILION, tidy

ERROR_MAP = "plasma"
MAX_TRACKS = 6
OF_ACTIVITY = (
    "Every neuron over the episode: how far it is from its own mean; below it, its time constant,"
    " if it has one. Pointed ends of a colour bar mean that the largest deviations lie beyond it."
)
"""Caption of `activity`."""


def learning_curves(metrics_csv: Path) -> Figure | None:
    """Plot every column of a run's metrics.csv over epochs; None if it has no column `loss`."""
    with metrics_csv.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in (rows[0] if rows else []) if name != "step"]
    if "loss" not in names:
        return None
    epochs = np.array([float(row["step"]) for row in rows])
    num_columns = min(len(names), 3)
    num_rows = math.ceil(len(names) / num_columns)
    figure = Figure(figsize=(4.0 * num_columns, 3.0 * num_rows), layout="constrained")
    panels = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
    columns = {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}
    for axes, (name, values) in zip(panels, columns.items(), strict=False):
        axes.plot(epochs, values, "o-", color=BLUE, markersize=4, clip_on=False)
        if "score" in columns:
            best = int(np.nanargmin(columns["score"]))
            axes.plot(epochs[best], values[best], "o", color=VERMILION, markersize=8, clip_on=False)
        if name == "loss":
            axes.set_yscale("log")
            _write_plain_ticks(axes.yaxis)
        elif np.nanmin(values) >= 0.0:
            axes.set_ylim(0.0, 1.1 * float(np.nanmax(values)) or 1.0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(title=with_unit(name), xlabel="epoch")
        tidy(axes)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    if "score" in columns:
        figure.supxlabel("orange: the checkpoint that was kept", size=9, color=GREY)
    return figure


def steering(episode: Episode) -> Figure:
    """Plot the steering of policy and expert, and for a drive road curvature and lateral error."""
    infos, expert = episode.infos, episode.expert_actions
    assert expert is not None  # the caller has checked it
    is_driven = "cross_track_m" in infos
    figure = Figure(figsize=(11.0, 6.4 if is_driven else 3.2), layout="constrained")
    ratios = [2.2, 1.0, 1.0] if is_driven else [2.2]
    panels = figure.subplots(len(ratios), 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    for actions, colour, width, label in (
        (expert, GREY, 2.4, episode.expert_name),
        (episode.actions, BLUE, 1.4, "policy"),
    ):
        held = held_until_end(episode, actions[:, 0])
        style = {"color": colour, "linewidth": width, "drawstyle": "steps-post"}
        panels[0].plot(*held, label=label, **style)
    panels[0].set(ylabel="steering, scaled", xlim=time_limits_s(episode))
    panels[0].legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    panels[0].set_title("left is positive", loc="left", size=9, color=GREY)
    if is_driven:
        error_m = infos["cross_track_m"]
        panels[1].fill_between(
            episode.time_s, infos["curvature_1pm"], color=GREEN, alpha=0.45, linewidth=0
        )
        panels[1].set_ylabel("road curvature\n[1/m]")
        panels[2].plot(episode.time_s, error_m, color=VERMILION)
        panels[2].set_ylabel("cross-track error\n[m]")
        largest_m = max(0.3, 1.1 * float(np.abs(error_m).max()))
        panels[2].set_ylim(-largest_m, largest_m)
        for time_s in episode.time_s[infos["crashed"]]:
            for axes in panels:
                axes.axvline(time_s, color="black", linestyle=":", linewidth=1.0)
    for axes in panels:
        axes.axhline(0.0, color="black", linewidth=0.6, zorder=0)
        tidy(axes)
    panels[-1].set_xlabel("time [s]")
    return figure


def tracks(drives: Sequence[Episode]) -> Figure:
    """Plot tracks from above, with the driven line coloured by its error; worst drives first.

    Args:
        drives: Episodes; at most `MAX_TRACKS` of them are drawn.
    """
    by_badness = sorted(drives, key=lambda d: (-d.infos["crashed"].sum(), -mean_cross_track_m(d)))
    worst_first = by_badness[:MAX_TRACKS]
    num_columns = min(len(worst_first), 3)
    num_rows = math.ceil(len(worst_first) / num_columns)
    figure = Figure(figsize=(4.2 * num_columns + 1.2, 4.2 * num_rows), layout="constrained")
    panels = figure.subplots(num_rows, num_columns, squeeze=False)
    errors_m = np.abs(np.concatenate([d.infos["cross_track_m"] for d in worst_first]))
    scale = Normalize(0.0, float(np.clip(np.percentile(errors_m, 99.0), 0.2, 2.0)))
    for axes, drive in zip(panels.flat, worst_first, strict=False):
        _draw_track(axes, drive, scale)
    for axes in panels.flat[len(worst_first) :]:
        axes.set_axis_off()
    bar = figure.colorbar(
        ScalarMappable(scale, ERROR_MAP), ax=panels, shrink=0.6, aspect=24, extend="max"
    )
    bar.set_label("|cross-track error| [m]")
    bar.outline.set_visible(False)
    return figure


def _draw_track(axes: Axes, drive: Episode, scale: Normalize) -> None:
    """Draw one track with its borders, the driven line, the start and the crashes."""
    infos, track = drive.infos, int(drive.infos["track"][0])
    left, right = lane_borders(infos)
    axes.fill(*np.concatenate([left, right[::-1]]).T, color="#E4E4E4", linewidth=0, zorder=0)
    for border in (left, right):
        axes.plot(*border.T, color="#9A9A9A", linewidth=0.8, zorder=1)
    points = infos["position_m"]
    is_driven = ~infos["crashed"][1:]  # without the jump back to the lane after a crash
    driven = LineCollection(
        np.stack([points[:-1], points[1:]], axis=1)[is_driven],  # type: ignore[arg-type]
        array=np.abs(infos["cross_track_m"])[1:][is_driven],
        cmap=ERROR_MAP,
        norm=scale,
        linewidths=2.2,
        capstyle="round",
        zorder=2,
    )
    axes.add_collection(driven)
    ahead_m = points[min(10, len(points) - 1)] - points[0]
    towards = (3, 0, math.degrees(math.atan2(ahead_m[1], ahead_m[0])) - 90.0)
    axes.plot(
        *points[0], marker=towards, color="white", markeredgecolor="black", markersize=13, zorder=4
    )
    crashes = points[infos["crashed"]]
    axes.plot(
        *crashes.T, "X", color="black", markeredgecolor="white", markersize=11, zorder=5,
        linestyle="none", label="crash",
    )  # fmt: skip
    axes.set_aspect("equal")
    axes.set_axis_off()
    num_crashes = f"{len(crashes)} crash" + ("" if len(crashes) == 1 else "es")
    axes.set_title(
        f"track {track}: {infos['distance_m'][-1]:.0f} m, {num_crashes},\n"
        f"mean |error| {mean_cross_track_m(drive):.2f} m",
        size=10,
    )
    _draw_ruler(axes, left)


def _draw_ruler(axes: Axes, outline_m: np.ndarray) -> None:
    """Draw a scale bar of 20 m below the track."""
    x_m, y_m = outline_m.min(axis=0) - (0.0, 8.0)
    axes.plot([x_m, x_m + 20.0], [y_m, y_m], color="black", linewidth=1.5)
    axes.text(x_m + 22.0, y_m, "20 m", va="center", size=8)


def wiring_at_work(episode: Episode, wiring: Wiring, frame: int, moment: str) -> Figure:
    """Draw the wiring with its activity and synaptic currents in one frame.

    Args:
        episode: Episode with the activity of its neurons.
        wiring: Wiring of the circuit.
        frame: Index of the frame.
        moment: What happens there, for the title, e.g. "in a bend to the left".
    """
    activity = episode.recorded_activity
    currents = activity.synaptic_currents
    axes = draw_wiring(
        wiring,
        activity=activity.states[0, frame].cpu().numpy(),
        sensory_activity=episode.recorded_features[frame],
        strength=None if currents is None else currents[0, frame].abs().cpu().numpy(),
    )
    figure = cast(Figure, axes.figure)  # not a subfigure: it was made for these axes
    widths = "" if currents is None else "; line widths are synaptic currents"
    figure.suptitle(f"{moment}{widths}", size=10, color=GREY)
    return figure


def activity(episode: Episode) -> Figure:
    """Plot each neuron's deviation from its mean, and its time constant if it has one.

    The mean is subtracted, since for most neurons it is far larger than the changes. The colour
    scale covers all but the largest 0.5 % of the deviations, such as those just after the start.
    """
    recorded = episode.recorded_activity
    states = recorded.states[0].cpu().numpy().T
    deviations = states - states.mean(axis=1, keepdims=True)
    unit, taus = unit_of_taus(episode), None
    if recorded.timescales_s is not None:
        taus = recorded.timescales_s[0].cpu().numpy().T / unit.seconds
    num_maps = 1 if taus is None else 2
    height = min(max(0.2 * len(states), 2.6), 7.0)
    figure = Figure(figsize=(11.0, 1.6 + num_maps * height), layout="constrained")
    panels = figure.subplots(
        1 + num_maps, 1, sharex=True, height_ratios=[1.4] + [height] * num_maps
    )
    held = held_until_end(episode, episode.actions[:, 0])
    panels[0].plot(*held, color=BLUE, linewidth=1.4, drawstyle="steps-post")
    panels[0].axhline(0.0, color="black", linewidth=0.6, zorder=0)
    panels[0].set_title(episode.action_names[0], loc="left", size=10)
    panels[0].set_xlim(*time_limits_s(episode))
    tidy(panels[0])
    largest = max(float(np.percentile(np.abs(deviations), 99.5)), 1e-6)
    label = "state" if taus is None else "membrane potential"
    around = Normalize(-largest, largest)
    _draw_map(panels[1], episode, deviations, around, "PRGn", f"{label} minus its mean")
    if taus is not None:
        # The memory of a mixed memory has no time constants: NaN, left white.
        scale = LogNorm(float(np.nanmin(taus)), float(np.nanmax(taus)) * (1.0 + 1e-6))
        _draw_map(panels[2], episode, taus, scale, "viridis", f"time constant [{unit.name}]")
    panels[-1].set_xlabel("time [s]")
    return figure


def unit_of_taus(episode: Episode) -> TimeUnit:
    """Return the unit in which the report of an episode gives time constants."""
    return time_unit(frame_interval_s(episode.recorded_activity))


def time_limits_s(episode: Episode) -> tuple[float, float]:
    """Return the time of the first observation and the end of the last frame [s]."""
    begin_s, last_s = float(episode.time_s[0]), float(episode.time_s[-1])
    end_s = begin_s + episode.duration_s
    return begin_s, end_s if end_s > last_s else last_s + (float(episode.dt_s[-1]) or 1.0)


def held_until_end(episode: Episode, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the times [s] and values of steps that hold until the next one, the last to the end.

    Args:
        episode: The episode.
        values: An action in each frame, shape (time,).
    """
    return np.append(episode.time_s, time_limits_s(episode)[1]), np.append(values, values[-1])


def _draw_map(
    axes: Axes, episode: Episode, values: np.ndarray, scale: Normalize, colours: str, label: str
) -> None:
    """Draw neurons × time as a heat map, with a line between layers.

    The rows have the names of the neurons, or of the layers if there are too many.
    """
    names, num_neurons = episode.recorded_activity.neuron_names, len(values)
    extent = (*time_limits_s(episode), num_neurons - 0.5, -0.5)
    drawn = axes.imshow(
        values, norm=scale, cmap=colours, aspect="auto", extent=extent, interpolation="nearest"
    )
    layers = [name.partition("_")[0] for name in names]
    begins = [i for i in range(num_neurons) if i == 0 or layers[i] != layers[i - 1]]
    for i in begins[1:]:
        axes.axhline(i - 0.5, color="black", linewidth=1.0)
    if num_neurons <= 40:
        axes.set_yticks(range(num_neurons), names, size=7)
    elif len(begins) > 1:
        middles = [(i + j - 1) / 2 for i, j in pairwise([*begins, num_neurons])]
        axes.set_yticks(middles, [layers[i] for i in begins], size=8, rotation=90, va="center")
    is_clipped = bool((values < scale.vmin).any() or (values > scale.vmax).any())
    extend = "both" if is_clipped else "neither"
    bar = axes.figure.colorbar(drawn, ax=axes, pad=0.01, aspect=24, extend=extend)
    if isinstance(scale, LogNorm):
        _write_plain_ticks(bar.ax.yaxis)
    bar.set_label(label)
    bar.outline.set_visible(False)


def _write_plain_ticks(axis: Axis) -> None:
    """Label 1, 2 and 5 of each decade of a logarithmic axis as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())
