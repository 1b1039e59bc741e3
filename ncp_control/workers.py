"""Worker processes that run tasks in parallel and return the results in the order of the tasks.

Each worker is a new Python process: it shares no memory with its parent process, ignores Ctrl-C,
and ends with its parent. If the result of a task depends only on the task, results are the same
with any number of workers.
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
from itertools import pairwise
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
"""Maximum number of workers per core; more are taken for a mistake, as each needs some 100 MB."""
_END_S = 5.0
"""Time that a terminated worker has to end before it is killed [s]."""


_Answers = dict[int, tuple[bool, Any]]
"""By number of the task: whether it succeeded, and its result or the exception that it raised."""


def even_shares(size: int, count: int) -> list[slice]:
    """Divide `size` rows into `count` slices, as equal as possible; of few rows, some are empty."""
    bounds = [round(i * size / count) for i in range(count + 1)]
    return [slice(first, end) for first, end in pairwise(bounds)]


class Workers:
    """Pool of worker processes; use it in a `with` block, which ends the processes.

    Args:
        count: Number of workers.
        begin: Called once in each worker; returns the function that runs one task. `begin`, its
            arguments, tasks and results are pickled.
        *arguments: Arguments of `begin`.

    Raises:
        ValueError: If `count` is not a whole number of at least 1, or too large for this machine.
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
        """Yield the result of each task, in the order of the tasks.

        If the caller stops iterating early, tasks that no worker has started are skipped.

        Raises:
            ChildProcessError: If a worker dies.
            Exception: The exception that a task raised.
        """
        left, answers, number = enumerate(tasks), _Answers(), 0
        num_given, are_left = 0, True
        while are_left or number < num_given:
            for worker in self._workers:
                if are_left and worker.task is None:
                    next_task = next(left, None)
                    are_left = next_task is not None
                    if next_task is not None:
                        worker.give((answers, next_task[0]), next_task[1])
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
        """Start a task on the next free worker, beside those of `map`.

        Returns:
            Function that waits for the result and returns it; raises as `map` does.

        Raises:
            ChildProcessError: If a worker dies.
        """
        while all(worker.task is not None for worker in self._workers):
            self._receive()
        answers = _Answers()
        next(worker for worker in self._workers if worker.task is None).give((answers, 0), task)
        return partial(self._take, answers, 0)

    def each(self, tasks: Sequence[Any]) -> Callable[[], list[Any]]:
        """Start one task on each worker, the first task on the first worker.

        Args:
            tasks: As many tasks as there are workers.

        Returns:
            Function that waits for the results and returns them in order; raises as `map` does.

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
        """Wait for the answer to a task; return its result or raise its exception."""
        while number not in answers:
            self._receive()
        is_done, result = answers[number]
        if not is_done:
            raise result
        return result

    def _receive(self) -> None:
        """Wait until a worker has finished its task, and store the answer."""
        busy = {worker.pipe: worker for worker in self._workers if worker.task is not None}
        ready = wait(list(busy))
        for worker in (worker for pipe, worker in busy.items() if pipe in ready):
            task = worker.task
            assert task is not None
            answers, number = task
            answers[number] = worker.take(len(self._workers))

    def close(self) -> None:
        """End all workers, even while they run tasks."""
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
    """Worker process, the pipe to it, and its current task."""

    def __init__(self, begin: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, far_end = context.Pipe()
        self.task: tuple[_Answers, int] | None = None
        self.process: BaseProcess = context.Process(
            target=_work, args=(far_end, imported_modules(), begin, arguments), daemon=True
        )
        # A new process inherits blocked signals, so Ctrl-C reaches only the parent. Python's
        # resource tracker must run before that: starting it with the first worker would unblock
        # the signal.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            far_end.close()  # so that the pipe ends when the worker does

    def give(self, place: tuple[_Answers, int], task: Any) -> None:
        """Send a task to the worker; its answer will be stored in `place`."""
        with contextlib.suppress(BrokenPipeError):  # `take` reports how the worker died
            self.pipe.send(task)
        self.task = place

    def take(self, count: int) -> tuple[bool, Any]:
        """Return whether the task succeeded, and its result or exception.

        Args:
            count: Number of all workers, for the error message.

        Raises:
            ChildProcessError: If the worker died.
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
                f"One of {count} workers was ended {how} before its work was done. Start the job"
                " again, with fewer workers if the memory was full."
            ) from None
        self.task = None
        return answer


def _work(
    pipe: Connection,
    imports: list[str],
    begin: Callable[..., Callable[[Any], Any]],
    arguments: tuple[Any, ...],
) -> None:
    """Run tasks in a worker until the pipe closes or the parent process ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tqdm.set_lock(threading.RLock())  # tqdm's default, a semaphore, would leak when a worker ends
    do: Callable[[Any], Any] | None = None
    failed: Exception | None = None
    with (
        warnings_as_lines(),
        contextlib.suppress(EOFError, OSError),  # the parent process has ended
    ):
        try:
            import_modules(imports)
            do = begin(*arguments)
        except Exception as error:
            failed = _noted(error)
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
            except Exception as error:  # the result of the task cannot be pickled
                pipe.send((False, _noted(error)))


def _end_with_parent() -> None:
    """End this process as soon as its parent has ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _noted(error: Exception) -> Exception:
    """Return an exception with a note of its traceback in the worker.

    An exception that cannot be pickled becomes a RuntimeError with its name and text.
    """
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        sendable = RuntimeError(f"{type(error).__name__}: {error}")
    else:
        sendable = error
    sendable.add_note(f"In a worker:\n{traceback.format_exc()}")
    return sendable
