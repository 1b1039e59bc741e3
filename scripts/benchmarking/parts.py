"""The parts of the benchmark: each measures, prints its tables and writes them."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import torch

from ncp_control import files
from ncp_control.devices import find_device
from ncp_control.learning.run import describe_environment, typed_command
from ncp_control.markdown import json_block
from scripts.benchmarking.acting import acting_table, measure_acting
from scripts.benchmarking.cells import INPUTS, ON_TORCH, STEP_UNITS, cells, control_steps_of_cells
from scripts.benchmarking.chunks import chunks_table, measure_chunks
from scripts.benchmarking.costs import (
    accuracy_table,
    first_use_seconds,
    first_use_table,
    measure_accuracy,
    memory_table,
    saved_bytes,
)
from scripts.benchmarking.demonstrations import demonstrations_table, measure_demonstrations
from scripts.benchmarking.exported import (
    costs_table,
    drift_table,
    drives_table,
    exported_steps,
    measure_costs,
    measure_drift,
    measure_drives,
)
from scripts.benchmarking.limited import limited_table, measure_limited
from scripts.benchmarking.reinforcement import reinforcement_table, rollouts_and_updates
from scripts.benchmarking.scaling import SWEEPS, draw_scaling, scale, scaling_table
from scripts.benchmarking.settings import Benchmark
from scripts.benchmarking.sharing import measure_sharing, sharing_table
from scripts.benchmarking.steps import (
    control_steps,
    driving_steps,
    first,
    models,
    on_reference,
    training_step,
    training_steps,
)
from scripts.benchmarking.stores import measure_stores, stores_table
from scripts.benchmarking.tables import measure_tables, tables_table
from scripts.benchmarking.worlds import measure_worlds, worlds_table
from scripts.evaluation.driving import check_km
from scripts.pictures import write_picture
from scripts.timing import TimedRow, measure, timing_tables, torch_threads


def benchmark_circuits(settings: Benchmark, folder: Path) -> None:
    """Time circuits and their peers on their own."""
    rows: list[TimedRow] = []
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
        "rows": rows,
        "accuracy": accuracies,
        "saved_bytes": memory,
        "first_use_s": first_use,
        "scaling": scaling,
    }
    _write(folder, "benchmark", tables, values)
    write_picture(folder / "scaling.png", draw_scaling(scaling))


def benchmark_cells(settings: Benchmark, folder: Path) -> None:
    """Time every cell: training beside torch's gates of the same size, and control."""
    rows: list[TimedRow] = []
    device = find_device(settings.device).type
    for threads in settings.threads:
        with torch_threads(threads):
            for batch, length in settings.shapes:
                inputs = torch.rand(batch, length, INPUTS, device=device)
                actions = {
                    name: training_step(cell.to(device), first, inputs)
                    for name, cell in cells().items()
                }
                for name in ON_TORCH:
                    plain = on_reference(functools.partial(actions.__getitem__, name))
                    actions[f"{name}, plain torch"] = plain
                table = f"training step of each cell on {device}, batch {batch} x {length} frames"
                rows += measure(table, actions, settings.rounds, threads)
    with torch_threads(1):
        table = f"control step from Python, each cell of {STEP_UNITS} units"
        rows += measure(table, control_steps_of_cells(), settings.rounds, 1)
    _write(folder, "cells", [timing_tables(rows)], {"rows": rows})


def benchmark_reinforcement(settings: Benchmark, folder: Path) -> None:
    """Time PPO with circuits and with networks as the actor."""
    with torch_threads(1):
        name = "PPO in Walker2d-v5, 1 thread"
        rows = measure(name, rollouts_and_updates(), settings.rounds, 1)
    _write(folder, "reinforcement", [reinforcement_table(rows)], {"rows": rows})


def benchmark_export(settings: Benchmark, folder: Path) -> None:
    """Measure policies as C: on a Cortex-M4, on this machine, and in closed loop."""
    check_km("km", settings.km)  # refused before the work, if so
    costs = measure_costs()
    with torch_threads(1):
        rows = measure("control step, as C", exported_steps(), settings.rounds, 1)
        drifts, drives = measure_drift(), measure_drives(settings.km)
    tables = [costs_table(costs), timing_tables(rows), drift_table(drifts), drives_table(drives)]
    values = {"costs": costs, "rows": rows, "drifts": drifts, "drives": drives}
    _write(folder, "export", tables, values)


def benchmark_act(settings: Benchmark, folder: Path) -> None:
    """Measure one call of a driver, from frame to steering."""
    with torch_threads(1):
        rows = measure_acting(settings.calls)
    _write(folder, "act", [acting_table(rows)], {"rows": rows})


def benchmark_chunks(settings: Benchmark, folder: Path) -> None:
    """Measure memory and time of long sequences as a whole and in chunks."""
    with torch_threads(1):
        found = measure_chunks(settings.rounds)
    _write(folder, "chunks", [chunks_table(found)], {"rows": found})


def benchmark_worlds(settings: Benchmark, folder: Path) -> None:
    """Measure worlds in mujoco-warp, and one of each in MuJoCo's C."""
    device = find_device(settings.device)
    with torch_threads(1):
        found = measure_worlds(device, settings.rounds)
    table = worlds_table(found, device.type)
    _write(folder, "worlds", [table], {"rows": found})


def benchmark_stores(settings: Benchmark, folder: Path) -> None:
    """Measure training from frames on disk."""
    with torch_threads(1):
        found = measure_stores(settings.rounds)
    _write(folder, "stores", [stores_table(found)], {"rows": found})


def benchmark_limited(settings: Benchmark, folder: Path) -> None:
    """Measure training from a store of ten times the memory that the process may take."""
    found = measure_limited()
    _write(folder, "limited", [limited_table(found)], {"rows": found})


def benchmark_demonstrations(settings: Benchmark, folder: Path) -> None:
    """Measure how fast an expert's driving is recorded."""
    with torch_threads(1):
        found = measure_demonstrations(settings.rounds)
    _write(folder, "demonstrations", [demonstrations_table(found)], {"rows": found})


def benchmark_sharing(settings: Benchmark, folder: Path) -> None:
    """Measure a step that several processes share."""
    with torch_threads(1):
        found = measure_sharing(settings.rounds)
    _write(folder, "sharing", [sharing_table(found)], {"rows": found})


def benchmark_tables(settings: Benchmark, folder: Path) -> None:
    """Measure a part of the trainings of reproduce.py's tables, before the kernels and after."""
    with torch_threads(1):
        found = measure_tables(settings.rounds)
    _write(folder, "tables", [tables_table(found)], {"rows": found})


def _write(folder: Path, name: str, tables: list[str], values: dict[str, Any]) -> None:
    """Print tables and write them, with where they were measured; `values` may hold dataclasses."""
    where = {"command": typed_command()} | describe_environment()
    text = "\n\n".join([*tables, json_block(where)])
    print(text)
    files.write_file(folder / f"{name}.md", text + "\n")
    data = json.dumps(values, indent=1, default=dataclasses.asdict)
    files.write_file(folder / f"{name}.json", data + "\n")
