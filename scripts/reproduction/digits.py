"""Classification of handwritten digits over time: as events and row by row, also of small digits.

The target is the class at the last frame. The table also has linear classifiers of all pixels at
once.

| table  | pictures                              | a frame is                                      |
|--------|---------------------------------------|-------------------------------------------------|
| mnist  | MNIST, 70,000 of 28 x 28 pixels       | a change of colour, black above 128             |
| digits | scikit-learn's, 1,797 of 8 x 8 pixels | a change of colour, black from 8 of 16; and the |
|        |                                       | last pixel                                      |
| smnist | MNIST                                 | a row of 28 pixels in [0, 1]                    |

In `mnist` and `digits` a picture is black and white and read row by row; there is a frame at each
change of colour, with the number of pixels since the last frame as elapsed time. LSTM and GRU,
which ignore elapsed times, get it as an additional input. Results of `digits` are not comparable
with the papers'. In `smnist` a row takes one unit of time. `ltc_spread` begins with slow neurons,
see `spread`.

Source: event-based sequential MNIST: Lechner & Hasani 2020 (arXiv 2006.04418), section 5; `mnist`:
the code published with Hasani et al. 2022, Nature Machine Intelligence 4:992. Differs: the first
6,000 training pictures, in a random order with seed 0, choose the checkpoint, where the paper tests
the last epoch; Adam with a cosine decay and fewer epochs, where the paper uses RMSprop and 200
epochs; the unit of time is 16 pixels, in the paper 256, which learns more slowly. `smnist`: Hasani
et al. 2021 (arXiv 2006.04439), table 3, and the code published with it: 32 units, batches of 16,
Adam at 1e-3 (LTC 5e-3), 200 epochs; the last 6,000 training pictures choose the checkpoint.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from ncp_control.cells import CELLS, CellSizes
from ncp_control.cells.known import SATURATED
from ncp_control.learning.forecasters import Forecaster
from ncp_control.learning.forecasting import TrainingConfig
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.sequences import Sequences
from scripts.reproduction.completion import Job, Measured, Reproduce
from scripts.reproduction.digit_pictures import NUM_CLASSES, Pictures, read_mnist, read_small
from scripts.reproduction.events import encode_events
from scripts.reproduction.forecasts import WindowParts, time_note
from scripts.reproduction.measures import ACCURACY, classifier_table, fit_measured
from scripts.reproduction.spread import SPREAD, make_model, spread_note

DEFAULT_MODELS = (
    "ltc", SPREAD, "mixed_ltc", "lrcu", "cfc", "mixed_cfc", "lstm", "gru", "ctrnn", "ode_rnn",
)  # fmt: skip
PIXEL_S, SPLIT = 1.0, "split=0"
UNITS = dict.fromkeys(("ltc", SPREAD, "mixed_ltc", *SATURATED), 32)
"""Number of neurons, 64 if not listed: a fully connected LTC or LRC has 4 or 5 parameters per
synapse."""
_CHUNK = 5_000
"""Number of pictures converted to events at a time."""


@dataclass(frozen=True, kw_only=True)
class DigitsProtocol:
    """Settings that differ between the tables."""

    read: Callable[[Path | None], Pictures]
    threshold: int | None
    """Lowest grey level that counts as black; if None: a frame is a row of grey levels."""
    most: int
    """Largest grey level."""
    has_end: bool
    frame_pixels: float
    """Nominal frame of a model [pixels, or rows]."""
    ltc_frame_pixels: float
    """Nominal frame of an LTC [pixels, or rows]: long, because an LTC forgets within a frame."""
    batch_size: int
    epochs: int
    learning_rate: float
    ltc_learning_rate: float
    paper: dict[str, str]
    activation: str = "silu"
    gradient_clip: float | None = 1.0
    final_rate_fraction: float = 0.02
    linear_tolerance: float = 1e-4
    """Gradient tolerance at which fitting a linear classifier stops."""
    models: tuple[str, ...] = DEFAULT_MODELS
    most_units: int = 64

    @property
    def has_rows(self) -> bool:
        """Whether a frame is a row, so that all frames have the same duration."""
        return self.threshold is None


def reproduce_digits(settings: Reproduce) -> None:
    """Run the missing trainings and print the table."""
    table, data = settings.table, settings.data
    protocol = PROTOCOLS[table]
    models = settings.chosen("models", (*CELLS, SPREAD), protocol.models)
    load(table, data)  # raises before a run folder is made
    epochs = settings.epochs or protocol.epochs
    described = {model: f"{SPLIT} {training_settings(model, epochs, table)}" for model in models}
    run = partial(train_model, table, data, epochs, settings.device)
    classifier_table(
        settings, ACCURACY, add_linear_rows, described, run, paper=protocol.paper, rules=SPLIT
    )


def num_units(model: str, table: str) -> int:
    """Return the number of neurons."""
    most = PROTOCOLS[table].most_units
    return min(UNITS.get(model, most), most)


def learning_rate(model: str, table: str) -> float:
    """Return the learning rate: higher for an LTC."""
    protocol = PROTOCOLS[table]
    return protocol.ltc_learning_rate if "ltc" in model else protocol.learning_rate


def frame_pixels(model: str, table: str) -> float:
    """Return the nominal frame [pixels]."""
    protocol = PROTOCOLS[table]
    is_quick = "ltc" in model and model != SPREAD
    return protocol.ltc_frame_pixels if is_quick else protocol.frame_pixels


def training_settings(model: str, epochs: int, table: str = "digits") -> str:
    """Return the training settings of a model as one cell of the results file."""
    note = "" if PROTOCOLS[table].has_rows else time_note(model)
    return (
        f"units={num_units(model, table)} frame={frame_pixels(model, table):g}"
        f" batch={PROTOCOLS[table].batch_size} lr={learning_rate(model, table):g}"
        f"{note}{spread_note(model)} epochs={epochs}"
    )


def train_model(
    table: str, data: Path | None, epochs: int, device: str, job: Job, is_silent: bool
) -> Measured:
    """Train one model with one seed and measure it on the test digits."""
    torch.set_flush_denormal(True)
    parts = load(table, data)
    model, config = set_up(table, parts.training, epochs, device, job)
    return fit_measured(model, parts, config, job, is_silent)


def set_up(
    table: str, data: Sequences, epochs: int, device: str, job: Job
) -> tuple[Forecaster, TrainingConfig]:
    """Return an untrained model for the sequences, and its training settings."""
    protocol = PROTOCOLS[table]
    torch.manual_seed(job.seed)
    sizes = CellSizes(
        num_inputs=data.inputs.shape[2],
        num_units=num_units(job.model, table),
        num_outputs=NUM_CLASSES,
        frame_s=frame_pixels(job.model, table) * PIXEL_S,
        seed=job.seed,
        activation=protocol.activation,
        sees_time=not protocol.has_rows,
    )
    config = TrainingConfig(
        device=device,
        epochs=epochs,
        batch_size=protocol.batch_size,
        learning_rate=learning_rate(job.model, table),
        final_rate_fraction=protocol.final_rate_fraction,
        gradient_clip=protocol.gradient_clip,
        objective="categories",
        seed=job.seed,
    )
    return make_model(job.model, sizes, data.inputs), config


@cache
def pictures(table: str, data: Path | None = None) -> Pictures:
    """Read a table's pictures once."""
    return PROTOCOLS[table].read(data)


@cache
def load(table: str = "digits", data: Path | None = None) -> WindowParts:
    """Return the digits as events or rows; the class is the target at the last frame."""
    protocol, images = PROTOCOLS[table], pictures(table, data)
    make = _as_rows if protocol.has_rows else _as_events
    whole = make(images, protocol)
    return WindowParts(
        **{name: whole[torch.from_numpy(part)] for name, part in images.parts.items()}
    )


def _as_events(images: Pictures, protocol: DigitsProtocol) -> Sequences:
    bits = (images.pixels >= protocol.threshold).astype(np.int8)
    chunks = [
        encode_events(
            chunk,
            np.full(len(chunk), bits.shape[1]),
            bit_s=PIXEL_S,
            has_end=protocol.has_end,
        )
        for chunk in np.split(bits, range(_CHUNK, len(bits), _CHUNK))
    ]
    longest = max(int(chunk.is_last.int().argmax(dim=1).max()) for chunk in chunks) + 1
    return Sequences(
        inputs=torch.cat([chunk.inputs[:, :longest] for chunk in chunks]),
        targets=_wanted(images, longest),
        dt_s=torch.cat([chunk.dt_s[:, :longest] for chunk in chunks]),
        mask=torch.cat([chunk.is_last[:, :longest] for chunk in chunks]),
    )


def _as_rows(images: Pictures, protocol: DigitsProtocol) -> Sequences:
    side = math.isqrt(images.pixels.shape[1])
    rows = torch.from_numpy(images.pixels).reshape(-1, side, side)
    mask = torch.zeros(rows.shape[:2], dtype=torch.bool)
    mask[:, -1] = True
    return Sequences(inputs=rows.float() / protocol.most, targets=_wanted(images, side), mask=mask)


def _wanted(images: Pictures, num_frames: int) -> torch.Tensor:
    """Return the one-hot class at every frame, shape (samples, frames, classes)."""
    wanted = torch.nn.functional.one_hot(torch.from_numpy(images.classes), NUM_CLASSES).float()
    return wanted[:, None].expand(-1, num_frames, -1)


PROTOCOLS = {
    "digits": DigitsProtocol(
        read=read_small,
        threshold=8,
        most=16,
        has_end=True,
        frame_pixels=4.0,
        ltc_frame_pixels=20.0,
        batch_size=32,
        epochs=80,
        learning_rate=3e-3,
        ltc_learning_rate=1e-2,
        paper={},
    ),
    "mnist": DigitsProtocol(
        read=read_mnist,
        threshold=129,
        most=255,
        has_end=False,
        frame_pixels=16.0,
        ltc_frame_pixels=100.0,
        batch_size=64,
        epochs=12,
        learning_rate=4e-3,
        ltc_learning_rate=1e-2,
        paper={"cfc_no_gate": "96.99", "mixed_cfc": "98.09"},
        activation="gelu",
        linear_tolerance=3e-3,
    ),
    "smnist": DigitsProtocol(
        read=partial(read_mnist, last_validate=True),
        threshold=None,
        most=255,
        has_end=True,
        frame_pixels=1.0,
        ltc_frame_pixels=1.0,
        batch_size=16,
        epochs=200,
        learning_rate=1e-3,
        ltc_learning_rate=5e-3,
        paper={
            "lstm": "98.41",
            "ctrnn": "96.73",
            "neural_ode": "97.61",
            "ctgru": "98.27",
            "ltc": "97.57",
        },
        gradient_clip=None,
        final_rate_fraction=1.0,
        linear_tolerance=3e-3,
        models=(*DEFAULT_MODELS, "ctgru", "neural_ode"),
        most_units=32,
    ),
}
"""Protocols by the table's name."""


def linear_names(table: str) -> dict[str, bool]:
    """Return the names of the linear classifiers, and whether each sees only black and white."""
    grey = {f"linear on {PROTOCOLS[table].most + 1} grey levels": False}
    return grey if PROTOCOLS[table].has_rows else {"linear on black and white": True, **grey}


def add_linear_rows(results: ResultsFile, settings: Reproduce) -> None:
    """Append the rows of the linear classifiers that the results file lacks."""
    for name, is_binary in linear_names(settings.table).items():
        if not results.has(name, 0, SPLIT):
            measured = measure_linear(settings.table, settings.data, is_binary)
            results.append(name, 0, SPLIT, measured, settings.command())


def measure_linear(table: str, data: Path | None, is_binary: bool) -> Measured:
    """Fit a linear classifier to all pixels at once and return its row."""
    from sklearn.linear_model import LogisticRegression

    protocol, images = PROTOCOLS[table], pictures(table, data)
    pixels, classes, parts = images.pixels, images.classes, images.parts
    features = pixels >= protocol.threshold if is_binary else pixels / float(protocol.most)
    # The regularisation is the library's default; the validation digits are left unused.
    model = LogisticRegression(max_iter=2000, tol=protocol.linear_tolerance)
    model.fit(features[parts["training"]].astype(float), classes[parts["training"]])
    accuracies = {
        f"{part}_accuracy": 100.0
        * float(model.score(features[chosen].astype(float), classes[chosen]))
        for part, chosen in parts.items()
        if part != "training"
    }
    return {"parameters": (features.shape[1] + 1) * NUM_CLASSES, **accuracies}
