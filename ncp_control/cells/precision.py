"""Half precision: a cell's weights are stored in it, and the cell computes in float32.

A step of 6 sub-steps in bfloat16 would round away what a slow neuron moves, and elapsed times with
it. So a circuit of bfloat16 or float16 weights runs with their float32 values, and rounds only what
it returns. Gradients reach the stored weights through the conversion.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type that a cell of this type computes in: float32 for half precision."""
    return torch.float32 if dtype.is_floating_point and dtype.itemsize < 4 else dtype


def working_precision(module: nn.Module, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Give a module of this type float32 values of its half-precision weights and buffers.

    They stay until the context ends; other types are left alone. Two threads must not run one
    module of half precision at the same time.
    """
    return nullcontext() if working_dtype(dtype) == dtype else _single_precision(module)


@contextmanager
def _single_precision(module: nn.Module) -> Iterator[None]:
    stored: list[tuple[dict[str, Any], str, Tensor]] = []
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
