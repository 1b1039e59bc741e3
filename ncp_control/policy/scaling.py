"""Normalisation of observed numbers to about zero mean and unit variance.

    scaled = clip((x − mean) / deviation, −limit, limit)

with mean and standard deviation over training observations. An entry that is constant in training
has no deviation: it is divided by its largest absolute value, or by 1 if that is larger, so that a
change in use is seen in proportion and not clipped.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ncp_control.ranges import is_number

OBSERVATION_LIMIT = 10.0
"""Default limit at which scaled numbers are clipped, as in stable-baselines3's VecNormalize."""

RELATIVE_DEVIATION = 1e-6
"""Share of the largest absolute value up to which a standard deviation is rounding of single
precision: the entry counts as constant."""
MIN_DEVIATION = 1e-12
"""Standard deviation up to which an entry about zero is rounding, too."""


def scale(
    numbers: Float[Tensor, "*any entry"],
    mean: Float[Tensor, " entry"],
    std: Float[Tensor, " entry"],
    limit: float,
) -> Tensor:
    """Return normalised and clipped numbers, in the dtype of `mean`."""
    scaled = (numbers.to(mean) - mean) / std
    return scaled.clamp(-limit, limit)


@torch.no_grad()
def fit_scale_(
    kept_mean: Float[Tensor, " entry"],
    kept_std: Float[Tensor, " entry"],
    numbers: Float[Tensor, "*any entry"],
) -> None:
    """Overwrite `kept_mean` and `kept_std` with mean and standard deviation of `numbers`.

    Raises:
        TypeError: If `numbers` is not a tensor.
        ValueError: If it has another shape, or a new value is not finite in their dtype; the old
            values are kept then.
    """
    if not isinstance(numbers, Tensor):
        raise TypeError(
            f"`observations` must be a tensor, got {type(numbers).__name__!r}. Convert an array"
            " with torch.from_numpy."
        )
    if numbers.ndim < 2 or numbers.shape[-1] != len(kept_mean):
        raise ValueError(
            f"`observations` must have shape (…, {len(kept_mean)}), got {tuple(numbers.shape)}."
            " Give one row for each observation."
        )
    flat = numbers.flatten(0, -2).to(kept_mean)
    mean = flat.mean(dim=0)
    std, largest = flat.std(dim=0, correction=0), flat.abs().amax(dim=0)
    is_constant = std <= (RELATIVE_DEVIATION * largest).clamp_min(MIN_DEVIATION)
    std = torch.where(is_constant, largest.clamp_min(1.0), std)
    is_good = torch.isfinite(mean) & torch.isfinite(std)
    if not is_good.all():
        entry = int(is_good.long().argmin())
        raise ValueError(
            f"`observations` must have a finite mean and deviation, got {mean[entry]:.3g} and"
            f" {std[entry]:.3g} at entry {entry}. Leave out what is not finite."
        )
    kept_mean.copy_(mean)
    kept_std.copy_(std)


def check_limit(limit: Any) -> float:
    """Check the limit at which scaled numbers are clipped; infinity means no clipping.

    Raises:
        ValueError: If it is not positive.
    """
    if not ((is_number(limit) or limit == math.inf) and limit > 0.0):
        raise ValueError(
            f"`observation_limit` must be positive, got {limit!r}. Use math.inf to clip nothing."
        )
    return float(limit)


def limit_to_json(limit: float) -> float | None:
    """Convert a limit to a JSON value; infinity becomes None."""
    return limit if math.isfinite(limit) else None


def limit_from_json(limit: float | None) -> float:
    """Read the limit that `limit_to_json` wrote."""
    return math.inf if limit is None else limit
