"""How well a lane was kept: crashes per kilometre, cross-track error, steering roughness.

Intervals are for 95 % confidence: of the crash rate by the exact Poisson interval (Garwood 1936,
"Fiducial limits for the Poisson distribution"), of the cross-track error by the t distribution
over tracks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class LaneTrace:
    """What one car did on one track, step by step."""

    track: int
    """Number of the track."""
    time_s: list[float] = field(default_factory=list)
    """Time since the start [s]."""
    position_m: list[np.ndarray] = field(default_factory=list)
    """Position (x, y) [m]."""
    cross_track_m: list[float] = field(default_factory=list)
    """Offset from the centre line, positive to the left [m]."""
    curvature_1pm: list[float] = field(default_factory=list)
    """Curvature of the road, positive to the left [1/m]."""
    steer_rad: list[float] = field(default_factory=list)
    """Front wheel angle, positive to the left [rad]."""
    distance_m: list[float] = field(default_factory=list)
    """Progress along the centre line since the start [m]."""
    crashed: list[bool] = field(default_factory=list)
    """Whether the step left the lane."""

    def append(self, info: dict[str, Any]) -> None:
        """Add the `info` of a step of `LaneKeepingEnv`."""
        for name in (
            "time_s",
            "position_m",
            "cross_track_m",
            "curvature_1pm",
            "steer_rad",
            "distance_m",
            "crashed",
        ):
            getattr(self, name).append(info[name])

    @property
    def stayed(self) -> np.ndarray:
        """Steps that count, shape (steps,), bool.

        A step that crashed shows the car as it was put back in the middle of its lane.
        """
        return ~np.asarray(self.crashed, dtype=bool)

    @property
    def offsets_m(self) -> np.ndarray:
        """|cross-track error| of the steps that count [m]."""
        return np.abs(self.cross_track_m)[self.stayed]

    @property
    def mean_cross_track_m(self) -> float:
        """Mean of `offsets_m` [m]; NaN if every step crashed."""
        return _mean(self.offsets_m)


@dataclass(frozen=True, kw_only=True)
class LaneMetrics:
    """Summary over tracks."""

    driven_km: float
    """Progress along the centre lines."""
    crashes: int
    """Times that a car left its lane and was put back: interventions."""
    crashes_per_km: float
    """Crash rate."""
    crashes_per_km_low: float
    """Lower limit of its interval."""
    crashes_per_km_high: float
    """Upper limit of its interval; about 3.7 / km driven when there was no crash."""
    mean_cross_track_m: float
    """Mean |cross-track error| over all steps but those that left the lane."""
    mean_cross_track_m_halfwidth: float
    """Half width of its interval over tracks; NaN for one track."""
    roughness_radps: float
    """Mean |rate of the front wheel angle|, but for its jumps where a car was put back."""


def summarize(traces: Sequence[LaneTrace]) -> LaneMetrics:
    """Summarize what cars did on their tracks.

    Raises:
        ValueError: If there is no trace or one has fewer than two steps.
    """
    if not traces or any(len(trace.time_s) < 2 for trace in traces):
        lengths = [len(trace.time_s) for trace in traces]
        raise ValueError(f"`traces` must have two steps each, got lengths {lengths}. Drive longer.")
    driven_km = sum(trace.distance_m[-1] for trace in traces) / 1000.0
    crashes = sum(sum(trace.crashed) for trace in traces)
    low, high = _poisson_interval(crashes)
    offsets = [trace.offsets_m for trace in traces]
    rates = np.concatenate(
        [np.abs(np.diff(t.steer_rad) / np.diff(t.time_s))[t.stayed[1:]] for t in traces]
    )
    # A car that never gets anywhere has no rate per kilometre.
    per_km = 1.0 / driven_km if driven_km > 0 else math.nan
    return LaneMetrics(
        driven_km=driven_km,
        crashes=crashes,
        crashes_per_km=crashes * per_km,
        crashes_per_km_low=low * per_km,
        crashes_per_km_high=high * per_km,
        mean_cross_track_m=_mean(np.concatenate(offsets)),
        mean_cross_track_m_halfwidth=_t_halfwidth([_mean(o) for o in offsets if o.size]),
        roughness_radps=_mean(rates),
    )


def _mean(values: np.ndarray) -> float:
    """Return the mean; NaN of nothing."""
    return float(values.mean()) if values.size else math.nan


def _poisson_interval(count: int) -> tuple[float, float]:
    """Return the exact interval of a Poisson mean given one count."""
    tail = (1.0 - CONFIDENCE) / 2.0
    low = float(stats.chi2.ppf(tail, 2 * count)) / 2.0 if count else 0.0
    return low, float(stats.chi2.ppf(1.0 - tail, 2 * count + 2)) / 2.0


def _t_halfwidth(values: Sequence[float]) -> float:
    """Return the half width of the interval of a mean."""
    if len(values) < 2:
        return math.nan
    quantile = float(stats.t.ppf((1.0 + CONFIDENCE) / 2.0, len(values) - 1))
    return quantile * float(np.std(values, ddof=1)) / math.sqrt(len(values))
