"""The ways in which a person's driving can be taught, of which the validation part chooses one.

What helps on one recording harms on another: a mirror helps on roads that bend to both sides and
misleads where all bends are alike; steering that was tapped on keys is learned from its average,
that of a steady hand as it is. So where a setting is left open, a policy learns without it and with
it, and the way with the smallest error in the validation part is kept.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ncp_control.contract import Contract, FramesContract
from ncp_control.learning.demonstrations import Demonstrations
from policies.augmentation import mirrored_entries

if TYPE_CHECKING:
    from scripts.training.driving_settings import Recorded

SMOOTHING_S = 0.2
"""Width of the Gaussian that averages tapped keys where validation decides on it [s]."""
LARGEST_SHIFT = 0.06
"""Largest move of a picture where it is moved, as a share of its width."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to teach a recording."""

    mirror: bool = False
    """Whether half of the windows are mirrored."""
    smoothing_s: float = 0.0
    """Width of the Gaussian that averages the steering that trains [s]."""
    shift: bool = False
    """Whether pictures are moved, and steered back."""
    balance: bool = False
    """Whether bends count more than straights."""

    def __str__(self) -> str:
        told = [
            "mirrored windows" * self.mirror,
            f"steering averaged over {self.smoothing_s:g} s" * (self.smoothing_s > 0.0),
            "moved pictures" * self.shift,
            "bends counted more" * self.balance,
        ]
        return " and ".join(filter(None, told)) or "as it is"


def ways_of(settings: "Recorded") -> tuple[Way, ...]:
    """Return the ways that the settings leave open: the plain one, and each with one thing more."""
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
    """Return the settings without the ways that do not fit what a policy sees and does.

    All ways need an action that leads to a side. Mirrored and moved pictures also need that nothing
    is sensed beside them, since nobody knows how that would change.

    Raises:
        ValueError: If such a way was asked for.
    """
    is_steered = bool(mirrored_entries(contract.action))
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
    """Return demonstrations with some entries of the actions averaged over time by a Gaussian.

    Drivers on a keyboard tap: their steering is zero most of the time and far too much in between.
    What they mean is the average.

    Args:
        demonstrations: What was driven.
        width_s: Standard deviation of the Gaussian [s]; 0 changes nothing.
        frame_s: Nominal frame interval [s], in which the width is taken.
        entries: Which entries: those that steer.
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
    """Return the α for which a frame whose action is one deviation from 0 counts exp(1) times.

    It is limited so that the largest action counts at most e⁴ = 55 times.

    Args:
        demonstrations: What was driven.
        entries: Which entries of the actions tell bends: those that steer.
    """
    actions = demonstrations.actions[:, list(entries)]
    largest, deviation = float(np.abs(actions).max()), float(actions.std(dtype=np.float64))
    return min(1.0 / deviation, 4.0 / largest) if deviation > 0.0 else 0.0
