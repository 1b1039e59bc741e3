"""Settings of `train.py series`; imports nothing heavy."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from ncp_control.learning.settings import ImitationConfig
from ncp_control.names import check_name
from ncp_control.ranges import check_above_zero, check_at_least, check_given, check_part
from scripts.options import one_of
from scripts.training.new_circuit import NewCircuit
from scripts.training.settings import check_circuit, check_needs_no_frames
from scripts.training.sized import Sized

TASKS = ("forecast", "classify")
SPLITS = ("time", "series")


@dataclass(frozen=True, kw_only=True)
class Series(Sized, NewCircuit):
    """Train on your own time series: CSV files, with irregular times and missing values.

    The result is saved and exported like any other policy: its observation is the columns, and its
    action is the forecast, scaled to [-1, 1], or the class.
    """

    data: tuple[Path, ...] = ()
    """CSV files with a header, or folders of them."""
    target: tuple[str, ...] = ()
    """Columns to forecast, or the one column of the class."""
    task: Annotated[str, "forecast or classify"] = "forecast"
    """Task. forecast: predict numbers some rows ahead; classify: predict the class of each row."""
    horizon: int = 1
    """Number of rows from the inputs to the forecast target. 0: estimate the target of the same
    row, which is then not an input. Not used by classify."""
    inputs: tuple[str, ...] = ()
    """Input columns. If none is given: all columns of numbers, without targets of the same row
    (`horizon` 0, or classify)."""
    time: str | None = None
    """Column of the time, in seconds or ISO 8601; if None: rows are one second apart."""
    series: str | None = None
    """Column that distinguishes the series in a file; if None: each file is one series."""
    max_gap_s: float | None = None
    """Time between two rows [s] above which a new series begins, so that nothing is forecast across
    the gap; if None: 10 times the usual time between two rows."""
    split: str = "time"
    """How to split into training, validation and test parts. time: cut each series in time, the
    first part trains; series: assign whole series to the parts."""
    train_share: float = 0.7
    """Share of the data for training."""
    validation_share: float = 0.15
    """Share of the data for validation, which chooses the checkpoint; the rest is the test part."""
    cell: Annotated[str, one_of("cell")] = "ltc"
    """Cell of the circuit, or a baseline network."""
    neurons: int = 32
    """Number of neurons of a wired circuit, motor neurons included; of units, for other cells."""
    encoder: tuple[int, ...] = ()
    """Widths of the dense layers between the columns and the cell."""
    imitation: ImitationConfig = field(
        default_factory=lambda: ImitationConfig(
            epochs=40, window=32, batch_size=16, dagger_epochs=(), turn_weight=0.0
        )
    )
    """Settings of the training loop. `seed` below replaces the seed among them."""
    results: Path | None = None
    """CSV file to which the test errors are appended; if None: a new file in the run folder."""
    threads: int = 1
    """Number of PyTorch threads."""
    runs: Path = Path("runs")
    """Folder in which the run folder is created."""
    resume: Path | None = None
    """Run folder of a stopped run to resume, with the settings that it was started with."""
    seed: int = 0
    """Seed of weights and windows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resume is None:
            check_given(self, "data", "target")
        for name in ("target", "inputs"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(
                    f"`{name}` must name each column once, got {list(getattr(self, name))}."
                )
        check_name("task", self.task, TASKS)
        check_name("split", self.split, SPLITS)
        check_circuit(self.cell, self.wiring)
        check_needs_no_frames(self.cell)
        check_at_least(self, 1, "neurons", "threads")
        self.check_size()
        check_at_least(self, 0, "seed", "horizon")
        if self.max_gap_s is not None:
            check_above_zero("max_gap_s", self.max_gap_s)
        check_part("train_share", self.train_share)
        check_part("validation_share", self.validation_share)
        if self.train_share + self.validation_share >= 1.0:
            raise ValueError(
                f"`train_share` and `validation_share` must leave a share that tests, got"
                f" {self.train_share:g} and {self.validation_share:g}. Lower one of them."
            )
        if self.task == "classify" and len(self.target) > 1:
            raise ValueError(
                f"`target` must be one column to classify, got {list(self.target)}. Name one."
            )
        if self.imitation.dagger_epochs:
            raise ValueError(
                f"`dagger_epochs` must be left out for series, got"
                f" {self.imitation.dagger_epochs!r}. There is no expert to ask."
            )

    @property
    def rows_ahead(self) -> int:
        """Number of rows from the inputs to the target: `horizon`, or 0 for classification."""
        return self.horizon if self.task == "forecast" else 0
