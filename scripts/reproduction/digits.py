"""Handwritten digits as a stream of pixels: the offline stand-in for event-based sequential MNIST.

scikit-learn's 1,797 digits of 8 x 8 pixels, black or white, read row by row; a frame whenever the
colour changes, and one at the end, with the number of pixels passed as elapsed time. The class is
wanted at the last frame. Smaller and fewer than MNIST's, so the papers' figures do not compare.
LSTM and GRU, blind to time, have it as one more input. Beside the models stands a linear classifier
that sees all pixels at once.

Source: event-based sequential MNIST: Lechner & Hasani 2020 (arXiv 2006.04418), section 5.
"""

from functools import cache, partial

import numpy as np
import torch

from ncp_control.cells import CELLS, CellSizes
from ncp_control.cells.known import SATURATED
from ncp_control.learning.forecasters import make_forecaster
from ncp_control.learning.forecasting import TrainingConfig
from ncp_control.learning.results import mean_and_deviation, newest
from ncp_control.learning.sequences import Sequences
from ncp_control.markdown import markdown_table
from scripts.reproduction.completion import Job, Measured, Reproduce, complete
from scripts.reproduction.events import encode_events
from scripts.reproduction.forecasts import ACCURACIES, Parts, fit_classifier, time_note

DEFAULT_MODELS = ("ltc", "mixed_ltc", "lrcu", "cfc", "mixed_cfc", "lstm", "gru", "ctrnn", "ode_rnn")
LINEAR = {"linear on black and white": True, "linear on 17 grey levels": False}
"""Whether the classifier sees what the models see."""
NUM_CLASSES, THRESHOLD, PIXEL_S = 10, 8, 1.0
SHARES = {"test": 0.2, "validation": 0.1}
BATCH_SIZE, EPOCHS, GRADIENT_CLIP, FINAL_LEARNING_RATE = 32, 80, 1.0, 0.02
UNITS = dict.fromkeys(("ltc", "mixed_ltc", *SATURATED), 32)
"""Neurons, 64 where not listed: a fully connected LTC or LRC has 4 or 5 parameters a synapse."""


def reproduce_digits(settings: Reproduce) -> None:
    """Train what is missing and print the table."""
    models = settings.chosen_models(DEFAULT_MODELS, CELLS)
    results = settings.results_file(ACCURACIES)
    split = "split=0"
    for name, is_binary in LINEAR.items():
        if not results.has(name, 0, split):
            results.append(name, 0, split, measure_linear(is_binary), settings.command())
    epochs = settings.epochs or EPOCHS
    jobs = [
        Job(model, seed, f"{split} {training_settings(model, epochs)}")
        for model in models
        for seed in range(settings.seeds or 3)
    ]
    complete(results, jobs, partial(train_model, epochs, settings.device), settings)
    lines = []
    for model, described in dict.fromkeys([(job.model, job.settings) for job in jobs]):
        rows = results.trainings(model, described)
        accuracy = mean_and_deviation(rows, "test_accuracy", 2)
        seconds = mean_and_deviation(rows, "seconds_per_epoch", 1)
        lines.append([model, str(len(rows)), accuracy, rows[0]["parameters"], seconds])
    for row in newest(results.rows(split)):
        lines.append([row["model"], "–", f"{float(row['test_accuracy']):.2f}"])
        lines[-1] += [row["parameters"], "–"]
    print(markdown_table(["model", "seeds", "test accuracy [%]", "parameters", "s/epoch"], lines))


def learning_rate(model: str) -> float:
    """Return the learning rate: higher for an LTC."""
    return 1e-2 if "ltc" in model else 3e-3


def frame_pixels(model: str) -> float:
    """Return the nominal frame [pixels]: an LTC forgets within a frame, so it gets long ones."""
    return 20.0 if "ltc" in model else 4.0


def training_settings(model: str, epochs: int) -> str:
    """Return the settings of a model's training as one cell of the results file."""
    return (
        f"units={UNITS.get(model, 64)} frame={frame_pixels(model):g} batch={BATCH_SIZE}"
        f" lr={learning_rate(model):g}{time_note(model)} epochs={epochs}"
    )


def train_model(epochs: int, device: str, job: Job, is_silent: bool) -> Measured:
    """Train one model with one seed and measure it on the test digits."""
    torch.set_flush_denormal(True)
    data = load()
    torch.manual_seed(job.seed)
    sizes = CellSizes(
        num_inputs=1,
        num_units=UNITS.get(job.model, 64),
        num_outputs=NUM_CLASSES,
        frame_s=frame_pixels(job.model) * PIXEL_S,
        seed=job.seed,
        activation="silu",
        sees_time=True,
    )
    model = make_forecaster(job.model, sizes)
    config = TrainingConfig(
        device=device,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        learning_rate=learning_rate(job.model),
        final_learning_rate=FINAL_LEARNING_RATE,
        gradient_clip=GRADIENT_CLIP,
        objective="categories",
        seed=job.seed,
    )
    return fit_classifier(
        model,
        data.training,
        data.validation,
        data.test,
        config,
        job,
        is_silent,
    )


@cache
def digits() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return pixels (samples, 64), classes (samples,), and which samples are in each part."""
    from sklearn.datasets import load_digits

    pixels, classes = (np.asarray(values) for values in load_digits(return_X_y=True))
    order = np.random.default_rng(0).permutation(len(pixels))
    ends = np.cumsum([round(share * len(order)) for share in SHARES.values()])
    test, validation, training = np.split(order, ends)
    return pixels, classes, {"test": test, "validation": validation, "training": training}


@cache
def load() -> Parts:
    """Return the digits as events, each with its class wanted at the last frame."""
    pixels, classes, parts = digits()
    bits = (pixels >= THRESHOLD).astype(np.int64)
    events = encode_events(bits, np.full(len(bits), bits.shape[1]), bit_s=PIXEL_S)
    wanted = torch.nn.functional.one_hot(torch.from_numpy(classes), NUM_CLASSES).float()
    whole = Sequences(
        inputs=events.inputs,
        targets=wanted[:, None].expand(-1, bits.shape[1], -1),
        dt_s=events.dt_s,
        mask=events.is_last,
    )
    return Parts(**{name: whole[torch.from_numpy(samples)] for name, samples in parts.items()})


def measure_linear(is_binary: bool) -> Measured:
    """Fit a linear classifier to all pixels at once and return its row."""
    from sklearn.linear_model import LogisticRegression

    pixels, classes, parts = digits()
    features = (pixels >= THRESHOLD).astype(float) if is_binary else pixels / 16.0
    # The regularisation is the library's default; the validation digits are left unused.
    model = LogisticRegression(max_iter=2000)
    model.fit(features[parts["training"]], classes[parts["training"]])
    accuracies = {
        f"{part}_accuracy": 100.0 * float(model.score(features[parts[part]], classes[parts[part]]))
        for part in ("validation", "test")
    }
    return {"parameters": (features.shape[1] + 1) * NUM_CLASSES, **accuracies}
