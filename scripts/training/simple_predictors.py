"""Predictors of a person's steering that know no circuit: what a trained policy stands beside.

| name | says |
|---|---|
| training mean | mean of the training part |
| always straight | 0 |
| best constant in hindsight | mean of the test part |
| persistence of the person's own steering | what the person did one frame earlier |
| linear on shrunken grey frames | ridge regression; its strength is chosen in the validation part |

No policy is told what persistence knows. It shows how little changes from one frame to the next.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from ncp_control.contract import ActionContract
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.learning.linear import ridge
from ncp_control.markdown import markdown_table

BEST_CONSTANT = "best constant in hindsight"
PERSISTENCE = "persistence of the person's own steering"
LINEAR = "linear on shrunken grey frames"
SHRUNKEN = (10, 20)
"""Height and width of the frames that the linear predictor sees."""
STRENGTHS = tuple(10.0**k for k in range(8))
"""Strengths of its ridge, of which validation chooses."""


def simple_predictions(
    train: Demonstrations, validation: Demonstrations, test: Demonstrations
) -> dict[str, np.ndarray]:
    """Return what each predictor says in the test part, shape (frames, action), float64.

    Args:
        train: What is fitted.
        validation: What chooses the strength of the linear predictor.
        test: What is predicted. Only the best constant and persistence look at its actions.
    """
    wanted = test.actions.astype(np.float64)  # the mean of equal numbers is that number
    mean = train.actions.mean(axis=0, dtype=np.float64)
    constants = {
        "training mean": mean,
        "always straight": np.zeros_like(mean),
        BEST_CONSTANT: wanted.mean(axis=0),
    }
    said = {name: np.broadcast_to(value, wanted.shape) for name, value in constants.items()}
    earlier = np.roll(wanted, 1, axis=0)
    earlier[test.episode_starts] = mean  # before an episode nobody has steered
    said[PERSISTENCE] = earlier
    if train.observations.dtype == np.uint8 and train.observations.ndim == 4:
        said[LINEAR] = _linear(train, validation, test)
    return said


def simple_errors(
    train: Demonstrations, validation: Demonstrations, test: Demonstrations
) -> dict[str, tuple[float, float]]:
    """Return mean squared error and correlation of each predictor in the test part."""
    wanted = test.actions.astype(np.float64)
    return {
        name: (float(np.mean((said - wanted) ** 2)), correlation_of(said, wanted))
        for name, said in simple_predictions(train, validation, test).items()
    }


def correlation_of(said: np.ndarray, wanted: np.ndarray) -> float:
    """Return the correlation of the first entry of two actions, shape (frames, action)."""
    both = said[:, 0], wanted[:, 0]
    return 0.0 if 0.0 in map(np.ptp, both) else float(np.corrcoef(*both)[0, 1])


def comparison(measured: dict[str, tuple[float, float]], action: Sequence[ActionContract]) -> str:
    """Return the test errors and correlations as a table.

    The root of the error is in the unit of the recording where one number is predicted, e.g. in rad
    of the steering wheel. Over several numbers it is that of their actions, scaled as they are.

    Args:
        measured: Mean squared error and correlation, by predictor.
        action: What is predicted.
    """
    best_constant, _ = measured[BEST_CONSTANT]
    rmse, factor = "RMSE", 1.0
    if len(action) == 1:
        rmse = f"RMSE [{action[0].unit}]" if action[0].unit else rmse
        factor = abs(action[0].scale[1]) if action[0].scale is not None else 1.0
    rows = [
        [
            name,
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
    told = [
        f"{one.name} [{one.unit or 'unknown unit'}]"
        + (f" over {one.scale[1]:g}" if one.scale is not None else "")
        for one in action
    ]
    return f"{markdown_table(header, rows)}\npredicted: {', '.join(told)}"


def _linear(train: Demonstrations, validation: Demonstrations, test: Demonstrations) -> np.ndarray:
    """Return what ridge regression says, of the strength with the least validation error."""
    seen, judged, asked = (_shrunken(part) for part in (train, validation, test))
    taught = train.actions.astype(np.float64)
    fits = [ridge(seen, taught, strength) for strength in STRENGTHS]
    errors = [np.mean((fit(judged) - validation.actions) ** 2) for fit in fits]
    return fits[int(np.argmin(errors))](asked)


def _shrunken(part: Demonstrations) -> np.ndarray:
    """Return the frames of a part, small and grey, each with mean 0 and deviation 1."""
    size = SHRUNKEN[::-1]
    small = np.stack(
        [
            cv2.resize(frame, size, interpolation=cv2.INTER_AREA).reshape(*SHRUNKEN, -1).mean(-1)
            for frame in part.observations
        ]
    ).reshape(len(part), -1)
    centred = small - small.mean(axis=1, keepdims=True)
    return centred / np.maximum(centred.std(axis=1, keepdims=True), 1.0)
