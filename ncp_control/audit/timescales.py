"""Time constants of neurons, and their correlations with signals.

The time constant of a liquid neuron, τ_i(t) = C_i / (g_i + Σ_j w_ij s(x_j)) [s], changes with its
inputs. Correlations of such slow signals easily look more significant than they are, so their
confidence intervals use the effective number of samples, see `samples`:

    atanh(r) ± z / √(n_eff − 3)

Sources: Lechner et al. 2020, equation 2; interval: Fisher's z.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from ncp_control.audit.checks import check_finite
from ncp_control.audit.samples import autocorrelation, effective_samples, standardize
from ncp_control.circuit import Activity

CONFIDENCE = 0.95
LEAST_SAMPLES = 4
"""Minimum number of samples of a correlation."""


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """Pearson correlation of two signals over time."""

    r: float
    """Correlation coefficient; NaN if a signal is constant."""
    low: float
    """Lower limit of its 95 % confidence interval."""
    high: float
    """Upper limit of its 95 % confidence interval."""
    effective_samples: float
    """Effective number of independent samples."""

    @property
    def is_known(self) -> bool:
        """Whether both signals vary, for long enough that the interval excludes anything."""
        return not math.isnan(self.r) and (self.low > -1.0 or self.high < 1.0)

    @property
    def is_certain(self) -> bool:
        """Whether the confidence interval excludes zero."""
        return self.low > 0.0 or self.high < 0.0


def correlate(x: np.ndarray, y: np.ndarray) -> Correlation:
    """Return the correlation of two signals sampled at the same times, shape (time,).

    Raises:
        ValueError: If the shapes differ, there are fewer than 4 samples, or a value is not finite.
    """
    if x.shape != y.shape or x.ndim != 1 or len(x) < LEAST_SAMPLES:
        raise ValueError(
            f"`x` and `y` must have one shape (time,) of at least {LEAST_SAMPLES} samples, got"
            f" {x.shape} and {y.shape}. Record a longer episode."
        )
    x, y = (check_finite(name, signal) for name, signal in (("x", x), ("y", y)))
    x, y = (standardize(signal) for signal in (x, y))
    if not (x.any() and y.any()):
        return Correlation(r=math.nan, low=-1.0, high=1.0, effective_samples=math.nan)
    r = float(np.clip(np.mean(x * y), -1.0, 1.0))
    n_eff = effective_samples(autocorrelation(x) * autocorrelation(y))
    if n_eff <= 4.0 or abs(r) == 1.0:
        low, high = (-1.0, 1.0) if abs(r) < 1.0 else (r, r)
        return Correlation(r=r, low=low, high=high, effective_samples=n_eff)
    halfwidth = NormalDist().inv_cdf((1.0 + CONFIDENCE) / 2.0) / math.sqrt(n_eff - 3.0)
    low, high = (math.tanh(math.atanh(r) + side * halfwidth) for side in (-1.0, 1.0))
    return Correlation(r=r, low=low, high=high, effective_samples=n_eff)


class TimeUnit(NamedTuple):
    """Unit in which a report gives all its time constants."""

    name: str
    """Symbol of the unit."""
    seconds: float
    """Its length [s]."""

    def text(self, time_s: float) -> str:
        """Return a time in this unit, e.g. "33.3 ms"."""
        value = time_s / self.seconds
        return f"{value:.3g} {self.name}" if value < 999.5 else f"{value:.0f} {self.name}"


def time_unit(frame_s: float) -> TimeUnit:
    """Return the unit for time constants at a frame interval [s]: the largest that fits into it.

    It is ms where frames follow each other within a second, or have no interval.
    """
    longer = (TimeUnit("h", 3600.0), TimeUnit("min", 60.0), TimeUnit("s", 1.0))
    return next((unit for unit in longer if frame_s >= unit.seconds), TimeUnit("ms", 1e-3))


@dataclass(frozen=True, kw_only=True)
class NeuronTimescale:
    """Time constant of one neuron over an episode."""

    neuron: str
    """Name of the neuron."""
    mean_s: float
    """Mean τ [s]."""
    low_s: float
    """Smallest τ [s]."""
    high_s: float
    """Largest τ [s]."""
    correlations: dict[str, Correlation]
    """Correlation of τ with each signal; negative if the neuron gets faster as the signal grows."""


def timescales_of(activity: Activity) -> np.ndarray:
    """Return τ [s] of the first recorded sequence, shape (time, state).

    Raises:
        ValueError: If the cell has no time constants or one is not finite.
    """
    if activity.timescales_s is None:
        raise ValueError(
            f"`activity` must have time constants, got none for {activity.neuron_names[0]!r}."
            " Record a cell that has them, e.g. LTC; one of your own states `has_timescales` and"
            " `timescales`."
        )
    values = activity.timescales_s[0].cpu().double().numpy()
    has_timescale = ~np.isnan(values).all(axis=0)  # the memory entries of a mixed memory have none
    check_finite("activity.timescales_s", values[:, has_timescale])
    return values


def frame_interval_s(activity: Activity) -> float:
    """Return the median time between two frames [s] of the first recorded sequence.

    A neuron whose τ equals this interval keeps exp(−1) = 37 % of its deviation per frame.
    """
    return float(activity.dt_s[0].double().median())


def summarize_timescales(
    activity: Activity, signals: Mapping[str, np.ndarray]
) -> list[NeuronTimescale]:
    """Summarize the time constants of all neurons that have one.

    Args:
        activity: Recorded activity; its first sequence is used.
        signals: Signals by name, e.g. the road's curvature, each of shape (time,).

    Raises:
        ValueError: If there are no time constants, too few frames to correlate, or a signal is not
            finite.
    """
    taus_s = timescales_of(activity)
    for key, signal in signals.items():
        check_finite(f"signals[{key!r}]", signal)
    return [
        NeuronTimescale(
            neuron=name,
            mean_s=float(tau_s.mean()),
            low_s=float(tau_s.min()),
            high_s=float(tau_s.max()),
            correlations={key: correlate(tau_s, signal) for key, signal in signals.items()},
        )
        for name, tau_s in zip(activity.neuron_names, taus_s.T, strict=True)
        if not np.isnan(tau_s).any()
    ]
