"""Simple predictors of recorded actions, as baselines for a trained policy.

| name | prediction |
|---|---|
| training mean | mean of the training part |
| always straight | 0 |
| best constant in hindsight | mean of the test part |
| persistence of the person's own steering | what the person did one frame earlier |
| linear on shrunken grey frames | ridge regression; its strength is chosen in the validation part |

Persistence knows the person's last action, which no policy gets. It shows how little changes from
one frame to the next. Frames at the beginning of a drive have no frame before them, and do not
count for it. Where no action is steering, the table has other words for two of them.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from ncp_control.contract import ActionContract
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.learning.linear import ridge
from ncp_control.markdown import markdown_table
from scripts.evaluation.recorded import earlier_actions, is_known

STRAIGHT = "always straight"
BEST_CONSTANT = "best constant in hindsight"
PERSISTENCE = "persistence of the person's own steering"
LINEAR = "linear on shrunken grey frames"
_WITHOUT_STEERING = {
    STRAIGHT: "always zero (scaled)",
    PERSISTENCE: "persistence of the recorded action",
}
"""Words of the table where no action is steering."""
SHRUNKEN = (10, 20)
"""Height and width of the shrunken frames of the linear predictor [px]."""
STRENGTHS = tuple(10.0**k for k in range(8))
"""Strengths of its ridge penalty, among which the validation error chooses."""


def simple_predictions(
    train: Demonstrations, validation: Demonstrations, test: Demonstrations
) -> dict[str, np.ndarray]:
    """Return the predictions of each predictor for the test part, shape (frames, action), float64.

    Persistence is NaN in frames that have no frame before them, and left out if all have none.

    Args:
        train: Part to fit the predictors to.
        validation: Part that chooses the strength of the ridge penalty.
        test: Part to predict. Only the best constant and persistence use its actions.
    """
    wanted = test.actions.astype(np.float64)  # the mean of equal numbers is that number
    mean = train.actions.mean(axis=0, dtype=np.float64)
    constants = {
        "training mean": mean,
        STRAIGHT: np.zeros_like(mean),
        BEST_CONSTANT: wanted.mean(axis=0),
    }
    predicted = {name: np.broadcast_to(value, wanted.shape) for name, value in constants.items()}
    earlier = earlier_actions(test)
    if is_known(earlier).any():
        predicted[PERSISTENCE] = earlier
    if train.observations.dtype == np.uint8 and train.observations.ndim == 4:
        predicted[LINEAR] = _linear(train, validation, test)
    return predicted


def simple_errors(
    train: Demonstrations, validation: Demonstrations, test: Demonstrations
) -> dict[str, tuple[float, float]]:
    """Return mean squared error and correlation of each predictor in the test part."""
    errors = {}
    for name, predicted in simple_predictions(train, validation, test).items():
        known = is_known(predicted)
        said, wanted = predicted[known], test.actions[known].astype(np.float64)
        errors[name] = float(np.mean((said - wanted) ** 2)), correlation_of(said, wanted)
    return errors


def correlation_of(predicted: np.ndarray, wanted: np.ndarray) -> float:
    """Return the correlation of the first entries of two actions, each of shape (frames, action).

    It is 0 if either is constant.
    """
    both = predicted[:, 0], wanted[:, 0]
    return 0.0 if 0.0 in map(np.ptp, both) else float(np.corrcoef(*both)[0, 1])


def comparison(measured: dict[str, tuple[float, float]], action: Sequence[ActionContract]) -> str:
    """Return the test errors and correlations as a table.

    If one number is predicted, the RMSE is in the unit of the recording, e.g. rad of the steering
    wheel. For several numbers it is that of the scaled actions.

    Args:
        measured: Mean squared error and correlation, by predictor.
        action: Contract of the predicted actions.
    """
    best_constant, _ = measured[BEST_CONSTANT]
    rmse, factor = "RMSE", 1.0
    if len(action) == 1:
        rmse = f"RMSE [{action[0].unit}]" if action[0].unit else rmse
        factor = abs(action[0].scale[1]) if action[0].scale is not None else 1.0
    words = {} if any("steer" in one.name.lower() for one in action) else _WITHOUT_STEERING
    rows = [
        [
            words.get(name, name),
            f"{error:.5f}",
            f"{error**0.5 * factor:.4f}",
            f"{error / best_constant - 1:+.0%}" if best_constant else "–",
            f"{r:.2f}",
        ]
        for name, (error, r) in measured.items()
    ]
    header = [
        "predictor",
        "test MSE",
        rmse,
        "MSE against the best constant",
        "correlation",
    ]
    labels = [
        f"{one.name} [{one.unit or 'unknown unit'}]"
        + (f" over {one.scale[1]:g}" if one.scale is not None else "")
        for one in action
    ]
    return f"{markdown_table(header, rows)}\npredicted: {', '.join(labels)}"


def _linear(train: Demonstrations, validation: Demonstrations, test: Demonstrations) -> np.ndarray:
    """Return predictions of ridge regression with the strength of the least validation error."""
    train_pixels, validation_pixels, test_pixels = (
        _shrunken(part) for part in (train, validation, test)
    )
    taught = train.actions.astype(np.float64)
    fits = [ridge(train_pixels, taught, strength) for strength in STRENGTHS]
    errors = [np.mean((fit(validation_pixels) - validation.actions) ** 2) for fit in fits]
    return fits[int(np.argmin(errors))](test_pixels)


def _shrunken(part: Demonstrations) -> np.ndarray:
    """Return frames of a part, shrunken and grey, each with mean 0 and standard deviation 1.

    The shape is (frames, pixels). Frames with a standard deviation below 1 are only centred.
    """
    size = SHRUNKEN[::-1]
    small = np.stack(
        [
            cv2.resize(frame, size, interpolation=cv2.INTER_AREA).reshape(*SHRUNKEN, -1).mean(-1)
            for frame in part.observations
        ]
    ).reshape(len(part), -1)
    centred = small - small.mean(axis=1, keepdims=True)
    return centred / np.maximum(centred.std(axis=1, keepdims=True), 1.0)
