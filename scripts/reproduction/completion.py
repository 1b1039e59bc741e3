"""Code that all tables share: settings, finding missing trainings and running them."""

import contextlib
import hashlib
import multiprocessing
import os
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

import tyro
from tqdm import tqdm

from ncp_control.command_line import use_threads
from ncp_control.devices import check_device
from ncp_control.imports import import_modules, imported_modules
from ncp_control.learning.results import ResultsFile, Row, newest
from ncp_control.learning.run import Run
from ncp_control.names import check_name
from ncp_control.ranges import check_at_least, check_count
from ncp_control.workers import Workers
from scripts.options import one_of
from scripts.sweeping.running import open_places

Measured = Mapping[str, float | str]
"""Results of one training, by column."""
TRIES = 3
"""Number of attempts for a training whose process is killed, if trainings run in parallel."""


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Reproduce a table or figure of the papers, or show the published one."""

    table: Annotated[str, tyro.conf.Positional]
    """halfcheetah, halfcheetah-best, walker2d, gesture, occupancy, traffic, ozone, har, person,
    power, physionet, imdb, mnist, smnist, xor, digits, wiring, integrators, expressivity,
    memory, conditions, road, newton or reinforcement."""
    data: Path | None = None
    """Folder of the dataset, as downloaded. For walker2d: folder of the CfC paper's rollouts, or of
    our own traces, which are recorded there if missing."""
    models: Annotated[tuple[str, ...], one_of("cell")] = ()
    """Models to train; if none: the table's default models. halfcheetah, the UCI sets and tables of
    digits also know ltc_spread, the LTC with slow neurons."""
    tasks: tuple[str, ...] = ()
    """Tasks of a table that has several: e.g. published and corrected, the splits of a UCI set, or
    conditions such as fog:3. If none: all of the table."""
    trainings: tuple[str, ...] = ()
    """Camera conditions in the trainings of conditions and road. clean: none; conditions: all;
    without-1, without-2, without-3: all but a third, which are then used for evaluation. Only for
    conditions: averaged, long-windows, short-windows, own-drives (all, with other training
    settings) and blackouts (only these). If none: clean and conditions."""
    seeds: int | None = None
    """Number of trainings of each model, with seeds 0, 1, …. If None: 5 for halfcheetah, the UCI
    sets, xor, memory and expressivity, 1 for road without --full, else 3."""
    epochs: int | None = None
    """Number of passes over the data; if None: the table's own number."""
    episodes: int | None = None
    """Length of the expert's demonstrations for road [min]; if None: the table's own number."""
    km: float | None = None
    """Distance of each drive of conditions and road [km]; if None: the table's own number."""
    wipe_every: tuple[int, ...] = ()
    """Intervals between two wipes of the memory [frames], e.g. 1 4 16: each drive of conditions and
    road is repeated with each interval, to measure how much the memory helps."""
    full: bool = False
    """For road: all models, all conditions, 3 seeds and long drives, which takes days on one core,
    instead of a part that takes some hours."""
    steps: int | None = None
    """Number of steps of a reinforcement training; if None: 1,000,000."""
    parallel: int | None = None
    """Number of trainings in parallel, each in its own process with one thread; a killed process is
    started again. If None: 1, or the number of cores of the cluster."""
    address: str | None = None
    """Address of a Ray cluster for the trainings, e.g. auto or 10.0.0.1:6379; `local` starts Ray on
    this machine. All machines must share this folder, the data and the run folder. If None: only
    this machine."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda if available."""
    show: bool = False
    """Train nothing: print the published table, or the table in --results, and the origin of its
    rows."""
    results: Path | None = None
    """Folder of a table to resume, e.g. the run folder of a stopped job, or `results` to extend the
    published tables. If None: a new run folder."""
    runs: Path = Path("runs")
    """Folder in which the run folder is created."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "seeds", "epochs", "episodes", "steps", "parallel")
        if self.km is not None:
            from scripts.evaluation.driving import check_km

            check_km("km", self.km)
        for every in self.wipe_every:
            check_count("wipe_every", every)
        check_device(self.device)

    @property
    def is_serial(self) -> bool:
        """Whether the trainings run one after the other in this process."""
        return self.address is None and (self.parallel or 1) == 1

    def chosen(
        self, setting: str, known: Collection[str], default: Collection[str] | None = None
    ) -> tuple[str, ...]:
        """Return the chosen models, tasks or trainings, each once.

        Args:
            setting: models, tasks or trainings.
            known: Names that may be chosen.
            default: Names to return if none are chosen; if None: all known ones.

        Raises:
            ValueError: If one is unknown; the nearest known one is suggested.
        """
        asked: tuple[str, ...] = getattr(self, setting)
        for name in asked:
            check_name(setting, name, known)
        return tuple(dict.fromkeys(asked or (known if default is None else default)))

    def results_file(self, measures: Sequence[str], name: str | None = None) -> ResultsFile:
        """Open the table's results file, in a new run folder if `results` is None.

        Args:
            measures: Names of the measured columns.
            name: The file's name without .csv; if None: the table's name.
        """
        name = f"{name or self.table}.csv"
        if self.results is not None:
            return ResultsFile(self.results / name, measures)
        run = Run.create("reproduce", self.table, self, root=self.runs)
        print(f"run folder: {run.folder}")
        print(f"If it is stopped, the same command with --results {run.folder} goes on.")
        return ResultsFile(run.folder / name, measures)

    def command(self, model: str | None = None) -> str:
        """Return the command that makes the rows of one model, or, if None, the untrained rows."""
        parts = ["python scripts/reproduce.py", self.table]
        parts += [f"--import {module}" for module in imported_modules()]
        parts += ["--data PATH"] if self.data else []
        parts += [f"--models {model}"] if model else []
        for name in ("tasks", "trainings", "wipe_every"):
            values = getattr(self, name)
            option = name.replace("_", "-")
            parts += [f"--{option} {' '.join(map(str, values))}"] if values else []
        parts += ["--full"] if self.full else []
        for name in ("seeds", "epochs", "episodes", "km", "steps"):
            value = getattr(self, name)
            parts += [f"--{name} {value}"] if value else []
        parts += [f"--device {self.device}"] if self.device != "auto" else []
        return " ".join(parts)


class Job(NamedTuple):
    """One training."""

    model: str
    seed: int
    settings: str
    checkpoint: Path | None = None
    """File from which a stopped training resumes; `complete` sets the name and removes the file."""

    @property
    def key(self) -> tuple[str, int, str]:
        """Model, seed and settings, which identify the row."""
        return self.model, self.seed, self.settings

    @property
    def name(self) -> str:
        """Text of the progress bar."""
        return f"{self.model} seed {self.seed}"


def complete(
    results: ResultsFile,
    jobs: Sequence[Job],
    run: Callable[[Job, bool], Measured],
    settings: Reproduce,
) -> None:
    """Run the trainings that the results file lacks, and append each row as soon as it ends.

    A stopped training resumes from its checkpoint in `settings.runs`, which is removed once the row
    is written. Checkpoints of other commits are ignored.

    Args:
        results: The results file.
        jobs: All trainings of the table.
        run: Runs one training, silently or with a progress bar. It must be importable by name,
            so that another process can run it.
        settings: The command line.
    """
    missing: list[Job] = []
    for job in jobs:
        identity = f"{settings.table} {job.key} {settings.device} {results.commit}"
        name = f"{job.model}-{job.seed}-{hashlib.sha256(identity.encode()).hexdigest()[:10]}"
        job = job._replace(checkpoint=settings.runs / "tables" / f"{name}.safetensors")
        if results.has(*job.key):
            _remove_checkpoints(job)
        else:
            missing.append(job)
    print(f"results: {results.path}, {len(jobs) - len(missing)} of {len(jobs)} trainings are there")
    try:
        if settings.is_serial or len(missing) < 2:
            for job in missing:
                if results.has(*job.key):
                    continue  # another process was quicker
                results.append(*job.key, run(job, False), settings.command(job.model))
                _remove_checkpoints(job)
        else:
            _run_side_by_side(results, missing, run, settings)
    except KeyboardInterrupt:
        results.begin()  # keeps the folder for resuming, even without rows
        raise
    print_left_out(results.rows(), results.num_damaged)


def _remove_checkpoints(job: Job) -> None:
    """Remove the checkpoints of a training and of its members, and the folder if it is empty."""
    assert job.checkpoint is not None
    folder = job.checkpoint.parent
    for path in folder.glob(f"{job.checkpoint.stem}*"):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty, or never created
        folder.rmdir()


def print_left_out(rows: Sequence[Row], num_damaged: int) -> None:
    """Print how many rows of a file are ignored, if any."""
    for number, what in (
        (len(rows) - len(newest(rows)), "older rows of trainings that were measured again"),
        (num_damaged, "damaged rows"),
    ):
        if number:
            print(f"left out: {number} {what}")


def _run_side_by_side(
    results: ResultsFile,
    missing: Sequence[Job],
    run: Callable[[Job, bool], Measured],
    settings: Reproduce,
) -> None:
    """Run trainings in parallel processes; a failed training does not stop the others."""
    shared = run, imported_modules(), os.getcwd()
    left, tries, running = deque(missing), Counter[Job](), dict[Future[Any], Job]()
    failed: list[BaseException] = []
    bar = tqdm(total=len(missing), unit="training")
    where = open_places(run_alone, settings.parallel, 1, settings.address)
    with where as pool, contextlib.closing(bar):
        try:
            while left or running:
                while left and len(running) < pool.size:
                    job = left.popleft()
                    if results.has(*job.key):
                        bar.update()  # another process was quicker
                        continue
                    tries[job] += 1
                    running[pool.start(*shared, job)] = job
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for job, lost, result in ((running.pop(x), x.exception(), x) for x in done):
                    if lost is not None and tries[job] < TRIES:
                        tqdm.write(f"{job.model} with seed {job.seed} is tried again: {lost}")
                        left.append(job)
                        continue
                    is_done, outcome = (False, lost) if lost is not None else result.result()
                    bar.update()
                    if not is_done:  # the other trainings continue
                        failed.append(cast(BaseException, outcome))
                        tqdm.write(f"{job.model} with seed {job.seed} failed: {outcome}")
                        continue
                    results.append(*job.key, cast(Measured, outcome), settings.command(job.model))
                    _remove_checkpoints(job)
        except BaseException:
            # Threads of this machine end with their worker processes; Ray ends its own.
            while settings.address is None and wait(running, 0.1).not_done:
                for worker in multiprocessing.active_children():
                    worker.terminate()
            raise
    if failed:
        raise failed[0]


def run_alone(
    run: Callable[[Job, bool], Measured], modules: list[str], folder: str, job: Job
) -> tuple[bool, Any]:
    """Run a training in a separate process.

    Args:
        run: Runs one training.
        modules: Names of the user's modules to import first.
        folder: Working directory of the training.
        job: The training.

    Returns:
        True and the measures, or False and the exception that the training raised.

    Raises:
        ChildProcessError: If the process was killed.
    """
    if folder != os.getcwd():
        os.chdir(folder)
    import_modules(modules)
    with Workers(1, _begin, run) as workers:
        try:
            return True, next(workers.map([job]))
        except ChildProcessError:
            raise
        except Exception as error:
            return False, error


def _begin(run: Callable[[Job, bool], Measured]) -> Callable[[Job], Measured]:
    """Return the function that a worker process calls for each job, with one thread."""
    use_threads(1)
    return lambda job: run(job, True)
