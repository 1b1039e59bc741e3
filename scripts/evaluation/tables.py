"""Tables of measures for the terminal, the report and the results file."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ncp_control.episode import Episode
from ncp_control.markdown import markdown_table
from ncp_control.returns import half_width

UNITS = {"m": "m", "s": "s", "mps": "m/s", "radps": "rad/s", "rad": "rad", "1pm": "1/m",
         "1ps": "1/s", "mps2": "m/s²", "mps3": "m/s³"}  # fmt: skip
"""Units by the suffix of a name."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Measures of one policy in one place."""

    model: str
    """Name of the policy."""
    labels: Mapping[str, str]
    """Columns that distinguish the place from others."""
    measures: Mapping[str, float]
    """Measures of the episodes, by name."""
    episodes: Sequence[Episode] = ()
    """The episodes, if still available."""
    returns: np.ndarray = field(default_factory=lambda: np.empty(0))
    """Return of each episode, shape (episodes,); empty if returns are not measured."""
    strengths: Mapping[str, float] = field(default_factory=dict)
    """Strength of each disturbance by name."""


def results_table(rows: Sequence[Measured]) -> str:
    """Return a Markdown table of measures with 95 % intervals."""
    first = rows[0]
    names = [name for name in all_measures(first) if name not in _INTERVALS]
    ours = {name for name in names if is_ours(name, all_measures(first))}
    header = ["model", *first.labels, *(_COLUMNS[n][0] if n in ours else with_unit(n)
                                        for n in names)]  # fmt: skip
    cells = []
    for row in rows:
        measures = all_measures(row)
        texts = [_COLUMNS[n][1](measures) if n in ours else f"{measures[n]:.4g}" for n in names]
        cells.append([row.model, *row.labels.values(), *texts])
    return markdown_table(header, cells)


def of_returns(returns: np.ndarray) -> dict[str, float]:
    """Return mean, 95 % half width, standard deviation and minimum of the returns of episodes."""
    return {
        "mean_return": float(returns.mean()),
        "half_width": half_width(returns),
        "deviation": float(returns.std(ddof=1)) if len(returns) > 1 else math.nan,
        "lowest_return": float(returns.min()),
    }


def returns_of_each(rows: Sequence[Measured]) -> tuple[list[str], list[list[object]]]:
    """Return header and rows of a table with the return of each episode."""
    header = ["model", *rows[0].labels, "episode", "return"]
    return header, [
        [row.model, *row.labels.values(), i, float(value)]
        for row in rows
        for i, value in enumerate(row.returns)
    ]


def with_unit(name: str) -> str:
    """Return e.g. "cross track [m]" for "cross_track_m"."""
    stem, _, suffix = name.replace("_per_s", "_1ps").rpartition("_")
    if stem and suffix in UNITS:
        return f"{stem.replace('_', ' ')} [{UNITS[suffix]}]"
    return name.replace("_per_km", " [1/km]").replace("_", " ")


def all_measures(row: Measured) -> dict[str, float]:
    """Return the measures, together with the statistics of the returns if there are returns."""
    return of_returns(row.returns) | dict(row.measures) if len(row.returns) else dict(row.measures)


def _digits(measures: Mapping[str, float]) -> int:
    """Return the number of decimals of returns: up to the first digit of their spread, at least 0.

    The spread is the smaller one of the interval's half width and the deviation.

    For a single episode, or equal returns, the interval is unknown; a hundredth of the return is
    used instead.
    """
    spread = min(measures["half_width"], measures.get("deviation", math.inf))
    size = abs(measures["mean_return"])
    if not (math.isfinite(spread) and spread > 1e-9 * size):  # less is rounding
        spread = 0.01 * size
    if not (math.isfinite(spread) and spread > 0.0):
        return 0
    return max(0, -math.floor(math.log10(spread)))


def _plus_minus(value: float, halfwidth: float, digits: int) -> str:
    """Return a value with its interval, or without it if it is unknown (a single sample)."""
    is_known = math.isfinite(halfwidth)
    return f"{value:.{digits}f}" + (f" ± {halfwidth:.{digits}f}" if is_known else "")


_Text = Callable[[Mapping[str, float]], str]
_COLUMNS: dict[str, tuple[str, _Text]] = {
    "driven_km": ("driven [km]", lambda m: f"{m['driven_km']:.2f}"),
    "crashes": ("crashes", lambda m: f"{m['crashes']:g}"),
    "crashes_per_km": (
        "crashes per km",
        lambda m: (
            f"{m['crashes_per_km']:.2f} [{m['crashes_per_km_low']:.2f},"
            f" {m['crashes_per_km_high']:.2f}]"
        ),
    ),
    "interventions_per_km": (
        "interventions per km",
        lambda m: (
            f"{m['interventions_per_km']:.2f} [{m['interventions_per_km_low']:.2f},"
            f" {m['interventions_per_km_high']:.2f}]"
        ),
    ),
    "mean_cross_track_m": (
        "mean cross-track error [m]",
        lambda m: _plus_minus(m["mean_cross_track_m"], m["mean_cross_track_m_halfwidth"], 3),
    ),
    "roughness_radps": ("roughness [rad/s]", lambda m: f"{m['roughness_radps']:.3f}"),
    "mean_return": ("return", lambda m: _plus_minus(m["mean_return"], m["half_width"], _digits(m))),
    "deviation": (
        "sd",
        lambda m: f"{m['deviation']:.{_digits(m)}f}" if math.isfinite(m["deviation"]) else "–",
    ),
    "lowest_return": ("min", lambda m: f"{m['lowest_return']:.{_digits(m)}f}"),
    "mean_duration_s": ("duration [s]", lambda m: f"{m['mean_duration_s']:.1f}"),
}
"""Heading and format of known measures; others have their name as heading, and four digits."""
_INTERVAL_OF = {
    "crashes_per_km": ("crashes_per_km_low", "crashes_per_km_high"),
    "interventions_per_km": ("interventions_per_km_low", "interventions_per_km_high"),
    "mean_cross_track_m": ("mean_cross_track_m_halfwidth",),
    "mean_return": ("half_width",),
}
"""Measures that are shown in the column of another measure, as its interval."""
_NEEDED_FOR = _INTERVAL_OF | dict.fromkeys(
    ("deviation", "lowest_return"), ("mean_return", "half_width")
)
"""Measures that a known measure needs: for its interval, or for its number of digits."""
_INTERVALS = tuple(name for names in _INTERVAL_OF.values() for name in names)


def is_ours(name: str, measures: Mapping[str, float]) -> bool:
    """Whether a measure is a known one of `_COLUMNS`, not a user's measure of the same name."""
    return name in _COLUMNS and measures.keys() >= {*_NEEDED_FOR.get(name, ())}
