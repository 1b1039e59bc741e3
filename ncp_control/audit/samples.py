"""Effective number of independent samples of an autocorrelated signal.

Neighbouring frames are similar, so n frames carry less information than n independent samples:

    n_eff = n / (1 + 2 Σ_k (1 − k/n) ρ(k))

For the mean of a signal, ρ is its autocorrelation; for the correlation of two signals, ρ is the
product of their autocorrelations. The sum ends where ρ first becomes negative.

An autocorrelation about the mean of the same samples is biased low at every lag, since this mean
follows the signal. The bias matters most for the error of the mean and is corrected there. With the
measured r(k), which includes the factor (1 − k/n), and D = n / n_eff,

    (1 − k/n) ρ(k) = r(k) (1 − D/n) + (1 − k/n) D/n

Inserted into the sum above, this gives a linear equation for D:

    D = (1 + R) / (1 − (S − R)/n),      R = 2 Σ_k r(k),      S = 2 Σ_k (1 − k/n)

Sources: Bartlett 1935; in the form of Pyper & Peterman 1998, Can. J. Fish. Aquat. Sci. 55:2127.
The bias and its correction: Wolff 2004, Comput. Phys. Commun. 156:143 (differs: solved for D
instead of one step towards it, and the sum ends at the first negative r).
"""

import math

import numpy as np

from ncp_control.audit.checks import check_finite


def standardize(signal: np.ndarray) -> np.ndarray:
    """Return a signal scaled to mean 0 and deviation 1; zeros if it is constant up to rounding."""
    centred = signal - signal.mean()
    deviation = float(centred.std())
    if deviation <= 1e-6 * max(float(np.abs(signal).max()), 1e-12):
        return np.zeros_like(centred)
    return centred / deviation


def autocorrelation(x: np.ndarray) -> np.ndarray:
    """Return the autocorrelation of a standardized signal at lags 0, 1, …, by a padded FFT."""
    n = len(x)
    spectrum = np.abs(np.fft.rfft(x, 2 * n)) ** 2
    return np.fft.irfft(spectrum)[:n] / n


def effective_samples(correlations: np.ndarray) -> float:
    """Return n_eff, from 1 to n, given ρ at the lags 0, 1, …, n − 1."""
    n = len(correlations)
    is_negative = correlations < 0.0
    last = int(np.argmax(is_negative)) if is_negative.any() else n
    lags = np.arange(1, last)
    return n / (1.0 + 2.0 * float(np.sum((1.0 - lags / n) * correlations[1:last])))


def effective_samples_of_mean(correlations: np.ndarray) -> float:
    """Return n_eff for the mean of a signal, from 1 to n, with the bias correction.

    Args:
        correlations: Autocorrelation r from `autocorrelation`, at the lags 0, 1, …, n − 1.
    """
    n = len(correlations)
    is_over = correlations <= 0.0
    lags = np.arange(1, int(np.argmax(is_over)) if is_over.any() else n)
    measured = 2.0 * float(np.sum(correlations[lags]))  # R
    missing = 2.0 * float(np.sum(1.0 - lags / n)) - measured  # S − R
    return max((n - missing) / (1.0 + measured), 1.0)


def mean_with_error(values: np.ndarray) -> tuple[float, float, float]:
    """Return the mean of a signal, its standard error, and its effective number of samples.

    The error is s / √(n_eff − 1), where s² is the mean square deviation; NaN if n_eff is 1. For a
    signal that is hardly longer than its correlation time, the error is still too small: by a fifth
    in the median if n_eff is 6.

    Args:
        values: Signal over time, shape (time,), at least one sample.

    Raises:
        ValueError: If a value is not finite.
    """
    values = check_finite("values", values)
    n_eff = effective_samples_of_mean(autocorrelation(standardize(values)))
    error = float(values.std()) / math.sqrt(n_eff - 1.0) if n_eff > 1.0 else math.nan
    return float(values.mean()), error, n_eff
