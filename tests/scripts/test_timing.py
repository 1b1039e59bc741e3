import pytest

from scripts import timing
from scripts.timing import measure, timing_tables


def test_ratios_are_against_the_first_in_the_same_round(monkeypatch):
    """On a clock of our own whose machine slows down by half in the second round."""
    clock = {"now": 0.0, "calls": 0}

    def work(seconds):
        clock["calls"] += 1
        clock["now"] += seconds * (1.5 if clock["calls"] > 6 else 1.0)

    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock["now"])
    slow, fast = measure(
        "work", {"slow": lambda: work(0.4), "fast": lambda: work(0.1)}, rounds=2, threads=1
    )
    # Two warm-up calls each, then one call a round: the first round counts 0.4 and 0.1 s.
    assert (slow.ratio, fast.ratio) == pytest.approx((1.0, 4.0))
    assert round(slow.median_us) == 500_000, "the median of 0.4 and 0.6 s"
    table = timing_tables([slow, fast])
    assert "times as fast as slow" in table and "| fast" in table


def test_another_clock_can_tell_the_time():
    now = [0.0]

    def work():
        now[0] += 0.25

    (row,) = measure("work", {"work": work}, rounds=1, threads=1, clock=lambda: now[0])
    assert row.median_us == pytest.approx(250_000)


def test_what_runs_on_a_gpu_is_waited_for(monkeypatch):
    """On a clock of our own and a GPU that works off a queue when it is waited for."""
    clock, queue = {"now": 0.0}, []

    def synchronize():
        clock["now"] += sum(queue)
        queue.clear()

    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock["now"])
    monkeypatch.setattr(timing.torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(timing.torch.cuda, "synchronize", synchronize)
    actions = {"slow": lambda: queue.append(0.4), "fast": lambda: queue.append(0.1)}
    slow, fast = measure("work", actions, rounds=1, threads=1)
    assert round(slow.median_us) == 400_000 and round(fast.median_us) == 100_000
