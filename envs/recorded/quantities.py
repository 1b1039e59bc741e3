"""Named numbers of a recording, one a frame: what was commanded or measured, in which unit.

A job chooses which of them a policy learns to give (actions) and which it senses (inputs). A policy
gives numbers in [-1, 1]. A quantity whose range lies in there is learned as it is; any other is
scaled: the action x stands for offset + factor · x.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ncp_control.contract import ActionContract, Entry
from ncp_control.contract_parts import ANY, Range
from ncp_control.steering import LARGEST_ANGLE

STEERING = "steering"
SPEED_UNIT = "m/s"
MARGIN = 1.1
"""Half the span of a scaled action in units of the half span of what was demonstrated, so that the
largest demonstrated value can be reached."""
_MOST_TOLD = 24


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One named number of a recording."""

    name: str
    """What it is, e.g. "throttle" or "action.elbow". A name may have parts, separated by dots."""
    unit: str = ""
    """Its unit; empty if unknown."""
    range: Range = ANY
    """Lowest and highest value."""
    positive: str = ""
    """Where a positive value leads, e.g. "left"; empty if that needs no word."""

    @property
    def is_scaled(self) -> bool:
        """Whether it does not lie in [-1, 1], so that it is scaled to be an action."""
        return not (-1.0 <= self.range[0] and self.range[1] <= 1.0)

    def as_entry(self) -> Entry:
        """Return what a contract says of it as an input."""
        return Entry(name=self.name, unit=self.unit, range=self.range)

    def as_action(self, scale: tuple[float, float] | None) -> ActionContract:
        """Return what a contract says of it as an action, which may be scaled."""
        return ActionContract(
            name=self.name,
            unit=self.unit,
            range=self.range if scale is None else (-1.0, 1.0),
            positive=self.positive,
            scale=scale,
        )


KNOWN = {
    one.name: one
    for one in (
        Quantity(name=STEERING, unit=LARGEST_ANGLE, range=(-1.0, 1.0), positive="left"),
        Quantity(name="throttle", unit="fraction of full throttle", range=(-1.0, 1.0)),
        Quantity(name="brake", unit="fraction of full braking", range=(0.0, 1.0)),
        Quantity(name="speed", unit=SPEED_UNIT),
    )
}
"""What a name means where a format does not say more."""


def describe_quantities(names: Iterable[str], said: Sequence[Quantity]) -> tuple[Quantity, ...]:
    """Return the quantity of each name: as a format says it, as it is known, or the name alone."""
    known = KNOWN | {one.name: one for one in said}
    return tuple(known.get(name, Quantity(name=name)) for name in names)


def find_names(setting: str, asked: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return the names that a user asks for; `arm` stands for all of `arm.elbow`, `arm.wrist`, ….

    Args:
        setting: What the user's words are called.
        asked: The user's words.
        names: The names that there are.

    Raises:
        ValueError: If a word stands for none of them.
    """
    found: list[str] = []
    for word in asked:
        parts = [name for name in names if name.startswith(f"{word}.")]
        matching = [word] if word in names else parts
        if not matching:
            told = ", ".join(names[:_MOST_TOLD]) + (", …" if len(names) > _MOST_TOLD else "")
            raise ValueError(
                f"`{setting}` must be numbers of the recording, which are {told or 'none'}, got"
                f" {word!r}. Choose some of them."
            )
        found += matching
    return tuple(dict.fromkeys(found))


def fit_scale(values: np.ndarray, quantity: Quantity) -> tuple[float, float]:
    """Return offset and factor with which the values lie in [-1, 1], with `MARGIN`.

    What leads to a side keeps its zero, so that a mirror turns it round.

    Args:
        values: What was demonstrated, shape (N,), finite.
        quantity: What they are.
    """
    low, high = float(values.min()), float(values.max())
    if quantity.positive:
        high = max(abs(low), abs(high))
        low = -high
    return (low + high) / 2.0, MARGIN * (high - low) / 2.0 or 1.0


def scaled(values: np.ndarray, name: str, scales: Mapping[str, tuple[float, float]]) -> np.ndarray:
    """Return the actions in [-1, 1] that stand for values of a quantity."""
    if name not in scales:
        return values
    offset, factor = scales[name]
    return ((values - offset) / factor).astype(values.dtype)
