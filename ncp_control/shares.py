"""Episodes shared by several processes, with the numbers of one.

One process runs episodes side by side, group after group. A worker runs some of a group as rows of
the batch that the group is. So what it gets does not depend on how many workers there are, nor on
which is first.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ncp_control.episode import Episode
from ncp_control.learning.closed_loop import Pilot, Rows
from ncp_control.learning.experts import ExpertError
from ncp_control.policy import Policy
from ncp_control.recorder import iterate_episodes
from ncp_control.workers import Workers
from ncp_control.worlds import Expert, World


@dataclass(frozen=True, kw_only=True)
class Share:
    """A few of the episodes that are side by side."""

    group: int
    """First episode of the group."""
    rows: Rows
    """Place of the few in the group, and how many it has."""
    count: int
    """How many they are."""

    @property
    def chosen(self) -> slice:
        """The few among all episodes."""
        first = self.group + self.rows.first
        return slice(first, first + self.count)


def shares_of(count: int, parallel: int | None, workers: int) -> list[Share]:
    """Return what workers can do at once, in the order of the episodes.

    Episodes that are side by side stay together, unless there are fewer groups than workers.

    Args:
        count: Episodes.
        parallel: Most that are side by side; all of them if None.
        workers: How many workers there are.
    """
    size = min(parallel or count, count)
    parts = -(-workers // -(-count // size))  # of each group, rounded up
    shares = []
    for group in range(0, count, size):
        beside = min(size, count - group)
        bounds = sorted({round(i * beside / parts) for i in range(parts + 1)})
        shares += [
            Share(group=group, rows=Rows(first, beside), count=end - first)
            for first, end in itertools.pairwise(bounds)
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
"""Returns a world and its expert in a worker; a function of a module, perhaps with arguments."""


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
    """Yield what `iterate_episodes` does, with an expert asked, from several processes.

    Args:
        workers: How many.
        find: Finds world and expert.
        seeds: Seed of each episode.
        options: Options of each reset.
        num_steps: Steps after which an episode is over; those of the world if None.
        parallel: Most environments side by side.
        num_actions: Entries of an action.
        learner: Who acts; the expert if None.
        error: Added to what the expert does while it acts. It goes on as if all had been done here.
        description: What the progress bar says.
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
        # What the error draws depends on all before: one group at a time.
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
    """Return what a worker does."""
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
