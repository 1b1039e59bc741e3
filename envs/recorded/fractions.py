"""Convert steering that is recorded as an angle to fractions of the car's largest angle."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from envs.recorded.quantities import KNOWN, STEERING, STEERING_ANGLE, Quantity
from envs.recorded.recording import Recording
from ncp_control.steering import angle_rad, check_largest_angle

_ROUNDING = 1e-6
"""Share by which an angle may exceed the largest one, because it is recorded in float32."""


def as_fractions(recording: Recording, max_steer_deg: float) -> Recording:
    """Return a recording whose steering is a fraction of the car's largest angle, in [-1, 1].

    Args:
        recording: A recording whose steering has an angle as its unit, e.g. deg.
        max_steer_deg: The car's largest steering angle [degrees].

    Raises:
        ValueError: If steering is no angle, is already such a fraction, or exceeds the largest
            angle.
    """
    check_largest_angle(max_steer_deg)
    known = {one.name: one for one in recording.quantities}
    unit_rad = angle_rad(known[STEERING].unit) if STEERING in known else None
    if unit_rad is None:
        raise _no_angle(recording, known)
    factor = unit_rad / math.radians(max_steer_deg)
    largest = max(
        float(np.nan_to_num(np.abs(one.numbers[STEERING])).max()) for one in recording.episodes
    )
    if factor * largest > 1.0 + _ROUNDING:
        told_deg = math.ceil(100.0 * (1.0 - _ROUNDING) * math.degrees(unit_rad) * largest) / 100.0
        raise ValueError(
            f"`max_steer_deg` must be at least {told_deg:g}, the largest steering in"
            f" '{recording.folder}', got {max_steer_deg:g}. Measure the car's largest angle at the"
            " wheels."
        )
    episodes = [
        replace(
            one,
            numbers={
                **one.numbers,
                STEERING: np.clip(factor * one.numbers[STEERING], -1.0, 1.0).astype(np.float32),
            },
        )
        for one in recording.episodes
    ]
    fraction = replace(KNOWN[STEERING], positive=known[STEERING].positive)
    quantities = [fraction if one.name == STEERING else one for one in recording.quantities]
    return replace(
        recording,
        episodes=tuple(episodes),
        quantities=tuple(quantities),
        contract=None,
        scales={name: one for name, one in recording.scales.items() if name != STEERING},
    )


def _no_angle(recording: Recording, known: Mapping[str, Quantity]) -> ValueError:
    """Return the error for a recording whose steering is no angle, or that has no steering."""
    got, advice = "none", "Leave it out."
    if STEERING in known:
        got = repr(known[STEERING].unit or "no unit")
    elif STEERING_ANGLE in known:
        got = f"only {STEERING_ANGLE} [{known[STEERING_ANGLE].unit or 'no unit'}]"
        advice = "Give --log-options max_steer_rad=RADIANS instead."
        if recording.format != "ros2":
            advice = (
                f"{STEERING_ANGLE} is taken as that of the steering wheel: leave the option out, or"
                " divide it by the car's steering ratio and write it as steering [deg] into a"
                " frames.csv."
            )
    return ValueError(
        "`max_steer_deg` must be left out unless the steering of a recording is an angle, got"
        f" {got} in '{recording.folder}'. {advice}"
    )
