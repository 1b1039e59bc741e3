"""How many independent samples a slow signal is worth.

Neighbouring frames are alike, so n frames tell less than n independent ones:

    n_eff = n / (1 + 2 Σ_k (1 − k/n) ρ(k))

with ρ the autocorrelation for the mean of a signal, and the product of two autocorrelations for
the correlation of two signals, summed up to where it first turns negative.

An autocorrelation that is measured about the mean of the same samples is too small at every lag:
the mean follows the signal, so its own variance is missing. For the error of the mean, where this
counts most, it is put back. With r(k) as measured, (1 − k/n) included, and D = n / n_eff,

    (1 − k/n) ρ(k) = r(k) (1 − D/n) + (1 − k/n) D/n

which the sum above turns into a linear equation for D:

    D = (1 + R) / (1 − (S − R)/n),      R = 2 Σ_k r(k),      S = 2 Σ_k (1 − k/n)

Sources: Bartlett 1935; in the form of Pyper & Peterman 1998, Can. J. Fish. Aquat. Sci. 55:2127.
The bias and its correction: Wolff 2004, Comput. Phys. Commun. 156:143 (differs: solved for D
instead of one step towards it, and the sum ends at the first negative r).
"""

import math

import numpy as np

from ncp_control.audit.checks import check_finite


def standardize(signal: np.ndarray) -> np.ndarray:
    """Return a signal of mean 0 and deviation 1; zeros if it is constant to rounding."""
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
    """Return n_eff, from 1 to n, for values of ρ at the lags 0, 1, …, n − 1."""
    n = len(correlations)
    is_negative = correlations < 0.0
    last = int(np.argmax(is_negative)) if is_negative.any() else n
    lags = np.arange(1, last)
    return n / (1.0 + 2.0 * float(np.sum((1.0 - lags / n) * correlations[1:last])))


def effective_samples_of_mean(correlations: np.ndarray) -> float:
    """Return n_eff of a signal's mean, from 1 to n, corrected for the mean that was taken off.

    Args:
        correlations: Autocorrelation r as `autocorrelation` gives it, at the lags 0, 1, …, n − 1.
    """
    n = len(correlations)
    is_over = correlations <= 0.0
    lags = np.arange(1, int(np.argmax(is_over)) if is_over.any() else n)
    measured = 2.0 * float(np.sum(correlations[lags]))  # R
    missing = 2.0 * float(np.sum(1.0 - lags / n)) - measured  # S − R
    return max((n - missing) / (1.0 + measured), 1.0)


def mean_with_error(values: np.ndarray) -> tuple[float, float, float]:
    """Return the mean of a signal, its standard error, and the samples that the signal is worth.

    The error is that of independent samples, s / √(n_eff − 1) with s² the mean square deviation;
    NaN if the signal is worth one sample only. Of a signal that is hardly longer than its memory it
    is still too small: by a fifth in the median where n_eff is 6.

    Args:
        values: A signal in time, shape (time,), at least one sample.

    Raises:
        ValueError: If a value is not finite.
    """
    values = check_finite("values", values)
    n_eff = effective_samples_of_mean(autocorrelation(standardize(values)))
    error = float(values.std()) / math.sqrt(n_eff - 1.0) if n_eff > 1.0 else math.nan
    return float(values.mean()), error, n_eff
