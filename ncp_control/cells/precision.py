"""Half precision: the weights of a cell are stored in it, and the cell computes in float32.

With 6 sub-steps in bfloat16, rounding would erase the small changes of slow neurons and the
differences of elapsed times. So a circuit with bfloat16 or float16 weights computes with their
float32 values and rounds only the results. Gradients reach the stored weights through the
conversion.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which a cell of this dtype computes: float32 for half precision."""
    return torch.float32 if dtype.is_floating_point and dtype.itemsize < 4 else dtype


def working_precision(module: nn.Module, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Return a context in which the half-precision weights and buffers of a module are float32.

    The stored tensors come back when the context ends. Without effect if `dtype` is not half
    precision. Two threads must not run the same half-precision module at the same time.
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
