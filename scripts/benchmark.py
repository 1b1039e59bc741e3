"""How fast is a circuit? Ours against ncps, LSTM and GRU, measured in turn in one run.

    python scripts/benchmark.py

Every row is timed in turn with all the others, round after round, so that a machine that slows
down slows all of them; the table gives medians, their spread, and ratios within the same rounds.
"Floor" is the time of the sigmoids alone, forward and again in the adjoint, measured in the same
rounds: no exact method that keeps no sigmoid can be faster than that.

Then: the error of each integrator and its cost, what autograd keeps, what the first use costs, and
how the cost grows with every size.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import torch

from ncp_control import files
from ncp_control.devices import find_device
from ncp_control.learning.run import describe_environment
from scripts.benchmarking.costs import (
    accuracy_table,
    first_use_seconds,
    first_use_table,
    measure_accuracy,
    memory_table,
    saved_bytes,
)
from scripts.benchmarking.scaling import SWEEPS, draw_scaling, scale, scaling_table
from scripts.benchmarking.steps import control_steps, driving_steps, models, training_steps
from scripts.benchmarking.timing import Row, measure, timing_tables, torch_threads
from scripts.cli import run_job


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Time training and control steps of our circuits and their peers."""

    rounds: int = 15
    """Times that each row is measured; the median is reported."""
    threads: tuple[int, ...] = (1, 2)
    """Torch threads to measure with."""
    shapes: tuple[tuple[int, int], ...] = ((64, 32), (32, 256))
    """Batch and sequence length of the training steps."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one. All training steps run there."""
    output: Path = Path("results/benchmark")
    """Folder of benchmark.json, benchmark.md and scaling.png."""


def benchmark(settings: Benchmark) -> None:
    """Measure everything, print the tables, write them."""
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
    text = "\n\n".join([*tables, f"```json\n{_where()}\n```"])
    print(text)
    values = {
        "rows": [dataclasses.asdict(row) for row in rows],
        "accuracy": [dataclasses.asdict(row) for row in accuracies],
        "saved_bytes": memory,
        "first_use_s": first_use,
        "scaling": {n: [dataclasses.asdict(point) for point in p] for n, p in scaling.items()},
    }
    figure = draw_scaling(scaling)
    with files.new_folder(settings.output) as folder:
        (folder / "benchmark.md").write_text(text + "\n")
        (folder / "benchmark.json").write_text(json.dumps(values, indent=1) + "\n")
        figure.savefig(folder / "scaling.png", dpi=150)


def _where() -> str:
    return json.dumps(describe_environment(), indent=1)


if __name__ == "__main__":
    run_job(benchmark, Benchmark, "Time training and control steps of our circuits and peers.")
