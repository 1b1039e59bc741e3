"""Whether a part of a recording can judge what was learned from another part.

A test error means something only where the test part is driven like the training part. Two rules
on the person's steering, a fraction of the largest angle, say where it is not:

* A part whose steering deviates by less than 0.01 never steers. A policy that ignores its camera
  is perfect there.
* A part is unlike the training part if its deviation is more than twice the training part's or less
  than half of it, or if the means differ by more than the training part's deviation.
"""

import numpy as np

from envs.recorded.recording import Recording

STRAIGHT = 0.01
"""Deviation of the steering below which a part never steers."""
LARGEST_RATIO = 2.0
"""Ratio of two deviations above which the parts are unlike."""


def compare_steering(train: Recording, other: Recording, name: str) -> list[str]:
    """Return a sentence for each way in which a part cannot be judged by, none if it can.

    Args:
        train: The part to learn from.
        other: The part that judges.
        name: What the part is called, e.g. "test part".
    """
    (mean, deviation), (train_mean, train_deviation) = _moments(other), _moments(train)
    if deviation < STRAIGHT:
        return [
            f"The {name} never steers: its steering stays at {mean:.2f} (deviation"
            f" {deviation:.3f}). Its error tells nothing about bends. Cut the recording elsewhere."
        ]
    if train_deviation < STRAIGHT:
        return [
            f"The training part never steers: its steering stays at {train_mean:.2f} (deviation"
            f" {train_deviation:.3f}). There is no bend in it to learn."
        ]
    ratio = deviation / train_deviation
    is_alike = 1.0 / LARGEST_RATIO <= ratio <= LARGEST_RATIO
    if is_alike and abs(mean - train_mean) <= train_deviation:
        return []
    return [
        f"The {name} is driven unlike the training part: its steering has mean {mean:.2f} and"
        f" deviation {deviation:.2f}, the training part's {train_mean:.2f} and"
        f" {train_deviation:.2f}. Its error tells more about this difference than about what was"
        " learned. Cut the recording elsewhere, or record more of both kinds."
    ]


def _moments(recording: Recording) -> tuple[float, float]:
    """Return mean and standard deviation of the center camera's steering."""
    steering = np.concatenate([e.steering for e in recording.center_only().episodes])
    return float(steering.mean(dtype=np.float64)), float(steering.std(dtype=np.float64))
