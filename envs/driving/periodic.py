"""Differences of numbers that come round again: directions, and places on a closed road."""

import math
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

Radians = TypeVar("Radians", float, np.ndarray, "torch.Tensor")


def wrap_angle(angle_rad: Radians) -> Radians:
    """Return an angle, or each of an array or tensor, in [-π, π) [rad]."""
    return (angle_rad + math.pi) % (2.0 * math.pi) - math.pi


def ahead_m(from_m: float, to_m: float, lap_m: float) -> float:
    """Return the way along a closed road between two places, in [-half a lap, half a lap) [m]."""
    return (to_m - from_m + 0.5 * lap_m) % lap_m - 0.5 * lap_m
