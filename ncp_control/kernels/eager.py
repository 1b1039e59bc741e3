"""Check whether a kernel may be called directly, and its rule for torch's vmap."""

from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor, is_legacy_batchedtensor


def is_plain(tensor: Tensor) -> bool:
    """True if the tensor holds concrete values and nothing records the operators applied to it.

    False under tracing or compilation, for subclasses of Tensor (e.g. a FakeTensor), and for the
    wrapped tensors inside a transform (vmap, `is_grads_batched`).
    """
    return (
        not torch.compiler.is_compiling()
        and torch._C._get_tracing_state() is None
        and type(tensor) in (Tensor, torch.nn.Parameter)
        and not torch._C._len_torch_dispatch_stack()
        and not is_functorch_wrapped_tensor(tensor)
        and not is_legacy_batchedtensor(tensor)
    )


def one_by_one(operator: Any) -> Any:
    """Return a vmap rule that calls the operator once for each element of the mapped axis.

    Each element is a whole batch, so the calls cost as much as a hand-written loop. The gradients
    of the parameters are sums over one batch, and are kept separate for each element.
    """

    def rule(info: Any, in_dims: tuple[Any, ...], *values: Any) -> tuple[Any, Any]:
        # `layers` is a list, and so is its entry in `in_dims`: nothing in it is mapped.
        mapped = [dim if isinstance(dim, int) else None for dim in in_dims]
        results = []
        for index in range(max(info.batch_size, 1)):  # an empty axis needs one call for the shapes
            pairs = zip(values, mapped, strict=True)
            results.append(operator(*(_element(v, dim, index) for v, dim in pairs)))
        stacked = tuple(torch.stack(x)[: info.batch_size] for x in zip(*results, strict=True))
        return stacked, (0,) * len(stacked)

    return rule


def _element(value: Any, dim: int | None, index: int) -> Any:
    """Return one element of a mapped axis; zeros of its shape if the axis is empty."""
    if dim is None:
        return value
    if value.shape[dim] == 0:
        return value.new_zeros(value.shape[:dim] + value.shape[dim + 1 :])
    return value.select(dim, index)
