"""Learning curves of reinforcement learning."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from scripts.palette import BLUE

PANELS = {
    "mean_return": "mean return of 32 episodes",
    "explained_variance": "explained variance of the critic",
    "action_std": "deviation of the actions",
    "critic_loss": "error of the critics",
    "ent_coef": "weight of the entropy",
}
"""Titles of the panels, by column of metrics.csv; a figure has only the logged columns."""


def draw_curves(rows: Sequence[Mapping[str, float]]) -> Figure:
    """Plot the logged metrics over steps, one panel for each; missing values leave gaps."""
    figure = Figure(figsize=(11.0, 3.2), layout="constrained")
    steps = [row["step"] / 1000.0 for row in rows]
    logged = {"mean_return"}.union(*rows)
    panels = {name: title for name, title in PANELS.items() if name in logged}
    places = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (name, title) in zip(places, panels.items(), strict=True):
        axes.plot(steps, [row.get(name, np.nan) for row in rows], ".-", color=BLUE)
        axes.set(title=title, xlabel="steps [thousand]", xlim=(0.0, None))
        if name != "explained_variance":  # include 0, so that changes are not exaggerated
            low, high = axes.get_ylim()
            axes.set_ylim(min(0.0, low), 1.1 * max(0.0, high))
        axes.grid(alpha=0.3)
    return figure
