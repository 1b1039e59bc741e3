"""Elapsed times of a circuit or cell: checked, and one for each sample and frame."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor

from ncp_control.integrators import LONGEST_S

_RULE = "`dt_s` must be a finite time >= 0 in seconds"
_ADVICE = "Check the order of the time stamps."


def elapsed_times(dt_s: float | Tensor, inputs: Tensor) -> Float[Tensor, "batch time"]:
    """Return the elapsed time [s] of every sample and frame of `inputs`, at most `LONGEST_S`.

    Args:
        dt_s: One number, one per sample (batch,), or one per sample and frame (batch, time).
        inputs: Inputs of shape (batch, time, input), in single or double precision.

    Raises:
        ValueError: If the shape does not fit, or a time is negative or not a finite number.
        RuntimeError: If a time is negative or not finite, in compiled and exported circuits.
    """
    (batch, time), dtype = inputs.shape[:2], inputs.dtype
    if isinstance(dt_s, int | float) and not isinstance(dt_s, bool):
        if 0 <= dt_s <= torch.finfo(dtype).max:  # a fast path
            return inputs.new_full((batch, time), min(dt_s, LONGEST_S))
    elapsed = _as_times(dt_s).to(inputs)
    if elapsed.ndim == 1:
        elapsed = elapsed[:, None]
    if elapsed.ndim not in (0, 2) or any(
        have not in (1, want) for have, want in zip(elapsed.shape, (batch, time), strict=False)
    ):
        raise ValueError(
            f"`dt_s` must be a number or have shape ({batch},) or ({batch}, {time}), got shape"
            f" {tuple(_as_times(dt_s).shape)}. Give one elapsed time a sample and frame."
        )
    if elapsed.device.type == "cpu":
        _check_times(elapsed)
    return elapsed.clamp(max=LONGEST_S).expand(batch, time)


def _as_times(dt_s: Any) -> Tensor:
    """Convert times to a tensor.

    Raises:
        ValueError: If they are not real numbers.
    """
    try:
        # NumPy keeps double precision: nothing is lost before the conversion to the inputs' dtype.
        times = dt_s if isinstance(dt_s, Tensor) else torch.from_numpy(np.array(dt_s))
    except (TypeError, ValueError):
        times = None
    if times is None or times.dtype == torch.bool or times.is_complex():
        got = times.dtype if isinstance(dt_s, Tensor) and times is not None else repr(dt_s)
        raise ValueError(
            f"`dt_s` must be times in seconds, got {got}. Give numbers, e.g. 1/30, or a tensor."
        )
    return times


def _check_times(elapsed: Tensor) -> None:
    """Check that all times are finite and >= 0.

    Raises:
        ValueError: If one is not.
        RuntimeError: If one is not, in compiled and exported circuits, where the check is an
            operator.
    """
    if torch.compiler.is_compiling():
        is_possible = ((elapsed >= 0) & torch.isfinite(elapsed)).all()
        torch._assert_async(is_possible, f"{_RULE}. {_ADVICE}")
        return
    while is_functorch_wrapped_tensor(elapsed):
        elapsed = get_unwrapped(elapsed)  # under vmap: the times of all samples
    is_possible = (elapsed >= 0) & torch.isfinite(elapsed)
    if not bool(is_possible.all()):
        value = elapsed[~is_possible].flatten()[0].item()
        raise ValueError(f"{_RULE}, got {value!r}. {_ADVICE}")
