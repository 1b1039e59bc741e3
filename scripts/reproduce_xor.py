"""Bit-stream XOR: say whether a stream held an odd number of ones.

A stream has 2 to 31 random bits. Dense: one frame a bit. Event-based: one frame whenever the bit
changes, and one at the end; how long the bit before lasted is told by elapsed time alone, so only
a model that keeps time and remembers can answer.

Source: Lechner & Hasani 2020 (arXiv 2006.04418), section 5; figures: Hasani et al. 2022, Nature
Machine Intelligence 4:992, table 2, and the code published with both. Differs: a tenth of the
training streams is kept for validation; Adam and cosine decay for all models.
"""

from functools import cache, partial

import numpy as np
import torch

from ncp_control.learning.forecasting import (
    MODELS,
    Sizes,
    TrainingConfig,
    make_forecaster,
    mean_error,
    train,
)
from ncp_control.learning.results import ResultsFile, mean_and_deviation
from ncp_control.learning.sequences import Sequences
from ncp_control.names import check_name
from scripts.markdown import markdown_table
from scripts.tables import Job, Measured, Reproduce, complete

PAPER = {
    ("event-based", "cfc"): "99.42",
    ("event-based", "mixed_cfc"): "99.72",
    ("event-based", "ltc"): "49.11",
    ("event-based", "lstm"): "89.71",
    ("dense", "cfc"): "97.34",
}
"""Accuracies in percent."""
ENCODINGS = ("dense", "event-based")
DEFAULT_MODELS = ("ltc", "mixed_ltc", "cfc", "mixed_cfc", "lstm")
MAX_BITS, NUM_TRAINING, NUM_TEST = 32, 100_000, 10_000
BIT_S = 1.0  # one bit is one frame, and the clock has no other unit
BATCH_SIZE, EPOCHS, LEARNING_RATE = 128, 30, 5e-3
UNITS = {"ltc": 16, "mixed_ltc": 16}
"""Neurons, 64 where not listed: a fully connected LTC has 4 parameters a synapse."""
MEASURES = ("parameters", "epochs", "best_epoch", "validation_accuracy", "test_accuracy")
MEASURES += ("seconds_per_epoch",)


def reproduce_xor(settings: Reproduce) -> None:
    """Train what is missing on both encodings and print the table."""
    models = settings.models or DEFAULT_MODELS
    for model in models:
        check_name("models", model, MODELS)
    results = ResultsFile(settings.results / "xor.csv", MEASURES)
    epochs = settings.epochs or EPOCHS
    jobs = [
        Job(model, seed, training_settings(encoding, model, epochs))
        for encoding in ENCODINGS
        for model in models
        for seed in range(settings.seeds)
    ]
    complete(results, jobs, partial(train_model, epochs, settings.device), settings)
    lines = []
    for encoding in ENCODINGS:
        for model in models:
            rows = results.rows(training_settings(encoding, model, epochs))
            rows = [row for row in rows if row["model"] == model]
            lines.append(
                [
                    encoding,
                    model,
                    str(len(rows)),
                    mean_and_deviation(rows, "test_accuracy", 2),
                    PAPER.get((encoding, model), "–"),
                    rows[0]["parameters"],
                    mean_and_deviation(rows, "seconds_per_epoch", 1),
                ]
            )
    columns = ["encoding", "model", "seeds", "test accuracy [%]", "paper", "parameters", "s/epoch"]
    print(markdown_table(columns, lines))


def training_settings(encoding: str, model: str, epochs: int) -> str:
    """Return the settings of a model's training as one cell of the results file."""
    units = UNITS.get(model, 64)
    return f"{encoding} units={units} batch={BATCH_SIZE} lr={LEARNING_RATE:g} epochs={epochs}"


def train_model(epochs: int, device: str, job: Job, is_silent: bool) -> Measured:
    """Train one model with one seed and measure it on the test streams."""
    # Gradients fade to denormal numbers along a stream; keeping them costs half the time.
    torch.set_flush_denormal(True)
    encoding = job.settings.split()[0]
    training, test = streams(encoding, NUM_TRAINING, 0), streams(encoding, NUM_TEST, 1)
    torch.manual_seed(job.seed)
    units = UNITS.get(job.model, 64)
    sizes = Sizes(num_inputs=1, num_units=units, num_outputs=1, frame_s=BIT_S, seed=job.seed)
    model = make_forecaster(job.model, sizes)
    config = TrainingConfig(
        device=device,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        final_learning_rate=0.02,
        gradient_clip=1.0,
        objective="classify",
        seed=job.seed,
    )
    num_validation = NUM_TRAINING // 10
    report = train(
        model,
        training[num_validation:],
        training[:num_validation],
        config,
        description=f"{encoding} {job.model} seed {job.seed}",
        is_silent=is_silent,
    )
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "epochs": epochs,
        "best_epoch": report.best_epoch,
        "validation_accuracy": 100.0 * (1.0 - report.validation_error),
        "test_accuracy": 100.0 * (1.0 - mean_error(model, test, "classify")),
        "seconds_per_epoch": round(report.seconds_per_epoch, 2),
        "threads": torch.get_num_threads(),
    }


@cache
def streams(encoding: str, count: int, seed: int) -> Sequences:
    """Draw random streams, each with its answer wanted at the last of its frames.

    Args:
        encoding: A name in `ENCODINGS`.
        count: Streams.
        seed: Seed of the draw.
    """
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (count, MAX_BITS))
    place = np.arange(MAX_BITS)
    last = rng.integers(2, MAX_BITS, count)[:, None] - 1
    is_odd = (bits * (place <= last)).sum(axis=1) % 2
    if encoding == "dense":
        is_frame = place <= last
    else:
        changes = np.diff(bits, axis=1, prepend=-1) != 0
        is_frame = (changes & (place <= last)) | (place == last)
    # Frames move to the front; what is left of a stream's length is padding that never counts.
    order = np.argsort(~is_frame, axis=1, kind="stable")
    num_frames = is_frame.sum(axis=1)[:, None]
    times = np.where(place < num_frames, order, last)
    return Sequences(
        inputs=_column(np.take_along_axis(bits, order, axis=1)),
        targets=_column(np.repeat(is_odd[:, None], MAX_BITS, axis=1)),
        dt_s=torch.from_numpy(BIT_S * np.diff(times, axis=1, prepend=-1)).float(),
        mask=torch.from_numpy(place == num_frames - 1),
    )


def _column(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values)[..., None].float()
