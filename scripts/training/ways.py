"""Ways to prepare a person's driving for training; the validation part chooses one.

A preparation that helps on one recording harms on another. Mirroring helps on roads that bend to
both sides, and misleads where all bends go to the same side. Steering by key taps needs smoothing,
that of a steady hand does not. So if a setting is None, a policy is trained without and with it,
and the way with the smallest validation error is kept.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ncp_control.contract import Contract, FramesContract
from ncp_control.learning.demonstrations import Demonstrations
from policies.augmentation import steering_signs

if TYPE_CHECKING:
    from scripts.training.recorded_settings import Recorded

SMOOTHING_S = 0.2
"""Standard deviation of the Gaussian that smooths steering, if validation decides on it [s]."""
LARGEST_SHIFT = 0.06
"""Largest sideways shift of an image, as a share of its width."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to prepare a recording for training."""

    mirror: bool = False
    """Whether half of the windows are mirrored."""
    smoothing_s: float = 0.0
    """Standard deviation of the Gaussian that smooths the steering of the training part [s]."""
    shift: bool = False
    """Whether images are shifted sideways, with the steering corrected to match."""
    balance: bool = False
    """Whether bends have a larger weight than straights."""

    def __str__(self) -> str:
        changes = [
            "mirrored windows" * self.mirror,
            f"steering averaged over {self.smoothing_s:g} s" * (self.smoothing_s > 0.0),
            "moved pictures" * self.shift,
            "bends counted more" * self.balance,
        ]
        return " and ".join(filter(None, changes)) or "as it is"


def ways_of(settings: "Recorded") -> tuple[Way, ...]:
    """Return the ways to try: the plain one, and one for each setting that is None, with it on."""
    asked = {
        field.name: value
        for field in dataclasses.fields(Way)
        if (value := getattr(settings, field.name)) is not None
    }
    plain = Way(**asked)
    more = {"mirror": True, "smoothing_s": SMOOTHING_S, "shift": True, "balance": True}
    return (
        plain,
        *(dataclasses.replace(plain, **{k: v}) for k, v in more.items() if k not in asked),
    )


def with_ways_that_fit(settings: "Recorded", contract: Contract) -> "Recorded":
    """Return the settings without the ways that do not fit the observations and actions.

    All ways need an action to the left or right. Mirrored and shifted images also need observations
    without other numbers, since it is unknown how those would change.

    Raises:
        ValueError: If the settings ask for a way that does not fit.
    """
    is_steered = bool(steering_signs(contract.action))
    sees_only = isinstance(contract.observation, FramesContract)
    numbers = "numbers are sensed, or "
    rules = {
        "mirror": (is_steered and sees_only, False, numbers),
        "shift": (is_steered and sees_only, False, numbers),
        "smoothing_s": (is_steered, 0.0, ""),
        "balance": (is_steered, False, ""),
    }
    for name, (fits, nothing, where) in rules.items():
        asked = getattr(settings, name)
        if not fits and asked:
            raise ValueError(
                f"`{name}` must be left out where {where}no action leads to a side, got {asked!r}."
            )
        if not fits:
            settings = dataclasses.replace(settings, **{name: nothing})
    return settings


def smoothed(
    demonstrations: Demonstrations, width_s: float, frame_s: float, entries: Sequence[int]
) -> Demonstrations:
    """Return demonstrations with some entries of the actions smoothed over time by a Gaussian.

    With a keyboard, drivers tap: steering is zero most of the time and too large in between. The
    intended steering is the average.

    Args:
        demonstrations: The demonstrations.
        width_s: Standard deviation of the Gaussian [s]; 0 changes nothing.
        frame_s: Nominal frame interval [s], to convert the width to frames.
        entries: Indices of the entries to smooth, those that steer.
    """
    if width_s == 0.0:
        return demonstrations
    actions, columns = np.array(demonstrations.actions), list(entries)
    for i in range(demonstrations.num_episodes):
        episode = demonstrations.episode(i)
        smooth = gaussian_filter1d(actions[episode][:, columns], width_s / frame_s, axis=0)
        actions[episode, columns] = smooth
    return dataclasses.replace(demonstrations, actions=actions)


def balancing_weight(demonstrations: Demonstrations, entries: Sequence[int]) -> float:
    """Return α (`turn_weight`) such that an action of one standard deviation has weight exp(1).

    α is limited so that the largest action has at most the weight e⁴ = 55.

    Args:
        demonstrations: The demonstrations.
        entries: Indices of the entries of the actions that show bends, those that steer.
    """
    actions = demonstrations.actions[:, list(entries)]
    largest, deviation = float(np.abs(actions).max()), float(actions.std(dtype=np.float64))
    return min(1.0 / deviation, 4.0 / largest) if deviation > 0.0 else 0.0
