"""Half precision: the weights of a cell are stored in it, and the cell computes in float32.

With 6 sub-steps in bfloat16, rounding would erase the small changes of slow neurons and the
differences of elapsed times. So a circuit with bfloat16 or float16 weights computes with their
float32 values and rounds only the results. Gradients reach the stored weights through the
conversion.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which a cell of this dtype computes: float32 for half precision."""
    return torch.float32 if dtype.is_floating_point and dtype.itemsize < 4 else dtype


class Place(NamedTuple):
    """Place of a parameter or buffer in its module, and a tensor for it."""

    tensors: dict[str, Any]
    name: str
    tensor: Tensor


def places_of(module: nn.Module) -> list[Place]:
    """Return the place of every parameter and buffer of a module, with the tensor there now."""
    return [
        Place(tensors, name, tensor)
        for part in module.modules()
        for tensors in (part._parameters, part._buffers)
        for name, tensor in tensors.items()
        if tensor is not None
    ]


@contextmanager
def exchanged(places: Sequence[Place]) -> Iterator[None]:
    """Within the block, put each tensor in its place; the tensors from before come back after it.

    Two threads must not exchange the tensors of the same module at the same time.
    """
    before = [place.tensors[place.name] for place in places]
    try:
        for tensors, name, tensor in places:
            tensors[name] = tensor
        yield
    finally:
        for (tensors, name, _), tensor in zip(places, before, strict=True):
            tensors[name] = tensor


def working_precision(module: nn.Module, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Return a context in which the half-precision weights and buffers of a module are float32.

    Without effect if `dtype` is not half precision.
    """
    if working_dtype(dtype) == dtype:
        return nullcontext()
    halves = [p for p in places_of(module) if working_dtype(p.tensor.dtype) != p.tensor.dtype]
    return exchanged([place._replace(tensor=place.tensor.float()) for place in halves])
