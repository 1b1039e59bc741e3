"""Next-frame forecasts of Walker2d with frames missing: the CfC paper's protocol on new traces.

The paper's traces cannot be had, so these are made anew (`walker2d_traces`): their figures give an
order of models, not numbers to be met. Each frame is kept with probability 0.9 and comes with the
time since the last one kept; wanted is the frame that follows at once, kept or not. Windows of 64
frames, 16 apart, no normalisation. Of every 20 traces 3 test and 2 validate.

Source: Lechner & Hasani 2020 (arXiv 2006.04418) and Hasani et al. 2022, Nature Machine Intelligence
4:992, with the code published with both. LSTM and GRU, blind to time, have it as one more input.
Differs: the same width, batch and cosine decay for all models, where the paper searched for each.
"""

from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from ncp_control.cells import CELLS, CellSizes
from ncp_control.learning.forecasters import make_forecaster
from ncp_control.learning.forecasting import TrainingConfig
from ncp_control.learning.sequences import Sequences, load_traces
from scripts.reproduction.completion import Job, Measured, Reproduce
from scripts.reproduction.forecasts import (
    MEASURES,
    Parts,
    fit,
    forecast_table,
    time_note,
    traces_note,
)
from scripts.reproduction.walker2d_traces import find_or_make

PAPER = {
    "mixed_cfc": "0.617",
    "cfc": "0.643",
    "cfc_no_gate": "0.650",
    "ltc": "0.662",
    "lstm": "1.065",
    "ctrnn": "1.198",
    "ode_rnn": "1.904",
}
"""Mean squared errors on the paper's own traces."""
DEFAULT_MODELS = ("ltc", "lrcu", "cfc", "mixed_cfc", "lstm", "ctrnn", "ode_rnn")
WINDOW, STRIDE, KEPT_SHARE = 64, 16, 0.9
UNITS, BATCH_SIZE, EPOCHS, GRADIENT_CLIP = 64, 64, 50, 10.0
FRAME_S = 0.008  # Walker2d: four physics steps of 2 ms a frame
TEST, VALIDATION = {0, 7, 13}, {3, 10}
"""Positions of the traces in every 20."""


def reproduce_walker2d(settings: Reproduce) -> None:
    """Make the traces if need be, train what is missing and print the table."""
    models = settings.chosen_models(DEFAULT_MODELS, CELLS)
    if settings.results is not None:
        settings.results_file(MEASURES)  # refused before the traces are made, if so
    folder = find_or_make(settings.data or Path("data") / "walker2d-traces")
    data = load(folder)
    window = f"window={WINDOW} stride={STRIDE} kept={KEPT_SHARE:g} {traces_note(folder)}"
    epochs = settings.epochs or EPOCHS
    described = {model: training_settings(model, epochs) for model in models}
    run = partial(train_model, folder, epochs, settings.device)
    forecast_table(settings, data, window, described, run, num_seeds=3, paper=PAPER)


@cache
def load(folder: Path) -> Parts:
    """Read the traces, drop frames and cut each part into windows."""
    traces = load_traces(folder)
    place = [i % 20 for i in range(len(traces))]
    if not TEST & set(place) or not VALIDATION & set(place):
        raise ValueError(
            f"`data` must hold at least 4 traces, got {len(traces)}. Remove the folder to have"
            " them made anew."
        )
    generator = np.random.default_rng(0)
    dropped = [drop_frames(trace, generator) for trace in traces]

    def part(positions: set[int]) -> Sequences:
        chosen = [trace for trace, at in zip(dropped, place, strict=True) if at in positions]
        return cut(chosen)

    return Parts(
        training=part(set(range(20)) - TEST - VALIDATION),
        validation=part(VALIDATION),
        test=part(TEST),
    )


def drop_frames(
    trace: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Drop frames at random.

    Args:
        trace: Frames of equal distance, shape (frames, dimensions).
        generator: Source of the randomness.

    Returns:
        The frames kept, the frame that follows each, and the time since the last one kept [s].
    """
    kept = (generator.random(len(trace) - 1) < KEPT_SHARE).nonzero()[0]
    elapsed_s = FRAME_S * np.diff(kept, prepend=-1)
    return trace[kept], trace[kept + 1], elapsed_s.astype(np.float32)


def cut(dropped: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Sequences:
    """Cut every trace into windows.

    Raises:
        ValueError: If one is too short for a window.
    """
    shortest = min(len(trace[0]) for trace in dropped)
    if shortest <= WINDOW:
        raise ValueError(
            f"`data` must hold traces that keep more than {WINDOW} frames, got one of {shortest}."
            " Remove the folder to have them made anew."
        )
    windows = [
        [values[start : start + WINDOW] for values in trace]
        for trace in dropped
        for start in range(0, len(trace[0]) - WINDOW, STRIDE)
    ]
    inputs, targets, dt_s = (
        torch.from_numpy(np.stack(values)) for values in zip(*windows, strict=True)
    )
    return Sequences(inputs=inputs, targets=targets, dt_s=dt_s)


def learning_rate(model: str) -> float:
    """Return the learning rate: higher for an LTC, as in the paper."""
    return 2e-2 if "ltc" in model else 5e-3


def training_settings(model: str, epochs: int) -> str:
    """Return the settings of a model's training as one cell of the results file."""
    trained = f"units={UNITS} batch={BATCH_SIZE} lr={learning_rate(model):g}"
    return f"{trained}{time_note(model)} epochs={epochs}"


def train_model(folder: Path, epochs: int, device: str, job: Job, is_silent: bool) -> Measured:
    """Train one model with one seed and measure it on the test windows."""
    torch.set_flush_denormal(True)
    data = load(folder)
    width = data.test.inputs.shape[2]
    torch.manual_seed(job.seed)
    sizes = CellSizes(
        num_inputs=width,
        num_units=UNITS,
        num_outputs=width,
        frame_s=FRAME_S,
        seed=job.seed,
        sees_time=True,
    )
    config = TrainingConfig(
        device=device,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        learning_rate=learning_rate(job.model),
        final_learning_rate=0.05,
        gradient_clip=GRADIENT_CLIP,
        seed=job.seed,
    )
    return fit(make_forecaster(job.model, sizes), data, config, job, is_silent)
