"""Colours and axes style of the figures.

The colours are distinguishable with any kind of colour vision. Source: Okabe & Ito 2008, "Color
universal design"; the grey is ours.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # those who only take colours, such as pages, need no matplotlib
    from matplotlib.axes import Axes

BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK, GREY = "#E69F00", "#56B4E9", "#000000", "#888888"


def tidy(axes: "Axes") -> None:
    """Remove the upper and right spine of the axes, and draw a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
