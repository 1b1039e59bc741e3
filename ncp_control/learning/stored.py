"""Comparison of a loaded checkpoint with the structure that the training run expects."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def difference(found: Any, wanted: Any, name: str, *, any_length: bool = False) -> str | None:
    """Describe the first difference in keys, lengths, shapes or types; values are not compared.

    Args:
        found: Loaded nested mappings and sequences of tensors and plain values.
        wanted: The same structure, as the training run expects it.
        name: Name of `found` in the description.
        any_length: Whether the first axis of a tensor may have another length.

    Returns:
        The difference, e.g. "`policy.weight` of shape (3, 4) instead of (3, 5)", or None.
    """
    if isinstance(wanted, Tensor):
        is_cut = any_length and isinstance(found, Tensor) and found.ndim > 0
        shape = torch.Size([*found.shape[:1], *wanted.shape[1:]]) if is_cut else wanted.shape
        return _tensor_difference(found, shape, wanted.dtype, name)
    if isinstance(wanted, list | tuple):
        if not isinstance(found, list | tuple) or len(found) != len(wanted):
            return f"`{name}` that does not hold {len(wanted)} entries"
        found, wanted = dict(enumerate(found)), dict(enumerate(wanted))
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping):
            return f"`{name}` without names in it"
        for key in [*wanted, *found]:
            if key not in found or key not in wanted:
                where = "without" if key not in found else "with"
                return f"`{name}` {where} `{key}`"
        differences = (
            difference(found[key], wanted[key], f"{name}.{key}", any_length=any_length)
            for key in wanted
        )
        return next((text for text in differences if text is not None), None)
    kinds = (int, float) if isinstance(wanted, int | float) else type(wanted)
    return None if isinstance(found, kinds) else f"`{name}` that is no {type(wanted).__name__}"


def optimizer_difference(found: Any, optimizer: torch.optim.Optimizer, name: str) -> str | None:
    """Describe why a loaded state dict does not fit an optimizer; None if it fits.

    Moments exist only after the first step; each has the shape of its parameter, or is a scalar
    ("step").
    """
    wanted = optimizer.state_dict()
    if not isinstance(found, Mapping) or not isinstance(found.get("state"), Mapping):
        return f"`{name}` without `state`"
    mismatch = difference({**found, "state": {}}, {**wanted, "state": {}}, name)
    if mismatch is not None:
        return mismatch
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for index, entries in found["state"].items():
        where = f"{name}.state.{index}"
        is_known = isinstance(index, int) and 0 <= index < len(weights)
        if not is_known or not isinstance(entries, Mapping):
            return f"`{where}` for no weight"
        for entry, value in entries.items():
            like = torch.zeros(()) if entry == "step" else weights[index]
            mismatch = _tensor_difference(value, like.shape, like.dtype, f"{where}.{entry}")
            if mismatch is not None:
                return mismatch
    return None


def _tensor_difference(found: Any, shape: torch.Size, dtype: torch.dtype, name: str) -> str | None:
    if not isinstance(found, Tensor):
        return f"`{name}` that is no tensor"
    if found.shape != shape:
        return f"`{name}` of shape {tuple(found.shape)} instead of {tuple(shape)}"
    if found.dtype != dtype or found.layout != torch.strided or found.is_meta:
        return f"`{name}` of {found.dtype} instead of {dtype}"
    return None
