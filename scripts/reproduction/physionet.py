"""Prediction of deaths in intensive care from irregular measurements: PhysioNet 2012 (CfC paper).

Set A: 48 hours of 4,000 patients, 554 of whom died in hospital. A row is a time with measurements,
rounded to 0.016 hours; values of the same row are averaged. The 82 inputs are the last known value
of each of 41 variables and whether it is new; the elapsed time is the hours since the row before.
The target is the class at the last row; the measure is the area under the ROC curve (AUC). 80 % of
the patients are for training and 20 % for testing, drawn by scikit-learn with seed 42.

LSTM and GRU, which ignore elapsed times, get it as an additional input. The table also has the
SAPS-I score of the dataset, and logistic regression on each variable's last, mean, least and
largest value.

Source: Hasani et al. 2022, Nature Machine Intelligence 4:992, table 3, and the code published with
it, after Rubanova et al. 2019. Differs: each elapsed time is at its own row, where the published
code puts it one row late, with a negative one after the last row; patients are sorted by number
before the random split, there by the order on disk; an eighth of the training patients choose the
checkpoint, where the paper tests the last epoch; all models have the same width, learning rate and
class weight, without dropout and weight decay; values are standardised by the training patients,
and a height, weight or sex of -1 is unknown.
"""

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from ncp_control.cells import CELLS, CellSizes
from ncp_control.learning.forecasters import Forecaster, make_forecaster
from ncp_control.learning.forecasting import TrainingConfig
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.sequences import Sequences
from scripts.reproduction.completion import Job, Measured, Reproduce
from scripts.reproduction.data_files import find_files, moments, read_columns, to_numbers
from scripts.reproduction.forecasts import WindowParts, time_note
from scripts.reproduction.measures import AUC, classifier_table, fit_measured

PAPER = {
    "cfc": "0.839",
    "cfc_no_gate": "0.840",
    "cfc_pure": "0.643",
    "mixed_cfc": "0.834",
    "ltc": "0.648",
    "ode_rnn": "0.833",
}
"""Areas under the ROC curve."""
DEFAULT_MODELS = ("cfc_no_gate", "cfc", "mixed_cfc", "lstm", "gru", "ltc")
VARIABLES = (
    "Age", "Gender", "Height", "ICUType", "Weight", "Albumin", "ALP", "ALT", "AST", "Bilirubin",
    "BUN", "Cholesterol", "Creatinine", "DiasABP", "FiO2", "GCS", "Glucose", "HCO3", "HCT", "HR",
    "K", "Lactate", "Mg", "MAP", "MechVent", "Na", "NIDiasABP", "NIMAP", "NISysABP", "PaCO2",
    "PaO2", "pH", "Platelets", "RespRate", "SaO2", "SysABP", "Temp", "TroponinI", "TroponinT",
    "Urine", "WBC",
)  # fmt: skip
_COLUMNS = {variable: i for i, variable in enumerate(VARIABLES)}
UNKNOWN_IF_NEGATIVE = ("Height", "Weight", "Gender")
ROUND_HOURS, TEST_SHARE, VALIDATION_SHARE, SPLIT_SEED = 0.016, 0.2, 0.125, 42
UNITS, BATCH_SIZE, EPOCHS, LEARNING_RATE, DECAY = 64, 128, 20, 2e-3, 0.9
DEATH_WEIGHT = 6.0
FRAME_HOURS = 1.0
"""Nominal frame of a model [h]: the unit of time is the hour."""
_WHAT = "PhysioNet 2012 set A with Outcomes-a.txt (physionet.org/content/challenge-2012)"


@dataclass(frozen=True, kw_only=True)
class Patient:
    """Measurements of one patient."""

    hours: np.ndarray
    """Time of each row, shape (rows,)."""
    values: np.ndarray
    """Value of each variable, shape (rows, 41); NaN where nothing was measured."""


def reproduce_physionet(settings: Reproduce) -> None:
    """Run the missing trainings and print the table."""
    models = settings.chosen("models", CELLS, DEFAULT_MODELS)
    load(settings.data)  # raises before a run folder is made
    epochs = settings.epochs or EPOCHS
    described = {model: training_settings(model, epochs) for model in models}
    run = partial(train_model, settings.data, epochs, settings.device)
    classifier_table(settings, AUC, add_rules, described, run, paper=PAPER, rules="set-a")


def training_settings(model: str, epochs: int) -> str:
    """Return the training settings of a model as one cell of the results file."""
    return (
        f"set-a units={UNITS} batch={BATCH_SIZE} lr={learning_rate(model):g} decay={DECAY:g}"
        f"{time_note(model)} epochs={epochs}"
    )


def learning_rate(model: str) -> float:
    """Return the learning rate: higher for an LTC."""
    return 1e-2 if "ltc" in model else LEARNING_RATE


@cache
def read(data: Path | None) -> tuple[list[Patient], np.ndarray, np.ndarray]:
    """Read all patients in the order of their numbers, whether each died, and the SAPS-I scores.

    Raises:
        FileNotFoundError: If there are no patients or no outcomes.
        ValueError: If a file does not have the challenge's format.
    """
    outcomes: bytes | None = None
    patients: dict[int, Patient] = {}
    for path, content in find_files(data, lambda name: name.endswith(".txt"), _WHAT):
        name = path.rsplit("/", 1)[-1]
        if name.startswith("Outcomes"):
            outcomes = content
        elif name.removesuffix(".txt").isdecimal():
            patients[int(name.removesuffix(".txt"))] = read_patient(name, content)
    if outcomes is None or not patients:
        lack = "no outcomes" if outcomes is None else "no patients"
        raise FileNotFoundError(f"`data` must hold {_WHAT}, got {lack} in {str(data)!r}.")
    cells = read_columns("Outcomes-a.txt", outcomes, ["RecordID", "SAPS-I", "In-hospital_death"])
    columns = {key: to_numbers(f"Outcomes-a.txt, {key}", cells[key]) for key in cells}
    places = {int(record): i for i, record in enumerate(columns["RecordID"])}
    lacking = sorted(set(patients) - set(places))
    if lacking:
        raise ValueError(f"Outcomes-a.txt must tell of all patients, got nothing of {lacking[:5]}.")
    order = [places[number] for number in sorted(patients)]
    died = columns["In-hospital_death"][order].astype(int)
    return [patients[number] for number in sorted(patients)], died, columns["SAPS-I"][order]


def read_patient(name: str, content: bytes) -> Patient:
    """Read one patient's file; values of the same time and variable are averaged."""
    cells = read_columns(name, content, ["Time", "Parameter", "Value"])
    values = to_numbers(f"{name}, Value", cells["Value"])
    kept: list[tuple[int, int, float]] = []
    places = {0}
    for time, variable, value in zip(cells["Time"], cells["Parameter"], values, strict=True):
        place = _place(name, time)
        if variable in ("RecordID", "") or (variable in UNKNOWN_IF_NEGATIVE and value < 0.0):
            continue
        if variable not in _COLUMNS:
            raise ValueError(f"{name} must have the challenge's variables, got {variable!r}.")
        places.add(place)
        kept.append((place, _COLUMNS[variable], value))
    rows = {place: i for i, place in enumerate(sorted(places))}
    sums, counts = np.zeros((2, len(rows), len(VARIABLES)))
    for place, column, value in kept:
        sums[rows[place], column] += value
        counts[rows[place], column] += 1.0
    with np.errstate(invalid="ignore"):
        return Patient(hours=ROUND_HOURS * np.array(list(rows), dtype=float), values=sums / counts)


def _place(name: str, time: str) -> int:
    """Return a time, such as 07:30, in steps of `ROUND_HOURS`."""
    hour, _, minute = time.partition(":")
    if not (hour.isdecimal() and minute.isdecimal()):
        raise ValueError(f"{name} must have times such as 07:30, got {time!r}.")
    return round((int(hour) + int(minute) / 60.0) / ROUND_HOURS)


def split(num_patients: int) -> dict[str, np.ndarray]:
    """Return the patients of each part."""
    from sklearn.model_selection import train_test_split

    everybody = np.arange(num_patients)
    drawn = train_test_split(everybody, test_size=TEST_SHARE, random_state=SPLIT_SEED)
    rest, test = map(np.asarray, drawn)
    num_validation = int(VALIDATION_SHARE * len(rest))
    return {"training": rest[num_validation:], "validation": rest[:num_validation], "test": test}


@cache
def load(data: Path | None) -> WindowParts:
    """Return each patient as a sequence, with the class as target at the last row."""
    patients, died, _ = read(data)
    parts = split(len(patients))
    values = np.concatenate([patients[i].values for i in parts["training"]])
    mean, deviation = moments(values)
    longest = max(len(patient.hours) for patient in patients)
    inputs = np.zeros((len(patients), longest, 2 * len(VARIABLES)), np.float32)
    hours = np.zeros((len(patients), longest), np.float32)
    is_last = np.zeros((len(patients), longest), bool)
    for i, patient in enumerate(patients):
        num_rows = len(patient.hours)
        inputs[i, :num_rows, : len(VARIABLES)] = (filled(patient.values, mean) - mean) / deviation
        inputs[i, :num_rows, len(VARIABLES) :] = np.isfinite(patient.values)
        hours[i, :num_rows] = np.diff(patient.hours, prepend=0.0)
        is_last[i, num_rows - 1] = True
    weights = torch.tensor([1.0, DEATH_WEIGHT])
    wanted = torch.nn.functional.one_hot(torch.from_numpy(died), 2).float() * weights
    whole = Sequences(
        inputs=torch.from_numpy(inputs),
        targets=wanted[:, None].expand(-1, longest, -1),
        dt_s=torch.from_numpy(hours),
        mask=torch.from_numpy(is_last),
    )
    return WindowParts(**{name: whole[torch.from_numpy(chosen)] for name, chosen in parts.items()})


def filled(values: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Fill missing values with the last known value, or with `before` if there is none yet."""
    is_known = np.isfinite(values)
    newest = np.maximum.accumulate(np.where(is_known, np.arange(len(values))[:, None], -1), axis=0)
    known = np.take_along_axis(values, np.maximum(newest, 0), axis=0)
    return np.where(newest >= 0, known, before)


def train_model(data: Path | None, epochs: int, device: str, job: Job, is_silent: bool) -> Measured:
    """Train one model with one seed and measure it on the test patients."""
    torch.set_flush_denormal(True)
    parts = load(data)
    model, config = set_up(parts.training, epochs, device, job)
    return fit_measured(model, parts, config, job, is_silent, AUC)


def set_up(
    data: Sequences, epochs: int, device: str, job: Job
) -> tuple[Forecaster, TrainingConfig]:
    """Return an untrained model for the sequences, and its training settings."""
    torch.manual_seed(job.seed)
    sizes = CellSizes(
        num_inputs=data.inputs.shape[2],
        num_units=UNITS,
        num_outputs=data.targets.shape[2],
        frame_s=FRAME_HOURS,
        seed=job.seed,
        activation="silu",
        sees_time=True,
    )
    config = TrainingConfig(
        device=device,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        learning_rate=learning_rate(job.model),
        epoch_decay=DECAY,
        gradient_clip=1.0,
        objective="categories",
        seed=job.seed,
    )
    return make_forecaster(job.model, sizes), config


def add_rules(results: ResultsFile, settings: Reproduce) -> None:
    """Append the rows of the simple rules that the results file lacks."""
    patients, died, saps = read(settings.data)
    parts = split(len(patients))
    names = ("SAPS-I score", "logistic regression on four numbers a variable")
    if all(results.has(name, 0, "set-a") for name in names):
        return
    num_parameters, predicted = summary_regression(patients, died, parts)
    rules = {names[0]: (0, saps[parts["test"]]), names[1]: (num_parameters, predicted)}
    for name, (size, scores) in rules.items():
        if not results.has(name, 0, "set-a"):
            measured = {"parameters": size, "test_auc": area(scores, died[parts["test"]])}
            results.append(name, 0, "set-a", measured, settings.command())


def summary_regression(
    patients: list[Patient], died: np.ndarray, parts: dict[str, np.ndarray]
) -> tuple[int, np.ndarray]:
    """Fit logistic regression to summaries; return its number of parameters and test scores."""
    from sklearn.linear_model import LogisticRegression

    summaries = np.stack([summary(patient.values) for patient in patients])
    rest = np.concatenate([parts["training"], parts["validation"]])
    mean, deviation = moments(summaries[rest])
    features = np.nan_to_num((summaries - mean) / deviation)
    model = LogisticRegression(C=0.01, max_iter=2000)
    model.fit(features[rest], died[rest])
    return model.coef_.size + 1, model.decision_function(features[parts["test"]])


def summary(values: np.ndarray) -> np.ndarray:
    """Return the last, mean, least and largest value of each variable; NaN if it has no values."""
    columns = [column[np.isfinite(column)] for column in values.T]
    return np.concatenate(
        [[c[-1], c.mean(), c.min(), c.max()] if len(c) else [np.nan] * 4 for c in columns]
    )


def area(scores: np.ndarray, is_second: np.ndarray) -> float:
    """Return the area under the ROC curve."""
    outputs = torch.zeros(len(scores), 1, 2, dtype=torch.float64)
    outputs[:, 0, 1] = torch.from_numpy(scores.astype(float))
    wanted = torch.nn.functional.one_hot(torch.from_numpy(is_second), 2).float()
    data = Sequences(inputs=torch.zeros(len(scores), 1, 1), targets=wanted[:, None])
    return AUC.of(outputs, data, "categories")
