"""Tables with one measure per model, e.g. accuracy: columns, training and printed table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from ncp_control.learning.forecasters import Forecaster
from ncp_control.learning.forecasting import Score, TrainingConfig, error_of, predict
from ncp_control.learning.results import OF_DEVIATION, ResultsFile, mean_and_deviation, newest
from ncp_control.learning.sequences import Sequences
from ncp_control.markdown import markdown_table
from scripts.reproduction.completion import Job, Measured, Reproduce, complete
from scripts.reproduction.forecasts import WindowParts, train_job


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Measure of a model on the validation and the test windows."""

    name: str
    """Name of the measure; its columns are validation_<name> and test_<name>."""
    score_of: Callable[[float], float]
    """Function that converts an error to the measure."""
    error: Score | None = None
    """The error, which also chooses the checkpoint; if None: that of the training's objective."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the results file."""
        names = (f"validation_{self.name}", f"test_{self.name}")
        return ("parameters", "epochs", "best_epoch", *names, "seconds_per_epoch")

    def of(self, outputs: torch.Tensor, data: Sequences, objective: str) -> float:
        """Return the measure of a model's outputs."""
        if self.error is None:
            return self.score_of(error_of(outputs, data, objective))
        return self.score_of(self.error(outputs, data))


def _margins_and_targets(
    outputs: torch.Tensor, data: Sequences
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the second class's margin and whether it is the target, at the unmasked frames."""
    margin = outputs.double()[..., 1] - outputs.double()[..., 0]
    is_second = data.targets.argmax(-1) == 1
    return (margin, is_second) if data.mask is None else (margin[data.mask], is_second[data.mask])


def f1_error(outputs: torch.Tensor, data: Sequences) -> float:
    """Return 1 − F1 score of the second of two classes; NaN if an output is not finite."""
    margin, is_second = _margins_and_targets(outputs, data)
    predicted = margin > 0.0
    mistakes = (predicted != is_second).sum().item()
    right = 2.0 * (predicted & is_second).sum().item()
    is_finite = bool(torch.isfinite(margin).all())
    return mistakes / max(right + mistakes, 1.0) if is_finite else float("nan")


def auc_error(outputs: torch.Tensor, data: Sequences) -> float:
    """Return 1 − area under the ROC curve of two classes; NaN if an output is not finite.

    This is the share of pairs with one sample of each class in the wrong order; ties count half.
    """
    margin, is_second = _margins_and_targets(outputs, data)
    if not bool(torch.isfinite(margin).all()):
        return float("nan")
    first, second = margin[~is_second].sort().values, margin[is_second].contiguous()
    above = len(first) - torch.searchsorted(first, second, right=True)
    not_below = len(first) - torch.searchsorted(first, second)
    wrong = (above + not_below).double().sum().item() / 2.0
    return wrong / max(len(first) * len(second), 1)


MSE = Measure(name="mse", score_of=lambda error: error)
ACCURACY = Measure(name="accuracy", score_of=lambda error: 100.0 * (1.0 - error))
"""Accuracy in percent."""
F1 = Measure(name="f1", score_of=lambda error: 1.0 - error, error=f1_error)
AUC = Measure(name="auc", score_of=lambda error: 1.0 - error, error=auc_error)


def classifier_table(
    settings: Reproduce,
    measure: Measure,
    add_rules: Callable[[ResultsFile, Reproduce], None],
    described: Mapping[str, str],
    run: Callable[[Job, bool], Measured],
    *,
    paper: Mapping[str, str],
    rules: str,
) -> None:
    """Run the missing trainings of a table of classifiers, and print it with the simple rules.

    Args:
        settings: The command line.
        measure: Measure of the table.
        add_rules: Appends the rows of the simple rules that the results file lacks.
        described: Settings of each model's training, by model.
        run: Runs one training; see `complete`.
        paper: The paper's figures by model.
        rules: Settings of the rows of the simple rules.
    """
    results = settings.results_file(measure.columns)
    add_rules(results, settings)
    jobs = [
        Job(model, seed, description)
        for model, description in described.items()
        for seed in range(settings.seeds or 3)
    ]
    complete(results, jobs, run, settings)
    print(measured_table(results, jobs, measure, paper, rules))


def fit_measured(
    model: Forecaster,
    data: WindowParts,
    config: TrainingConfig,
    job: Job,
    is_silent: bool,
    measure: Measure = ACCURACY,
    *,
    lesson: Callable[[int], Sequences] | None = None,
) -> Measured:
    """Train a model and return the columns of its row by name; see `train_job`."""
    training, measured = train_job(
        model, data, config, job, is_silent, lesson=lesson, score=measure.error
    )
    outputs = predict(model, data.test)
    return {
        **measured,
        f"validation_{measure.name}": measure.score_of(training.validation_error),
        f"test_{measure.name}": measure.of(outputs, data.test, config.objective),
    }


def measured_table(
    results: ResultsFile,
    jobs: Sequence[Job],
    measure: Measure,
    paper: Mapping[str, str],
    rules: str,
) -> str:
    """Return a table of mean ± sd over seeds, with the paper's figures, simple rules and caption.

    Args:
        results: The results file.
        jobs: Trainings of the table.
        measure: Measure of the table.
        paper: The paper's figures by model.
        rules: Settings of the rows of the simple rules, which are not trained.
    """
    digits = 2 if measure is ACCURACY else 3
    lines = []
    for model, described in dict.fromkeys((job.model, job.settings) for job in jobs):
        rows = results.trainings(model, described)
        test, validation = (
            mean_and_deviation(rows, f"{part}_{measure.name}", digits)
            for part in ("test", "validation")
        )
        figure = paper.get(model, "–")
        seconds = mean_and_deviation(rows, "seconds_per_epoch", 1)
        lines.append(
            [model, str(len(rows)), test, figure, validation, rows[0]["parameters"], seconds]
        )
    for row in newest(results.rows(rules)):
        cells = [row[f"{part}_{measure.name}"] for part in ("test", "validation")]
        test, validation = (f"{float(cell):.{digits}f}" if cell else "–" for cell in cells)
        lines.append([row["model"], "–", test, "–", validation, row["parameters"], "–"])
    unit = " [%]" if measure is ACCURACY else ""
    columns = [f"test {measure.name}{unit}", "paper", f"validation {measure.name}"]
    table = markdown_table(["model", "seeds", *columns, "parameters", "s/epoch"], lines)
    return f"{table}\n\n{OF_DEVIATION}"
