"""Baseline forecasts without a network, for comparison with networks.

    persistence         ŷ_t = u_t
    training mean       ŷ_t = mean of the training targets
    linear AR(k)        ŷ_t = b + Σ_{j<k} A_j u_{t−j},  by least squares
    ridge               ŷ = b + W u,  by least squares with small W

For the first frames of a window, where fewer than k inputs are available, an AR model with fewer
lags is used. An AR(k) thus has no more information than a recurrent network that starts with the
window.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ncp_control.learning.sequences import Sequences
from ncp_control.ranges import check_count, check_not_negative


@dataclass(frozen=True, kw_only=True)
class LinearForecast:
    """A closed-form forecast of test sequences."""

    predicted: np.ndarray
    """Forecast of each test target, shape (samples, time, output)."""
    num_parameters: int
    """Number of fitted parameters of the model for frames with all lags."""


def persistence(train: Sequences, test: Sequences) -> LinearForecast:
    """Forecast no change: the next frame equals this one.

    Raises:
        ValueError: If the targets are not frames, or the inputs are not finite.
    """
    test.check_finite("test")
    if test.inputs.shape != test.targets.shape:
        raise ValueError(
            f"`targets` must be frames like the inputs, got shape {tuple(test.targets.shape)}"
            f" beside {tuple(test.inputs.shape)}. Persistence forecasts the input itself."
        )
    return LinearForecast(predicted=test.inputs.numpy(), num_parameters=0)


def training_mean(train: Sequences, test: Sequences) -> LinearForecast:
    """Forecast the mean of the training targets.

    Raises:
        ValueError: If data are not finite, or a mask leaves out frames of `train`.
    """
    _check_training(train)
    mean = train.targets.numpy().mean(axis=(0, 1), dtype=np.float64)
    predicted = np.broadcast_to(mean, test.targets.shape)
    return LinearForecast(predicted=predicted, num_parameters=mean.size)


def linear_autoregression(train: Sequences, test: Sequences, lags: int) -> LinearForecast:
    """Fit an affine map of the last `lags` inputs, or of as many as there are, to the targets.

    Args:
        train: Sequences to fit.
        test: Sequences to forecast.
        lags: Number of inputs, including the current one, >= 1; 1 is linear regression without
            memory.

    Raises:
        ValueError: If `lags` is not from 1 to the length of a sequence, data are not finite, or a
            mask leaves out frames of `train`.
    """
    _check_training(train)
    test.check_finite("test")
    check_count("lags", lags)
    time = train.inputs.shape[1]
    shortest = min(time, test.inputs.shape[1])
    if lags > shortest:
        raise ValueError(
            f"`lags` must be from 1 to the window's {shortest} frames, got {lags!r}. Choose fewer."
        )
    inputs, wanted = (values.numpy().astype(np.float64) for values in (train.inputs, train.targets))
    test_inputs = test.inputs.numpy().astype(np.float64)
    predicted = np.empty(test.targets.shape)
    coefficients = np.empty(0)
    for known in range(1, lags + 1):
        learned = range(known - 1, time)
        features = np.concatenate([_lagged(inputs, t, known) for t in learned])
        answers = np.concatenate([wanted[:, t] for t in learned])
        coefficients = np.linalg.lstsq(features, answers, rcond=None)[0]
        # The fit with all lags serves every frame that has them, the other fits one frame each.
        for t in range(known - 1, known if known < lags else test_inputs.shape[1]):
            predicted[:, t] = _lagged(test_inputs, t, known) @ coefficients
    return LinearForecast(predicted=predicted, num_parameters=coefficients.size)


def ridge(
    features: np.ndarray, answers: np.ndarray, strength: float
) -> Callable[[np.ndarray], np.ndarray]:
    """Fit and return a ridge regression: min Σ |ŷ − y|² + strength · |W|².

    Features are standardized first (mean 0, deviation 1); the constant term is not regularized.

    Args:
        features: Shape (samples, features).
        answers: Shape (samples, outputs).
        strength: Factor of the squared weights, >= 0.

    Returns:
        Function from features (samples, features) to answers (samples, outputs).

    Raises:
        ValueError: If `strength` is negative.
    """
    check_not_negative("strength", strength)
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    scale = np.where(deviation > 0.0, deviation, 1.0)
    scaled, constant = (features - mean) / scale, answers.mean(axis=0)
    normal = scaled.T @ scaled + strength * np.eye(scaled.shape[1])
    weights = np.linalg.lstsq(normal, scaled.T @ (answers - constant), rcond=None)[0]
    return lambda asked: (asked - mean) / scale @ weights + constant


def _check_training(train: Sequences) -> None:
    """Raise ValueError if training sequences are not finite or have masked frames."""
    train.check_finite("train")
    if train.mask is not None and not bool(train.mask.all()):
        raise ValueError(
            "`train` must count every frame, got a mask that leaves some out."
            " Give only the frames that count."
        )


def _lagged(inputs: np.ndarray, t: int, known: int) -> np.ndarray:
    """Return the last `known` inputs at frame t and a constant 1, shape (samples, features)."""
    lags = inputs[:, t - known + 1 : t + 1].reshape(len(inputs), -1)
    return np.concatenate([lags, np.ones((len(inputs), 1))], axis=1)
