"""Half precision: a cell's weights are stored in it, and the cell computes in float32.

A step of 6 sub-steps in bfloat16 would round away what a slow neuron moves, and elapsed times with
it. So a circuit of bfloat16 or float16 weights runs with their float32 values, and rounds only what
it returns. Gradients reach the stored weights through the conversion.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type that a cell of this type computes in: float32 for half precision."""
    return torch.float32 if dtype.is_floating_point and dtype.itemsize < 4 else dtype


@contextmanager
def single_precision(module: nn.Module) -> Iterator[None]:
    """Give a module float32 values of its half-precision weights and buffers for a while.

    A module without such weights is left alone. Not for two threads on one module at a time.
    """
    stored: list[tuple[dict[str, Tensor | None], str, Tensor]] = []
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in tensors.items():
                if tensor is not None and working_dtype(tensor.dtype) != tensor.dtype:
                    stored.append((tensors, name, tensor))
    try:
        for tensors, name, tensor in stored:
            tensors[name] = tensor.to(torch.float32)
        yield
    finally:
        for tensors, name, tensor in stored:
            tensors[name] = tensor
