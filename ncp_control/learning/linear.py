"""Forecasts that need no network: the rows that a table of networks must stand beside.

    persistence         ŷ_t = u_t
    training mean       ŷ_t = mean of the training targets
    linear AR(k)        ŷ_t = b + Σ_{j<k} A_j u_{t−j},  by least squares
    ridge               ŷ = b + W u,  by least squares with small W

In a window's first frames fewer than k inputs have been seen, and a fit with as many lags stands
in: an AR(k) knows no more than a recurrent network that starts with the window.
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
    """Numbers fitted for frames with all their lags."""


def persistence(train: Sequences, test: Sequences) -> LinearForecast:
    """Say that nothing changes: the next frame is this one.

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
    """Say the mean of the training targets.

    Raises:
        ValueError: If the targets are not finite, or some frames do not count.
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
        lags: Inputs seen, this one included, >= 1; 1 is the linear regression without memory.

    Raises:
        ValueError: If `lags` is not from 1 to the length of a sequence, data are not finite, or
            some frames of `train` do not count.
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
    seen = test.inputs.numpy().astype(np.float64)
    predicted = np.empty(test.targets.shape)
    coefficients = np.empty(0)
    for known in range(1, lags + 1):
        learned = range(known - 1, time)
        features = np.concatenate([_lagged(inputs, t, known) for t in learned])
        answers = np.concatenate([wanted[:, t] for t in learned])
        coefficients = np.linalg.lstsq(features, answers, rcond=None)[0]
        # The last fit serves every frame from which all lags can be seen, the others one frame.
        for t in range(known - 1, known if known < lags else seen.shape[1]):
            predicted[:, t] = _lagged(seen, t, known) @ coefficients
    return LinearForecast(predicted=predicted, num_parameters=coefficients.size)


def ridge(
    features: np.ndarray, answers: np.ndarray, strength: float
) -> Callable[[np.ndarray], np.ndarray]:
    """Fit an affine map with small weights and return it: min Σ |ŷ − y|² + strength · |W|².

    Features are brought to mean 0 and deviation 1 first; the constant is not held small.

    Args:
        features: Shape (samples, features).
        answers: Shape (samples, outputs).
        strength: Weight of the squared weights, >= 0.

    Returns:
        The map of features (samples, features) to answers (samples, outputs).

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
    """Refuse sequences that are not finite, or that a mask makes unlike what is fitted here."""
    train.check_finite("train")
    if train.mask is not None and not bool(train.mask.all()):
        raise ValueError(
            "`train` must count every frame, got a mask that leaves some out."
            " Give only the frames that count."
        )


def _lagged(inputs: np.ndarray, t: int, known: int) -> np.ndarray:
    """Return the last `known` inputs at frame t side by side with a one, (samples, features)."""
    lags = inputs[:, t - known + 1 : t + 1].reshape(len(inputs), -1)
    return np.concatenate([lags, np.ones((len(inputs), 1))], axis=1)
