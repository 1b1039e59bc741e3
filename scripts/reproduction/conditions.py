"""Driving where the camera or the car fails: circuits against an LSTM and a CNN.

Each model is trained twice to keep the lane, from the same demonstrations in the same number of
steps: with clean pictures, and with random conditions of severity 1 to 3 in three windows of four.
Then it drives held-out tracks, clean and under each chosen condition; see `envs.conditions`.

| model     | what it is                                                                         |
|-----------|------------------------------------------------------------------------------------|
| ncp       | the paper's 19 liquid neurons, which begin with time constants of 20 to 500 ms     |
| ncp-fast  | the same with the published first values, time constants of a tenth of a frame     |
| cnn-stack | no memory, on what the conv head made of the last four frames                      |
| others    | by the names of `train.py drive`, e.g. lstm (64 units) and cnn (no memory)         |

`--trainings without-1 without-2 without-3` tests generalisation to unseen conditions: each training
leaves out every third kind of condition, and is evaluated only in these. Further trainings compare
ways to learn from all conditions:

| training      | what it does otherwise                                                           |
|---------------|----------------------------------------------------------------------------------|
| averaged      | keeps a running average of the weights                                           |
| long-windows  | learns from 2 windows of 256 frames a step instead of 16 of 32                   |
| short-windows | learns from 64 windows of 8 frames a step                                        |
| own-drives    | meets conditions where it drives itself, too, before the fourth epoch            |

`--trainings blackouts` tests how much memory helps: the only condition is black pictures for half a
second or a second, in 4 windows of 128 frames per step, so that in most windows the correct action
depends on earlier frames.

A row is one drive under one condition. `--wipe-every 1 4` repeats each drive with the memory wiped
before every frame, and before every fourth, to measure how much memory helps. Trained policies are
saved in the folder `--runs`, so that resuming a table, or adding conditions, repeats no training,
unless the code of the driving worlds or of their experts has changed. A stopped training resumes if
the commit of the code is the same.
"""

import hashlib
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from envs.driving.metrics import rate_per_km, summarize
from envs.driving.pure_pursuit import keep_lane
from ncp_control import files
from ncp_control.audit.memory import WipingPilot
from ncp_control.cells import CELLS
from ncp_control.command_line import use_threads
from ncp_control.episode import Episode
from ncp_control.imports import package_digest
from ncp_control.learning.results import ResultsFile, Row
from ncp_control.learning.run import Run
from ncp_control.learning.settings import ImitationConfig
from ncp_control.learning.training_state import epochs_done
from ncp_control.markdown import markdown_table
from ncp_control.policy import Policy
from policies.driving import make_driving_policy
from scripts.evaluation.driving import drive_km
from scripts.evaluation.places import Place
from scripts.pictures import write_picture
from scripts.reproduction.asked_drives import (
    RECIPES,
    TRAININGS,
    USUAL_TRAININGS,
    AskedDrives,
    asked_conditions,
    drives,
    spread,
)
from scripts.reproduction.completion import Job, Measured, Reproduce, complete
from scripts.reproduction.condition_figures import draw_conditions, draw_crashes
from scripts.training.drive import driving_task
from scripts.training.from_expert import imitate_expert
from scripts.training.imitation_settings import Drive, FromExpert

DEFAULT_MODELS = ("ncp", "ncp-fast", "lstm", "cnn")
MEASURES = ("driven_km", "crashes", "cross_track_m", "roughness_radps")
TAU_S = (0.02, 0.5)
"""Range of the initial time constants of `ncp` [s]."""
CELL_OF = {"ncp-fast": "ncp", "cnn-stack": "stacked"}
"""Cell of each model whose name is not that of the cell."""
KM, EPOCHS = 2.0, 6


def reproduce_conditions(settings: Reproduce) -> None:
    """Run the missing trainings and drives, and print the table."""
    trainings = settings.chosen("trainings", TRAININGS, USUAL_TRAININGS)
    epochs = settings.epochs or EPOCHS
    if "own-drives" in trainings and not taught(epochs).asked_epochs:
        raise ValueError(
            f"`epochs` must be more than 3 for own-drives, got {epochs}: before the fourth epoch"
            " the model drives itself."
        )
    jobs = drives(
        settings.chosen("models", [*CELLS, *CELL_OF], DEFAULT_MODELS),
        asked_conditions(settings.tasks or ("all",)),
        range(settings.seeds or 3),
        trainings,
        f"km={settings.km or KM:g} epochs={epochs}",
        settings.wipe_every,
    )
    compare(settings, settings.results_file(MEASURES), jobs, Lesson)


def compare(
    settings: Reproduce, results: ResultsFile, jobs: Sequence[Job], kind: "type[Lesson]"
) -> None:
    """Run the missing trainings and drives, print the table, and draw its figures."""
    folder = settings.runs / "tables" / f"{settings.table}-{results.commit or 'unknown'}"
    lesson = kind(folder)
    complete(results, jobs if settings.is_serial else spread(jobs), lesson, settings)
    print(describe(results, jobs, lesson))
    conditions = list(dict.fromkeys(AskedDrives.read(job.settings).condition for job in jobs))
    rates = crashes_per_km(results, jobs, lesson)
    figures = {f"{settings.table}.png": draw_crashes(rates, conditions, lesson.counted)}
    if kind is Lesson:
        figures["conditions-seen.jpg"] = draw_conditions()
    for name, figure in figures.items():
        picture = results.path.parent / name
        write_picture(picture, figure)
        print(f"figure: {picture}")


class Lesson:
    """Trains a policy, if it is not saved yet, and measures its drives.

    Args:
        folder: Folder of the saved policies.
    """

    counted = "crashes"
    """Measure that the table reports as a rate per km."""
    beside: Mapping[str, tuple[str, str]] = {
        "cross_track_m": ("offset", "m"),
        "roughness_radps": ("roughness", "rad/s"),
    }
    """Further measures in the table, each with its title and unit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, job: Job, is_silent: bool) -> Measured:
        """Return the row of one drive."""
        asked = AskedDrives.read(job.settings)
        policy = self.learned(job.model, job.seed, asked)
        place = self.place(asked.km, asked.condition)
        if asked.condition != "none":
            name, severity = asked.condition.split(":")
            place = place.under(name, int(severity))
        pilot = WipingPilot(policy, asked.wiped) if asked.wiped else policy
        episodes = place.run(pilot, description=None if is_silent else job.settings)
        return self.measured(policy, episodes)

    def place(self, km: float, condition: str) -> Place:
        """Return the place of a drive: the same tracks under every condition."""
        return drive_km(km).place(0)

    def measured(self, policy: Policy, episodes: Sequence[Episode]) -> Measured:
        """Return the measures of a drive, by column."""
        metrics = summarize(episodes)
        return {
            "driven_km": metrics.driven_km,
            "crashes": metrics.crashes,
            "cross_track_m": metrics.mean_cross_track_m,
            "roughness_radps": metrics.roughness_radps,
        }

    def learned(self, model: str, seed: int, asked: AskedDrives) -> Policy:
        """Return the policy of a training; train it first if it is not saved yet."""
        training, lasts = asked.training, asked.lasts
        name = "-".join([model, str(seed), training, *map(str, lasts.values())])
        identity = f"{model} {seed} {dict(lasts)} {TRAININGS[training]} {TAU_S}"
        identity += f" {RECIPES[training]}" if training in RECIPES else ""
        identity += f" {package_digest(keep_lane)}"  # and of all worlds and experts beside it
        kept = self.folder / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"
        runs = self.folder / "runs" / kept.name
        with files.locked(runs, waits=lambda: print(f"another process learns {kept}")):
            if not kept.is_dir():
                self.learn(model, seed, training, runs, **lasts).save(kept)
            for recorded in runs.glob("*/dagger"):
                shutil.rmtree(recorded)  # gigabytes
        return Policy.load(kept)

    def learn(self, model: str, seed: int, training: str, runs: Path, *, epochs: int) -> Policy:
        """Train a policy by imitation, with DAgger before its fourth epoch.

        Args:
            model: Name of the model.
            seed: Seed of weights and data.
            training: Name in `TRAININGS`.
            runs: Folder of the training's run, which is resumed if it was stopped.
            epochs: Number of epochs.
        """
        cell = CELL_OF.get(model, model)
        settings = Drive(
            model=cell,
            tau_s=TAU_S if model == "ncp" else None,
            conditions=TRAININGS[training],
            dagger_conditions=training == "own-drives",
            imitation=taught(epochs, **RECIPES.get(training, {})),
            threads=1,
            runs=runs,
            seed=seed,
        )
        use_threads(1)
        torch.manual_seed(seed)
        policy = make_driving_policy(cell, head=settings.head, seed=seed)
        run = begun_run("drive", cell, settings)
        return imitate_expert(policy, driving_task(settings), settings, run)


def taught(epochs: int, **changes: Any) -> ImitationConfig:
    """Return the training settings of this table: with DAgger before the fourth epoch."""
    return ImitationConfig(epochs=epochs, dagger_epochs=None, **changes)


def begun_run(task: str, model: str, settings: FromExpert) -> Run:
    """Return the run of a stopped training, or a new run.

    Args:
        task: Task of a new run.
        model: Model of a new run.
        settings: Settings of the training; only this training may use the folder `runs`.
    """
    for config in settings.runs.glob("[!.]*/config.json"):
        return Run.reopen(config.parent, step=epochs_done(config.parent))
    return Run.create(task, model, settings, root=settings.runs)


def crash_rate(rows: Sequence[Row], counted: str = "crashes") -> tuple[float, float, float]:
    """Return the rate per km over some drives, and the limits of its 95 % interval.

    The interval treats all drives as if they were of one training.
    """
    crashes = sum(int(row[counted]) for row in rows)
    return rate_per_km(crashes, sum(float(row["driven_km"]) for row in rows))


def crashes_per_km(
    results: ResultsFile, jobs: Sequence[Job], lesson: Lesson
) -> dict[str, dict[str, float]]:
    """Return crashes per km over all seeds, by model with training, and by condition."""
    found: dict[str, dict[str, float]] = {}
    drives = [(job, AskedDrives.read(job.settings)) for job in jobs]
    for job, asked in sorted(drives, key=lambda drive: list(TRAININGS).index(drive[1].training)):
        rows = results.trainings(job.model, job.settings)
        if rows:
            label = f"{job.model}, learned in {asked.training}{asked.memory}"
            rate, _, _ = crash_rate(rows, lesson.counted)
            found.setdefault(label, {})[asked.condition] = rate
    return found


def describe(results: ResultsFile, jobs: Sequence[Job], lesson: Lesson) -> str:
    """Return the table of drives: one line per training and condition, one column per model.

    The last line counts all drives together but those without a condition.
    """
    models = list(dict.fromkeys(job.model for job in jobs))
    lines: dict[tuple[str, str], list[str]] = {}
    of_all: dict[str, list[Row]] = {model: [] for model in models}
    for model, settings in dict.fromkeys((job.model, job.settings) for job in jobs):
        rows, asked = results.trainings(model, settings), AskedDrives.read(settings)
        key = asked.training, asked.condition + asked.memory
        line = lines.setdefault(key, ["–"] * len(models))
        line[models.index(model)] = _describe_drives(rows, lesson)
        if asked.condition != "none":
            of_all[model] += rows
    cells = [[*key, *line] for key, line in lines.items()]
    cells.append(["all", "all", *(_describe_drives(of_all[m], lesson) for m in models)])
    beside = "; mean ".join(f"{what} [{unit}]" for what, unit in lesson.beside.values())
    title = (
        f"{lesson.counted} of each seed: their rate per km with its 95 % interval; mean {beside}"
    )
    return f"{title}\n" + markdown_table(["learned in", "condition", *models], cells)


def _describe_drives(rows: Sequence[Row], lesson: Lesson) -> str:
    """Return counts of each seed, rate and means over some drives; a dash without drives."""
    if not rows:
        return "–"
    counts: Counter[int] = Counter()
    for row in rows:
        counts[int(row["seed"])] += int(row[lesson.counted])
    rate, low, high = crash_rate(rows, lesson.counted)
    of_seeds = ", ".join(str(counts[seed]) for seed in sorted(counts))
    means = [f"{mean(float(row[name]) for row in rows):.3f}" for name in lesson.beside]
    return "; ".join([f"{of_seeds}: {rate:.2f} [{low:.2f}, {high:.2f}]", *means])
