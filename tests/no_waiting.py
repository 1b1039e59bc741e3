"""Finds operations for which the host would have to wait for a device."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_READ = torch.ops.aten
WAITING = {
    _READ._local_scalar_dense.default,  # item(), bool(), float(), tolist() of one number
    _READ.nonzero.default,  # indexing with a mask
    _READ.masked_select.default,
    _READ.equal.default,
}


class NoWaiting(TorchDispatchMode):
    """Fails where a number is read back or the size of a result depends on one."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in WAITING, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))
