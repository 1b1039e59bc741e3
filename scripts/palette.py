"""Colours of the figures, which people with any kind of colour vision tell apart.

Source: Okabe & Ito 2008, "Color universal design"; the grey is ours.
"""

BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK, GREY = "#E69F00", "#56B4E9", "#000000", "#888888"
