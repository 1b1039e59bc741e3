"""Tables of one figure a model, e.g. accuracy: its columns, how models train for it, the table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from ncp_control.layers import num_parameters
from ncp_control.learning.forecasters import Forecaster
from ncp_control.learning.forecasting import Score, TrainingConfig, error_of, predict, train
from ncp_control.learning.results import ResultsFile, mean_and_deviation, newest
from ncp_control.learning.sequences import Sequences
from ncp_control.markdown import markdown_table
from scripts.reproduction.completion import Job, Measured, Reproduce, complete


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a table tells of a model, on the validation and the test windows."""

    name: str
    """Its column is test_ and this."""
    told: Callable[[float], float]
    """Turns an error into what is told."""
    error: Score | None = None
    """The error, which also chooses the checkpoint; that of the training's objective if None."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the results file."""
        told = (f"validation_{self.name}", f"test_{self.name}")
        return ("parameters", "epochs", "best_epoch", *told, "seconds_per_epoch")

    def of(self, outputs: torch.Tensor, data: Sequences, objective: str) -> float:
        """Return what is told of a model's outputs."""
        if self.error is None:
            return self.told(error_of(outputs, data, objective))
        return self.told(self.error(outputs, data))


def _told_from(outputs: torch.Tensor, data: Sequences) -> tuple[torch.Tensor, torch.Tensor]:
    """Return score of the second of two classes and the class, at the frames that count."""
    margin = outputs.double()[..., 1] - outputs.double()[..., 0]
    is_second = data.targets.argmax(-1) == 1
    return (margin, is_second) if data.mask is None else (margin[data.mask], is_second[data.mask])


def f1_error(outputs: torch.Tensor, data: Sequences) -> float:
    """Return 1 less the F1 score of the second of two classes; NaN if an output is not finite."""
    margin, is_second = _told_from(outputs, data)
    told = margin > 0.0
    mistakes = (told != is_second).sum().item()
    right = 2.0 * (told & is_second).sum().item()
    is_finite = bool(torch.isfinite(margin).all())
    return mistakes / max(right + mistakes, 1.0) if is_finite else float("nan")


def auc_error(outputs: torch.Tensor, data: Sequences) -> float:
    """Return 1 less the area under the ROC curve of two classes; NaN if an output is not finite.

    It is the share of pairs, one of each class, that are in the wrong order; a tie counts half.
    """
    margin, is_second = _told_from(outputs, data)
    if not bool(torch.isfinite(margin).all()):
        return float("nan")
    first, second = margin[~is_second].sort().values, margin[is_second].contiguous()
    above = len(first) - torch.searchsorted(first, second, right=True)
    not_below = len(first) - torch.searchsorted(first, second)
    wrong = (above + not_below).double().sum().item() / 2.0
    return wrong / max(len(first) * len(second), 1)


MSE = Measure(name="mse", told=lambda error: error)
ACCURACY = Measure(name="accuracy", told=lambda error: 100.0 * (1.0 - error))
"""In percent."""
F1 = Measure(name="f1", told=lambda error: 1.0 - error, error=f1_error)
AUC = Measure(name="auc", told=lambda error: 1.0 - error, error=auc_error)


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
    """Train what is missing of a table of classifiers and print it with the simple rules.

    Args:
        settings: The command line.
        measure: What is told.
        add_rules: Appends the rows of the simple rules that the results file lacks.
        described: Settings of each model's training, by model.
        run: Runs one training; see `complete`.
        paper: The paper's figures by model.
        rules: Settings of the rows of rules.
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
    training: Sequences | Callable[[int], Sequences],
    validation: Sequences,
    test: Sequences,
    config: TrainingConfig,
    job: Job,
    is_silent: bool,
    measure: Measure = ACCURACY,
) -> Measured:
    """Train a model and return its row: the columns of a measure by name."""
    report = train(
        model,
        training,
        validation,
        config,
        description=job.name,
        is_silent=is_silent,
        checkpoint=job.checkpoint,
        score=measure.error,
    )
    return {
        "parameters": num_parameters(model),
        "epochs": report.epochs,
        "best_epoch": report.best_epoch,
        f"validation_{measure.name}": measure.told(report.validation_error),
        f"test_{measure.name}": measure.of(predict(model, test), test, config.objective),
        "seconds_per_epoch": round(report.seconds_per_epoch, 2),
        "threads": torch.get_num_threads(),
    }


def measured_table(
    results: ResultsFile,
    jobs: Sequence[Job],
    measure: Measure,
    paper: Mapping[str, str],
    rules: str,
) -> str:
    """Return mean ± sd over seeds of each model, beside the paper's figures and simple rules.

    Args:
        results: The file.
        jobs: Trainings of the table.
        measure: What is told.
        paper: The paper's figures by model.
        rules: Settings of the rows of rules that are not trained.
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
    told = [f"test {measure.name}{unit}", "paper", f"validation {measure.name}"]
    return markdown_table(["model", "seeds", *told, "parameters", "s/epoch"], lines)
