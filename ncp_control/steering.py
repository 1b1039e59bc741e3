"""Meaning of a policy's steering by its contract: sign, quantity and scale.

| unit                                 | quantity             |
|--------------------------------------|----------------------|
| `rad`, `fraction of 0.4 rad`         | steering angle       |
| `deg`, `fraction of 20 deg`          | the same in degrees  |
| `1/m`, `fraction of 0.5 1/m`         | curvature of the way |
| `rad/s`, `fraction of 1.2 rad/s`     | yaw rate             |
| `deg/s`, `fraction of 70 deg/s`      | the same in degrees  |
| `fraction of the car's largest angle`| steering angle       |
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ncp_control.contract import Contract
from ncp_control.ranges import check_above_zero

ANGLE, CURVATURE, YAW_RATE = "rad", "1/m", "rad/s"
"""Quantities of steering, named by their units."""
LARGEST_ANGLE = "fraction of the car's largest angle"
"""Unit of a steering whose scale is not in the contract."""
_LEAST_STEER_DEG = 3.0
"""Smallest plausible largest steering angle of a car [degrees]; angles in radians are smaller."""
_NAMES = {ANGLE: "steering", CURVATURE: "curvature", YAW_RATE: "yaw_rate"}
_UNITS: dict[str, tuple[str, float]] = {
    **{unit: (unit, 1.0) for unit in _NAMES},
    **{unit: (ANGLE, math.radians(1.0)) for unit in ("deg", "degree", "degrees", "°")},
    **{unit: (YAW_RATE, math.radians(1.0)) for unit in ("deg/s", "degree/s", "degrees/s", "°/s")},
}
"""Quantity of each unit, and what 1 of it is in that of the quantity."""


@dataclass(frozen=True, kw_only=True)
class Steering:
    """Sign, quantity and scale of a policy's steering."""

    is_left_positive: bool
    """Whether a positive action steers to the left, as in ROS."""
    quantity: str
    """Commanded quantity: `ANGLE`, `CURVATURE` or `YAW_RATE`."""
    scale: float | None
    """Value of the quantity for the action 1, in the quantity's unit; None if it is the car's
    largest angle."""


def steering_of(contract: Contract, where: str, quantities: Sequence[str] = (ANGLE,)) -> Steering:
    """Return sign, quantity and scale of a policy's steering.

    Args:
        contract: Contract of the policy.
        where: Name of the link's counterpart, for the error message.
        quantities: Quantities that the counterpart accepts.

    Raises:
        ValueError: If the policy commands something else, its contract lacks the sign or a valid
            unit, or a command of 0 does not mean straight ahead.
    """
    entry = contract.action[0]
    known = {"steering", *(_NAMES[quantity] for quantity in quantities)}
    if len(contract.action) != 1 or entry.name not in known or entry.choices:
        names = [one.name for one in contract.action]
        raise ValueError(
            f"`policy` must command steering alone for {where}, got {names}. Choose a driving"
            " policy."
        )
    if entry.positive not in ("left", "right"):
        raise ValueError(
            f"`positive` of steering must be left or right for {where}, got {entry.positive!r}."
            " Set it in the policy's contract: a wrong sign steers off the road."
        )
    quantity, scale = _read_unit(entry.unit)
    if quantity not in quantities:
        units = "rad or deg" if tuple(quantities) == (ANGLE,) else "rad, deg, 1/m or rad/s"
        raise ValueError(
            f'`unit` of steering must be {units}, or such as "fraction of 0.4 rad", for {where},'
            f" got {entry.unit!r}. Name the unit in the header of the log, e.g. steering [deg], and"
            " train again."
        )
    if entry.scale is not None:
        offset, factor = entry.scale
        if scale is None or offset != 0.0 or factor <= 0.0:
            raise ValueError(
                f"`scale` of steering must be [0, a positive factor] and its unit a known one"
                f" for {where}, got {list(entry.scale)} and {entry.unit!r}. State the largest"
                " steering to the left and to the right alike in the policy's contract."
            )
        scale *= factor
    return Steering(is_left_positive=entry.positive == "left", quantity=str(quantity), scale=scale)


def is_steering_unit(unit: str) -> bool:
    """True if the table at the top of this module has the unit."""
    return _read_unit(unit)[0] is not None


def check_largest_angle(max_steer_deg: float) -> None:
    """Raise ValueError unless a car's largest steering angle is plausible in degrees."""
    check_above_zero("max_steer_deg", max_steer_deg)
    if max_steer_deg < _LEAST_STEER_DEG:
        raise ValueError(
            f"`max_steer_deg` must be at least {_LEAST_STEER_DEG:g} degrees, got {max_steer_deg}."
            f" If you measured radians, give {math.degrees(max_steer_deg):.3g}."
        )


def angle_rad(unit: str) -> float | None:
    """Return the steering angle [rad] that 1 of a unit is; None if that is unknown or no angle."""
    quantity, scale = _read_unit(unit)
    return scale if quantity == ANGLE else None


def _read_unit(unit: str) -> tuple[str | None, float | None]:
    """Return quantity and scale of a unit; the quantity is None if the unit is unknown."""
    if unit == LARGEST_ANGLE:
        return ANGLE, None
    if unit in _UNITS:
        return _UNITS[unit]
    words = unit.split()
    if len(words) != 4 or words[:2] != ["fraction", "of"] or words[3] not in _UNITS:
        return None, None
    try:
        scale = float(words[2])
    except ValueError:
        return None, None
    quantity, factor = _UNITS[words[3]]
    return (quantity, factor * scale) if math.isfinite(scale) and scale > 0.0 else (None, None)
