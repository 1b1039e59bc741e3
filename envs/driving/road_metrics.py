"""Metrics of road driving: interventions per kilometre, idle time, and comfort.

The interval of the rate is the exact Poisson interval for 95 % confidence, as in `metrics.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from envs.driving.metrics import mean_or_nan, rate_per_km

if TYPE_CHECKING:
    from ncp_control.episode import Episode


@dataclass(frozen=True, kw_only=True)
class RoadMetrics:
    """Metrics over all episodes."""

    driven_km: float
    """Progress along the roads."""
    collisions: int
    """Number of times that the car touched another body."""
    lane_departures: int
    """Number of times that the car's middle left its lane."""
    interventions_per_km: float
    """Rate of steps with a collision, a lane departure or both; each needs an intervention."""
    interventions_per_km_low: float
    """Lower limit of the rate's interval."""
    interventions_per_km_high: float
    """Upper limit of the rate's interval; about 3.7 / km driven without an intervention."""
    idle_share: float
    """Share of the time in which the car stood although nothing was in its way."""
    mean_speed_mps: float
    """Mean speed."""
    mean_jerk_mps3: float
    """Mean |jerk| along the car [m/s³]."""
    lateral_p95_mps2: float
    """95th percentile of |lateral acceleration| [m/s²]."""


def summarize_road(episodes: "Sequence[Episode]") -> RoadMetrics:
    """Compute the metrics of episodes recorded in `RoadDrivingEnv`.

    Raises:
        ValueError: If there is no episode.
    """
    if not episodes:
        raise ValueError("`episodes` must be at least one, got none. Drive longer.")
    infos = [episode.infos for episode in episodes]
    driven_km = sum(float(t["distance_m"][-1]) for t in infos) / 1000.0
    rate, low, high = rate_per_km(sum(int(t["crashed"].sum()) for t in infos), driven_km)
    return RoadMetrics(
        driven_km=driven_km,
        collisions=sum(int(t["collided"].sum()) for t in infos),
        lane_departures=sum(int(t["departed"].sum()) for t in infos),
        interventions_per_km=rate,
        interventions_per_km_low=low,
        interventions_per_km_high=high,
        idle_share=mean_or_nan(np.concatenate([t["stood_idle"] for t in infos])),
        mean_speed_mps=mean_or_nan(np.concatenate([t["speed_mps"] for t in infos])),
        mean_jerk_mps3=mean_or_nan(np.concatenate([jerks_mps3(episode) for episode in episodes])),
        lateral_p95_mps2=float(
            np.percentile(np.concatenate([np.abs(t["lateral_mps2"]) for t in infos]), 95.0)
        ),
    )


def jerks_mps3(episode: "Episode") -> np.ndarray:
    """Return |jerk| [m/s³] between steps, without those in or next to a step with a crash."""
    infos = episode.infos
    jerk = np.diff(infos["acceleration_mps2"]) / np.diff(infos["time_s"])
    return np.abs(jerk)[~(infos["crashed"][1:] | infos["crashed"][:-1])]
