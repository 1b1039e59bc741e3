"""Limit the memory of new tensors in a block of code."""

import math
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class TensorBudgetError(Exception):
    """Raised when new tensors hold more numbers than the budget allows."""


class TensorBudget(TorchDispatchMode):
    """Context manager that refuses new tensors once they hold too many numbers in total.

    torch calls this class before each operation, so a refused tensor is never allocated. Operations
    run as usual and draw the same random numbers. NumPy arrays and Python lists are not counted.

    Args:
        max_numbers: Maximum number of elements in all new tensors together.

    Raises:
        TensorBudgetError: Within the block, at the tensor that exceeds the budget.

    Example:
        >>> with TensorBudget(1_000_000):
        ...     cell = LSTM(32, 64, 1)
    """

    def __init__(self, max_numbers: int) -> None:
        super().__init__()
        self.max_numbers = max_numbers
        self.num_numbers = 0
        """Number of elements of all new tensors so far."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Called by torch. With the default, the first use would import its compiler (seconds).
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.num_numbers += _size_of_new(func, args)
        if self.num_numbers > self.max_numbers:
            raise TensorBudgetError(
                f"tensors of at least {self.num_numbers} numbers, where {self.max_numbers} are the"
                " most"
            )
        return func(*args, **(kwargs or {}))


def _size_of_new(func: Any, args: tuple[Any, ...]) -> int:
    """Return the number of elements that an operation with a size argument creates; else 0."""
    names = [argument.name for argument in func._schema.arguments]
    if "size" in names[: len(args)]:  # empty, ones, full, randn, new_zeros, expand, …
        sizes = args[names.index("size")]
        return abs(math.prod(sizes)) if isinstance(sizes, list | tuple) else 0
    if names and "Tensor" not in str(func._schema.arguments[0].type):  # arange, eye, randperm, …
        counts = [value for value in args if isinstance(value, int) and value > 0]
        return math.prod(counts) if counts else 0
    return 0
