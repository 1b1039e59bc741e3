"""Closed-form forecasts where the answer is known."""

import dataclasses

import numpy as np
import pytest
import torch

from ncp_control.learning.linear import linear_autoregression, persistence, training_mean
from ncp_control.learning.sequences import Sequences, forecasting_windows


def oscillations(num_traces, seed):
    """Positions alone of frictionless oscillators: a linear system of second order."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(7).normal(size=(3, 3))
    times = np.arange(60)[:, None] * np.array([0.3, 0.5, 0.9])
    phases = rng.uniform(0.0, 2 * np.pi, (num_traces, 1, 3))
    sizes = rng.uniform(0.5, 2.0, (num_traces, 1, 3))
    return [wave @ mixing for wave in sizes * np.sin(times + phases)]


def squared_error(forecast, test):
    return (forecast.predicted - test.targets.numpy()) ** 2


@pytest.fixture
def split():
    return tuple(forecasting_windows(oscillations(8, seed), 12, 5) for seed in (1, 2))


def test_two_lags_foretell_an_oscillator_exactly(split):
    error = squared_error(linear_autoregression(*split, lags=2), split[1])
    assert error[:, 0].mean() > 1e-2  # a position alone does not tell the velocity
    assert error[:, 1:].max() < 1e-20
    no_memory = squared_error(linear_autoregression(*split, lags=1), split[1])
    assert no_memory.mean() > 1e-2


def test_lags_are_counted_in_parameters(split):
    assert linear_autoregression(*split, lags=4).num_parameters == 3 * (4 * 3 + 1)


def test_persistence_repeats_the_frame_and_the_mean_is_the_mean(split):
    train, test = split
    np.testing.assert_array_equal(persistence(train, test).predicted, test.inputs.numpy())
    mean = training_mean(train, test)
    np.testing.assert_allclose(mean.predicted[5, 7], train.targets.mean(dim=(0, 1)), atol=1e-9)
    assert mean.num_parameters == 3


def test_impossible_lags_are_refused(split):
    with pytest.raises(ValueError, match="`lags` must be from 1 to the window's 12 frames, got 13"):
        linear_autoregression(*split, lags=13)


def test_test_windows_too_short_for_the_lags_are_refused(split):
    train, test = split
    short = Sequences(inputs=test.inputs[:, :2], targets=test.targets[:, :2])
    with pytest.raises(ValueError, match="`lags` must be from 1 to the window's 2 frames, got 3"):
        linear_autoregression(train, short, lags=3)


def test_persistence_of_targets_that_are_no_frames_is_refused(split):
    train, test = split
    other = Sequences(inputs=test.inputs, targets=test.targets[..., :1])
    with pytest.raises(ValueError, match="`targets` must be frames like the inputs, got shape"):
        persistence(train, other)


def test_data_that_are_not_finite_are_refused(split):
    train, test = split
    broken = dataclasses.replace(train, inputs=torch.full_like(train.inputs, torch.nan))
    with pytest.raises(ValueError, match="`train` must be finite, got NaN"):
        linear_autoregression(broken, test, lags=2)
    with pytest.raises(ValueError, match="`train` must be finite, got NaN"):
        training_mean(broken, test)
    unknown = dataclasses.replace(test, inputs=torch.full_like(test.inputs, torch.inf))
    with pytest.raises(ValueError, match="`test` must be finite, got NaN or infinity"):
        persistence(train, unknown)


def test_a_mask_that_leaves_frames_out_is_refused(split):
    train, test = split
    mask = torch.ones(train.inputs.shape[:2], dtype=torch.bool)
    whole = dataclasses.replace(train, mask=mask.clone())
    assert linear_autoregression(whole, test, lags=1).num_parameters == 12
    mask[0, 3] = False
    masked = dataclasses.replace(train, mask=mask)
    for fit in (training_mean, lambda *parts: linear_autoregression(*parts, lags=1)):
        with pytest.raises(ValueError, match="`train` must count every frame, got a mask"):
            fit(masked, test)
