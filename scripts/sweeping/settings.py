"""What `sweep.py` can be told."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import tyro

from ncp_control.names import check_name
from ncp_control.ranges import check_at_least


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Run a training many times: over seeds, cells, wirings and settings."""

    words_behind: ClassVar[str] = "fixed"

    job: tyro.conf.Positional[str] = ""
    """Job of `train.py`, e.g. imitate."""
    grid: tuple[str, ...] = ()
    """Settings of the job with the values that they take, every combination of which is trained:
    seed=0,1,2 cell=ltc,lstm 'encoder=64 64,128'. Of a switch: mirror=yes,no."""
    search: tuple[str, ...] = ()
    """Settings whose values Optuna chooses, from what was best so far: neurons=16..64 for a whole
    number, learning_rate=log:1e-4..1e-2 or share=0.0..1.0, cell=ltc,lstm. Each point is trained for
    every combination of the grid, e.g. for several seeds, and judged by the mean."""
    trials: int = 20
    """Points that a search tries."""
    fixed: str = ""
    """What every training is told: the words behind ` -- ` as one text."""
    parallel: int | None = None
    """Trainings side by side; if None, as many as there are cores for."""
    threads: int = 1
    """Torch threads of each training that does not say its own number."""
    address: str | None = None
    """Ray cluster that trains, e.g. auto or 10.0.0.1:6379; `local` starts Ray on this machine. All
    its machines must see this folder and the run folder. If None, processes of this machine alone,
    without Ray."""
    tries: int = 3
    """Times that a training which was killed is begun or gone on with."""
    prune: bool = False
    """Stop trainings that lag: whose best value so far is worse than the median of the others after
    as many rows of their metrics.csv, from the third row on."""
    by: str | None = None
    """Column of the trainings' metrics.csv that says which is the best; what the job chooses its
    checkpoint by if None."""
    lowest: bool = False
    """Whether the lowest value of that column is the best."""
    runs: Path = Path("runs")
    """Where the sweep's run folder is made; the trainings' own lie in it."""
    resume: Path | None = None
    """Run folder of a sweep to go on with; it brings its own settings."""
    seed: int = 0
    """Seed of the search. That of the trainings is a setting of theirs: --grid seed=0,1,2."""

    def __post_init__(self) -> None:
        from scripts.training.jobs import JOBS

        check_at_least(self, 1, "trials", "parallel", "threads", "tries")
        check_at_least(self, 0, "seed")
        if self.resume is not None:
            return
        check_name("job", self.job, JOBS)
        if self.lowest and self.by is None:
            raise ValueError(
                "`lowest` must come with --by, got it alone. Alone, a job's own column decides."
            )
        if not self.grid and not self.search:
            raise ValueError("`grid` must name a setting, got none. Give e.g. --grid seed=0,1,2.")
