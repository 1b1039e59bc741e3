"""Next-frame forecasts of HalfCheetah traces: the LTC paper's data and protocol.

31 traces of 1000 frames; files 0 to 4 are for validation, 5 to 14 for testing, 15 to 24 for
training. Windows of 32 frames, 10 apart, no normalisation; 32 units with a dense readout; batches
of 16, Adam at 1e-3 (LTC 1e-2), 200 epochs, the checkpoint with the best validation error. The
linear rows are ours: the paper has none.

In our LTC a frame is one unit of time. In the published code each of the six sub-steps is one unit,
so that a frame lasts six units and the state forgets almost all of the frame before; C begins at
0.5 and g at 1. `ltc_published` follows the published code. CT-RNN and Neural ODE take 0.6 units per
frame there, 1 here. `ltc_spread` begins with slow neurons, see `spread`.

Source: Hasani et al. 2021 (arXiv 2006.04439), table 4, and the code published with it.
"""

from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import torch

from ncp_control.cells import CELLS, LTC, CellSizes
from ncp_control.cells.ltc import inverse_softplus
from ncp_control.learning.forecasters import Forecaster, make_forecaster
from ncp_control.learning.forecasting import TrainingConfig
from ncp_control.learning.sequences import Sequences, forecasting_windows, load_traces
from scripts.reproduction.completion import Job, Measured, Reproduce
from scripts.reproduction.forecasts import (
    WindowParts,
    fit,
    forecast_table,
    traces_note,
)
from scripts.reproduction.spread import SPREAD, make_model, spread_note
from scripts.reproduction.walker2d_traces import DESCRIPTION

PUBLISHED = "ltc_published"
PAPER = {
    "ltc": "2.308 ± 0.015",
    PUBLISHED: "2.308 ± 0.015",
    "lstm": "2.500 ± 0.140",
    "ctrnn": "2.838 ± 0.112",
    "ctgru": "3.014 ± 0.134",
    "neural_ode": "3.805 ± 0.313",
}
"""Mean squared errors in table 4 of the LTC paper, five seeds each."""
DEFAULT_MODELS = ("ltc", PUBLISHED, SPREAD, "cfc", "lstm", "ctrnn", "ctgru", "neural_ode")
WINDOW, STRIDE, UNITS, BATCH_SIZE, EPOCHS = 32, 10, 32, 16, 200
SUB_STEPS = 6
FRAME_S = 0.05  # HalfCheetah: five physics steps of 10 ms a frame
SPLIT = {"validation": slice(0, 5), "test": slice(5, 15), "training": slice(15, 25)}


def reproduce_halfcheetah(settings: Reproduce) -> None:
    """Run the missing trainings and print the table."""
    models = settings.chosen("models", (*CELLS, PUBLISHED, SPREAD), DEFAULT_MODELS)
    folder = traces_folder(settings)
    data = load(folder)
    window = f"window={WINDOW} stride={STRIDE} {traces_note(folder)}"
    epochs = settings.epochs or EPOCHS
    described = {model: training_settings(model, epochs) for model in models}
    run = partial(train_model, folder, epochs, settings.device)
    forecast_table(settings, data, window, described, run, num_seeds=5, paper=PAPER)


def traces_folder(settings: Reproduce) -> Path:
    """Return the folder of the traces."""
    if settings.data is None:
        raise ValueError(
            "`data` must be the folder of the HalfCheetah traces, got None. Clone"
            " raminmh/liquid_time_constant_networks and give"
            " --data liquid_time_constant_networks/experiments_with_ltcs/data/cheetah."
        )
    return settings.data


@cache
def load(folder: Path) -> WindowParts:
    """Read the traces and cut each part into windows."""
    if (folder / DESCRIPTION).exists():
        raise ValueError(
            f"`data` must be the LTC paper's HalfCheetah traces, got {str(folder)!r}, which were"
            " made for walker2d. Name the other folder."
        )
    traces = load_traces(folder)
    needed = max(part.stop for part in SPLIT.values())
    if len(traces) < needed or traces[0].shape[1] != 17:
        raise ValueError(
            f"`data` must hold at least {needed} traces of 17 dimensions, got {len(traces)} of"
            f" {traces[0].shape[1]}. Give the LTC paper's HalfCheetah traces."
        )
    parts = {
        name: forecasting_windows(traces[part], WINDOW, STRIDE) for name, part in SPLIT.items()
    }
    return WindowParts(**parts)


def learning_rate(model: str) -> float:
    """Return the paper's learning rate: ten times as high for an LTC."""
    return 1e-2 if "ltc" in model else 1e-3


def training_settings(model: str, epochs: int) -> str:
    """Return the training settings of a model as one cell of the results file."""
    trained = f"units={UNITS} batch={BATCH_SIZE} lr={learning_rate(model):g}"
    return f"{trained}{spread_note(model)} epochs={epochs}"


def train_model(folder: Path, epochs: int, device: str, job: Job, is_silent: bool) -> Measured:
    """Train one model with one seed and measure it on the test windows."""
    data = load(folder)
    model, config = set_up(data.training, epochs, device, job)
    data = with_times(data) if job.model == PUBLISHED else data
    return fit(model, data, config, job, is_silent)


def set_up(
    data: Sequences, epochs: int, device: str, job: Job
) -> tuple[Forecaster, TrainingConfig]:
    """Return an untrained model for the sequences, and its training settings."""
    width = data.inputs.shape[2]
    torch.manual_seed(job.seed)
    sizes = CellSizes(
        num_inputs=width, num_units=UNITS, num_outputs=width, frame_s=FRAME_S, seed=job.seed
    )
    config = TrainingConfig(
        device=device,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        learning_rate=learning_rate(job.model),
        seed=job.seed,
    )
    if job.model == PUBLISHED:
        return published_ltc(sizes), config
    return make_model(job.model, sizes, data.inputs), config


def published_ltc(sizes: CellSizes) -> Forecaster:
    """Build an LTC with sub-steps of one unit of time and the published initial values."""
    model = make_forecaster("ltc", replace(sizes, frame_s=sizes.frame_s / SUB_STEPS))
    cell = model.circuit.cell
    assert isinstance(cell, LTC)
    with torch.no_grad():
        for parameter, value in ((cell.raw_capacitance, 0.5), (cell.raw_leak_conductance, 1.0)):
            parameter.copy_(inverse_softplus(torch.full_like(parameter, value)))
    return model


def with_times(data: WindowParts) -> WindowParts:
    """Return the windows with an elapsed time of `FRAME_S` at every frame."""
    timed = {
        name: replace(part, dt_s=torch.full(part.inputs.shape[:2], FRAME_S))
        for name, part in vars(data).items()
    }
    return WindowParts(**timed)
