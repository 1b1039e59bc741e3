"""Two tasks that need a memory, for every model with published and with better initial values.

*bit-N*: the inputs show a sign in the first two of N frames, then noise; the target is the sign in
the last frame. The measures are the number of steps until all of 500 sequences are right, and the
share of 1,000 other sequences that are right at the end.

*velocity*: the inputs are eight sines with angular frequencies of 0.05 to 0.3 per frame; the
targets are the velocities of four of them, which a robot that senses only positions has to
estimate. The measure is the squared error over the variance of the velocities, from the fifth frame
on.

| first values | what they are                                                                    |
|--------------|----------------------------------------------------------------------------------|
| published    | those of the papers, see the cells                                               |
| spread       | time constants over the times that the task asks for, see `cells.first_values`;  |
|              | a liquid circuit that estimates velocities has flat synapses as well, and with   |
|              | the wiring reads all neurons                                                     |
| gauss-newton | the same of the wired circuit, which learns by Gauss-Newton steps                |

`ltc` is fully connected; `ncp`, `stc`, `lrc` and `lrcu` have the wiring of walking circuits. All
have 32 neurons or units. No neuron of an LRC is faster than a frame, so its time constants are
spread from two frames on. In *velocity*, trainings with first values other than the published ones
use a half-cosine decay of the learning rate.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import trange

from ncp_control.cells import CELLS, LTC, Cell, SynapticCell
from ncp_control.cells.first_values import LEAST_LRC_FRAMES, draw_synapses_, set_first_values_
from ncp_control.cells.known import SATURATED
from ncp_control.circuit import Circuit
from ncp_control.layers import num_parameters
from ncp_control.learning.results import OF_DEVIATION, ResultsFile, mean_and_deviation
from ncp_control.learning.schedule import half_cosine
from ncp_control.markdown import markdown_table
from ncp_control.names import check_name
from ncp_control.wiring_rules import fully_connected
from policies.motor_circuits import make_motor_cell
from scripts.reproduction.completion import Job, Measured, Reproduce, complete
from scripts.reproduction.gauss_newton import GaussNewton
from scripts.reproduction.spread import tau_note

DEFAULT_MODELS = ("ltc", "ncp", "stc", "lrc", "lrcu", "wired_cfc", "cfc", "ctrnn", "lstm", "gru")
LIQUID = ("ltc", "ncp", "mixed_ltc", *SATURATED)
WIRED = ("ncp", *SATURATED)
"""Models with the wiring of walking circuits and with synapses that can be flat."""
MEASURES = ("parameters", "steps", "accuracy", "error")
"""Columns: number of parameters; steps until all sequences are right, else all steps; share of
right test sequences [%]; squared error over variance."""
STARTS = ("published", "spread", "gauss-newton")
UNITS, BATCH_SIZE = 32, 64
CHECK_EVERY, NUM_CHECKED, NUM_TESTED = 10, 500, 1_000
NUM_SINES, NUM_VELOCITIES, FIRST_JUDGED = 8, 4, 4

Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
"""From the number of sequences and a generator to inputs and targets (batch, time, width)."""


class MemoryTask(NamedTuple):
    """Size and training length of a task."""

    inputs: int
    outputs: int
    frames: int
    steps: int
    tau_frames: tuple[float, float]
    """Range of the spread time constants."""


TASKS = {
    "bit-20": MemoryTask(3, 1, 20, 300, (1.0, 100.0)),
    "bit-60": MemoryTask(3, 1, 60, 300, (1.0, 100.0)),
    "bit-200": MemoryTask(3, 1, 200, 300, (1.0, 400.0)),
    "velocity": MemoryTask(NUM_SINES, NUM_VELOCITIES, 32, 800, (0.3, 2.0)),
}


def reproduce_memory(settings: Reproduce) -> None:
    """Run the missing trainings on each task and print the table."""
    models = settings.chosen("models", CELLS, DEFAULT_MODELS)
    tasks = settings.chosen("tasks", TASKS)
    results = settings.results_file(MEASURES)
    jobs = [
        Job(model, seed, training_settings(task, model, start))
        for task in tasks
        for model in models
        for start in STARTS
        if start != "gauss-newton" or (task, model) == ("velocity", "ncp")
        for seed in range(settings.seeds or 5)
    ]
    complete(results, jobs, train_model, settings)
    print(describe(results, jobs))


def describe(results: ResultsFile, jobs: list[Job]) -> str:
    """Return the table of the trainings in `jobs`."""
    lines = []
    for model, settings in dict.fromkeys((job.model, job.settings) for job in jobs):
        rows = results.trainings(model, settings)
        task, start = settings.split()[:2]
        right = [row for row in rows if row["accuracy"] and float(row["accuracy"]) == 100.0]
        is_bit = task != "velocity"
        lines.append(
            [
                task,
                model,
                start,
                rows[0]["parameters"],
                f"{len(right)} of {len(rows)}" if is_bit else "–",
                mean_and_deviation(rows, "accuracy", 1) if is_bit else "–",
                mean_and_deviation(right, "steps", 0) if right else "–",
                "–" if is_bit else mean_and_deviation(rows, "error", 4),
            ]
        )
    columns = ["task", "model", "first values", "parameters", "seeds with 100 %", "accuracy [%]"]
    table = markdown_table([*columns, "steps to 100 %", "error / variance"], lines)
    return f"{table}\n\n{OF_DEVIATION}"


def training_settings(task: str, model: str, start: str) -> str:
    """Return the training settings of a model as one cell of the results file."""
    asked = TASKS[task]
    text = f"{task} {start} units={UNITS} batch={BATCH_SIZE} steps={asked.steps}"
    if start != "published":
        text += tau_note(tau_frames(asked, model))
    if start == "gauss-newton":
        return f"{text} rate=1"
    return f"{text} lr={learning_rate(task, model, start):g}"


def tau_frames(task: MemoryTask, model: str) -> tuple[float, float]:
    """Return the range of a model's spread time constants [frames]."""
    low, high = task.tau_frames
    if not model.startswith("lrc"):
        return low, high
    return max(low, LEAST_LRC_FRAMES), max(high, 3.0 * LEAST_LRC_FRAMES)


def learning_rate(task: str, model: str, start: str) -> float:
    """Return the initial learning rate: higher for a liquid circuit."""
    is_flat = task == "velocity" and start != "published"
    if model in LIQUID:
        return 3e-2 if is_flat else 1e-2
    return 1e-2 if is_flat else 3e-3


def train_model(job: Job, is_silent: bool) -> Measured:
    """Train one model with one seed and return its row."""
    torch.set_flush_denormal(True)  # gradients decay to denormal numbers along a sequence
    name, start = job.settings.split()[:2]
    task, is_bit = TASKS[name], name != "velocity"
    draw: Draw = partial(draw_bits, task.frames) if is_bit else partial(draw_sines, task.frames)
    generator = torch.Generator().manual_seed(job.seed + 100)
    is_second_order = start == "gauss-newton"
    circuit = Circuit(make_cell(job.model, task, start, draw, job.seed))
    checked, tested = draw(NUM_CHECKED, generator), draw(NUM_TESTED, generator)
    rate = learning_rate(name, job.model, start)
    optimizer = torch.optim.Adam(circuit.parameters(), lr=rate)
    gauss_newton = GaussNewton(circuit.parameters(), seed=job.seed) if is_second_order else None
    first_right, step = None, 0
    for step in trange(1, task.steps + 1, desc=job.name, leave=False, disable=is_silent):
        share = half_cosine(step - 1, task.steps, final=0.02)
        inputs, wanted = draw(BATCH_SIZE, generator)
        if gauss_newton is not None:
            outputs, _ = circuit(inputs)
            gauss_newton.step(judged(outputs, is_bit), judged(wanted, is_bit), rate=share)
            continue
        if not is_bit and start == "spread":
            optimizer.param_groups[0]["lr"] = rate * share
        take_step(circuit, optimizer, inputs, wanted, is_bit)
        if is_bit and step % CHECK_EVERY == 0:
            if share_right(circuit, *checked) < 1.0:
                first_right = None
            elif first_right is not None:
                break  # twice in a row
            else:
                first_right = step
    measured = {
        "parameters": num_parameters(circuit),
        "steps": first_right or step,
        "threads": torch.get_num_threads(),
    }
    if is_bit:
        return {**measured, "accuracy": 100.0 * share_right(circuit, *tested), "error": ""}
    return {**measured, "accuracy": "", "error": relative_error(circuit, *tested)}


def take_step(
    circuit: Circuit,
    optimizer: torch.optim.Optimizer,
    inputs: Tensor,
    wanted: Tensor,
    is_bit: bool,
) -> None:
    """Take an optimizer step on the squared error of the judged frames."""
    outputs, _ = circuit(inputs)
    loss = (judged(outputs, is_bit) - judged(wanted, is_bit)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(circuit.parameters(), 1.0)
    optimizer.step()


def make_cell(model: str, task: MemoryTask, start: str, draw: Draw, seed: int) -> Cell:
    """Build a model with the first values named by `start`."""
    check_name("start", start, STARTS)
    torch.manual_seed(seed)
    if model == "ltc":
        wiring = fully_connected(task.inputs, UNITS, task.outputs, seed=seed)
        cell: Cell = LTC(wiring, frame_s=1.0)
    else:
        cell = make_motor_cell(model, task.inputs, UNITS, task.outputs, frame_s=1.0, seed=seed)
    if isinstance(cell, SynapticCell) and model in WIRED:
        if start != "published" and task.inputs == NUM_SINES:
            settings: dict[str, Any] = cell.settings() | {"reads": "all"}
            cell = type(cell)(**settings)
        draw_synapses_(cell, "published")
    if start != "published":
        inputs, _ = draw(BATCH_SIZE, torch.Generator().manual_seed(seed))
        is_flat = isinstance(cell, SynapticCell) and task.inputs == NUM_SINES
        synapses = "flat" if is_flat else None
        tau_s = tau_frames(task, model)
        set_first_values_(cell, inputs, tau_s=tau_s, synapses=synapses, seed=seed)
    return cell


def draw_bits(frames: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw signs; the first of three inputs shows them in two frames, the others are noise."""
    inputs = torch.randn(count, frames, 3, generator=generator) * 0.5
    sign = (torch.rand(count, generator=generator) < 0.5).float() * 2.0 - 1.0
    inputs[:, :, 0] = 0.0
    inputs[:, :2, 0] = sign[:, None]
    return inputs, sign[:, None, None].expand(-1, frames, 1)


def draw_sines(frames: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw sines of unit variance, and the velocities of the first four, of about unit variance."""
    time = torch.arange(frames)[None, :, None]
    shape = count, 1, NUM_SINES
    frequency = torch.rand(shape, generator=generator) * 0.25 + 0.05
    phase = frequency * time + torch.rand(shape, generator=generator) * (2.0 * math.pi)
    velocity = 1.4 * torch.cos(phase) * frequency / 0.25
    return 1.4 * torch.sin(phase), velocity[:, :, :NUM_VELOCITIES]


def judged(values: Tensor, is_bit: bool) -> Tensor:
    """Return the judged frames: the last, or all from `FIRST_JUDGED` on."""
    return values[:, -1] if is_bit else values[:, FIRST_JUDGED:]


@torch.no_grad()
def share_right(circuit: Circuit, inputs: Tensor, wanted: Tensor) -> float:
    """Return the share of sequences whose last output has the right sign."""
    outputs, _ = circuit(inputs)
    return (outputs[:, -1] * wanted[:, -1] > 0).float().mean().item()


@torch.no_grad()
def relative_error(circuit: Circuit, inputs: Tensor, wanted: Tensor) -> float:
    """Return the squared error over the variance of the targets, at the judged frames."""
    outputs, _ = circuit(inputs)
    error = judged(outputs, False) - judged(wanted, False)
    return (error.square().mean() / judged(wanted, False).var()).item()
