"""Prefetching of batches in a thread while the model trains on the previous batch."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Batch = TypeVar("Batch")
_END = object()


def read_ahead(batches: Iterable[Batch], count: int = 2) -> Iterator[Batch]:
    """Yield batches in order, while a thread reads the next ones.

    Args:
        batches: Source of the batches; only the thread iterates over it.
        count: Maximum number of batches read ahead, >= 1.

    Yields:
        Each batch. An exception from reading a batch is raised at its position.
    """
    source = iter(batches)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as reader:
        waiting = deque(reader.submit(next, source, _END) for _ in range(count))
        while (batch := waiting.popleft().result()) is not _END:
            waiting.append(reader.submit(next, source, _END))
            yield batch  # type: ignore[misc]
