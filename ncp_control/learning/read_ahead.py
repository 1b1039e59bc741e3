"""Batches that are read and decoded while the one before them is learned from."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Batch = TypeVar("Batch")
_END = object()


def read_ahead(batches: Iterable[Batch], count: int = 2) -> Iterator[Batch]:
    """Yield batches in their order, with the next ones read in a thread meanwhile.

    Args:
        batches: What is read; only that thread asks for the next one.
        count: Batches that wait at most, >= 1.

    Yields:
        Each batch. What reading it raised is raised in its place.
    """
    source = iter(batches)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as reader:
        waiting = deque(reader.submit(next, source, _END) for _ in range(count))
        while (batch := waiting.popleft().result()) is not _END:
            waiting.append(reader.submit(next, source, _END))
            yield batch  # type: ignore[misc]
