"""Check whether a part of a recording can judge a policy trained on another part.

A test error is meaningful only if the test part has enough frames and is driven like the training
part. Two rules for each action, e.g. steering, detect the opposite:

* If the standard deviation of an action in a part is below 0.01, the part never steers. A policy
  that ignores its camera is perfect there. For a scaled action, 0.01 is in units of its factor, as
  fitted to the training part.
* A part is unlike the training part if its standard deviation is more than twice or less than half
  that of the training part, or if the means differ by more than the training part's deviation.
"""

import numpy as np

from envs.recorded.quantities import STEERING
from envs.recorded.recording import Recording, fit_scales

FEWEST_FRAMES = 10
"""Number of frames below which the error of a part is chance."""
STRAIGHT = 0.01
"""Standard deviation of an action below which it counts as constant in a part."""
LARGEST_RATIO = 2.0
"""Ratio of two standard deviations above which the parts are unlike."""


def compare_actions(train: Recording, other: Recording, name: str) -> list[str]:
    """Return a note for each reason why a part cannot judge a policy; empty if it can.

    A note names all actions to which its reason applies.

    Args:
        train: The training part.
        other: The part that judges.
        name: Name of that part, e.g. "test part".
    """
    frames, doubts = len(other.center_only()), []
    if frames < FEWEST_FRAMES:
        doubts.append(f"The {name} has {frames} frames. Its error is chance. Record more.")
    if frames < 2:  # too few for a standard deviation
        return doubts
    for part, called in ((train, "training part"), (other, name)):
        lacking = [action for action in train.actions if not len(_values(part, action))]
        if lacking:
            return [*doubts, f"The {called} has no {', '.join(lacking)} in any frame."]
    scales = fit_scales([train])
    found: dict[str, list[str]] = {}
    for action in train.actions:
        straight = STRAIGHT * scales.get(action, (0.0, 1.0))[1]
        moments = _moments(train, action), _moments(other, action)
        if fault := _compare(action, *moments, straight, name):
            note, values = fault
            found.setdefault(note, []).append(values)
    return doubts + [note.format(", ".join(values)) for note, values in found.items()]


def _compare(
    action: str,
    taught: tuple[float, float],
    judged: tuple[float, float],
    straight: float,
    name: str,
) -> tuple[str, str] | None:
    """Compare mean and standard deviation of one action in the training part and in another.

    Returns:
        The note, with {} for actions and their values, and this action's; None if all is well.
    """
    (train_mean, train_deviation), (mean, deviation) = taught, judged
    never, bend = ("never steers", "bends") if action == STEERING else ("is uniform", "changes")
    if max(deviation, train_deviation) < straight and abs(mean - train_mean) < straight:
        return (
            f"The recording {never}: its {{}} in the training part and in the {name}. There is"
            " nothing to learn. Is it the right column?",
            f"{action} is {mean:.2f}",
        )
    if deviation < straight:
        return (
            f"The {name} {never}: its {{}}. Its error tells nothing about {bend}. Cut the recording"
            " elsewhere.",
            f"{action} stays at {mean:.2f} (deviation {deviation:.3f})",
        )
    if train_deviation < straight:
        return (
            f"The training part {never}: its {{}}. There is no {bend.removesuffix('s')} in it to"
            " learn.",
            f"{action} stays at {train_mean:.2f} (deviation {train_deviation:.3f})",
        )
    ratio = deviation / train_deviation
    is_alike = 1.0 / LARGEST_RATIO <= ratio <= LARGEST_RATIO
    if is_alike and abs(mean - train_mean) <= train_deviation:
        return None
    return (
        f"The {name} is driven unlike the training part: its {{}} (mean ± deviation). Its error"
        " tells more about this difference than about what was learned. Cut the recording"
        " elsewhere, or record more of both kinds.",
        f"{action} is {mean:.2f} ± {deviation:.2f} instead of {train_mean:.2f} ±"
        f" {train_deviation:.2f}",
    )


def _moments(recording: Recording, action: str) -> tuple[float, float]:
    """Return mean and standard deviation of an action in the frames of the center camera."""
    values = _values(recording, action)
    return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))


def _values(recording: Recording, action: str) -> np.ndarray:
    """Return the values of an action in the frames of the center camera, without missing ones."""
    values = np.concatenate([e.numbers[action] for e in recording.center_only().episodes])
    return values[np.isfinite(values)]
