"""The LTC paper's small sets of the UCI repository, as a table: see `uci_sets` for the protocols.

gesture, occupancy, traffic, ozone, har, person and power. Each set stands in the table in two ways
(`--tasks`): `published` is the paper's own split, with its defects, and `corrected` is one without.
The table also has simple rules as baselines. `ltc_spread` begins with slow neurons, see `spread`.
"""

from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from ncp_control.cells import CELLS, CellSizes
from ncp_control.learning.forecasters import Forecaster
from ncp_control.learning.forecasting import TrainingConfig
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.sequences import Sequences
from scripts.reproduction.completion import Job, Measured, Reproduce, complete
from scripts.reproduction.forecasts import WindowParts
from scripts.reproduction.measures import F1, fit_measured, measured_table
from scripts.reproduction.spread import SPREAD, make_model, spread_note
from scripts.reproduction.uci_data import READERS, DataTable
from scripts.reproduction.uci_sets import PROTOCOLS, SetProtocol
from scripts.reproduction.uci_splits import Prepared

SPLITS = ("published", "corrected")
UNITS, EPOCHS = 32, 200
DEFAULT_MODELS = (
    "ltc", SPREAD, "cfc", "mixed_cfc", "lstm", "gru", "ctrnn", "ctgru", "neural_ode", "ode_rnn",
)  # fmt: skip
LIGHT = 365.0
"""Light [lux] above which the simple rule predicts that a room is occupied."""


def reproduce_uci(settings: Reproduce) -> None:
    """Run the missing trainings on each split of a set and print the table."""
    name = settings.table
    protocol = PROTOCOLS[name]
    models = settings.chosen("models", (*CELLS, SPREAD), DEFAULT_MODELS)
    splits = settings.chosen("tasks", SPLITS)
    data = settings.data
    for split in splits:
        load(name, data, split)  # raises before a run folder is made
    results = settings.results_file(protocol.measure.columns)
    epochs = settings.epochs or EPOCHS
    for split in splits:
        add_rules(results, name, data, split, settings.command())
    jobs = [
        Job(model, seed, training_settings(name, split, model, epochs))
        for split in splits
        for model in models
        for seed in range(settings.seeds or 5)
    ]
    run = partial(train_model, name, data, epochs, settings.device)
    complete(results, jobs, run, settings)
    for split in splits:
        split_jobs = [job for job in jobs if job.settings.startswith(f"split={split} ")]
        paper = protocol.paper if split == "published" else {}
        table = measured_table(results, split_jobs, protocol.measure, paper, f"split={split}")
        print(f"\n{name}, {split} split:\n{table}")


def training_settings(name: str, split: str, model: str, epochs: int) -> str:
    """Return the training settings of a model as one cell of the results file."""
    rate, batch_size = learning_rate(name, model), PROTOCOLS[name].batch_size
    trained = f"units={UNITS} batch={batch_size} lr={rate:g}{spread_note(model)}"
    return f"split={split} {trained} epochs={epochs}"


def learning_rate(name: str, model: str) -> float:
    """Return the paper's learning rate: higher for an LTC and for related cells."""
    is_liquid = "ltc" in model or model in ("stc", "lrc", "lrcu")
    return PROTOCOLS[name].ltc_rate if is_liquid else 1e-3


@cache
def read(name: str, data: Path | None) -> DataTable:
    """Read a data set once."""
    return READERS[name](data)


@cache
def prepare(name: str, data: Path | None, split: str) -> Prepared:
    """Return the rows and windows of a split."""
    protocol = PROTOCOLS[name]
    make = {"published": protocol.published, "corrected": protocol.corrected}[split]
    return make(read(name, data))


@cache
def load(name: str, data: Path | None, split: str) -> WindowParts:
    """Return the windows of each part of a split."""
    protocol, prepared = PROTOCOLS[name], prepare(name, data, split)
    inputs = torch.from_numpy(prepared.inputs.astype(np.float32))
    if protocol.num_classes is None:
        targets = torch.from_numpy(prepared.targets.astype(np.float32))[:, None]
    else:
        classes = torch.from_numpy(prepared.targets.astype(np.int64))
        targets = torch.nn.functional.one_hot(classes, protocol.num_classes).float()
        if protocol.class_weights is not None:
            # One-hot targets times a weight: this weights the cross-entropy of each row.
            targets = targets * torch.tensor(protocol.class_weights)
    return WindowParts(
        **{
            part: Sequences(inputs=inputs[rows], targets=targets[rows])
            for part, rows in ((p, torch.from_numpy(r)) for p, r in prepared.rows.items())
        }
    )


def train_model(
    name: str, data: Path | None, epochs: int, device: str, job: Job, is_silent: bool
) -> Measured:
    """Train one model with one seed and measure it on the test windows."""
    torch.set_flush_denormal(True)
    split = job.settings.split()[0].removeprefix("split=")
    parts = load(name, data, split)
    model, config = set_up(name, parts.training, epochs, device, job)
    return fit_measured(model, parts, config, job, is_silent, PROTOCOLS[name].measure)


def set_up(
    name: str, data: Sequences, epochs: int, device: str, job: Job
) -> tuple[Forecaster, TrainingConfig]:
    """Return an untrained model for the sequences, and its training settings."""
    protocol = PROTOCOLS[name]
    torch.manual_seed(job.seed)
    sizes = CellSizes(
        num_inputs=data.inputs.shape[2],
        num_units=UNITS,
        num_outputs=data.targets.shape[2],
        frame_s=1.0,
        seed=job.seed,
    )
    config = TrainingConfig(
        device=device,
        epochs=epochs,
        batch_size=protocol.batch_size,
        learning_rate=learning_rate(name, job.model),
        objective=protocol.objective,
        seed=job.seed,
    )
    return make_model(job.model, sizes, data.inputs), config


def add_rules(results: ResultsFile, name: str, data: Path | None, split: str, command: str) -> None:
    """Append the rows of the simple rules that the results file lacks."""
    protocol, test = PROTOCOLS[name], load(name, data, split).test
    settings = f"split={split}"
    for rule, (num_parameters, predicted) in rules(name, data, split).items():
        if results.has(rule, 0, settings):
            continue
        values = torch.from_numpy(predicted)
        if protocol.num_classes is None:
            outputs = values.float()[..., None]
        else:
            outputs = torch.nn.functional.one_hot(values.long(), protocol.num_classes).float()
        value = protocol.measure.of(outputs, test, protocol.objective)
        measured = {"parameters": num_parameters, f"test_{protocol.measure.name}": value}
        results.append(rule, 0, settings, measured, command)


def rules(name: str, data: Path | None, split: str) -> dict[str, tuple[int, np.ndarray]]:
    """Return the number of parameters and the test predictions of each simple rule."""
    protocol, table, prepared = PROTOCOLS[name], read(name, data), prepare(name, data, split)
    rows = np.unique(prepared.rows["training"])
    test = prepared.rows["test"]
    inputs, targets = prepared.inputs, prepared.targets
    if protocol.num_classes is None:
        padded = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
        solution = np.linalg.lstsq(padded[rows], targets[rows], rcond=None)[0]
        hours = table.aside.astype(int)
        sums = np.bincount(hours[rows], targets[rows], minlength=168)
        means = sums / np.maximum(np.bincount(hours[rows], minlength=168), 1)
        return {
            "training mean": (1, np.full(test.shape, targets[rows].mean())),
            "linear in this row": (len(solution), padded[test] @ solution),
            "mean of the hour of the week": (168, means[hours[test]]),
        }
    commonest = np.bincount(targets[rows]).argmax()
    found: dict[str, tuple[int, np.ndarray]] = {}
    if protocol.measure is F1:
        found["always an ozone day"] = (0, np.ones(test.shape, dtype=int))
    else:
        found["commonest class"] = (1, np.full(test.shape, commonest))
    found["linear in this row"] = linear_classes(protocol, inputs, targets, rows, test)
    if name == "occupancy":
        found[f"light above {LIGHT:g}"] = (1, (table.aside[test] > LIGHT).astype(int))
    return found


def linear_classes(
    protocol: SetProtocol,
    inputs: np.ndarray,
    targets: np.ndarray,
    rows: np.ndarray,
    test: np.ndarray,
) -> tuple[int, np.ndarray]:
    """Return the size and the test predictions of logistic regression on single rows."""
    from sklearn.linear_model import LogisticRegression

    weights = protocol.class_weights
    model = LogisticRegression(
        max_iter=2000, class_weight=None if weights is None else dict(enumerate(weights))
    )
    model.fit(inputs[rows], targets[rows])
    predicted = np.asarray(model.predict(inputs[test].reshape(-1, inputs.shape[1])))
    size = np.size(model.coef_) + np.size(model.intercept_)
    return size, predicted.reshape(test.shape)
