"""Differences of periodic quantities: angles, and places on a closed road."""

import math
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

Numbers = TypeVar("Numbers", float, np.ndarray, "torch.Tensor")


def wrap_angle(angle_rad: Numbers) -> Numbers:
    """Wrap an angle, or each angle of an array or tensor, to [-π, π) [rad]."""
    return (angle_rad + math.pi) % (2.0 * math.pi) - math.pi


def ahead_m(from_m: Numbers, to_m: Numbers, lap_m: Numbers) -> Numbers:
    """Return the distance from one place to another on a closed road, in [-lap/2, lap/2) [m]."""
    return (to_m - from_m + 0.5 * lap_m) % lap_m - 0.5 * lap_m
