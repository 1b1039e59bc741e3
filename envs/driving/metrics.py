"""Metrics of lane keeping: crashes per kilometre, cross-track error, steering roughness.

Intervals have 95 % confidence. The crash rate has the exact Poisson interval (Garwood 1936,
"Fiducial limits for the Poisson distribution"), the cross-track error the interval of the t
distribution over tracks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ncp_control.returns import half_width

if TYPE_CHECKING:
    from ncp_control.episode import Episode

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class LaneMetrics:
    """Metrics over all tracks driven."""

    driven_km: float
    """Progress along the centre lines."""
    crashes: int
    """Number of times that a car left its lane (interventions)."""
    crashes_per_km: float
    """Crash rate."""
    crashes_per_km_low: float
    """Lower limit of the crash rate's interval."""
    crashes_per_km_high: float
    """Upper limit of the crash rate's interval; about 3.7 / km driven without a crash."""
    mean_cross_track_m: float
    """Mean |cross-track error| over all steps except those with a crash."""
    mean_cross_track_m_halfwidth: float
    """Half width of the cross-track error's interval over tracks; NaN for one track."""
    roughness_radps: float
    """Mean |rate of the front wheel angle|, without the jumps where a car was put back."""


def summarize(episodes: "Sequence[Episode]") -> LaneMetrics:
    """Compute the metrics of episodes recorded in `LaneKeepingEnv`.

    Raises:
        ValueError: If there is no episode.
    """
    if not episodes:
        raise ValueError("`episodes` must be at least one, got none. Drive longer.")
    infos = [episode.infos for episode in episodes]
    driven_km = sum(float(t["distance_m"][-1]) for t in infos) / 1000.0
    crashes = sum(int(t["crashed"].sum()) for t in infos)
    rate, low, high = rate_per_km(crashes, driven_km)
    offsets = [offsets_m(episode) for episode in episodes]
    rates = np.concatenate(
        [np.abs(np.diff(t["steer_rad"]) / np.diff(t["time_s"]))[~t["crashed"][1:]] for t in infos]
    )
    return LaneMetrics(
        driven_km=driven_km,
        crashes=crashes,
        crashes_per_km=rate,
        crashes_per_km_low=low,
        crashes_per_km_high=high,
        mean_cross_track_m=mean_or_nan(np.concatenate(offsets)),
        mean_cross_track_m_halfwidth=half_width(np.array([o.mean() for o in offsets if o.size])),
        roughness_radps=mean_or_nan(rates),
    )


def offsets_m(episode: "Episode") -> np.ndarray:
    """Return |cross-track error| [m] of the steps without a crash.

    In a step with a crash, the car may already be back in the middle of its lane.
    """
    return np.abs(episode.infos["cross_track_m"])[~episode.infos["crashed"]]


def mean_cross_track_m(episode: "Episode") -> float:
    """Return the mean of `offsets_m` [m]; NaN if every step crashed."""
    return mean_or_nan(offsets_m(episode))


def mean_or_nan(values: np.ndarray) -> float:
    """Return the mean; NaN for no values."""
    return float(values.mean()) if values.size else math.nan


def rate_per_km(count: int, driven_km: float) -> tuple[float, float, float]:
    """Return a count per kilometre and its interval; NaN if no distance was driven."""
    per_km = 1.0 / driven_km if driven_km > 0 else math.nan
    low, high = poisson_interval(count)
    return count * per_km, low * per_km, high * per_km


def poisson_interval(count: int) -> tuple[float, float]:
    """Return the exact confidence interval of a Poisson mean, given one count."""
    tail = (1.0 - CONFIDENCE) / 2.0
    from scipy import stats  # slow to import, and workers do not need it

    low = float(stats.chi2.ppf(tail, 2 * count)) / 2.0 if count else 0.0
    return low, float(stats.chi2.ppf(1.0 - tail, 2 * count + 2)) / 2.0
