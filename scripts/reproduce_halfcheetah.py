"""Next-frame forecasts of HalfCheetah traces: the LTC paper's data and protocol.

31 traces of 1000 frames; files 0 to 4 validate, 5 to 14 test, 15 to 24 train. Windows of 32 frames,
10 apart, no normalisation; 32 units with a dense readout; batches of 16, Adam at 1e-3 (LTC 1e-2),
200 epochs, the checkpoint with the best validation error. The linear rows are ours: the paper has
none.

Source: Hasani et al. 2021 (arXiv 2006.04439), table 4, and the code published with it.
"""

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch

from ncp_control.learning.forecasting import (
    MODELS,
    Sizes,
    TrainingConfig,
    make_forecaster,
    predict,
    train,
)
from ncp_control.learning.linear import (
    LinearForecast,
    linear_autoregression,
    persistence,
    training_mean,
)
from ncp_control.learning.results import ResultsFile, mean_and_deviation
from ncp_control.learning.sequences import Sequences, forecasting_windows, load_traces
from ncp_control.names import check_name
from scripts.markdown import markdown_table
from scripts.tables import Job, Measured, Reproduce, complete

PAPER = {
    "ltc": "2.308 ± 0.015",
    "lstm": "2.500 ± 0.140",
    "ctrnn": "2.838 ± 0.112",
    "ctgru": "3.014 ± 0.134",
    "neural_ode": "3.805 ± 0.313",
}
"""Mean squared errors of table 4, five seeds each."""
DEFAULT_MODELS = ("ltc", "cfc", "lstm", "ctrnn", "ctgru", "neural_ode")
LINEAR = {
    "persistence": persistence,
    "training mean": training_mean,
    "linear regression": partial(linear_autoregression, lags=1),
    "linear AR(8)": partial(linear_autoregression, lags=8),
}
WINDOW, STRIDE, UNITS, BATCH_SIZE, EPOCHS = 32, 10, 32, 16, 200
FRAME_S = 0.05  # HalfCheetah: five physics steps of 10 ms a frame
SPLIT = {"validation": slice(0, 5), "test": slice(5, 15), "training": slice(15, 25)}
MEASURES = (
    "parameters",
    "epochs",
    "best_epoch",
    "validation_mse",
    "test_mse",
    "test_normalised_mse",
    "test_mse_by_dimension",
    "seconds_per_epoch",
)


@dataclass(frozen=True, kw_only=True)
class HalfCheetah:
    """The windows of each part of the traces."""

    training: Sequences
    validation: Sequences
    test: Sequences


def reproduce_halfcheetah(settings: Reproduce) -> None:
    """Train what is missing and print the table."""
    if settings.data is None:
        raise ValueError(
            "`data` must be the folder of the HalfCheetah traces, got None. Clone"
            " raminmh/liquid_time_constant_networks and give"
            " --data liquid_time_constant_networks/experiments_with_ltcs/data/cheetah."
        )
    models = settings.models or DEFAULT_MODELS
    for model in models:
        check_name("models", model, MODELS)
    data = load(settings.data)
    results = ResultsFile(settings.results / "halfcheetah.csv", MEASURES)
    window = f"window={WINDOW} stride={STRIDE}"
    for name, fit in LINEAR.items():
        if not results.has(name, 0, window):
            measured = measure_linear(fit(data.training, data.test), data)
            results.append(name, 0, window, measured, settings.command())
    epochs = settings.epochs or EPOCHS
    jobs = [
        Job(model, seed, f"{window} {training_settings(model, epochs)}")
        for model in models
        for seed in range(settings.seeds)
    ]
    complete(results, jobs, partial(train_model, settings.data, epochs, settings.device), settings)
    wanted = {(job.model, job.settings) for job in jobs} | {(name, window) for name in LINEAR}
    print_results([row for row in results.rows() if (row["model"], row["settings"]) in wanted])


@cache
def load(folder: Path) -> HalfCheetah:
    """Read the traces and cut each part into windows."""
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
    return HalfCheetah(**parts)


def learning_rate(model: str) -> float:
    """Return the paper's learning rate: ten times as high for an LTC."""
    return 1e-2 if "ltc" in model else 1e-3


def training_settings(model: str, epochs: int) -> str:
    """Return the settings of a model's training as one cell of the results file."""
    return f"units={UNITS} batch={BATCH_SIZE} lr={learning_rate(model):g} epochs={epochs}"


def train_model(folder: Path, epochs: int, device: str, job: Job, is_silent: bool) -> Measured:
    """Train one model with one seed and measure it on the test windows."""
    data = load(folder)
    torch.manual_seed(job.seed)
    sizes = Sizes(num_inputs=17, num_units=UNITS, num_outputs=17, frame_s=FRAME_S, seed=job.seed)
    model = make_forecaster(job.model, sizes)
    config = TrainingConfig(
        device=device,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        learning_rate=learning_rate(job.model),
        seed=job.seed,
    )
    training = train(
        model,
        data.training,
        data.validation,
        config,
        description=f"{job.model} seed {job.seed}",
        is_silent=is_silent,
    )
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "epochs": epochs,
        "best_epoch": training.best_epoch,
        "validation_mse": training.validation_error,
        "seconds_per_epoch": round(training.seconds_per_epoch, 2),
        "threads": torch.get_num_threads(),
        **measure_errors(predict(model, data.test), data),
    }


def measure_linear(forecast: LinearForecast, data: HalfCheetah) -> Measured:
    """Return a closed-form forecast's row."""
    errors = measure_errors(torch.from_numpy(forecast.predicted.copy()), data)
    return {"parameters": forecast.num_parameters, **errors}


def measure_errors(predicted: torch.Tensor, data: HalfCheetah) -> Measured:
    """Return mean, normalised and per-dimension squared errors on the test windows.

    Normalised: each dimension's error as a share of its variance, averaged; 1 is worth nothing.
    """
    target = data.test.targets.double()
    by_dimension = (predicted.double() - target).square().mean(dim=(0, 1))
    variance = target.var(dim=(0, 1))
    return {
        "test_mse": by_dimension.mean().item(),
        "test_normalised_mse": (by_dimension / variance).mean().item(),
        "test_mse_by_dimension": " ".join(f"{error:.5g}" for error in by_dimension.tolist()),
    }


def print_results(rows: list[dict[str, str]]) -> None:
    """Print mean ± sd over seeds, the most exact model first, beside the paper's figures."""
    groups: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(row["model"], []).append(row)

    def mean_error(group: list[dict[str, str]]) -> float:
        return sum(float(row["test_mse"]) for row in group) / len(group)

    lines = []
    for model, group in sorted(groups.items(), key=lambda item: mean_error(item[1])):
        is_trained = model not in LINEAR
        lines.append(
            [
                model,
                str(len(group)) if is_trained else "–",
                mean_and_deviation(group, "test_mse"),
                PAPER.get(model, "–"),
                mean_and_deviation(group, "test_normalised_mse"),
                mean_and_deviation(group, "validation_mse") if is_trained else "–",
                group[0]["parameters"],
                mean_and_deviation(group, "seconds_per_epoch", 1) if is_trained else "–",
            ]
        )
    columns = ["model", "seeds", "test MSE", "paper", "normalised", "validation MSE", "parameters"]
    print(markdown_table([*columns, "s/epoch"], lines))
