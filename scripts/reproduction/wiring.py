"""NCP wiring against random and full connection: the ablation on which the NCP paper rests.

| wiring      | what it is                                                                        |
|-------------|-----------------------------------------------------------------------------------|
| ncp         | sensory, inter, command, motor: sparse, in layers                                  |
| random      | as many neurons and synapses, drawn uniformly                                      |
| dense_equal | everything connected, as many synapses (so fewer neurons)                          |
| dense_wide  | everything connected, as many neurons (so more synapses)                           |

All are LTC circuits, drawn anew with each seed. Two tasks: `forecast`, the LTC paper's HalfCheetah
windows, read out linearly from the motor neurons; and `drive`, imitation of the lane-keeping expert
from camera frames, measured in closed loop on held-out tracks without and with pixel noise.

Source: Lechner et al. 2020, Nature Machine Intelligence 2:642, extended data: the same ablation on
recorded driving.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from envs.driving.metrics import summarize
from ncp_control import LTC, Circuit, Wiring, auto_ncp, fully_connected, ncp, random_wiring
from ncp_control.learning.forecasting import Forecaster, TrainingConfig
from ncp_control.learning.imitation import ImitationConfig
from ncp_control.learning.results import ResultsFile, mean_and_deviation
from ncp_control.learning.run import Run
from policies.driving import DrivingPolicy
from scripts.evaluation.driving import drive_km, evaluate
from scripts.markdown import markdown_table
from scripts.reproduction import halfcheetah
from scripts.reproduction.completion import Job, Measured, Reproduce, complete
from scripts.reproduction.forecasts import fit
from scripts.training.drive import Drive, find_or_record, imitate_expert, make_pilot


def random_like(wiring: Wiring, seed: int) -> Wiring:
    """Draw a wiring with as many neurons and synapses of each kind, without layers."""
    return random_wiring(
        wiring.num_sensory,
        wiring.num_neurons,
        wiring.num_motor,
        num_sensory_synapses=wiring.num_sensory_synapses,
        num_inner_synapses=wiring.num_synapses - wiring.num_sensory_synapses,
        seed=seed,
    )


def dense_equal(wiring: Wiring, seed: int) -> Wiring:
    """Connect everything, with the number of neurons that comes nearest in synapses."""
    sizes = np.arange(1, wiring.num_neurons + 1)
    num_synapses = sizes * (wiring.num_sensory + sizes)
    neurons = int(sizes[np.abs(num_synapses - wiring.num_synapses).argmin()])
    return fully_connected(wiring.num_sensory, neurons, min(neurons, wiring.num_motor), seed=seed)


def dense_wide(wiring: Wiring, seed: int) -> Wiring:
    """Connect everything among as many neurons."""
    return fully_connected(wiring.num_sensory, wiring.num_neurons, wiring.num_motor, seed=seed)


WIRINGS: dict[str, Callable[[Wiring, int], Wiring]] = {
    "ncp": lambda wiring, seed: wiring,
    "random": random_like,
    "dense_equal": dense_equal,
    "dense_wide": dense_wide,
}
"""Wirings to set against an NCP."""
TASKS: dict[str, Callable[[int], Wiring]] = {
    "forecast": lambda seed: auto_ncp(17, 48, 17, seed=seed),
    "drive": lambda seed: ncp(
        32,
        12,
        6,
        1,
        sensory_fanout=6,
        inter_fanout=4,
        recurrent_command=6,
        motor_fanin=6,
        seed=seed,
    ),
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
    "validation",
    "test_mse",
    "cross_track_m",
    "crashes_per_km",
    "noisy_cross_track_m",
    "noisy_crashes_per_km",
    "seconds_per_epoch",
)
COLUMNS = {
    "forecast": {"test MSE": "test_mse"},
    "drive": {
        "mean cross-track error [m]": "cross_track_m",
        "crashes per km": "crashes_per_km",
        f"error at noise {NOISE_VARIANCE:g} [m]": "noisy_cross_track_m",
        f"crashes per km at noise {NOISE_VARIANCE:g}": "noisy_crashes_per_km",
    },
}


def reproduce_wiring(settings: Reproduce) -> None:
    """Train what is missing and print a table for each task; forecasting needs the traces."""
    models = settings.chosen_models(tuple(WIRINGS), WIRINGS)
    tasks = tuple(TASKS) if settings.data else ("drive",)
    if not settings.data:
        print("forecasting is left out: --data names no folder of HalfCheetah traces")
    results = ResultsFile(settings.results / "wiring.csv", MEASURES)
    jobs = [
        Job(model, seed, task_settings(task, settings.epochs))
        for task in tasks
        for model in models
        for seed in range(settings.seeds or 3)
    ]
    if any(job.settings.startswith("drive") and not results.has(*job) for job in jobs):
        # Recorded before the trainings start side by side.
        drive = drive_settings(settings.epochs)
        find_or_record(drive, make_pilot(drive))
    complete(results, jobs, partial(train_wiring, settings.data, settings.epochs), settings)
    for task in tasks:
        print(f"\n{task}")
        print_task(task, results.rows(task_settings(task, settings.epochs)), models)


def print_task(task: str, rows: Sequence[Mapping[str, str]], models: Sequence[str]) -> None:
    """Print mean ± sd over seeds of one task."""
    lines = []
    for model in models:
        group = [row for row in rows if row["model"] == model]
        lines.append([model, str(len(group)), group[0]["neurons"], group[0]["synapses"]])
        lines[-1] += [mean_and_deviation(group, measure) for measure in COLUMNS[task].values()]
    print(markdown_table(["wiring", "seeds", "neurons", "synapses", *COLUMNS[task]], lines))


def task_settings(task: str, epochs: int | None) -> str:
    """Return a task and its training as one cell of the results file."""
    number = epochs or EPOCHS[task]
    if task == "forecast":
        return f"forecast batch={BATCH_SIZE} lr={LEARNING_RATE:g} epochs={number}"
    return f"drive tracks={TRACKS} dagger={DAGGER_TRACKS} km={EVALUATION_KM:g} epochs={number}"


def train_wiring(folder: Path | None, epochs: int | None, job: Job, is_silent: bool) -> Measured:
    """Train one circuit with one seed and measure it."""
    task = job.settings.split()[0]
    wiring = WIRINGS[job.model](TASKS[task](job.seed), job.seed)
    torch.manual_seed(job.seed)
    if task == "drive":
        measured = imitate_with(wiring, epochs, job)
    else:
        assert folder is not None
        measured = forecast_with(wiring, folder, epochs, job, is_silent)
    size = {"neurons": wiring.num_neurons, "synapses": wiring.num_synapses}
    return {**size, "threads": torch.get_num_threads(), **measured}


def forecast_with(
    wiring: Wiring, folder: Path, epochs: int | None, job: Job, is_silent: bool
) -> Measured:
    """Learn the HalfCheetah windows of the LTC paper."""
    data = halfcheetah.load(folder)
    width = data.test.inputs.shape[2]
    model = Forecaster(Circuit(LTC(wiring, frame_s=halfcheetah.FRAME_S)), width)
    config = TrainingConfig(
        epochs=epochs or EPOCHS["forecast"],
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        final_learning_rate=0.05,
        seed=job.seed,
    )
    row = fit(model, data, config, job, is_silent)
    return {
        "validation": row["validation_mse"],
        **{name: row[name] for name in ("parameters", "test_mse", "seconds_per_epoch")},
    }


def drive_settings(epochs: int | None, seed: int = 0) -> Drive:
    """Return a small training to drive; demonstrations are the same for all seeds."""
    number = epochs or EPOCHS["drive"]
    imitation = ImitationConfig(
        epochs=number,
        dagger_epochs=tuple(epoch for epoch in DAGGER_EPOCHS if epoch < number),
        seed=seed,
    )
    return Drive(
        imitation=imitation,
        tracks=TRACKS,
        dagger_tracks=DAGGER_TRACKS,
        seconds_per_track=SECONDS_PER_TRACK,
    )


def imitate_with(wiring: Wiring, epochs: int | None, job: Job) -> Measured:
    """Learn to keep the lane and drive held-out tracks, without and with pixel noise."""
    policy = DrivingPolicy(LTC(wiring), head="light")
    settings = drive_settings(epochs, job.seed)
    run = Run.create("wiring", f"{job.model}-seed{job.seed}", settings)
    start = time.perf_counter()
    policy = imitate_expert(policy, settings, run)
    seconds = time.perf_counter() - start
    metrics: dict[str, float] = {"seconds_per_epoch": round(seconds / settings.imitation.epochs, 2)}
    for prefix, variance in (("", 0.0), ("noisy_", NOISE_VARIANCE)):
        where = drive_km(EVALUATION_KM, noise_variance=variance)
        summary = summarize(evaluate(policy, where, description="held-out tracks"))
        metrics[f"{prefix}cross_track_m"] = summary.mean_cross_track_m
        metrics[f"{prefix}crashes_per_km"] = summary.crashes_per_km
    run.close()
    return {"parameters": sum(p.numel() for p in policy.parameters()), **metrics}
