"""Main loop of a sweep: starts trials, retries those that were killed, and stops poor ones."""

import statistics
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from ncp_control import files
from ncp_control.command_line import find, parse_words
from ncp_control.imports import imported_modules
from ncp_control.learning.run import Run
from scripts.sweeping.points import Points
from scripts.sweeping.running import PATIENCE_S, STOP, Pool, open_pool
from scripts.sweeping.settings import Sweep
from scripts.sweeping.sweep_report import IN_TRAINING, tell
from scripts.sweeping.tables import all_rows, rows_of_trials, write_rows
from scripts.sweeping.trials import (
    DONE,
    FAILED,
    PRUNED,
    Curve,
    Trial,
    Values,
    curve_of,
    described,
    words_of,
)
from scripts.training.jobs import JOBS
from scripts.training.resumption import begun_with, open_run

LOOK_S = 2.0
"""Time between two checks of the learning curves of running trials [s]."""
FIRST_ROW, FEWEST = 3, 3
"""Least number of rows of a trial, and of other trials to compare it with, before it is pruned."""


def sweep(asked: Sweep) -> None:
    """Run the trials of a sweep, print a table, and save the best policy.

    Raises:
        SystemExit: If a trial failed, after all else is done.
    """
    settings = begun_with(asked if asked.by is None else replace(asked, by=None, lowest=False))
    if asked.by is not None:  # a resumed sweep, too, may be ranked by another column
        settings = replace(settings, by=asked.by, lowest=asked.lowest)
    curve = curve_of(settings)
    check(settings, curve)
    with (
        open_pool(settings) as pool,
        open_run(settings, "sweep", settings.job, step=0) as run,
        files.locked(
            run.folder, waits=lambda: print(f"another process runs this sweep: {run.folder}")
        ),
    ):
        points = Points(settings, run.trials.absolute(), curve)
        _Work(settings, points, run, curve).do(pool)
        tell(points.trials, run, curve)


def check(settings: Sweep, curve: Curve) -> None:
    """Refuse settings that the training job would refuse, before anything is trained.

    Raises:
        ValueError: If a value is wrong.
        SystemExit: If a setting is unknown.
    """
    kind = find(JOBS[settings.job].settings)
    seen: dict[str, Values] = {}
    for values in Points(settings, Path("nowhere"), curve).ends():
        parsed = parse_words(kind, words_of(settings, values)[1:], None, prog=settings.job)
        same = seen.setdefault(repr(parsed), values)
        if same != values:  # e.g. seed=0,00
            raise ValueError(
                f"`grid` must hold each training once, got {described(same)} and"
                f" {described(values)}, which mean the same. Leave one out."
            )


class _Work:
    """Running trials, and the outcomes of the others."""

    def __init__(self, settings: Sweep, points: Points, run: Run, curve: Curve) -> None:
        self._settings, self._points, self._run, self._curve = settings, points, run, curve
        self._running: dict[Future[int], Trial] = {}
        self._again: list[Trial] = []
        self._tries: Counter[int] = Counter()
        self._pruned: set[int] = set()
        self._bar: tqdm = tqdm(total=len(points), unit="trial", disable=None)

    def do(self, pool: Pool) -> None:
        """Run all trials to their end; if interrupted, stop the running ones."""
        try:
            while self._fill(pool) or self._running:
                done, _ = wait(self._running, LOOK_S, return_when=FIRST_COMPLETED)
                for future in done:
                    self._take(future, self._running.pop(future))
                if self._settings.prune:
                    self._prune()
        except BaseException:
            for trial in self._running.values():
                (trial.folder / STOP).touch()
            wait(self._running, PATIENCE_S)
            raise
        finally:
            self._bar.close()

    def _fill(self, pool: Pool) -> bool:
        """Start trials until the pool is full; return whether one was started."""
        has_started = False
        while len(self._running) < pool.size:
            trial = self._again.pop(0) if self._again else self._points.next()
            if trial is None:
                break
            if trial.state == FAILED:  # before the sweep was resumed
                trial.forget_end()
            if trial.outcome is not None:
                self._end(trial)
                continue
            words = words_of(self._settings, trial.values)
            words += [word for name in imported_modules() for word in ("--import", name)]
            trial.begin(words)
            self._tries[trial.number] += 1
            self._running[pool.start(trial.folder, words)] = trial
            has_started = True
        return has_started

    def _take(self, future: "Future[int]", trial: Trial) -> None:
        """Record how a trial ended, or queue it to be retried."""
        error = future.exception()
        status = None if error is not None else future.result()
        is_killed = status is None or status < 0 or status > 128
        if status == 0:
            trial.end(DONE)
        elif trial.number in self._pruned:
            trial.end(PRUNED, "it lagged behind the others")
        elif is_killed and self._tries[trial.number] < self._settings.tries:
            how = f"with status {status}" if error is None else f"({type(error).__name__})"
            tqdm.write(f"  trial {trial.number} was killed {how}: it is tried again")
            self._again.append(trial)
            return
        else:
            reason = str(error) if error is not None else f"status {status}: {trial.last_words()}"
            trial.end(FAILED, reason, is_killed=is_killed)
        self._end(trial)

    def _end(self, trial: Trial) -> None:
        """Print the outcome of a trial that has ended, and write the table."""
        self._points.end(trial)
        outcome, curve = trial.outcome or {}, trial.curve()
        if outcome["state"] == DONE and curve and self._curve.name not in curve[-1]:
            raise ValueError(
                f"`by` must be one of {', '.join(curve[-1])}, the columns of the trainings'"
                f" metrics.csv, got {self._curve.name!r}. Name one of them with --by."
            )
        _, value = trial.best(self._curve)
        text = outcome["reason"]
        if outcome["state"] == DONE:
            text = f"{self._curve.name} {value:.5g} {IN_TRAINING}"
        tqdm.write(f"  trial {trial.number}  {trial.described()}  {outcome['state']}: {text}")
        write_rows(self._run.results, all_rows(self._points.trials))
        ended = rows_of_trials(self._points.trials, self._curve)
        write_rows(self._run.folder / "trials.csv", ended)
        self._bar.update()

    def _prune(self) -> None:
        """Stop running trials that are worse than the others, see `is_behind`."""
        curves = {t.number: self._curve.best_so_far(t.curve()) for t in self._points.trials}
        for trial in self._running.values():
            own = curves[trial.number]
            others = [curves[other.number] for other in self._points.rivals(trial)]
            if trial.number not in self._pruned and is_behind(own, others, self._curve):
                self._pruned.add(trial.number)
                (trial.folder / STOP).touch()


def is_behind(own: Sequence[float], others: Sequence[Sequence[float]], curve: Curve) -> bool:
    """Return whether a trial is worse than the median of the others after the same number of rows.

    Args:
        own: Best value of the trial after each row.
        others: The same for each other trial; those with fewer rows do not count.
        curve: Tells which of two values is better.
    """
    reached = [other[len(own) - 1] for other in others if len(other) >= len(own) > 0]
    if len(own) < FIRST_ROW or len(reached) < FEWEST:
        return False
    return curve.is_better(statistics.median(reached), own[-1])
