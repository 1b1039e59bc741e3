"""How fast is a circuit? Ours against ncps, LSTM and GRU, measured in turn in one run.

    python scripts/benchmark.py
    python scripts/benchmark.py --parts reinforcement     one part of it

Every row is timed in turn with all the others, round after round, so that a machine that slows
down slows all of them; the table gives medians, their spread, and ratios within the same rounds.
"Floor" is the time of the sigmoids alone, forward and again in the adjoint, measured in the same
rounds: no exact method that keeps no sigmoid can be faster than that.

Then: the error of each integrator and its cost, what autograd keeps, what the first use costs, and
how the cost grows with every size. The last part is PPO in Walker2d-v5, where the circuit is the
actor, against sb3-contrib's RecurrentPPO.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ncp_control import files
from ncp_control.devices import find_device
from ncp_control.learning.results import check_writable
from ncp_control.learning.run import Run, describe_environment, typed_command
from ncp_control.names import check_name
from ncp_control.ranges import check_at_least, check_given
from scripts.benchmarking.costs import (
    accuracy_table,
    first_use_seconds,
    first_use_table,
    measure_accuracy,
    memory_table,
    saved_bytes,
)
from scripts.benchmarking.reinforcement import reinforcement_table, rollouts_and_updates
from scripts.benchmarking.scaling import SWEEPS, draw_scaling, scale, scaling_table
from scripts.benchmarking.steps import control_steps, driving_steps, models, training_steps
from scripts.benchmarking.timing import Row, measure, timing_tables, torch_threads
from scripts.cli import run_job
from scripts.markdown import json_block
from scripts.pictures import write_picture


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Time training and control steps of our circuits and their peers."""

    rounds: int = 15
    """Times that each row is measured; the median is reported."""
    threads: tuple[int, ...] = (1, 2)
    """Torch threads to measure with."""
    shapes: tuple[tuple[int, int], ...] = ((64, 32), (32, 256))
    """Batch and sequence length of the training steps."""
    parts: tuple[str, ...] = ("circuits", "reinforcement")
    """What to measure; each part has its own files."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one. The training steps of `shapes` run there."""
    results: Path | None = None
    """Folder of the tables (.md, .json) and of scaling.png, e.g. results/benchmark to replace the
    published ones; a new run folder by default."""
    runs: Path = Path("runs")
    """Where run folders are made."""

    def __post_init__(self) -> None:
        for part in self.parts:
            check_name("parts", part, PARTS)
        check_at_least(self, 1, "rounds")
        check_given(self, "threads", "shapes", "parts")
        find_device(self.device)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            is_of_circuits = field.name in ("threads", "shapes", "device")
            if is_of_circuits and "circuits" not in self.parts and value != field.default:
                raise ValueError(
                    f"`{field.name}` must be left out without the part circuits, got {value!r}."
                    " Nothing would come of it."
                )
        for name, numbers in (("threads", self.threads), ("shapes", sum(self.shapes, ()))):
            if any(number < 1 for number in numbers):
                raise ValueError(
                    f"`{name}` must hold numbers of at least 1, got {getattr(self, name)}."
                    " Correct them."
                )


def benchmark(settings: Benchmark) -> None:
    """Measure each part, print its tables, write them."""
    if settings.results is None:
        run = Run.create("benchmark", "-".join(settings.parts), settings, root=settings.runs)
        run.close()
        folder = run.folder
    else:
        folder = settings.results
        check_writable(folder / "benchmark.md")  # found before the work
    for part in settings.parts:
        PARTS[part](settings, folder)
    print(f"results: {folder}")


def benchmark_circuits(settings: Benchmark, folder: Path) -> None:
    """Time circuits and their peers on their own."""
    rows: list[Row] = []
    device = find_device(settings.device).type
    for threads in settings.threads:
        with torch_threads(threads):
            for batch, length in settings.shapes:
                table = f"training step on {device}, batch {batch} x {length} frames"
                actions = training_steps(batch, length, device)
                rows += measure(table, actions, settings.rounds, threads)
    with torch_threads(1):
        rows += measure("control step, circuit", control_steps(), settings.rounds, 1)
        rows += measure("control step, driving policy", driving_steps(), settings.rounds, 1)
        scaling = {name: scale(name, settings.rounds) for name in SWEEPS}
        accuracies = measure_accuracy(settings.rounds)
    inputs = torch.rand(64, 32, 32)
    memory = {name: saved_bytes(model, inputs) for name, model in models().items()}
    first_use = first_use_seconds()
    tables = [timing_tables(rows), accuracy_table(accuracies), memory_table(memory)]
    tables += [first_use_table(first_use), scaling_table(scaling)]
    values = {
        "rows": [dataclasses.asdict(row) for row in rows],
        "accuracy": [dataclasses.asdict(row) for row in accuracies],
        "saved_bytes": memory,
        "first_use_s": first_use,
        "scaling": {n: [dataclasses.asdict(point) for point in p] for n, p in scaling.items()},
    }
    _write(folder, "benchmark", tables, values)
    write_picture(folder / "scaling.png", draw_scaling(scaling))


def benchmark_reinforcement(settings: Benchmark, folder: Path) -> None:
    """Time PPO with circuits and with networks as the actor."""
    with torch_threads(1):
        name = "PPO in Walker2d-v5, 1 thread"
        rows = measure(name, rollouts_and_updates(), settings.rounds, 1)
    values = {"rows": [dataclasses.asdict(row) for row in rows]}
    _write(folder, "reinforcement", [reinforcement_table(rows)], values)


PARTS = {"circuits": benchmark_circuits, "reinforcement": benchmark_reinforcement}


def _write(folder: Path, name: str, tables: list[str], values: dict[str, Any]) -> None:
    """Print tables and write them, with where they were measured."""
    where = {"command": typed_command()} | describe_environment()
    text = "\n\n".join([*tables, json_block(where)])
    print(text)
    files.write_file(folder / f"{name}.md", text + "\n")
    files.write_file(folder / f"{name}.json", json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    run_job(benchmark, Benchmark, "Time training and control steps of our circuits and peers.")
