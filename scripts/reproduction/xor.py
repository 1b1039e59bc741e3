"""Bit-stream XOR: classify whether a stream has an odd number of ones.

A stream has 2 to 31 random bits. Dense: one frame a bit. Event-based: one frame whenever the bit
changes, and one at the end. Only the elapsed time tells how long the bit before lasted, so a model
has to use elapsed times and to remember.

Three measures make the task learnable in minutes. First, training begins with short streams and
adds longer ones until all are used: the parity of 31 bits gives no useful gradient before that of 4
is known. Short means few bits for an LTC and few frames for the others: an event-based stream of
few frames may hold long runs, so a CfC learns to measure their length before it has to remember;
with few bits first it settles on short runs and stays at 97 %. An LTC with mixed memory, with few
frames first, stays at 87 %. Second, streams with long runs, which are rare and the hardest, are
drawn more often; the test streams are drawn uniformly. Third, models are initialised for the
elapsed times that occur: by the number of bits in an LTC's nominal frame, and by time gates of a
CfC that open one after the other. LSTM and GRU, which ignore elapsed times, get it as an additional
input.

Source: Lechner & Hasani 2020 (arXiv 2006.04418), section 5; figures: Hasani et al. 2022, Nature
Machine Intelligence 4:992, table 2, and the code published with both. Differs: these three, with a
tenth of the papers' optimizer steps; streams kept for validation choose the checkpoint;
Adam and cosine decay for all models.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import torch

from ncp_control.cells import CELLS, CellSizes, CfC, MixedMemory
from ncp_control.learning.forecasters import Forecaster, make_forecaster
from ncp_control.learning.forecasting import TrainingConfig
from ncp_control.learning.results import OF_DEVIATION, mean_and_deviation
from ncp_control.learning.sequences import Sequences
from ncp_control.markdown import markdown_table
from scripts.reproduction.completion import Job, Measured, Reproduce, complete
from scripts.reproduction.events import encode_events
from scripts.reproduction.forecasts import WindowParts, time_note
from scripts.reproduction.measures import ACCURACY, fit_measured

PAPER = {
    ("event-based", "cfc"): "99.42",
    ("event-based", "mixed_cfc"): "99.72",
    ("event-based", "ltc"): "49.11",
    ("event-based", "lstm"): "89.71",
    ("dense", "cfc"): "97.34",
}
"""Accuracies in percent."""
ENCODINGS = ("event-based", "dense")
DEFAULT_MODELS = ("ltc", "mixed_ltc", "lrcu", "cfc", "mixed_cfc", "lstm")
MAX_BITS, NUM_TRAINING, NUM_VALIDATION, NUM_TEST = 32, 100_000, 2_000, 10_000
BIT_S = 1.0  # one bit is one second of the data's clock
STREAMS_PER_EPOCH, EPOCHS = 12_800, 90
FIRST_LENGTH = 4
GROWTH_SHARE = {"bits": 0.4, "frames": 0.5}
"""Share of the epochs after which all streams are used, by the measure of a stream's length."""
RUN_WEIGHT = 1.5  # factor of a stream's probability for each bit more in its longest run
LONGEST_RUN = 14  # longer ones are too rare to matter: 1 in 2,000 streams


class Recipe(NamedTuple):
    """Sizes and training settings of a model, chosen on validation streams."""

    units: int
    frame_bits: float
    """Nominal frame of the model [bits]."""
    learning_rate: float
    batch_size: int
    length: str
    """Measure of a stream's length: a name in `GROWTH_SHARE`."""


RECIPES = {
    "ltc": Recipe(units=16, frame_bits=20.0, learning_rate=1e-2, batch_size=128, length="bits"),
    "mixed_ltc": Recipe(
        units=16, frame_bits=20.0, learning_rate=1e-2, batch_size=128, length="bits"
    ),
    # Not chosen on validation streams: the LTC's neurons, and a frame that no run exceeds by far.
    "lrcu": Recipe(units=16, frame_bits=20.0, learning_rate=1e-2, batch_size=128, length="bits"),
    "cfc": Recipe(units=96, frame_bits=1.0, learning_rate=2e-3, batch_size=64, length="frames"),
    "mixed_cfc": Recipe(
        units=64, frame_bits=1.0, learning_rate=3e-3, batch_size=64, length="frames"
    ),
}
"""Recipes of the liquid models; an LTC has 4 parameters per synapse, so fewer neurons."""
OTHERS = Recipe(units=64, frame_bits=1.0, learning_rate=5e-3, batch_size=128, length="frames")


def reproduce_xor(settings: Reproduce) -> None:
    """Run the missing trainings on each encoding and print the table."""
    models = settings.chosen("models", CELLS, DEFAULT_MODELS)
    encodings = settings.chosen("tasks", ENCODINGS)
    results = settings.results_file(ACCURACY.columns)
    epochs = settings.epochs or EPOCHS
    jobs = [
        Job(model, seed, training_settings(encoding, model, epochs))
        for encoding in encodings
        for model in models
        for seed in range(settings.seeds or 5)
    ]
    complete(results, jobs, partial(train_model, epochs, settings.device), settings)
    lines = []
    for encoding in encodings:
        for model in models:
            rows = results.trainings(model, training_settings(encoding, model, epochs))
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
    print(f"\n{OF_DEVIATION}")


def training_settings(encoding: str, model: str, epochs: int) -> str:
    """Return the training settings of a model as one cell of the results file."""
    recipe = RECIPES.get(model, OTHERS)
    order = " frames-first" if recipe.length == "frames" else ""
    return (
        f"{encoding} units={recipe.units} frame={recipe.frame_bits:g} batch={recipe.batch_size}"
        f" lr={recipe.learning_rate:g}{order}{time_note(model)} epochs={epochs}x{STREAMS_PER_EPOCH}"
    )


def train_model(epochs: int, device: str, job: Job, is_silent: bool) -> Measured:
    """Train one model with one seed and measure it on the test streams."""
    # Gradients decay to denormal numbers along a stream; these would cost half the time.
    torch.set_flush_denormal(True)
    encoding, recipe = job.settings.split()[0], RECIPES.get(job.model, OTHERS)
    known = streams(encoding, NUM_TRAINING, 0)
    data = WindowParts(
        training=known[NUM_VALIDATION:],
        validation=known[:NUM_VALIDATION],
        test=streams(encoding, NUM_TEST, 1),
    )
    model, config = set_up(known, epochs, device, job)
    lesson = short_first(data.training, recipe.length, epochs, job.seed)
    return fit_measured(model, data, config, job, is_silent, lesson=lesson)


def set_up(
    data: Sequences, epochs: int, device: str, job: Job
) -> tuple[Forecaster, TrainingConfig]:
    """Return an untrained model for the sequences, and its training settings."""
    recipe = RECIPES.get(job.model, OTHERS)
    torch.manual_seed(job.seed)
    sizes = CellSizes(
        num_inputs=data.inputs.shape[2],
        num_units=recipe.units,
        num_outputs=data.targets.shape[2],
        frame_s=recipe.frame_bits * BIT_S,
        seed=job.seed,
        activation="silu",
        sees_time=True,
    )
    model = make_forecaster(job.model, sizes)
    cell = model.circuit.cell
    cell = cell.cell if isinstance(cell, MixedMemory) else cell
    if isinstance(cell, CfC) and cell.mode != "pure":
        cell.spread_gates_(LONGEST_RUN * BIT_S)
    config = TrainingConfig(
        device=device,
        epochs=epochs,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        final_rate_fraction=0.02,
        gradient_clip=1.0,
        objective="classify",
        seed=job.seed,
    )
    return model, config


def short_first(
    known: Sequences, length: str, epochs: int, seed: int
) -> Callable[[int], Sequences]:
    """Return a function that draws the streams of an epoch: first short ones, at last all.

    A stream is `RUN_WEIGHT` times as likely for each bit more in its longest run.

    Args:
        known: All training streams.
        length: Measure of a stream's length: bits or frames.
        epochs: Number of epochs of the training.
        seed: Seed of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    assert known.dt_s is not None and known.mask is not None
    num_bits = (known.dt_s.sum(dim=1) / BIT_S).round()
    num_frames = known.mask.float().argmax(dim=1) + 1.0
    lengths = {"bits": num_bits, "frames": num_frames}[length]
    longest_run = (known.dt_s.amax(dim=1) / BIT_S).clamp(max=LONGEST_RUN)
    weight = RUN_WEIGHT**longest_run

    def lesson(epoch: int) -> Sequences:
        progress = min(1.0, epoch / (GROWTH_SHARE[length] * epochs))
        most = FIRST_LENGTH + progress * (MAX_BITS - FIRST_LENGTH)
        allowed = (lengths <= most).nonzero()[:, 0]
        drawn = torch.multinomial(
            weight[allowed], STREAMS_PER_EPOCH, replacement=True, generator=generator
        )
        return known[allowed[drawn]]

    return lesson


@cache
def streams(encoding: str, count: int, seed: int) -> Sequences:
    """Draw random streams, with the target at the last frame of each.

    Args:
        encoding: A name in `ENCODINGS`.
        count: Number of streams.
        seed: Seed of the draws.
    """
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (count, MAX_BITS))
    num_bits = rng.integers(2, MAX_BITS, count)
    is_odd = (bits * (np.arange(MAX_BITS) < num_bits[:, None])).sum(axis=1) % 2
    events = encode_events(bits, num_bits, bit_s=BIT_S, is_dense=encoding == "dense")
    return Sequences(
        inputs=events.inputs,
        targets=torch.from_numpy(is_odd)[:, None, None].float().expand(-1, MAX_BITS, 1),
        dt_s=events.dt_s,
        mask=events.is_last,
    )
