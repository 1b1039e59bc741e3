"""Next-frame forecasts of Walker2d with frames missing: the CfC paper's protocol.

With `--data PATH`, where PATH holds the paper's rollouts (`walker2d_rollouts`), the windows are the
paper's own: 9,684 for training, 1,272 for validation, 1,937 for testing. Without them new traces
are recorded (`walker2d_traces`): of every 20 traces 3 are for testing and 2 for validation, and the
results give a ranking of the models, not the paper's numbers. Each frame is kept with probability
0.9 and has the time since the last kept frame; the target is the next frame, kept or not. Windows
of 64 frames, 16 apart, no normalisation.

All models have the same width, batch size and cosine decay, and the checkpoint with the best
validation error is tested. The models in `PUBLISHED` are trained as in the paper instead: with its
tuned settings for each model, a decay of 0.95 per epoch, and a test of the last epoch.

Source: Lechner & Hasani 2020 (arXiv 2006.04418) and Hasani et al. 2022, Nature Machine Intelligence
4:992, with the code published with both. LSTM and GRU, which ignore elapsed times, get it as an
additional input. Differs in `PUBLISHED`: no dropout (there 0.1 to 0.2) and no weight decay (there
at most 3e-5); the learning rate falls from epoch to epoch, there also within an epoch.
"""

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from ncp_control.cells import CELLS, Cell, CellSizes, CfC, MixedMemory
from ncp_control.circuit import Circuit
from ncp_control.learning.forecasters import Forecaster, make_forecaster
from ncp_control.learning.forecasting import TrainingConfig
from ncp_control.learning.sequences import Sequences, fingerprint, load_traces
from scripts.reproduction.completion import Job, Measured, Reproduce
from scripts.reproduction.forecasts import (
    MEASURES,
    WindowParts,
    fit,
    forecast_table,
    time_note,
    traces_note,
)
from scripts.reproduction.walker2d_rollouts import (
    drop_generator,
    find_rollouts,
    read_rollouts,
    split_rollouts,
)
from scripts.reproduction.walker2d_traces import find_or_make

_PAPER = {
    "mixed_cfc": "0.617",
    "cfc": "0.643",
    "cfc_no_gate": "0.650",
    "ltc": "0.662",
    "lstm": "1.065",
    "ctrnn": "1.198",
    "ode_rnn": "1.904",
}
DEFAULT_MODELS = ("ltc", "lrcu", "cfc", "mixed_cfc", "lstm", "ctrnn", "ode_rnn")
WINDOW, STRIDE, KEPT_SHARE = 64, 16, 0.9
UNITS, BATCH_SIZE, EPOCHS, GRADIENT_CLIP = 64, 64, 50, 10.0
FRAME_S = 0.008  # Walker2d: four physics steps of 2 ms a frame
TEST, VALIDATION = {0, 7, 13}, {3, 10}
"""Positions of the test and validation traces in every 20."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """Training settings of one model in the paper, named BEST_… in its code."""

    units: int
    batch_size: int
    learning_rate: float
    gradient_clip: float
    backbone_units: int = 128
    backbone_layers: int = 1
    activation: str = "lecun_tanh"


PUBLISHED = {
    "cfc_published": Published(
        units=64,
        batch_size=256,
        learning_rate=0.02,
        gradient_clip=1.0,
        backbone_units=256,
        activation="silu",
    ),
    "mixed_cfc_published": Published(
        units=128, batch_size=128, learning_rate=0.005, gradient_clip=10.0, backbone_layers=2
    ),
    "cfc_no_gate_published": Published(
        units=256, batch_size=128, learning_rate=0.008, gradient_clip=1.0
    ),
    "ltc_published": Published(units=128, batch_size=128, learning_rate=0.05, gradient_clip=10.0),
}
PUBLISHED_DECAY = 0.95
"""Share of the learning rate left from one epoch to the next."""
PAPER = _PAPER | {model: _PAPER[model.removesuffix("_published")] for model in PUBLISHED}
"""Mean squared errors on the paper's own rollouts."""


def reproduce_walker2d(settings: Reproduce) -> None:
    """Read the rollouts or record traces, run the missing trainings and print the table."""
    models = settings.chosen("models", (*CELLS, *PUBLISHED), DEFAULT_MODELS)
    if settings.results is not None:
        settings.results_file(MEASURES)  # raises before the traces are recorded
    source = settings.data or Path("data") / "walker2d-traces"
    source = find_rollouts(source) or find_or_make(source)
    data = load(source)
    window = f"window={WINDOW} stride={STRIDE} kept={KEPT_SHARE:g} {source_note(source)}"
    epochs = settings.epochs or EPOCHS
    described = {model: training_settings(model, epochs) for model in models}
    run = partial(train_model, source, epochs, settings.device)
    forecast_table(settings, data, window, described, run, num_seeds=3, paper=PAPER)


def source_note(source: Path) -> str:
    """Return a note for the settings with a fingerprint of the rollouts or traces."""
    if source.is_dir():
        return traces_note(source)
    return f"rollouts={fingerprint(list(read_rollouts(source).values()))}"


@cache
def load(source: Path) -> WindowParts:
    """Read the paper's file of rollouts or a folder of traces, drop frames and cut into windows."""
    if source.is_dir():
        traces, generator = split_traces(load_traces(source)), np.random.default_rng(0)
    else:
        rollouts = read_rollouts(source)
        split = split_rollouts(list(rollouts))
        traces = [(part, rollouts[name]) for part, names in split.items() for name in names]
        generator = drop_generator()
    dropped = [(part, drop_frames(trace, generator)) for part, trace in traces]

    def part(name: str) -> Sequences:
        return cut([frames for of_part, frames in dropped if of_part == name])

    return WindowParts(training=part("training"), validation=part("validation"), test=part("test"))


def split_traces(traces: list[np.ndarray]) -> list[tuple[str, np.ndarray]]:
    """Return each trace with the name of its part.

    Raises:
        ValueError: If there are too few traces for all parts.
    """
    place = [i % 20 for i in range(len(traces))]
    if not TEST & set(place) or not VALIDATION & set(place):
        raise ValueError(
            f"`data` must hold at least 4 traces, got {len(traces)}. Remove the folder to have"
            " them made anew."
        )
    parts = [
        "test" if at in TEST else "validation" if at in VALIDATION else "training" for at in place
    ]
    return list(zip(parts, traces, strict=True))


def drop_frames(
    trace: np.ndarray, generator: np.random.Generator | np.random.RandomState
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Drop frames at random.

    Args:
        trace: Equidistant frames, shape (frames, dimensions).
        generator: Source of the randomness.

    Returns:
        The kept frames, the frame after each, and the time since the last kept frame [s].
    """
    kept = (generator.random(len(trace) - 1) < KEPT_SHARE).nonzero()[0]
    elapsed_s = FRAME_S * np.diff(kept, prepend=-1)
    return trace[kept], trace[kept + 1], elapsed_s.astype(np.float32)


def cut(dropped: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Sequences:
    """Cut every trace into windows.

    Raises:
        ValueError: If a trace is too short for a window.
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
    """Return the training settings of a model as one cell of the results file."""
    published = PUBLISHED.get(model)
    if published is None:
        trained = f"units={UNITS} batch={BATCH_SIZE} lr={learning_rate(model):g}"
        return f"{trained}{time_note(model)} epochs={epochs}"
    return (
        f"units={published.units} batch={published.batch_size} lr={published.learning_rate:g}"
        f" decay={PUBLISHED_DECAY:g} last-epoch epochs={epochs}"
    )


def train_model(source: Path, epochs: int, device: str, job: Job, is_silent: bool) -> Measured:
    """Train one model with one seed and measure it on the test windows."""
    torch.set_flush_denormal(True)
    data = load(source)
    model, config = set_up(data.training, epochs, device, job)
    return fit(model, data, config, job, is_silent)


def set_up(
    data: Sequences, epochs: int, device: str, job: Job
) -> tuple[Forecaster, TrainingConfig]:
    """Return an untrained model for the sequences, and its training settings."""
    width = data.inputs.shape[2]
    torch.manual_seed(job.seed)
    published = PUBLISHED.get(job.model)
    if published is not None:
        model = make_published(job.model, published, width)
        config = TrainingConfig(
            device=device,
            epochs=epochs,
            batch_size=published.batch_size,
            learning_rate=published.learning_rate,
            epoch_decay=PUBLISHED_DECAY,
            gradient_clip=published.gradient_clip,
            keeps="last",
            seed=job.seed,
        )
        return model, config
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
        final_rate_fraction=0.05,
        gradient_clip=GRADIENT_CLIP,
        seed=job.seed,
    )
    return make_forecaster(job.model, sizes), config


def make_published(model: str, published: Published, width: int) -> Forecaster:
    """Build a model of `PUBLISHED` for frames of `width` numbers."""
    if model == "ltc_published":
        sizes = CellSizes(
            num_inputs=width, num_units=published.units, num_outputs=width, frame_s=FRAME_S
        )
        return make_forecaster("ltc", sizes)
    cell: Cell = CfC(
        width,
        published.units,
        width,
        mode="no_gate" if "no_gate" in model else "default",
        backbone_units=published.backbone_units,
        backbone_layers=published.backbone_layers,
        activation=published.activation,
        frame_s=FRAME_S,
    )
    return Forecaster(Circuit(MixedMemory(cell) if "mixed" in model else cell))
