"""Effective samples: against sums by hand, the known value of a slow signal, and its coverage."""

import math

import numpy as np
import pytest

from ncp_control.audit.samples import (
    autocorrelation,
    effective_samples,
    effective_samples_of_mean,
    mean_with_error,
    standardize,
)


def slow_noise(rng, length, memory):
    noise = rng.normal(size=length)
    for t in range(1, length):
        noise[t] = memory * noise[t - 1] + math.sqrt(1 - memory**2) * noise[t]
    return noise


def test_autocorrelation_is_the_sum_of_products_over_n():
    x = standardize(np.random.default_rng(0).normal(size=37))
    expected = [float(np.sum(x[: 37 - k] * x[k:])) / 37 for k in range(37)]
    np.testing.assert_allclose(autocorrelation(x), expected, atol=1e-12)
    assert autocorrelation(x)[0] == pytest.approx(1.0)


def test_a_standardized_signal_has_mean_0_and_deviation_1():
    x = standardize(np.array([3.0, 5.0, 10.0]))
    np.testing.assert_allclose(x, np.array([-3.0, -1.0, 4.0]) / math.sqrt(26 / 3))


@pytest.mark.parametrize(("size", "allowed"), [(1.0, 1e-6), (1e6, 1.0), (1e-15, 1e-18)])
def test_the_deviation_that_counts_is_a_millionth_of_the_size(size, allowed):
    """Of a size of at least 1e-12, so that what is nothing stays nothing."""
    sign = np.array([1.0, -1.0] * 20)
    offset = size if size >= 1e-12 else 0.0
    assert not standardize(offset + 0.9 * allowed * sign).any()
    assert standardize(offset + 1.1 * allowed * sign).any()


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
def test_constant_to_rounding_is_constant(size):
    """What varies by less than a millionth of its size is rounding, of single precision too."""
    wave = np.sin(np.arange(50))
    assert not standardize(size * (1.0 + 1e-7 * wave)).any()
    assert standardize(size * (1.0 + 1e-5 * wave)).any()
    assert not standardize(np.full(50, size)).any()
    assert not standardize(np.zeros(5)).any()
    assert not standardize(1e-20 * wave).any()


def test_effective_samples_of_a_sum_by_hand():
    """n = 5: 1 + 2 (4/5 · 0.5 + 3/5 · 0.25) = 2.1; what follows the first negative is left out."""
    assert effective_samples(np.array([1.0, 0.5, 0.25, -0.1, 0.9])) == pytest.approx(5 / 2.1)
    assert effective_samples(np.array([1.0, -0.5, 0.9])) == 3.0
    assert effective_samples(np.array([1.0, 0.5, 0.0, 0.5])) == pytest.approx(
        4 / (1 + 2 * (0.75 * 0.5 + 0.25 * 0.5))
    ), "zero is not negative"
    assert effective_samples(np.ones(4)) == pytest.approx(1.0)
    assert effective_samples(np.ones(1)) == 1.0


def test_effective_samples_of_a_slow_signal_are_those_of_the_theory():
    """An autoregression of memory a has n_eff → n (1 − a) / (1 + a)."""
    rng = np.random.default_rng(0)
    found = [mean_with_error(slow_noise(rng, 4000, 0.8))[2] for _ in range(20)]
    assert np.mean(found) == pytest.approx(4000 * 0.2 / 1.8, rel=0.1)


def test_effective_samples_of_a_mean_by_hand():
    """n = 5, D = 5 / n_eff: R = 1 and S = 2 (4/5 + 3/5), so D = 2 / (1 − 1.8/5) = 3.125."""
    r = np.array([1.0, 0.3, 0.2, -0.1, 0.9])
    assert effective_samples_of_mean(r) == pytest.approx(5 / 3.125)
    d = 5 / effective_samples_of_mean(r)
    rho = r / (1 - np.arange(5) / 5) * (1 - d / 5) + d / 5
    assert effective_samples(np.where(r < 0, r, rho)) == pytest.approx(5 / d)
    assert effective_samples_of_mean(np.array([1.0, -0.5, 0.9])) == 3.0
    assert effective_samples_of_mean(np.array([1.0, 0.9])) >= 1.0


@pytest.mark.parametrize(
    ("length", "memory", "median"), [(100, 0.9, 0.76), (600, 0.98, 0.76), (600, 0.9, 0.95)]
)
def test_the_error_of_a_slow_signals_mean_is_near_the_closed_form(length, memory, median):
    """Its mean square is within 12 %; the median of few effective samples stays below.

    The variance of the mean is (1 + 2 Σ (1 − k/n) a^k) / n for an autoregression of variance 1.
    """
    rng = np.random.default_rng(3)
    lags = np.arange(1, length)
    true = math.sqrt((1 + 2 * np.sum((1 - lags / length) * memory**lags)) / length)
    told = [mean_with_error(slow_noise(rng, length, memory))[1] for _ in range(400)]
    assert np.sqrt(np.mean(np.square(told))) == pytest.approx(true, rel=0.12)
    assert median * true < np.median(told) < 1.1 * true


def test_error_of_independent_samples_is_the_ordinary_one():
    x = np.array([2.0, 4.0, 1.0, 5.0])  # the first lag is negative: all four count
    mean, error, n_eff = mean_with_error(x)
    assert (mean, n_eff) == (3.0, 4.0)
    assert error == pytest.approx(x.std(ddof=1) / 2.0)
    assert mean_with_error(np.array([0.0, 2.0])) == pytest.approx((1.0, 1.0, 2.0))


def test_a_constant_signal_has_no_error_and_one_sample_no_spread():
    assert mean_with_error(np.full(9, 0.3)) == pytest.approx((0.3, 0.0, 9.0))
    mean, error, n_eff = mean_with_error(np.array([0.3]))
    assert (mean, n_eff) == (0.3, 1.0) and math.isnan(error)
    with pytest.raises(ValueError, match="`values` must be finite, got nan in frame 1"):
        mean_with_error(np.array([0.0, np.nan]))


def test_the_interval_of_a_slow_signals_mean_covers_it():
    """The error of independent frames would miss the truth in more than half of the cases."""
    rng = np.random.default_rng(1)
    hits = naive_hits = 0
    for _ in range(300):
        x = slow_noise(rng, 400, 0.9)
        mean, error, _ = mean_with_error(x)
        hits += abs(mean) <= 1.96 * error
        naive_hits += abs(mean) <= 1.96 * x.std(ddof=1) / 20
    assert naive_hits < 0.45 * 300
    assert 0.88 * 300 <= hits < 0.98 * 300
