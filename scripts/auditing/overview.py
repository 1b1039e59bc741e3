"""An audit at a glance: where the policy looks, what its neurons do and how fast they are."""

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure

from ncp_control.audit.bounds import Certificate
from ncp_control.audit.timescales import LEAST_SAMPLES, correlate, timescales_of
from ncp_control.episode import Episode
from scripts.auditing.audit_figures import (
    METHOD_NAMES,
    draw_signal,
    draw_tau,
    set_time_limits,
    show_map,
)
from scripts.auditing.maps import Saliency
from scripts.evaluation.episode_figures import GREY, time_limits_s, unit_of_taus

_METHODS = ("visual_backprop", "input_gradient")
_NUM_TAUS = 3


def overview(audited: Episode, maps: Saliency, certificate: Certificate) -> Figure:
    """Draw one frame with saliency maps, all neurons over the episode, and τ of a few neurons.

    Raises:
        ValueError: If a map is missing or a recorded value is not finite.
    """
    if not set(_METHODS) <= maps.by_method.keys():
        raise ValueError(
            "One of its two saliency maps, VisualBackProp and input gradient, could not be made."
        )
    figure = Figure(figsize=(12.0, 7.6), layout="constrained")
    # Matplotlib's type annotations assume a single subfigure.
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.0, 2.6])  # type: ignore[misc]
    left, right = bottom.subfigures(1, 2, width_ratios=[1.25, 1.0])
    _draw_bend(top, audited, maps)
    _draw_activity(left, audited)
    _draw_timescales(right, audited, certificate)
    return figure


def _draw_bend(figure: SubFigure, audited: Episode, maps: Saliency) -> None:
    """Draw the frame of the largest first action and two maps of it."""
    row = int(np.argmax(np.abs(audited.actions[maps.shown_frames, 0])))
    k = maps.shown_frames[row]
    frame, action = audited.frames[k], audited.action_names[0]
    panels = figure.subplots(1, 3)
    panels[0].imshow(frame)
    label = f"{action} {audited.actions[k, 0]:+.2f}"
    panels[0].set_title(f"camera at {audited.time_s[k]:.1f} s: {label}", size=10)
    meanings = ("what the convolutions react to", f"what {action} depends on")
    for axes, method, meaning in zip(panels[1:], _METHODS, meanings, strict=True):
        show_map(axes, frame, maps.by_method[method][row])
        axes.set_title(f"{METHOD_NAMES[method]}: {meaning}", size=10)
    for axes in panels:
        axes.set_axis_off()


def _draw_activity(figure: SubFigure, audited: Episode) -> None:
    """Draw the road's curvature and the potential of every neuron over the episode."""
    names = audited.recorded_activity.neuron_names
    states = audited.recorded_activity.states[0].cpu().numpy().T
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.0, 4.0])
    draw_signal(above, audited)
    largest = max(float(np.abs(states).max()), 1e-6)
    extent = (*time_limits_s(audited), len(names) - 0.5, -0.5)
    drawn = below.imshow(
        states,
        norm=Normalize(-largest, largest),
        cmap="PRGn",
        aspect="auto",
        extent=extent,
        interpolation="nearest",
    )
    below.set_yticks(range(len(names)), names, size=7)
    layers = [name.partition("_")[0] for name in names]
    for i in range(1, len(names)):
        if layers[i] != layers[i - 1]:
            below.axhline(i - 0.5, color="black", linewidth=1.0)
    below.set_xlabel("time [s]")
    bar = figure.colorbar(drawn, ax=below, location="bottom", aspect=45, shrink=0.8)
    bar.set_label("membrane potential")
    bar.outline.set_visible(False)  # type: ignore[operator]


def _draw_timescales(figure: SubFigure, audited: Episode, certificate: Certificate) -> None:
    """Draw τ of the command neurons that vary the most, inside their certified bounds."""
    names, taus_s = audited.recorded_activity.neuron_names, timescales_of(audited.recorded_activity)
    spread = np.log(taus_s.max(axis=0) / taus_s.min(axis=0))
    command = [i for i, name in enumerate(names) if name.startswith("command")]
    chosen = sorted(sorted(command or range(len(names)), key=lambda i: -spread[i])[:_NUM_TAUS])
    panels = figure.subplots(len(chosen), 1, sharex=True, squeeze=False)[:, 0]
    is_long = len(audited.time_s) >= LEAST_SAMPLES
    signal = audited.signals.get("curvature [1/m]") if is_long else None
    for axes, i in zip(panels, chosen, strict=True):
        draw_tau(axes, audited, taus_s[:, i], certificate, i)
        axes.set_title(f"{names[i]}: τ [{unit_of_taus(audited).name}]", loc="left", size=9)
        if signal is not None:
            found = correlate(taus_s[:, i], signal)
            if found.is_known:
                text = f"r with curvature {found.r:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
                axes.set_title(text, loc="right", size=8, color=GREY)
    panels[0].text(0.01, 0.93, "grey: certified, whatever the input", size=8, color=GREY,
                   transform=panels[0].transAxes, va="top")  # fmt: skip
    panels[-1].set_xlabel("time [s]")
    set_time_limits(panels[-1], audited)
