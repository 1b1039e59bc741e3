"""The trainings behind the tables of `reproduce.py`, as their own code sets them up, without data.

Inputs and targets are random numbers of a table's shape, so that no data set is needed; `digits`,
`xor` and `memory` bring or draw their own. Where padding is cut off a batch, all sequences are as
long as a batch is on average. The UCI sets are in the corrected split, and `xor` is event-based,
with streams of all lengths; `memory` estimates velocities, from spread first values. Left out are
har, person and power, whose windows were not at hand to be counted, wiring and integrators, which
train on the windows of `halfcheetah`, and whatever drives or walks.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import torch

from ncp_control import Circuit
from ncp_control.learning.forecasters import Forecaster
from ncp_control.learning.forecasting import TrainingConfig
from ncp_control.learning.sequences import Sequences
from scripts.reproduction import (
    digits,
    halfcheetah,
    halfcheetah_best,
    imdb,
    memory,
    physionet,
    uci,
    walker2d,
    xor,
)
from scripts.reproduction.completion import Job
from scripts.reproduction.digit_pictures import NUM_CLASSES
from scripts.reproduction.uci_sets import PROTOCOLS
from scripts.timing import Action

VELOCITY, START = "velocity", "spread"
"""Task and first values of the table `memory` that are timed."""


class Trainings(NamedTuple):
    """The trainings of a table."""

    models: tuple[str, ...]
    epochs: int
    num_sequences: int
    """Sequences that train in an epoch."""
    draw: Callable[[int], Sequences]
    """Returns so many of them."""
    set_up: Callable[[Sequences, int, str, Job], tuple[Forecaster, TrainingConfig]]
    """Returns a model for them and how it is trained, by epochs, device and job."""


class DataShape(NamedTuple):
    """What the sequences of a table are like; the numbers in them are random."""

    frames: int
    inputs: int
    outputs: int
    frame_s: float | None = None
    """Mean elapsed time [s]; none is told if None."""
    is_end_asked: bool = False
    """Whether the last frame alone counts."""
    scale: float = 1.0
    """Inputs are from 0 to this."""

    def draw(self, count: int) -> Sequences:
        """Return so many sequences."""
        size = (count, self.frames)
        is_last = (torch.arange(self.frames) == self.frames - 1).expand(size)
        return Sequences(
            inputs=self.scale * torch.rand(*size, self.inputs),
            targets=torch.rand(*size, self.outputs),
            dt_s=None if self.frame_s is None else self.frame_s * (0.5 + torch.rand(size)),
            mask=is_last if self.is_end_asked else None,
        )


def _uci(name: str, num_sequences: int, frames: int, inputs: int) -> Trainings:
    shape = DataShape(frames, inputs, PROTOCOLS[name].num_classes or 1)
    set_up = partial(uci.set_up, name)
    return Trainings(uci.DEFAULT_MODELS, uci.EPOCHS, num_sequences, shape.draw, set_up)


def _digits(name: str, num_sequences: int, draw: Callable[[int], Sequences]) -> Trainings:
    protocol = digits.PROTOCOLS[name]
    set_up = partial(digits.set_up, name)
    return Trainings(protocol.models, protocol.epochs, num_sequences, draw, set_up)


def _draw_small_digits(count: int) -> Sequences:
    return digits.load("digits").training[:count]


@cache
def _streams() -> Sequences:
    known = xor.streams("event-based", xor.NUM_TRAINING, 0)
    return xor.short_first(known, "frames", xor.EPOCHS, 0)(xor.EPOCHS - 1)


def _draw_streams(count: int) -> Sequences:
    return _streams()[:count]


TABLES = {
    "gesture": _uci("gesture", 452, 32, 32),
    "occupancy": _uci("occupancy", 7314, 16, 5),
    "traffic": _uci("traffic", 7601, 32, 7),
    "ozone": _uci("ozone", 468, 32, 72),
    "halfcheetah": Trainings(
        halfcheetah.DEFAULT_MODELS,
        halfcheetah.EPOCHS,
        970,
        DataShape(halfcheetah.WINDOW, 17, 17).draw,
        halfcheetah.set_up,
    ),
    "halfcheetah-best": Trainings(
        tuple(model for model in halfcheetah_best.DEFAULT_MODELS if model != "ensemble"),
        halfcheetah_best.EPOCHS,
        7744,
        DataShape(halfcheetah_best.WINDOW, 17, 17).draw,
        halfcheetah_best.set_up,
    ),
    "walker2d": Trainings(
        walker2d.DEFAULT_MODELS,
        walker2d.EPOCHS,
        9684,
        DataShape(walker2d.WINDOW, 17, 17, frame_s=walker2d.FRAME_S).draw,
        walker2d.set_up,
    ),
    # Without the LTC: on plain torch a step of its 9,344 synapses takes 16 s and 8 GB.
    "physionet": Trainings(
        tuple(model for model in physionet.DEFAULT_MODELS if model != "ltc"),
        physionet.EPOCHS,
        2800,
        DataShape(84, 2 * len(physionet.VARIABLES), 2, frame_s=0.5, is_end_asked=True).draw,
        physionet.set_up,
    ),
    "imdb": Trainings(
        imdb.DEFAULT_MODELS,
        imdb.EPOCHS,
        22_500,
        DataShape(imdb.LENGTH, 1, 2, is_end_asked=True, scale=imdb.NUM_WORDS - 1).draw,
        imdb.set_up,
    ),
    "xor": Trainings(
        xor.DEFAULT_MODELS, xor.EPOCHS, xor.STREAMS_PER_EPOCH, _draw_streams, xor.set_up
    ),
    "mnist": _digits(
        "mnist", 54_000, DataShape(55, 1, NUM_CLASSES, frame_s=14.0, is_end_asked=True).draw
    ),
    "smnist": _digits("smnist", 54_000, DataShape(28, 28, NUM_CLASSES, is_end_asked=True).draw),
    "digits": _digits("digits", 1258, _draw_small_digits),
}
"""Those that `Sequences` train. Numbers of sequences are those that the data sets give."""


def make_memory_step(model: str) -> Action:
    """Return a step of the table `memory`, which has a loop of its own."""
    task = memory.TASKS[VELOCITY]
    draw = partial(memory.draw_sines, task.frames)
    circuit = Circuit(memory.make_cell(model, task, START, draw, 0))
    rate = memory.learning_rate(VELOCITY, model, START)
    optimizer = torch.optim.Adam(circuit.parameters(), lr=rate)
    drawn = draw(memory.BATCH_SIZE, torch.Generator().manual_seed(0))
    return partial(memory.take_step, circuit, optimizer, *drawn, False)
