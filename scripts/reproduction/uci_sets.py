"""Protocols of the LTC paper's seven sets of the UCI repository, and their defects.

Settings are the paper's: 32 units with a dense readout at every row, Adam at 1e-3 (LTC 1e-2, on
occupancy 5e-3), batches of 16 (person 64), 200 epochs, no time stamps, and the checkpoint with the
best validation measure is tested.

`published` is the paper's own split. Its defects:

| set       | defect                                                                               |
|-----------|--------------------------------------------------------------------------------------|
| gesture   | windows overlap by half and are shuffled, so tests hold rows of the training         |
| occupancy | windows of training and validation overlap by 15 rows of 16; the tests are clean     |
| traffic   | windows overlap by 28 hours of 32 and are shuffled; the holiday is always 0; rows    |
|           | that repeat an hour are left in                                                      |
| ozone     | the axes are swapped: a sequence runs over the windows, every fourth day, and what   |
|           | tests are 4 of the 32 days of a window, which train as well in the windows next to   |
|           | it; one mean and deviation for temperatures, winds and pressures; missing is 0       |
| har       | windows of training and validation overlap by 15 rows of 16, and some run from one   |
|           | person to the next; the tests, of other people, are clean                            |
| person    | windows overlap by half and are shuffled, so tests hold rows of the training; the    |
|           | last recording is lost; the irregular times are not used                             |
| power     | windows of the same hours are shuffled over the parts; the current of a minute is an |
|           | input, and it nearly tells the power, which is current times voltage                 |

`corrected` splits every piece by time: 75 % for training, 10 % for validation, 15 % for testing,
with no row in two parts and without overlap of test windows (occupancy: the last 10 % of the
training file are for validation, the other two files for testing). In har and person, no person is
in two parts: in har the last tenth of the training people are for validation; in person A, B and C
are for training, D for validation and E for testing. In power the current and minutes without a
measurement are left out. Inputs are standardised by the training rows, and missing values are their
mean. In traffic, holidays are used, and rows that repeat an hour are left out.

The paper reports 6,554 sequences of person activity. Its published code, which this follows, cuts
about 10,000 windows.

Source: Hasani et al. 2021 (arXiv 2006.04439), tables 3 and 4, and the code published with it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from scripts.reproduction.measures import ACCURACY, F1, MSE, Measure
from scripts.reproduction.uci_data import DataTable
from scripts.reproduction.uci_splits import (
    Prepared,
    correct,
    correct_by_people,
    correct_power,
    correct_traffic,
    publish_gesture,
    publish_har,
    publish_occupancy,
    publish_ozone,
    publish_person,
    publish_power,
    publish_traffic,
)

BATCH_SIZE = 16
FIRST_CLASS_WEIGHT, SECOND_CLASS_WEIGHT = 0.1, 1.6
"""Weights of days without and with ozone in the loss."""
_PAPER_MODELS = ("lstm", "ctrnn", "neural_ode", "ctgru", "ltc")


@dataclass(frozen=True, kw_only=True)
class SetProtocol:
    """Settings that differ between the sets."""

    published: Callable[[DataTable], Prepared]
    corrected: Callable[[DataTable], Prepared]
    measure: Measure
    num_classes: int | None
    """Number of classes; None if the target is a number."""
    paper: Mapping[str, str]
    """The paper's figures by model, means of five seeds."""
    ltc_rate: float = 1e-2
    batch_size: int = BATCH_SIZE
    class_weights: tuple[float, ...] | None = None

    @property
    def objective(self) -> str:
        """The training's objective."""
        return "forecast" if self.num_classes is None else "categories"


def _paper(*figures: str) -> dict[str, str]:
    """Return the paper's figures by model; `figures` has the tables' order, with "" if missing."""
    named = zip(_PAPER_MODELS, figures, strict=True)
    return {model: figure for model, figure in named if figure}


PROTOCOLS = {
    "gesture": SetProtocol(
        published=publish_gesture,
        corrected=partial(correct, window=32, stride=16),
        measure=ACCURACY,
        num_classes=5,
        paper=_paper("64.57", "59.01", "46.97", "68.31", "69.55"),
    ),
    "occupancy": SetProtocol(
        published=publish_occupancy,
        corrected=partial(correct, window=16, stride=1, is_by_file=True),
        measure=ACCURACY,
        num_classes=2,
        ltc_rate=5e-3,
        paper=_paper("93.18", "94.54", "90.15", "91.44", "94.63"),
    ),
    "traffic": SetProtocol(
        published=publish_traffic,
        corrected=correct_traffic,
        measure=MSE,
        num_classes=None,
        paper=_paper("0.169", "0.224", "1.512", "0.389", "0.099"),
    ),
    "ozone": SetProtocol(
        published=publish_ozone,
        corrected=partial(correct, window=32, stride=4),
        measure=F1,
        num_classes=2,
        class_weights=(FIRST_CLASS_WEIGHT, SECOND_CLASS_WEIGHT),
        paper=_paper("0.284", "0.236", "0.168", "0.260", "0.302"),
    ),
    "har": SetProtocol(
        published=publish_har,
        corrected=partial(correct_by_people, window=16, stride=1),
        measure=ACCURACY,
        num_classes=6,
        paper=_paper("95.85", "95.73", "97.26", "96.16", "95.67"),
    ),
    "person": SetProtocol(
        published=publish_person,
        corrected=partial(correct_by_people, window=32, stride=16),
        measure=ACCURACY,
        num_classes=7,
        batch_size=64,
        paper=_paper("83.59", "81.54", "", "85.27", "85.48"),
    ),
    "power": SetProtocol(
        published=publish_power,
        corrected=correct_power,
        measure=MSE,
        num_classes=None,
        paper=_paper("0.628", "0.742", "1.254", "0.586", "0.642"),
    ),
}
"""Protocols by the table's name."""
