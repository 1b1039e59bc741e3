"""Named numbers of a recording, one value per frame: commands and measurements, with their units.

A job chooses which of them are the actions and which are the inputs of a policy. Actions are in
[-1, 1]. A quantity whose range is within [-1, 1] is learned unscaled; any other is scaled: the
action x means offset + factor · x.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ncp_control.contract import ActionContract, Entry
from ncp_control.contract_parts import ANY, Range
from ncp_control.steering import LARGEST_ANGLE

STEERING = "steering"
STEERING_ANGLE = "steering_angle"
"""Name of an angle that is not known as a fraction of the car's largest angle."""
SPEED_UNIT = "m/s"
MARGIN = 1.1
"""Half the range of a scaled action divided by half the range of the demonstrated values; above 1,
so that the largest demonstrated value can be reached."""
_MOST_TOLD = 24


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One named number of a recording."""

    name: str
    """Name, e.g. "throttle" or "action.elbow"; it may have parts, separated by dots."""
    unit: str = ""
    """Unit; "" if unknown."""
    range: Range = ANY
    """Lowest and highest value."""
    positive: str = ""
    """Direction of positive values, e.g. "left"; "" if there is none."""
    has_assumed_unit: bool = field(default=False, compare=False)
    """Whether the unit is assumed: the recording names none, and no range would show another."""

    @property
    def is_scaled(self) -> bool:
        """Whether the range exceeds [-1, 1], so that the quantity must be scaled as an action."""
        return not (-1.0 <= self.range[0] and self.range[1] <= 1.0)

    def as_entry(self) -> Entry:
        """Return the entry of a contract for this quantity as an input."""
        return Entry(name=self.name, unit=self.unit, range=self.range)

    def as_action(self, scale: tuple[float, float] | None) -> ActionContract:
        """Return the contract for this quantity as an action, with offset and factor if scaled."""
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
"""Default quantities by name, for formats that do not describe them."""


def describe_quantities(names: Iterable[str], said: Sequence[Quantity]) -> tuple[Quantity, ...]:
    """Return the quantity of each name: from `said`, from `KNOWN`, or with the name alone."""
    known = KNOWN | {one.name: one for one in said}
    return tuple(known.get(name, Quantity(name=name)) for name in names)


def find_names(setting: str, asked: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return the names that a user asks for; `arm` means all of `arm.elbow`, `arm.wrist`, ….

    Args:
        setting: Name of the user's setting, for messages.
        asked: Words of the user.
        names: All existing names.

    Raises:
        ValueError: If a word matches no name.
    """
    found: list[str] = []
    for word in asked:
        parts = [name for name in names if name.startswith(f"{word}.")]
        matching = [word] if word in names else parts
        if not matching:
            listed = ", ".join(names[:_MOST_TOLD]) + (", …" if len(names) > _MOST_TOLD else "")
            raise ValueError(
                f"`{setting}` must be numbers of the recording, which are {listed or 'none'}, got"
                f" {word!r}. Choose some of them."
            )
        found += matching
    return tuple(dict.fromkeys(found))


def fit_scale(values: np.ndarray, quantity: Quantity) -> tuple[float, float]:
    """Return offset and factor that scale the values into [-1, 1], with `MARGIN`.

    If the quantity has a direction (`positive`), the offset is 0, so that mirroring flips the sign.

    Args:
        values: Demonstrated values, shape (N,), finite.
        quantity: Their quantity.
    """
    low, high = float(values.min()), float(values.max())
    if quantity.positive:
        high = max(abs(low), abs(high))
        low = -high
    return (low + high) / 2.0, MARGIN * (high - low) / 2.0 or 1.0


def scaled(values: np.ndarray, name: str, scales: Mapping[str, tuple[float, float]]) -> np.ndarray:
    """Return values of a quantity scaled to actions; unchanged if the quantity has no scale."""
    if name not in scales:
        return values
    offset, factor = scales[name]
    return ((values - offset) / factor).astype(values.dtype)
