"""Share episodes among several processes, with exactly the results of one process.

A single process runs episodes in parallel as a batch, one group after the other. A worker runs some
episodes of a group as rows of the group's batch. So results do not depend on the number of workers,
nor on which worker is first.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ncp_control.acting.closed_loop import Pilot, Rows
from ncp_control.acting.experts import ExpertError
from ncp_control.acting.recorder import iterate_episodes
from ncp_control.episode import Episode
from ncp_control.policy import Policy
from ncp_control.workers import Workers, even_shares
from ncp_control.worlds import Expert, World


@dataclass(frozen=True, kw_only=True)
class Share:
    """Some consecutive episodes of a group that runs in parallel."""

    group: int
    """Index of the first episode of the group."""
    rows: Rows
    """Index of the first of these episodes in the group, and size of the group."""
    count: int
    """Number of these episodes."""

    @property
    def chosen(self) -> slice:
        """Slice of these episodes among all episodes."""
        first = self.group + self.rows.first
        return slice(first, first + self.count)


def shares_of(count: int, parallel: int | None, workers: int) -> list[Share]:
    """Divide episodes into shares for workers, in the order of the episodes.

    A group of parallel episodes is one share, unless there are fewer groups than workers.

    Args:
        count: Number of episodes.
        parallel: Maximum number of episodes in a group; if None: all of them.
        workers: Number of workers.
    """
    size = min(parallel or count, count)
    parts = -(-workers // -(-count // size))  # of each group, rounded up
    shares = []
    for group in range(0, count, size):
        beside = min(size, count - group)
        shares += [
            Share(group=group, rows=Rows(part.start, beside), count=part.stop - part.start)
            for part in even_shares(beside, parts)
            if part.start < part.stop
        ]
    return shares


@dataclass(frozen=True, kw_only=True)
class _Task:
    seeds: Sequence[int]
    options: Sequence[Any] | None
    rows: Rows
    learner: Policy | Pilot | None
    error: ExpertError | None


Find = Callable[[], tuple[World, Expert | Policy]]
"""Function that returns a world and its expert; it is pickled and called in each worker."""


def show_in_workers(
    workers: int,
    find: Find,
    *,
    seeds: Sequence[int],
    options: Sequence[Any] | None = None,
    num_steps: int | None = None,
    parallel: int,
    num_actions: int,
    learner: Policy | Pilot | None = None,
    error: ExpertError | None = None,
    description: str | None = None,
) -> Iterator[Episode]:
    """Yield the episodes of `iterate_episodes` with an expert, run by several processes.

    Args:
        workers: Number of processes.
        find: Function that returns the world and its expert.
        seeds: Seed of each episode.
        options: Options of the reset of each episode.
        num_steps: Maximum number of steps of an episode; if None: `max_steps` of the world.
        parallel: Maximum number of environments in a group.
        num_actions: Number of entries of an action.
        learner: Policy or pilot that acts; if None: the expert.
        error: Error added to the expert's actions while the expert acts. Its random generator
            advances as if all episodes had run in this process.
        description: Text of the progress bar.
    """
    bar = tqdm(total=len(seeds), desc=description, unit="episode", leave=False)
    with Workers(workers, _begin, find, num_steps) as processes, bar:

        def run(shares: Sequence[Share]) -> Iterator[Episode]:
            tasks = (
                _Task(
                    seeds=seeds[share.chosen],
                    options=None if options is None else options[share.chosen],
                    rows=share.rows,
                    learner=learner,
                    error=error,
                )
                for share in shares
            )
            for episodes in processes.map(tasks):
                bar.update(len(episodes))
                yield from episodes

        if error is None:
            yield from run(shares_of(len(seeds), parallel, workers))
            return
        # The errors of a group depend on those of all groups before it: one group at a time.
        for group in range(0, len(seeds), parallel):
            size = min(parallel, len(seeds) - group)
            shares = [
                Share(group=group, rows=share.rows, count=share.count)
                for share in shares_of(size, None, workers)
            ]
            episodes = list(run(shares))
            nothing = np.zeros((size, num_actions), np.float32)
            for step in range(max(map(len, episodes))):
                error.add(nothing, np.full(size, step == 0))
            yield from episodes


def _begin(find: Find, num_steps: int | None) -> Callable[[_Task], list[Episode]]:
    """Set up a worker; return the function that runs one task."""
    torch.set_num_threads(1)
    world, expert = find()

    def work(task: _Task) -> list[Episode]:
        return list(
            iterate_episodes(
                world,
                task.learner,
                seeds=task.seeds,
                options=task.options,
                num_steps=num_steps,
                expert=expert,
                error=task.error,
                rows=task.rows,
                keeps_observations=True,
            )
        )

    return work
