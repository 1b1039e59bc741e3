"""What one seed of the tables of `reproduce.py` takes on plain torch and on the kernels.

A part of each training is timed: `STEPS` optimizer steps with the table's own model, batch, length
and settings, on plain torch and on the kernels in turn. The hours of a seed are extrapolated from
it: steps in an epoch, times the table's epochs, times the time of a step. Of validation, each part
has one sequence; tests and reading the data are left out, and a training that would end early,
since no error is left, counts to its end.

Times are those of the processor, which the one thread needs whatever else a machine has to do.
"""

import dataclasses
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch

from ncp_control.learning.forecasting import train
from ncp_control.markdown import markdown_table
from scripts.benchmarking.steps import on_reference
from scripts.benchmarking.table_trainings import TABLES, VELOCITY, Trainings, make_memory_step
from scripts.reproduction import memory
from scripts.reproduction.completion import Job
from scripts.timing import Action, measure

STEPS, MOST_ROUNDS = 10, 5
"""Optimizer steps that are timed as one, and how often that is done at most."""


@dataclass(frozen=True, kw_only=True)
class TableTime:
    """Time of one model's training in a table."""

    table: str
    model: str
    batch: int
    frames: float
    """Of a batch, on average."""
    num_steps: int
    """Optimizer steps of one seed."""
    before_s: float
    """Time of a step on plain torch [s], the median."""
    before_spread: float
    """Half the range between the quartiles, as a share of the median."""
    after_s: float
    """The same on the kernels."""
    after_spread: float
    ratio: float
    """How many times as fast the kernels are, the median over rounds."""

    @property
    def before_h(self) -> float:
        """Time of one seed on plain torch [h]."""
        return self.num_steps * self.before_s / 3600.0

    @property
    def after_h(self) -> float:
        """The same on the kernels."""
        return self.num_steps * self.after_s / 3600.0


class TimedPart(NamedTuple):
    """What is timed of a training."""

    learn: Action
    """Takes `STEPS` optimizer steps."""
    batch: int
    frames: float
    num_steps: int


def measure_tables(rounds: int) -> list[TableTime]:
    """Time a part of the training of every model in every table."""
    torch.set_flush_denormal(True)  # as most tables do
    trainings = [(name, model) for name, table in TABLES.items() for model in table.models]
    trainings += [("memory", model) for model in memory.DEFAULT_MODELS]
    return [time_training(name, model, rounds) for name, model in trainings]


def time_training(name: str, model: str, rounds: int) -> TableTime:
    """Time a part of one training, on plain torch and on the kernels in turn."""
    part = memory_part(model) if name == "memory" else part_of(TABLES[name], model)
    actions = {"before": on_reference(lambda: part.learn), "after": part.learn}
    before, after = measure(
        f"{name}, {model}", actions, min(rounds, MOST_ROUNDS), 1, time.process_time
    )
    return TableTime(
        table=name,
        model=model,
        batch=part.batch,
        frames=part.frames,
        num_steps=part.num_steps,
        before_s=before.median_us / STEPS / 1e6,
        before_spread=before.spread,
        after_s=after.median_us / STEPS / 1e6,
        after_spread=after.spread,
        ratio=after.ratio,
    )


def part_of(table: Trainings, model: str) -> TimedPart:
    """Return the first steps of a model's training."""
    network, config = table.set_up(table.draw(1), table.epochs, "cpu", Job(model, 0, ""))
    size = config.batch_size
    data, one = table.draw(STEPS * size), table.draw(1)
    batches = list(data.shuffled_batches(size, torch.Generator().manual_seed(0)))
    short = dataclasses.replace(config, epochs=1)
    return TimedPart(
        learn=partial(train, network, data, one, short, is_silent=True),
        batch=size,
        frames=statistics.mean(batch.inputs.shape[1] for batch in batches),
        num_steps=table.epochs * (table.num_sequences // size),
    )


def memory_part(model: str) -> TimedPart:
    """Return the first steps of a training of the table `memory`."""
    step, task = make_memory_step(model), memory.TASKS[VELOCITY]

    def learn() -> None:
        for _ in range(STEPS):
            step()

    return TimedPart(learn=learn, batch=memory.BATCH_SIZE, frames=task.frames, num_steps=task.steps)


def tables_table(rows: Sequence[TableTime]) -> str:
    """Return two tables: one seed of all models of each table, and of every model."""
    totals, lines = [], []
    for name in dict.fromkeys(row.table for row in rows):
        own = [row for row in rows if row.table == name]
        before_h, after_h = sum(row.before_h for row in own), sum(row.after_h for row in own)
        cells = [f"{before_h:,.2f}", f"{after_h:,.2f}", f"{before_h / after_h:.1f}"]
        totals.append([name, str(len(own)), *cells])
        for row in own:
            size = f"{row.batch} x {row.frames:.0f}"
            steps = [
                f"{1e3 * time_s:,.1f} ± {spread:.0%}"
                for time_s, spread in (
                    (row.before_s, row.before_spread),
                    (row.after_s, row.after_spread),
                )
            ]
            hours = [f"{row.before_h:,.3f}", f"{row.after_h:,.3f}"]
            cells = [f"{row.num_steps:,}", *steps, f"{row.ratio:.1f}", *hours]
            lines.append([name, row.model, size, *cells])
    hours = ["plain torch [h]", "kernels [h]"]
    sums = markdown_table(["table", "models", *hours, "times as fast"], totals)
    header = ["table", "model", "batch x frames", "steps of a seed", "plain torch [ms a step]"]
    header += ["kernels [ms a step]", "times as fast", *hours]
    return (
        f"### One seed of all models of a table, hours of the processor, 1 thread\n\n{sums}\n\n"
        f"### One seed of each model\n\n{markdown_table(header, lines)}"
    )
