"""Default metrics of a world: mean return of episodes and its confidence interval."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ncp_control.episode import Episode

RETURNS = ("mean_return", "half_width", "lowest_return")
"""Names of the metrics of `returns_of`."""


def returns_of(episodes: Sequence["Episode"]) -> dict[str, float]:
    """Return the mean return, half the width of its 95 % interval, and the lowest return.

    The confidence interval uses the t distribution over episodes; NaN for one episode.
    """
    returns = np.array([episode.total_reward for episode in episodes])
    values = float(returns.mean()), half_width(returns), float(returns.min())
    return dict(zip(RETURNS, values, strict=True))


def return_and_duration(episodes: Sequence["Episode"]) -> dict[str, float]:
    """Return the metrics of `returns_of`, and the mean duration of the episodes [s]."""
    durations_s = [episode.duration_s for episode in episodes]
    return returns_of(episodes) | {"mean_duration_s": sum(durations_s) / len(durations_s)}


def half_width(values: np.ndarray) -> float:
    """Return half the width of the 95 % t confidence interval of a mean; NaN for one value."""
    if len(values) < 2:
        return math.nan
    from scipy import stats

    quantile = float(stats.t.ppf(0.975, len(values) - 1))
    return quantile * float(values.std(ddof=1)) / math.sqrt(len(values))
