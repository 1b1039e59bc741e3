"""A limit on the numbers that a piece of code may set memory aside for."""

import math
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class TensorBudgetError(Exception):
    """More numbers were asked for than the budget allows."""


class TensorBudget(TorchDispatchMode):
    """Within a `with` block, refuse new tensors once they hold too many numbers together.

    torch tells this class of each operation before it runs, so nothing is allocated for what is
    refused. Operations run as they do elsewhere and draw the same random numbers. What NumPy or a
    Python list holds is not counted.

    Args:
        max_numbers: Numbers in all new tensors together.

    Raises:
        TensorBudgetError: Within the block, at the tensor that is too much.

    Example:
        >>> with TensorBudget(1_000_000):
        ...     cell = LSTM(32, 64, 1)
    """

    def __init__(self, max_numbers: int) -> None:
        super().__init__()
        self.max_numbers = max_numbers
        self.num_numbers = 0
        """Asked for up to now."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Torch asks this. By its default, the first use would import its compiler, for seconds.
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
    """Return how many numbers an operation will make that is told a size; 0 for the others."""
    names = [argument.name for argument in func._schema.arguments]
    if "size" in names[: len(args)]:  # empty, ones, full, randn, new_zeros, expand, …
        sizes = args[names.index("size")]
        return abs(math.prod(sizes)) if isinstance(sizes, list | tuple) else 0
    if names and "Tensor" not in str(func._schema.arguments[0].type):  # arange, eye, randperm, …
        counts = [value for value in args if isinstance(value, int) and value > 0]
        return math.prod(counts) if counts else 0
    return 0
