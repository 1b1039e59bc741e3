"""Code that the forecasting tables share: data parts, linear rows, errors, printed table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from ncp_control.layers import num_parameters
from ncp_control.learning.forecasters import TIME_BLIND, Forecaster
from ncp_control.learning.forecasting import Score, Training, TrainingConfig, predict, train
from ncp_control.learning.linear import (
    LinearForecast,
    linear_autoregression,
    persistence,
    training_mean,
)
from ncp_control.learning.results import OF_DEVIATION, ResultsFile, mean_and_deviation, newest
from ncp_control.learning.sequences import Sequences, fingerprint, load_traces
from ncp_control.markdown import markdown_table
from scripts.reproduction.completion import Job, Measured, Reproduce, complete

LINEAR = {
    "persistence": persistence,
    "training mean": training_mean,
    "linear regression": partial(linear_autoregression, lags=1),
    "linear AR(8)": partial(linear_autoregression, lags=8),
}
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


def time_note(model: str) -> str:
    """Return a note for the settings if the elapsed time is an input of the model's cell."""
    return " time-as-input" if model in TIME_BLIND else ""


def traces_note(folder: Path) -> str:
    """Return a note for the settings with a fingerprint of the traces in `folder`."""
    return f"traces={fingerprint(load_traces(folder))}"


@dataclass(frozen=True, kw_only=True)
class WindowParts:
    """Windows of each part of a dataset."""

    training: Sequences
    validation: Sequences
    test: Sequences


def forecast_table(
    settings: Reproduce,
    data: WindowParts,
    window: str,
    described: Mapping[str, str],
    run: Callable[[Job, bool], Measured],
    *,
    num_seeds: int,
    paper: Mapping[str, str],
    linear: str | None = None,
) -> ResultsFile:
    """Run a table's missing trainings, print it with the linear rows, and return its file.

    Args:
        settings: The command line.
        data: Windows for fitting and measuring the linear rows.
        window: How the windows of the trainings are cut, for the settings.
        described: Further settings of each model's training, by model.
        run: Runs one training; see `complete`.
        num_seeds: Number of trainings of each model, if `settings.seeds` is None.
        paper: The paper's figures by model.
        linear: How the windows of the linear rows are cut; if None: as `window`.
    """
    results, linear = settings.results_file(MEASURES), linear or window
    add_linear_rows(results, data, linear, settings.command())
    jobs = [
        Job(model, seed, f"{window} {description}")
        for model, description in described.items()
        for seed in range(settings.seeds or num_seeds)
    ]
    complete(results, jobs, run, settings)
    wanted = {(job.model, job.settings) for job in jobs} | {(name, linear) for name in LINEAR}
    rows = [row for row in results.rows() if (row["model"], row["settings"]) in wanted]
    print_results(newest(rows), paper)
    return results


def add_linear_rows(results: ResultsFile, data: WindowParts, settings: str, command: str) -> None:
    """Append the closed-form forecasts that the results file lacks."""
    for name, fit in LINEAR.items():
        if not results.has(name, 0, settings):
            measured = measure_linear(fit(data.training, data.test), data)
            results.append(name, 0, settings, measured, command)


def fit(
    model: Forecaster, data: WindowParts, config: TrainingConfig, job: Job, is_silent: bool
) -> Measured:
    """Train a model and measure it on the test windows."""
    training, measured = train_job(model, data, config, job, is_silent)
    errors = measure_errors(predict(model, data.test), data)
    return {**measured, "validation_mse": training.validation_error, **errors}


def train_job(
    model: Forecaster,
    data: WindowParts,
    config: TrainingConfig,
    job: Job,
    is_silent: bool,
    *,
    lesson: Callable[[int], Sequences] | None = None,
    score: Score | None = None,
) -> tuple[Training, Measured]:
    """Train a model for a job of a table; a stopped training resumes from the job's checkpoint.

    Args:
        model: The model, trained in place.
        data: Windows; those for testing are not used.
        config: Settings of the training.
        job: The training.
        is_silent: Whether there is no progress bar.
        lesson: Returns the windows of each epoch; if None: all training windows.
        score: Error that chooses the checkpoint; if None: that of the objective.

    Returns:
        The training, and the columns that all tables have.
    """
    training = train(
        model,
        lesson or data.training,
        data.validation,
        config,
        description=job.name,
        is_silent=is_silent,
        checkpoint=job.checkpoint,
        score=score,
    )
    return training, {
        "parameters": num_parameters(model),
        "epochs": training.epochs,
        "best_epoch": training.best_epoch,
        "seconds_per_epoch": round(training.seconds_per_epoch, 2),
        "threads": torch.get_num_threads(),
    }


def measure_linear(forecast: LinearForecast, data: WindowParts) -> Measured:
    """Return the measures of a closed-form forecast."""
    errors = measure_errors(torch.from_numpy(forecast.predicted.copy()), data)
    return {"parameters": forecast.num_parameters, **errors}


def measure_errors(predicted: torch.Tensor, data: WindowParts) -> Measured:
    """Return mean, normalised and per-dimension squared errors on the test windows.

    Normalised: the mean over dimensions of error / variance; 1 is no better than the mean.
    """
    target = data.test.targets.double()
    by_dimension = (predicted.double() - target).square().mean(dim=(0, 1))
    variance = target.var(dim=(0, 1))
    return {
        "test_mse": by_dimension.mean().item(),
        "test_normalised_mse": (by_dimension / variance).mean().item(),
        "test_mse_by_dimension": " ".join(f"{error:.5g}" for error in by_dimension.tolist()),
    }


def print_results(rows: Sequence[Mapping[str, str]], paper: Mapping[str, str]) -> None:
    """Print mean ± sd over seeds, the best model first, with the paper's figures."""
    groups: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        groups.setdefault(row["model"], []).append(row)

    def mean_error(group: list[Mapping[str, str]]) -> float:
        return sum(float(row["test_mse"]) for row in group) / len(group)

    lines = []
    for model, group in sorted(groups.items(), key=lambda item: mean_error(item[1])):
        is_trained = model not in LINEAR
        lines.append(
            [
                model,
                str(len(group)) if is_trained else "–",
                mean_and_deviation(group, "test_mse"),
                paper.get(model, "–"),
                mean_and_deviation(group, "test_normalised_mse"),
                mean_and_deviation(group, "validation_mse") if is_trained else "–",
                group[0]["parameters"],
                mean_and_deviation(group, "seconds_per_epoch", 1) if is_trained else "–",
            ]
        )
    columns = ["model", "seeds", "test MSE", "paper", "normalised", "validation MSE", "parameters"]
    print(markdown_table([*columns, "s/epoch"], lines))
    print(f"\n{OF_DEVIATION}")
