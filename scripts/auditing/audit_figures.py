"""Figures of an audit: each function turns measurements into a matplotlib figure."""

from collections.abc import Mapping, Sequence
from itertools import cycle, product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from ncp_control.audit.ablation import AblationEffect, SensorEffect
from ncp_control.audit.activity import PrincipalComponents
from ncp_control.audit.bounds import Certificate, drawn_tau_s
from ncp_control.audit.interval_circuit import Interval
from ncp_control.audit.robustness import FaultResponse
from ncp_control.audit.timescales import Correlation, timescales_of
from ncp_control.episode import Episode
from scripts.auditing.maps import Saliency
from scripts.evaluation.episode_figures import held_until_end, time_limits_s, unit_of_taus
from scripts.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, tidy

METHOD_NAMES = {
    "visual_backprop": "VisualBackProp",
    "input_gradient": "input gradient",
    "integrated_gradients": "integrated gradients",
    "grad_cam": "Grad-CAM",
}
SALIENCY_MAP = "inferno"
_MAX_BARS, _MAX_NEURONS, _MAX_MOTORS = 25, 64, 12
"""Largest number of bars, neurons and motor neurons in a figure; the tables list all."""
_PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)


def saliency_maps(audited: Episode, maps: Saliency) -> Figure:
    """Draw a few frames, one per row, each beside its saliency map by every method."""
    num_rows, num_columns = len(maps.shown_frames), 1 + len(maps.by_method)
    figure = Figure(figsize=(3.1 * num_columns, 1.12 * num_rows + 0.5), layout="constrained")
    panels = figure.subplots(num_rows, num_columns, squeeze=False)
    for row, k in enumerate(maps.shown_frames):
        frame = audited.frames[k]
        panels[row, 0].imshow(frame)
        text = f"{audited.time_s[k]:.1f} s\n{audited.action_names[0]}\n{audited.actions[k, 0]:+.2f}"
        panels[row, 0].set_ylabel(text, rotation=0, ha="right", va="center", size=9)
        for column, values in enumerate(maps.by_method.values(), start=1):
            show_map(panels[row, column], frame, values[row])
    for axes, title in zip(panels[0], ["camera", *map(METHOD_NAMES.get, maps.by_method)],
                           strict=True):  # fmt: skip
        axes.set_title(title, size=10)
    for axes in panels.flat:
        _bare(axes)
    bar = figure.colorbar(
        ScalarMappable(Normalize(0.0, 1.0), SALIENCY_MAP), ax=panels, shrink=0.7, aspect=30
    )
    bar.set_label("share of the largest value")
    bar.outline.set_visible(False)
    return figure


def show_map(axes: Axes, frame: np.ndarray, values: np.ndarray) -> None:
    """Show a saliency map over its darkened grey frame; pixels of low saliency stay grey."""
    grey = frame.mean(axis=2, keepdims=True).repeat(3, axis=2) / 255.0
    opacity = np.clip(1.6 * values, 0.0, 0.95)
    axes.imshow(0.25 + 0.45 * grey)
    axes.imshow(values, cmap=SALIENCY_MAP, vmin=0.0, vmax=1.0, alpha=opacity)


def tau_traces(
    audited: Episode, taus_s: np.ndarray, neurons: Sequence[str], certificate: Certificate | None
) -> Figure:
    """Draw τ of some neurons with its certified bounds, below the episode's main signal."""
    names, unit = audited.recorded_activity.neuron_names, unit_of_taus(audited)
    num_columns = 2 if len(neurons) > 3 else 1
    num_rows = -(-len(neurons) // num_columns)
    figure = Figure(figsize=(11.0, 1.5 * num_rows + 1.6), layout="constrained")
    panels = figure.subplots(num_rows + 1, num_columns, sharex=True, squeeze=False)
    for axes in panels[0]:
        draw_signal(axes, audited)
    for axes, name in zip(panels[1:].flat, neurons, strict=False):
        i = names.index(name)
        draw_tau(axes, audited, taus_s[:, i], certificate, i)
        axes.set_title(name, loc="left", size=9)
    _close_grid(panels, num_columns + len(neurons))
    figure.supylabel(f"time constant τ [{unit.name}]", size=10)
    return figure


def _close_grid(panels: np.ndarray, num_drawn: int) -> None:
    """Hide the panels that are not drawn, and label the time below the last one of each column."""
    for axes in panels.flat[num_drawn:]:
        axes.set_axis_off()
    for axes in panels.flat[:num_drawn][-panels.shape[1] :]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("time [s]")


def draw_signal(axes: Axes, audited: Episode) -> None:
    """Draw the road's curvature, or else the first signal, and the signals that overlay it."""
    name = audited.main_signal
    times_s, values = audited.time_s, audited.signals[name]
    style = _style(audited.time_s)
    if name in audited.action_names:
        times_s, values = held_until_end(audited, values)
        axes.fill_between(times_s, values, step="post", color=GREEN, alpha=0.45, linewidth=0)
    elif len(audited) == 1:
        axes.plot(times_s, values, style, color=GREEN)
    else:
        axes.fill_between(times_s, values, color=GREEN, alpha=0.45, linewidth=0)
    over = [one for one, below in audited.overlays.items() if below == name]
    for one in over:
        axes.plot(audited.time_s, audited.signals[one], style, color=VERMILION, linewidth=1.0)
    axes.axhline(0.0, color="black", linewidth=0.6)
    title = ", ".join([f"{name} (green)", *(f"{one} (line)" for one in over)]) if over else name
    axes.set_title(title, loc="left", size=9)
    set_time_limits(axes, audited)
    tidy(axes)


def _style(time_s: np.ndarray) -> str:
    """Return the style of a line over time: a dot if there is a single frame."""
    return "o" if len(time_s) == 1 else "-"


def set_time_limits(axes: Axes, audited: Episode) -> None:
    """Make the time axis span the episode, with its last frame."""
    axes.set_xlim(*time_limits_s(audited))


def draw_tau(
    axes: Axes, audited: Episode, tau_s: np.ndarray, certificate: Certificate | None, neuron: int
) -> None:
    """Draw one neuron's τ in the episode's `unit_of_taus`, on a logarithmic axis, with bounds."""
    unit_s = unit_of_taus(audited).seconds
    if certificate is not None:
        taus_s = np.repeat(tau_s[:, None], len(certificate.neuron_names), axis=1)
        low, high = (limit[neuron] / unit_s for limit in drawn_tau_s(certificate, taus_s))
        axes.axhspan(low, high, color=GREY, alpha=0.16, linewidth=0)
        for limit in (low, high):
            axes.axhline(limit, color=GREY, linewidth=1.0, linestyle="--")
    axes.plot(audited.time_s, tau_s / unit_s, _style(audited.time_s), color=BLUE, linewidth=1.3)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=6))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    tidy(axes)


def components(audited: Episode, found: PrincipalComponents) -> Figure:
    """Draw the variance explained by each component, and the scores of the first two."""
    figure = Figure(figsize=(11.0, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    shares = np.cumsum(found.explained)[:12]
    numbers = np.arange(1, len(shares) + 1)
    left.bar(numbers, found.explained[:12], color=BLUE, label="each")
    left.plot(numbers, shares, "o-", color=VERMILION, markersize=4, label="together")
    left.axhline(0.9, color=GREY, linestyle="--", linewidth=1.0)
    left.set(xlabel="principal component", ylabel="variance explained", ylim=(0.0, 1.05))
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.legend(frameon=False, loc="center right")
    second = found.scores[:, 1] if found.scores.shape[1] > 1 else np.zeros(len(found.scores))
    colours = audited.actions[:, 0]
    largest = max(float(np.abs(colours).max()), 1e-6)
    dots = right.scatter(
        found.scores[:, 0], second, c=colours, cmap="PuOr", vmin=-largest, vmax=largest, s=10,
        edgecolors=GREY, linewidths=0.3,  # so that actions near 0 are visible
    )  # fmt: skip
    right.set(xlabel="component 1", ylabel="component 2")
    bar = figure.colorbar(dots, ax=right)
    bar.set_label(audited.action_names[0])
    bar.outline.set_visible(False)
    for axes in (left, right):
        tidy(axes)
    return figure


def correlations(by_signal: Mapping[str, Mapping[str, Correlation]]) -> Figure:
    """Draw the correlation of each neuron's activity with each signal, with its interval.

    Args:
        by_signal: For each signal, the correlation of every neuron by name. If there are many
            neurons, only those with the largest correlation to any signal are drawn.
    """
    closest: dict[str, float] = {}
    for found in by_signal.values():
        for name, one in found.items():
            size = abs(one.r) if one.is_known else 0.0
            closest[name] = max(closest.get(name, 0.0), size)
    chosen = set(sorted(closest, key=lambda name: -closest[name])[:_MAX_NEURONS])
    names = [name for name in closest if name in chosen]
    width = min(1.2 + 1.9 * len(by_signal), 16.0)
    figure = Figure(figsize=(max(width, 5.0), 0.22 * len(names) + 1.4), layout="constrained")
    panels = figure.subplots(1, len(by_signal), sharey=True, squeeze=False)[0]
    for axes, (signal, found) in zip(panels, by_signal.items(), strict=True):
        for row, name in enumerate(names):
            one = found[name]
            if not one.is_known:
                continue
            colour = BLUE if one.is_certain else GREY
            axes.plot([one.low, one.high], [row, row], color=colour, linewidth=2.0)
            axes.plot(one.r, row, "o", color=colour, markersize=5)
        axes.axvline(0.0, color="black", linewidth=0.8)
        axes.set(xlim=(-1.05, 1.05), ylim=(len(names) - 0.5, -0.5))
        axes.set_title(signal, size=9)
        tidy(axes)
    panels[0].set_yticks(range(len(names)), names, size=8)
    some = f" of the closest {len(names)} of {len(closest)} neurons" if len(names) < len(closest) \
        else ""  # fmt: skip
    figure.supxlabel(f"correlation{some}, 95 % interval (blue: without 0)", size=9)
    return figure


def motor_shares(audited: Episode, names: Sequence[str], terms: np.ndarray) -> Figure:
    """Draw what each synapse adds to the command of each motor neuron, over the episode."""
    motors = list(dict.fromkeys(name.partition(" → ")[2] for name in names))[:_MAX_MOTORS]
    num_columns = 2 if len(motors) > 1 else 1
    num_rows = -(-len(motors) // num_columns)
    figure = Figure(figsize=(7.0 * num_columns + 1.0, 2.9 * num_rows + 0.9), layout="constrained")
    panels = figure.subplots(num_rows, num_columns, sharex=True, squeeze=False)
    for axes, motor in zip(panels.flat, motors, strict=False):
        _draw_shares(axes, audited, motor, names, terms)
    _close_grid(panels, len(motors))
    return figure


def _draw_shares(
    axes: Axes, audited: Episode, motor: str, names: Sequence[str], terms: np.ndarray
) -> None:
    """Draw the largest terms of one motor neuron's command, and the sum of all."""
    here = [k for k, name in enumerate(names) if name.partition(" → ")[2] == motor]
    here.sort(key=lambda k: -float(np.abs(terms[:, k]).mean()))
    styles = ["-", "--"] if len(audited) > 1 else ["o", "s"]
    for row, k in enumerate(here[: len(_PALETTE) + 1]):
        label = names[k].partition(" → ")[0]
        axes.plot(audited.time_s, terms[:, k], styles[row // len(_PALETTE)],
                  color=_PALETTE[row % len(_PALETTE)], linewidth=1.2, label=label)  # fmt: skip
    total = terms[:, here].sum(axis=1)
    axes.plot(audited.time_s, total, _style(audited.time_s), color=GREY, linewidth=3.5, alpha=0.5,
              label="sum", zorder=0)  # fmt: skip
    axes.axhline(0.0, color="black", linewidth=0.6)
    set_time_limits(axes, audited)
    number = motor.partition("_")[2]
    num_motors = len({name.partition(" → ")[2] for name in names})
    is_one_each = num_motors == len(audited.action_names)  # not so for scores of choices
    what = f": {audited.action_names[int(number)]}" if is_one_each else ""
    axes.set_title(f"parts of the command of {motor}{what}", loc="left", size=9)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    tidy(axes)


def ablations(audited: Episode, effects: Sequence[AblationEffect]) -> Figure:
    """Draw how much the action changes without each neuron or synapse, the largest first."""
    largest = sorted(effects, key=lambda effect: -effect.rms)[:_MAX_BARS][::-1]
    figure = Figure(figsize=(7.0, 0.24 * len(largest) + 1.2), layout="constrained")
    axes = figure.subplots()
    colours = [VERMILION if " → " in effect.name else BLUE for effect in largest]
    axes.barh(range(len(largest)), [effect.rms for effect in largest], color=colours)
    axes.set_yticks(range(len(largest)), [audited.label(effect.name) for effect in largest], size=8)
    cut = ", orange: synapse cut" if VERMILION in colours else ""
    axes.set_xlabel(f"RMS change of the action (blue: neuron held{cut})")
    if len(largest) < len(effects):
        axes.set_title(f"the largest {len(largest)} of {len(effects)}", loc="left", size=9)
    tidy(axes)
    return figure


def sensors(names: Sequence[str], effects: Sequence[SensorEffect]) -> Figure:
    """Draw how much each entry of the action changes with each sensor held, the largest first."""
    largest = sorted(effects, key=lambda effect: -effect.rms.max())[:_MAX_BARS]
    values = np.array([effect.rms for effect in largest])
    size = 2.6 + 0.62 * len(names), 0.26 * len(largest) + 1.9
    figure = Figure(figsize=(max(size[0], 5.0), size[1]), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(values, cmap=SALIENCY_MAP, vmin=0.0, aspect="auto")
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", size=8)
    axes.set_yticks(range(len(largest)), [effect.name for effect in largest], size=8)
    figure.colorbar(drawn, label="RMS change of the action")
    some = f": the largest {len(largest)} of {len(effects)}" if len(largest) < len(effects) else ""
    axes.set_title(f"each sensor held at its mean{some}", loc="left", size=9)
    return figure


def certificates(audited: Episode, certificate: Certificate, known: Certificate) -> Figure:
    """Draw the certified intervals of v and τ of every neuron, and the range in the episode."""
    names = certificate.neuron_names
    figure = Figure(figsize=(11.0, 0.24 * len(names) + 1.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    states = audited.recorded_activity.states[0].cpu().numpy()
    taus_s, unit = timescales_of(audited.recorded_activity), unit_of_taus(audited)
    limits_s, inner_s = (drawn_tau_s(one, taus_s) for one in (certificate, known))
    _draw_ranges(left, states, certificate.state, known.state, 1.0)
    _draw_ranges(right, taus_s, limits_s, inner_s, unit.seconds)
    left.set_yticks(range(len(names)), names, size=8)
    left.invert_yaxis()
    left.set_xlabel("membrane potential")
    right.set_xscale("log")
    right.xaxis.set_major_formatter("{x:g}")
    right.set_xlabel(f"time constant τ [{unit.name}]")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3,
                  frameon=False)  # fmt: skip
    return figure


def _draw_ranges(
    axes: Axes, values: np.ndarray, limits: Interval, inner: Interval, unit: float
) -> None:
    """Draw certified limits for any input and for those of the episode, and the range reached."""
    rows, reached = np.arange(values.shape[1]), Interval(values.min(axis=0), values.max(axis=0))
    for (low, high), colour, alpha, width, label in (
        (limits, GREY, 0.45, 8.0, "any input"),
        (inner, GREEN, 0.55, 8.0, "inputs within the episode's range"),
        (reached, "black", 1.0, 2.0, "reached in the episode"),
    ):
        axes.hlines(rows, low / unit, high / unit, color=colour, alpha=alpha, linewidth=width,
                    label=label)  # fmt: skip
    tidy(axes)


def robustness(responses: Sequence[FaultResponse]) -> Figure:
    """Draw how much each fault changes the action and the neurons."""
    figure = Figure(figsize=(11.0, 0.34 * len(responses) + 1.0), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    rows = range(len(responses))
    left.barh(rows, [r.action_rms for r in responses], color=BLUE)
    right.barh(rows, [r.state_rms for r in responses], color=VERMILION)
    left.set_yticks(rows, [r.fault for r in responses], size=9)
    left.invert_yaxis()
    left.set_xlabel("RMS change of the action")
    right.set_xlabel("RMS change of the neurons [own deviations]")
    for axes in (left, right):
        tidy(axes)
    return figure


def largest_steps(steps: Mapping[str, np.ndarray]) -> Figure:
    """Draw max_t |x_i(t+1) − x_i(t)| of every neuron, sorted, for each policy."""
    figure = Figure(figsize=(7.0, 3.4), layout="constrained")
    axes = figure.subplots()
    styles = cycle(product(("o-", "s--", "^:", "D-."), _PALETTE))
    for (name, values), (style, colour) in zip(steps.items(), styles, strict=False):
        share = np.linspace(0.0, 1.0, len(values))
        label = name.replace("$", r"\$")
        axes.plot(share, np.sort(values), style, color=colour, markersize=3, label=label)
    axes.set(xlabel="neurons, sorted [share]", ylabel="largest step between frames", ylim=(0, None))
    axes.legend(frameon=False)
    tidy(axes)
    return figure


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
