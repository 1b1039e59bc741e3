"""Ablation of the circuit's wiring and integrator: one part is exchanged at a time.

| variant              | what it is                                                               |
|----------------------|--------------------------------------------------------------------------|
| ncp                  | sensory, inter, command, motor: sparse, in layers; semi-implicit Euler   |
| random               | as many neurons and synapses, drawn uniformly                            |
| dense_equal          | everything connected, as many synapses (so fewer neurons)                |
| dense_wide           | everything connected, as many neurons (so more synapses)                 |
| ncp_layered_midpoint | the NCP, integrated layer by layer in 2 sub-steps instead of 6           |

All are LTC circuits, with new random wiring and weights for each seed. There are two tasks.
`forecast`: the LTC paper's HalfCheetah windows, with a linear readout of the motor neurons.
`drive`: imitation of the lane-keeping expert from camera frames, measured in closed loop on
held-out tracks without and with pixel noise.

Source: Lechner et al. 2020, Nature Machine Intelligence 2:642, extended data: wirings compared on
recorded driving.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

import numpy as np
import torch

from envs.driving.metrics import summarize
from ncp_control import LTC, Circuit, Wiring, auto_ncp, fully_connected, random_wiring
from ncp_control.layers import num_parameters
from ncp_control.learning.forecasters import Forecaster
from ncp_control.learning.forecasting import TrainingConfig
from ncp_control.learning.imitation import ImitationConfig
from ncp_control.learning.results import OF_DEVIATION, mean_and_deviation, newest
from ncp_control.learning.training_state import seconds_learned
from ncp_control.markdown import markdown_table
from ncp_control.policy import FramesPolicy
from ncp_control.wiring_rules import ncp19
from scripts.evaluation.driving import drive_km
from scripts.reproduction import halfcheetah
from scripts.reproduction.completion import Job, Measured, Reproduce, complete
from scripts.reproduction.conditions import begun_run
from scripts.reproduction.forecasts import fit, traces_note
from scripts.training.drive import driving_task
from scripts.training.from_expert import find_or_record, imitate_expert
from scripts.training.imitation_settings import Drive


def random_like(wiring: Wiring, seed: int) -> Wiring:
    """Draw a wiring without layers, with as many neurons and synapses of each kind as `wiring`."""
    return random_wiring(
        wiring.num_sensory,
        wiring.num_neurons,
        wiring.num_motor,
        num_sensory_synapses=wiring.num_sensory_synapses,
        num_inner_synapses=wiring.num_synapses - wiring.num_sensory_synapses,
        seed=seed,
    )


def dense_equal(wiring: Wiring, seed: int) -> Wiring:
    """Return a fully connected wiring with about as many synapses as `wiring`."""
    sizes = np.arange(1, wiring.num_neurons + 1)
    num_synapses = sizes * (wiring.num_sensory + sizes)
    neurons = int(sizes[np.abs(num_synapses - wiring.num_synapses).argmin()])
    return fully_connected(wiring.num_sensory, neurons, min(neurons, wiring.num_motor), seed=seed)


def dense_wide(wiring: Wiring, seed: int) -> Wiring:
    """Return a fully connected wiring with as many neurons as `wiring`."""
    return fully_connected(wiring.num_sensory, wiring.num_neurons, wiring.num_motor, seed=seed)


WIRINGS: dict[str, Callable[[Wiring, int], Wiring]] = {
    "ncp": lambda wiring, seed: wiring,
    "random": random_like,
    "dense_equal": dense_equal,
    "dense_wide": dense_wide,
}
"""Functions that make each variant's wiring from an NCP and a seed."""
INTEGRATORS = {
    "ncp": {"integrator": "semi_implicit_euler", "unfolds": 6},
    "ncp_layered_midpoint": {"integrator": "layered_midpoint", "unfolds": 2},
}
"""Integrators to compare on an NCP, each with its default number of sub-steps."""
TASKS: dict[str, Callable[[int], Wiring]] = {
    "forecast": lambda seed: auto_ncp(17, 48, 17, seed=seed),
    "drive": lambda seed: ncp19(seed=seed),
}
"""The NCP of each task."""
EPOCHS = {"forecast": 60, "drive": 4}
BATCH_SIZE, LEARNING_RATE, NOISE_VARIANCE = 16, 1e-2, 0.1
TRACKS, DAGGER_TRACKS, DAGGER_EPOCHS, EVALUATION_KM = 32, 8, (2,), 2.0
SECONDS_PER_TRACK = 17.0
MEASURES = (
    "neurons",
    "synapses",
    "parameters",
    "validation_mse",
    "test_mse",
    "imitation_loss",
    "cross_track_m",
    "crashes_per_km",
    "noisy_cross_track_m",
    "noisy_crashes_per_km",
    "seconds_per_epoch",
)
COLUMNS = {
    "forecast": {"test MSE": "test_mse"},
    "drive": {
        "imitation loss": "imitation_loss",
        "mean cross-track error [m]": "cross_track_m",
        "crashes per km": "crashes_per_km",
        f"error at noise {NOISE_VARIANCE:g} [m]": "noisy_cross_track_m",
        f"crashes per km at noise {NOISE_VARIANCE:g}": "noisy_crashes_per_km",
    },
}


def reproduce_wiring(settings: Reproduce) -> None:
    """Compare wirings: run the missing trainings and print a table for each task."""
    _compare(settings, WIRINGS)


def reproduce_integrators(settings: Reproduce) -> None:
    """Compare integrators: run the missing trainings and print a table for each task."""
    _compare(settings, INTEGRATORS)


def _compare(settings: Reproduce, variants: Collection[str]) -> None:
    """Run the missing trainings of some variants; `forecast` needs the traces in `--data`."""
    models = settings.chosen("models", variants)
    tasks = settings.chosen("tasks", TASKS)
    if not settings.data and "forecast" in settings.tasks:
        halfcheetah.traces_folder(settings)  # raises and says where to get them
    if not settings.data and "forecast" in tasks:
        tasks = tuple(task for task in tasks if task != "forecast")
        print("forecasting is left out: --data names no folder of HalfCheetah traces")
    described = {task: task_settings(task, settings) for task in tasks}
    # Both tables share a file: in one folder, the NCP that both contain is trained once.
    results = settings.results_file(MEASURES, "ablation")
    jobs = [
        Job(model, seed, described[task])
        for task in tasks
        for model in models
        for seed in range(settings.seeds or 3)
    ]
    if any(job.settings.startswith("drive") and not results.has(*job.key) for job in jobs):
        # Record before the trainings start in parallel.
        drive = drive_settings(settings)
        find_or_record(driving_task(drive), drive, drive.runs)
    complete(results, jobs, partial(train_variant, settings), settings)
    for task in tasks:
        print(f"\n{task}")
        print_task(task, newest(results.rows(described[task])), models)


def print_task(task: str, rows: Sequence[Mapping[str, str]], models: Sequence[str]) -> None:
    """Print mean ± sd over seeds of one task."""
    lines = []
    for model in models:
        group = [row for row in rows if row["model"] == model]
        lines.append([model, str(len(group)), group[0]["neurons"], group[0]["synapses"]])
        lines[-1] += [mean_and_deviation(group, measure, 4) for measure in COLUMNS[task].values()]
    print(markdown_table(["variant", "seeds", "neurons", "synapses", *COLUMNS[task]], lines))
    print(f"\n{OF_DEVIATION}")


def task_settings(task: str, settings: Reproduce) -> str:
    """Return a task and its training settings as one cell of the results file."""
    number = settings.epochs or EPOCHS[task]
    if task == "forecast":
        note = traces_note(halfcheetah.traces_folder(settings))
        return f"forecast {note} batch={BATCH_SIZE} lr={LEARNING_RATE:g} epochs={number}"
    return f"drive tracks={TRACKS} dagger={DAGGER_TRACKS} km={EVALUATION_KM:g} epochs={number}"


def make_cell(model: str, task: str, seed: int, frame_s: float) -> LTC:
    """Return the untrained circuit of a variant."""
    base = TASKS[task](seed)
    wiring = WIRINGS[model](base, seed) if model in WIRINGS else base
    return LTC(wiring, frame_s=frame_s, **INTEGRATORS.get(model, INTEGRATORS["ncp"]))


def train_variant(settings: Reproduce, job: Job, is_silent: bool) -> Measured:
    """Train one circuit with one seed and measure it."""
    task = job.settings.split()[0]
    torch.manual_seed(job.seed)
    if task == "drive":
        cell = make_cell(job.model, task, job.seed, frame_s=1 / 30)
        measured = imitate_with(cell, settings, job)
    else:
        cell = make_cell(job.model, task, job.seed, frame_s=halfcheetah.FRAME_S)
        measured = forecast_with(cell, settings, job, is_silent)
    size = {"neurons": cell.wiring.num_neurons, "synapses": cell.wiring.num_synapses}
    return {**size, "threads": torch.get_num_threads(), **measured}


def forecast_with(cell: LTC, settings: Reproduce, job: Job, is_silent: bool) -> Measured:
    """Train on the HalfCheetah windows of the LTC paper and return the row's measures."""
    data = halfcheetah.load(halfcheetah.traces_folder(settings))
    model = Forecaster(Circuit(cell), data.test.inputs.shape[2])
    config = TrainingConfig(
        device=settings.device,
        epochs=settings.epochs or EPOCHS["forecast"],
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        final_rate_fraction=0.05,
        seed=job.seed,
    )
    row = fit(model, data, config, job, is_silent)
    kept = ("parameters", "validation_mse", "test_mse", "seconds_per_epoch")
    return {name: row[name] for name in kept}


def drive_settings(settings: Reproduce) -> Drive:
    """Return settings of a short imitation training, with the same data order for all seeds."""
    number = settings.epochs or EPOCHS["drive"]
    imitation = ImitationConfig(
        epochs=number,
        dagger_epochs=tuple(epoch for epoch in DAGGER_EPOCHS if epoch < number),
        device=settings.device,
    )
    return Drive(
        imitation=imitation,
        tracks=TRACKS,
        dagger_tracks=DAGGER_TRACKS,
        seconds_per_track=SECONDS_PER_TRACK,
    )


def imitate_with(cell: LTC, settings: Reproduce, job: Job) -> Measured:
    """Train to keep the lane, and measure held-out tracks without and with pixel noise."""
    policy = FramesPolicy(cell, head="light")
    assert job.checkpoint is not None
    own = settings.runs / job.checkpoint.stem  # for this training only
    drive = dataclasses.replace(drive_settings(settings), runs=own)
    run = begun_run("ablation", f"{job.model}-seed{job.seed}", drive)
    policy = imitate_expert(policy, driving_task(drive), drive, run)
    seconds = seconds_learned(run.folder)
    run.forget_training()  # another table trains from scratch
    metrics = {
        "imitation_loss": run.rows[-1]["loss"],
        "seconds_per_epoch": round(seconds / len(run.rows), 2),
    }
    for prefix, variance in (("", 0.0), ("noisy_", NOISE_VARIANCE)):
        where = drive_km(EVALUATION_KM, noise_variance=variance)
        summary = summarize(where.place().run(policy, description="held-out tracks"))
        metrics[f"{prefix}cross_track_m"] = summary.mean_cross_track_m
        metrics[f"{prefix}crashes_per_km"] = summary.crashes_per_km
    return {"parameters": num_parameters(policy), **metrics}
