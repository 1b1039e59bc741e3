"""What `train.py series` can be told, without heavy imports."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from ncp_control.learning.settings import ImitationConfig
from ncp_control.names import check_name
from ncp_control.ranges import check_at_least, check_given, check_part
from scripts.options import one_of
from scripts.training.new_circuit import NewCircuit
from scripts.training.settings import check_circuit

TASKS = ("forecast", "classify")
SPLITS = ("time", "series")


@dataclass(frozen=True, kw_only=True)
class Series(NewCircuit):
    """Learn from time series of your own: CSV files, at any times, with missing values.

    The policy that comes out is saved and exported like any other: it senses the columns, and its
    action is the forecast, scaled to [-1, 1], or the class.
    """

    data: tuple[Path, ...] = ()
    """CSV files with a header, or folders of them."""
    target: tuple[str, ...] = ()
    """Columns to forecast, or the one that names the class."""
    task: Annotated[str, "forecast or classify"] = "forecast"
    """forecast: numbers some rows ahead; classify: the class at each row."""
    horizon: int = 1
    """Rows between what is seen and what is forecast; 0 estimates the target of the same row, which
    is then not seen. Not used to classify."""
    inputs: tuple[str, ...] = ()
    """Columns that are seen; if none is named, all, but not a target that is to be estimated."""
    time: str | None = None
    """Column of the time, in seconds or ISO 8601; without one, rows are a second apart."""
    series: str | None = None
    """Column that tells apart the series of a file; without one, a file is one series."""
    split: str = "time"
    """time: the first part of every series trains, the last tests; series: whole series do."""
    train_share: float = 0.7
    """Share that trains."""
    validation_share: float = 0.15
    """Share that chooses the checkpoint; what is left tests."""
    cell: Annotated[str, one_of("cell")] = "ltc"
    """Circuit, or what it is measured against."""
    neurons: int = 32
    """Neurons of a wired circuit, motor neurons included; units of the other cells."""
    encoder: tuple[int, ...] = ()
    """Widths of dense layers between the columns and the cell."""
    imitation: ImitationConfig = field(
        default_factory=lambda: ImitationConfig(
            epochs=40, window=32, batch_size=16, dagger_epochs=(), turn_weight=0.0
        )
    )
    """Settings of the training; its seed is replaced by the one below."""
    results: Path | None = None
    """CSV file to which the test errors are added; a new one in the run folder by default."""
    threads: int = 1
    """Torch threads."""
    runs: Path = Path("runs")
    """Where run folders are made."""
    resume: Path | None = None
    """Run folder to go on with; it brings its own settings."""
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
        check_at_least(self, 1, "neurons", "threads")
        check_at_least(self, 0, "seed", "horizon")
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
        """Rows between what is seen and the target."""
        return self.horizon if self.task == "forecast" else 0
