"""Tasks shared by processes: the order of results, errors, and workers that die."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ncp_control.workers import Workers


class TwoWordsError(Exception):
    """An error that cannot be built from its text alone, and so not be unpickled."""

    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")


def begin(scale):
    """Return the work of these tests, which a task chooses by name."""

    def work(task):
        name, value = task
        if name == "wait":
            time.sleep(value)
            return scale * value
        if name == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "exit":
            os._exit(3)
        if name == "fail late":
            time.sleep(1.0)
        if name == "two words":
            raise TwoWordsError("here", "there")
        if name == "no pickle":
            return lambda: None
        if name == "note":
            Path(value).touch()
        raise ValueError(f"`value` must be good, got {value!r}.")

    return work


def test_results_come_in_the_order_of_the_tasks_and_callers_may_stop_early():
    with Workers(2, begin, 10.0) as workers:
        waits = [0.3, 0.0, 0.1, 0.0, 0.05]
        assert list(workers.map([("wait", x) for x in waits])) == [10.0 * x for x in waits]
        asked = workers.map([("wait", x) for x in (0.0, 0.2, 0.2, 30.0)])
        assert next(asked) == 0.0
        asked.close()
        assert list(workers.map([("wait", 0.02), ("wait", 0.01)])) == [0.2, 0.1]
        with pytest.raises(ValueError, match=r"`value` must be good, got 4\.") as caught:
            list(workers.map([("wait", 0.0), ("fail", 4)]))
        assert "In a worker" in caught.value.__notes__[0]
        assert list(workers.map([])) == []


def test_a_task_is_done_beside_others():
    with Workers(2, begin, 10.0) as workers:
        late, early = workers.begin(("wait", 0.4)), workers.begin(("wait", 0.1))
        third = workers.begin(("wait", 0.2))  # waits for a worker
        assert list(workers.map([("wait", x) for x in (0.1, 0.0)])) == [1.0, 0.0]
        assert [take() for take in (third, late, early, late)] == [2.0, 4.0, 1.0, 4.0]
        failing = workers.begin(("fail", 4))
        assert list(workers.map([("wait", 0.0)])) == [0.0]
        with pytest.raises(ValueError, match=r"`value` must be good, got 4\."):
            failing()


def begin_badly(scale):
    raise ValueError(f"`scale` must be good, got {scale}.")


def test_a_failure_that_came_while_its_results_waited_is_raised():
    with Workers(2, begin, 10.0) as workers:
        asked = workers.map([("wait", 0.0), ("fail late", 4)])
        assert next(asked) == 0.0
        assert workers.each([("wait", 0.0), ("wait", 0.1)])() == [0.0, 1.0]
        with pytest.raises(ValueError, match=r"`value` must be good, got 4\."):
            next(asked)


@pytest.mark.parametrize(("name", "told"), [
    ("two words", "TwoWordsError: here and there"), ("no pickle", "cannot pickle|Can't .*pickle"),
])  # fmt: skip
def test_what_cannot_be_sent_is_told_by_its_name(name, told):
    with Workers(1, begin, 1.0) as workers:
        with pytest.raises(Exception, match=told) as caught:
            list(workers.map([(name, 0)]))
        assert "In a worker" in caught.value.__notes__[0]
        assert list(workers.map([("wait", 0.0)])) == [0.0]  # it goes on


def test_what_a_worker_cannot_begin_with_is_told_by_its_first_task():
    with Workers(1, begin_badly, 1.0) as workers:
        for _ in range(2):
            with pytest.raises(ValueError, match=r"`scale` must be good, got 1\.0\."):
                list(workers.map([("wait", 0.0)]))


@pytest.mark.parametrize(("how", "told"), [("die", "by SIGKILL"), ("exit", "with status 3")])
def test_a_worker_that_dies_ends_the_work_with_one_sentence(how, told):
    with Workers(1, begin, 1.0) as workers:
        with pytest.raises(ChildProcessError, match=f"One of 1 workers was ended {told} before"):
            list(workers.map([("wait", 0.0), (how, 0)]))


@pytest.mark.slow
def test_a_stop_ends_workers_that_are_busy(tmp_path):
    workers = Workers(2, begin, 1.0)
    processes = [worker.process for worker in workers._workers]

    def stop():
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(3.0, stop)
    # A process that was begun in the background may have been told to ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), workers:
            timer.start()
            list(workers.map([("wait", 60.0), ("wait", 60.0)]))
    finally:
        signal.signal(signal.SIGINT, before)
    assert not any(process.is_alive() for process in processes)


def is_running(number):
    """Say whether a process does something; one that has ended and nobody asked for does not."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_worker_that_is_busy_ends_with_its_parent():
    begun = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_workers as here\n"
        "if __name__ == '__main__':\n"
        "    with here.Workers(1, here.begin, 1.0) as workers:\n"
        "        done = workers.begin(('wait', 600.0))\n"
        "        print(workers._workers[0].process.pid, flush=True)\n"
        "        done()"
    )
    words = [sys.executable, "-c", begun, str(Path(__file__).parent)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        time.sleep(2.0)
        assert Path(f"/proc/{worker}").is_dir()
        parent.kill()
    for _ in range(200):
        if not is_running(worker):
            return
        time.sleep(0.1)
    pytest.fail("it goes on without its parent")


def test_a_count_that_is_none_is_refused():
    with pytest.raises(ValueError, match="`workers` must be a whole number of at least 1, got 0"):
        Workers(0, begin, 1.0)
    with pytest.raises(ValueError, match=r"`workers` must be at most \d+, 8 for each core, got"):
        Workers(100_000, begin, 1.0)


def test_ctrl_c_does_not_reach_the_first_worker_of_a_process_either(tmp_path):
    """Python starts a helper with it, and lets the signal through again as it does."""
    module = tmp_path / "signals.py"
    module.write_text(
        "import signal\n"
        "from ncp_control.workers import Workers\n"
        "def begin():\n"
        "    return lambda _: signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])\n"
        "if __name__ == '__main__':\n"
        "    from signals import begin\n"
        "    with Workers(1, begin) as workers:\n"
        "        print(list(workers.map([None])))\n"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, str(module)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == "[True]"
