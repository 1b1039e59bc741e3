"""Policies of half precision, which NumPy and figures do not know."""

import copy
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ncp_control.cells.base import reference_tensor

if TYPE_CHECKING:
    from ncp_control.policy.base import Policy

_HALF = (torch.bfloat16, torch.float16)


def to_numpy(values: Tensor) -> np.ndarray:
    """Convert a tensor to NumPy; half precision becomes single, because NumPy has no bfloat16."""
    return (values.float() if values.dtype in _HALF else values).cpu().numpy()


def at_least_single(policy: "Policy") -> "Policy":
    """Return a single-precision copy of a half-precision policy; other policies are returned as is.

    The weights keep their values; only the rounding of the computation changes.
    """
    is_half = reference_tensor(policy).dtype in _HALF
    return copy.deepcopy(policy).float() if is_half else policy
