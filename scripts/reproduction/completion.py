"""What all tables share: which trainings are missing, running them, and the table in the end."""

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
"""What one training yields, by column."""
TRIES = 3
"""Times that a training which is killed is begun or gone on with, beside others."""


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Reproduce a table or figure of the papers, or show the published one."""

    table: Annotated[str, tyro.conf.Positional]
    """halfcheetah, halfcheetah-best, walker2d, gesture, occupancy, traffic, ozone, har, person,
    power, physionet, imdb, mnist, smnist, xor, digits, wiring, integrators, expressivity,
    memory, conditions, road, newton or reinforcement."""
    data: Path | None = None
    """Folder of the data set, as it is handed out; for walker2d, of the CfC paper's rollouts, or
    where traces of our own are or shall be made."""
    models: Annotated[tuple[str, ...], one_of("cell")] = ()
    """Models to train; all of the table's if none is named. halfcheetah, the UCI sets and tables
    of digits also know ltc_spread, the LTC with slow neurons."""
    tasks: tuple[str, ...] = ()
    """Tasks of a table that has several, e.g. published or corrected, the splits of a UCI set, or
    conditions of that name, e.g. fog:3: all if none is named."""
    trainings: tuple[str, ...] = ()
    """What the camera meets in trainings of conditions and road: clean, nothing; conditions, all
    kinds; without-1, without-2 or without-3, all but a third of them, in which is then driven. For
    conditions also averaged, long-windows, short-windows and own-drives: all kinds, learned in
    another way; and blackouts: these alone. The first two if none is named."""
    seeds: int | None = None
    """Trainings of each model, with seeds 0, 1, …; if not given 3, but 5 for halfcheetah, the UCI
    sets, xor, memory and expressivity, and 1 for road without --full."""
    epochs: int | None = None
    """Passes over the data; the table's own number if not given."""
    episodes: int | None = None
    """Minutes that the expert demonstrates of the road; the table's own number if not given."""
    km: float | None = None
    """Kilometres of each drive of conditions and road; the table's own number if not given."""
    wipe_every: tuple[int, ...] = ()
    """Repeat each drive of conditions and road with the memory wiped before every so many-th frame,
    e.g. 1 4 16: what the memory is worth."""
    full: bool = False
    """Take all models, all conditions, 3 seeds and long drives of the road, which takes days on one
    core, and not a part that takes some hours."""
    steps: int | None = None
    """Steps of a training by reinforcement; 1,000,000 if not given."""
    parallel: int | None = None
    """Trainings side by side, one thread each, in processes of their own; one that is killed is
    tried again. If None, one after the other, or as many as the cluster has cores."""
    address: str | None = None
    """Ray cluster that trains, e.g. auto or 10.0.0.1:6379; `local` starts Ray on this machine. All
    its machines must see this folder, the data and the run folder. If None, this machine alone."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""
    show: bool = False
    """Train nothing: print the published table, or the one in --results, and where its rows come
    from."""
    results: Path | None = None
    """Folder of a table to go on with, e.g. the run folder of one that was stopped, or results to
    add to the published ones; a new run folder by default."""
    runs: Path = Path("runs")
    """Where run folders are made."""

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
        """Whether one training comes after the other, in this process."""
        return self.address is None and (self.parallel or 1) == 1

    def chosen_models(self, default: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
        """Return the models that were asked for, or the table's own.

        Raises:
            ValueError: If one is unknown; the nearest known one is suggested.
        """
        return self._chosen("models", default, known)

    def chosen_tasks(self, known: Sequence[str]) -> tuple[str, ...]:
        """Return the tasks that were asked for, or all.

        Raises:
            ValueError: If one is unknown; the nearest known one is suggested.
        """
        return self._chosen("tasks", known, known)

    def chosen_trainings(self, known: Collection[str], usual: Sequence[str]) -> tuple[str, ...]:
        """Return the trainings that were asked for, or the usual ones.

        Raises:
            ValueError: If one is unknown.
        """
        return self._chosen("trainings", usual, known)

    def _chosen(
        self, setting: str, default: Sequence[str], known: Collection[str]
    ) -> tuple[str, ...]:
        asked: tuple[str, ...] = getattr(self, setting)
        for name in asked:
            check_name(setting, name, known)
        return tuple(dict.fromkeys(asked or default))  # one named twice is still one

    def results_file(self, measures: Sequence[str], name: str | None = None) -> ResultsFile:
        """Open the table's results file, in a new run folder if no folder was named.

        Args:
            measures: Names of the measured columns.
            name: The file's name without .csv; the table's if None.
        """
        name = f"{name or self.table}.csv"
        if self.results is not None:
            return ResultsFile(self.results / name, measures)
        run = Run.create("reproduce", self.table, self, root=self.runs)
        print(f"run folder: {run.folder}")
        print(f"If it is stopped, the same command with --results {run.folder} goes on.")
        return ResultsFile(run.folder / name, measures)

    def command(self, model: str | None = None) -> str:
        """Return the command that makes the rows of one model, or those without a training."""
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
    """File from which it goes on if it was stopped; `complete` names and removes it."""

    @property
    def key(self) -> tuple[str, int, str]:
        """What tells its row from others."""
        return self.model, self.seed, self.settings

    @property
    def name(self) -> str:
        """What its progress bar says."""
        return f"{self.model} seed {self.seed}"


def complete(
    results: ResultsFile,
    jobs: Sequence[Job],
    run: Callable[[Job, bool], Measured],
    settings: Reproduce,
) -> None:
    """Run the trainings that the results file lacks, and append each as it ends.

    A training that was stopped goes on from its checkpoint in `settings.runs`, which is removed
    once its row is there. That of another commit is not looked at.

    Args:
        results: The file.
        jobs: All trainings of the table.
        run: Runs one training, silently or with a progress bar; importable by name, so that
            another process can run it.
        settings: The command line.
    """
    missing: list[Job] = []
    for job in jobs:
        told = f"{settings.table} {job.key} {settings.device} {results.commit}"
        name = f"{job.model}-{job.seed}-{hashlib.sha256(told.encode()).hexdigest()[:10]}"
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
        results.begin()  # the folder with which it goes on stays, with a row or without
        raise
    print_left_out(results.rows(), results.num_damaged)


def _remove_checkpoints(job: Job) -> None:
    """Remove what a training went on from, those of its members included, and an empty folder."""
    assert job.checkpoint is not None
    folder = job.checkpoint.parent
    for path in folder.glob(f"{job.checkpoint.stem}*"):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # others are in it, or it was never there
        folder.rmdir()


def print_left_out(rows: Sequence[Row], num_damaged: int) -> None:
    """Say how many rows of a file do not count, if there are any."""
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
    """Run trainings in processes of their own; one that fails does not stop the others."""
    told_all = run, imported_modules(), os.getcwd()
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
                    running[pool.start(*told_all, job)] = job
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for job, lost, result in ((running.pop(x), x.exception(), x) for x in done):
                    if lost is not None and tries[job] < TRIES:
                        tqdm.write(f"{job.model} with seed {job.seed} is tried again: {lost}")
                        left.append(job)
                        continue
                    is_done, told = (False, lost) if lost is not None else result.result()
                    bar.update()
                    if not is_done:  # the others' hours are not lost with this one's
                        failed.append(cast(BaseException, told))
                        tqdm.write(f"{job.model} with seed {job.seed} failed: {told}")
                        continue
                    results.append(*job.key, cast(Measured, told), settings.command(job.model))
                    _remove_checkpoints(job)
        except BaseException:
            # Threads of this machine end with their processes; Ray ends its own.
            while settings.address is None and wait(running, 0.1).not_done:
                for worker in multiprocessing.active_children():
                    worker.terminate()
            raise
    if failed:
        raise failed[0]


def run_alone(
    run: Callable[[Job, bool], Measured], modules: list[str], folder: str, job: Job
) -> tuple[bool, Any]:
    """Run a training in a process of its own.

    Args:
        run: Runs it.
        modules: The user's own, which it imports first.
        folder: Where it runs.
        job: Which one.

    Returns:
        Whether it came to its end, and what it measured, or else what it raised.

    Raises:
        ChildProcessError: If it was killed.
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
    """Return what a process does, with one thread."""
    use_threads(1)
    return lambda job: run(job, True)
