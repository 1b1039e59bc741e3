"""Detection of diverged training, before non-finite values are saved or used to act.

Training has diverged when a loss, a weight, a moment of the optimizer or a running average is NaN
or infinite. `first_not_finite` finds such a value; the trainer then stops with a clear message and
keeps its earlier checkpoints.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class DivergenceError(ValueError):
    """Training reached values that are NaN or infinite."""


def first_not_finite(values: Any, name: str = "") -> str | None:
    """Return the dotted name of the first entry that is NaN or infinite, or None.

    Args:
        values: A tensor, an array, a number, or nested mappings and sequences of them; other
            objects count as finite.
        name: Name of `values`, the first part of the dotted name.
    """
    if isinstance(values, Tensor):
        return None if bool(torch.isfinite(values).all()) else name
    if isinstance(values, np.ndarray | np.number):
        is_number = np.issubdtype(values.dtype, np.number)
        return name if is_number and not np.isfinite(values).all() else None
    if isinstance(values, float):
        return None if math.isfinite(values) else name
    if isinstance(values, list | tuple):
        values = dict(enumerate(values))
    if isinstance(values, Mapping):
        for key, value in values.items():
            found = first_not_finite(value, f"{name}.{key}" if name else str(key))
            if found is not None:
                return found
    return None


def has_diverged(model: nn.Module) -> bool:
    """Return whether a weight or a buffer is NaN or infinite."""
    return first_not_finite(model.state_dict()) is not None
