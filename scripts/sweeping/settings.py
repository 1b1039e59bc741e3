"""Settings of `sweep.py`."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import tyro

from ncp_control.names import check_name
from ncp_control.ranges import check_at_least


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Train many times, over seeds, cells, wirings and other settings."""

    words_behind: ClassVar[str] = "fixed"

    job: tyro.conf.Positional[str] = ""
    """Job of `train.py`, e.g. imitate."""
    grid: tuple[str, ...] = ()
    """Settings of the job with lists of values; every combination is trained, e.g.
    seed=0,1,2 cell=ltc,lstm 'encoder=64 64,128'. For a switch: mirror=yes,no."""
    search: tuple[str, ...] = ()
    """Settings whose values Optuna chooses from earlier results: neurons=16..64 for an integer,
    learning_rate=log:1e-4..1e-2 or share=0.0..1.0 for a real number, cell=ltc,lstm for a choice.
    Each point is trained for every combination of the grid, e.g. for several seeds, and judged by
    the mean."""
    trials: int = 20
    """Number of points that a search tries."""
    fixed: str = ""
    """Options of every training run: the words after ` -- ` as one text."""
    parallel: int | None = None
    """Number of training runs at the same time; if None: as many as the cores allow."""
    threads: int = 1
    """Number of PyTorch threads of each training run, unless `fixed`, `grid` or `search` set it."""
    address: str | None = None
    """Ray cluster to train on, e.g. auto or 10.0.0.1:6379; `local` starts Ray on this machine. All
    machines of the cluster must see this folder and the run folder. If None: processes of this
    machine, without Ray."""
    tries: int = 3
    """Number of times that a training run is started or resumed if it is killed."""
    prune: bool = False
    """Stop a training run if its best value so far is worse than the median of the other runs after
    the same number of rows in metrics.csv, from the third row on. In a search the other runs are
    those with the same values of the grid. Without a search the grid must not name `seed`: means
    over the seeds that are left would be too good."""
    by: str | None = None
    """Column of metrics.csv by which training runs are ranked; if None: the column by which the job
    chooses its checkpoint."""
    lowest: bool = False
    """Whether the lowest value in the column `by` is the best."""
    runs: Path = Path("runs")
    """Folder in which the run folder of the sweep is created. It holds those of the training
    runs."""
    resume: Path | None = None
    """Run folder of a sweep to resume, with the settings that it was started with; only `by` and
    `lowest` may be given anew. Training runs that failed are tried again."""
    seed: int = 0
    """Seed of the search. Seeds of the training runs are set by --grid seed=0,1,2."""

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
        names_seed = any(word.partition("=")[0] == "seed" for word in self.grid)
        if self.prune and names_seed and not self.search:
            raise ValueError(
                "`prune` must be left out if the grid names `seed` without a search, got True."
                " Means over the seeds that are left would be too good."
            )
        if not self.grid and not self.search:
            raise ValueError("`grid` must name a setting, got none. Give e.g. --grid seed=0,1,2.")
