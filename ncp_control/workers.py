"""Processes that work through tasks side by side and hand the results back in the tasks' order.

Each worker is a new Python process: it shares no memory with the one that started it, ignores
Ctrl-C, and ends with it. What a task gives must depend on the task alone; then the results are the
same with any number of workers.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from ncp_control.imports import import_modules, imported_modules
from ncp_control.plain_warnings import warnings_as_lines
from ncp_control.ranges import check_count

WORKERS_PER_CORE = 8
"""More processes than that are taken for a slip: each needs some hundred MB."""
_END_S = 5.0
"""Time in which a worker that is told to end has to end [s]."""


_Answers = dict[int, tuple[bool, Any]]
"""By number of the task: whether it was done, and the result, or what was raised instead."""


class Workers:
    """Some processes that do tasks; use them in a `with` block, which ends them.

    Args:
        count: How many.
        begin: Called at once in each worker; returns the function that does one task there. It, its
            arguments, tasks and results are copied between processes.
        *arguments: What `begin` is called with.
    """

    def __init__(
        self, count: int, begin: Callable[..., Callable[[Any], Any]], *arguments: Any
    ) -> None:
        most = WORKERS_PER_CORE * (os.cpu_count() or 1)
        if check_count("workers", count) > most:
            raise ValueError(
                f"`workers` must be at most {most}, {WORKERS_PER_CORE} for each core, got {count}."
                " More would only wait for each other."
            )
        self._workers: list[_Worker] = []
        try:
            for _ in range(count):
                self._workers.append(_Worker(begin, arguments))
        except BaseException:
            self.close()
            raise

    def map(self, tasks: Iterable[Any]) -> Iterator[Any]:
        """Yield the result of each task, in the tasks' order.

        A caller that stops early leaves out the tasks that no worker has begun.

        Raises:
            ChildProcessError: If a worker dies.
            Exception: What a task raised.
        """
        left, answers, number = enumerate(tasks), _Answers(), 0
        num_given, are_left = 0, True
        while are_left or number < num_given:
            for worker in self._workers:
                if are_left and worker.task is None:
                    given = next(left, None)
                    are_left = given is not None
                    if given is not None:
                        worker.give((answers, given[0]), given[1])
                        num_given += 1
            if number in answers:
                result = self._take(answers, number)
                del answers[number]
                yield result
                number += 1
            elif number < num_given or are_left:
                self._receive()
                for is_done, result in answers.values():
                    if not is_done:
                        raise result

    def begin(self, task: Any) -> Callable[[], Any]:
        """Let the next worker that is free do a task, beside those of `map`.

        Returns:
            What waits for the result, and raises as `map` does.

        Raises:
            ChildProcessError: If a worker dies.
        """
        while all(worker.task is not None for worker in self._workers):
            self._receive()
        answers = _Answers()
        next(worker for worker in self._workers if worker.task is None).give((answers, 0), task)
        return partial(self._take, answers, 0)

    def each(self, tasks: Sequence[Any]) -> Callable[[], list[Any]]:
        """Let every worker do a task of its own, the first one the first.

        Returns:
            What waits for the results, in the tasks' order, and raises as `map` does.

        Raises:
            ChildProcessError: If a worker dies.
        """
        while any(worker.task is not None for worker in self._workers):
            self._receive()
        answers = _Answers()
        for number, (worker, task) in enumerate(zip(self._workers, tasks, strict=True)):
            worker.give((answers, number), task)
        return lambda: [self._take(answers, number) for number in range(len(tasks))]

    def _take(self, answers: _Answers, number: int) -> Any:
        """Wait for an answer, and return the result or raise what was raised."""
        while number not in answers:
            self._receive()
        is_done, result = answers[number]
        if not is_done:
            raise result
        return result

    def _receive(self) -> None:
        """Wait until a worker has done its task, and keep the answer where it is waited for."""
        busy = {worker.pipe: worker for worker in self._workers if worker.task is not None}
        ready = wait(list(busy))
        for worker in (worker for pipe, worker in busy.items() if pipe in ready):
            task = worker.task
            assert task is not None
            answers, number = task
            answers[number] = worker.take(len(self._workers))

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(_END_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Worker:
    """One process, the pipe to it, and the task that it does."""

    def __init__(self, begin: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, far_end = context.Pipe()
        self.task: tuple[_Answers, int] | None = None
        self.process: BaseProcess = context.Process(
            target=_work, args=(far_end, imported_modules(), begin, arguments), daemon=True
        )
        # A blocked signal stays blocked in a new process: Ctrl-C reaches this one alone. Python's
        # tracker of resources, which starts with the first worker, would end the block.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            far_end.close()  # so that the pipe ends when the worker does

    def give(self, place: tuple[_Answers, int], task: Any) -> None:
        """Let it do a task, whose answer is kept in a place."""
        with contextlib.suppress(BrokenPipeError):  # `take` says how it died
            self.pipe.send(task)
        self.task = place

    def take(self, count: int) -> tuple[bool, Any]:
        """Return whether its task is done, and the result, or what was raised instead.

        Args:
            count: Of all workers, for the error.
        """
        try:
            answer = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join(_END_S)
            code = self.process.exitcode
            how = f"with status {code}"
            if code is not None and code < 0:
                how = f"by {signal.Signals(-code).name}"
            raise ChildProcessError(
                f"One of {count} workers was ended {how} before its work was done. Begin again,"
                " with fewer workers if the memory was full."
            ) from None
        self.task = None
        return answer


def _work(
    pipe: Connection,
    imports: list[str],
    begin: Callable[..., Callable[[Any], Any]],
    arguments: tuple[Any, ...],
) -> None:
    """Do tasks until the pipe ends, or the process that asked."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tqdm.set_lock(threading.RLock())  # its own is a semaphore, left over when a worker is ended
    do: Callable[[Any], Any] | None = None
    failed: Exception | None = None
    try:
        import_modules(imports)
        do = begin(*arguments)
    except Exception as error:
        failed = _noted(error)
    with (
        warnings_as_lines(),
        contextlib.suppress(EOFError, OSError),  # the process that asked has ended
    ):
        while True:
            task = pipe.recv()
            try:
                answer = (False, failed) if do is None else (True, do(task))
            except Exception as error:
                answer = False, _noted(error)
            try:
                pipe.send(answer)
            except OSError:
                raise
            except Exception as error:  # what the task returned cannot be pickled
                pipe.send((False, _noted(error)))


def _end_with_parent() -> None:
    """End this process when its parent has ended, whatever it is doing."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _noted(error: Exception) -> Exception:
    """Return an error with the place in the worker where it was raised.

    One that cannot be sent becomes a RuntimeError with its name and text.
    """
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        told = RuntimeError(f"{type(error).__name__}: {error}")
    else:
        told = error
    told.add_note(f"In a worker:\n{traceback.format_exc()}")
    return told
