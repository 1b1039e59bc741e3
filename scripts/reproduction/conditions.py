"""Driving where the camera or the car fails: circuits against an LSTM and a CNN.

Each model learns to keep the lane twice, from the same demonstrations in the same number of steps:
in clean pictures, and with random conditions of severity 1 to 3 in three windows of four. Then it
drives held-out tracks, clean and under each condition that is asked for; see `envs.conditions`.

| model    | what it is                                                                          |
|----------|-------------------------------------------------------------------------------------|
| ncp      | the paper's 19 liquid neurons, which begin with time constants of 20 to 500 ms      |
| ncp-fast | the same with the published first values, time constants of a tenth of a frame      |
| others   | by the names of `train.py drive`, e.g. lstm (64 units) and cnn (no memory)          |

A row is one drive under one condition. Trained policies are kept in the runs' folder, so that a
table that was stopped, or is asked for more conditions, trains nothing twice.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from envs.conditions import PICTURES, read_conditions, strengths_of
from envs.driving.metrics import summarize
from ncp_control.cells import CELLS
from ncp_control.command_line import use_threads
from ncp_control.learning.results import ResultsFile, Row, mean_and_deviation
from ncp_control.learning.run import Run
from ncp_control.learning.settings import ImitationConfig
from ncp_control.markdown import markdown_table
from ncp_control.policy import Policy
from policies.driving import make_driving_policy
from scripts.evaluation.driving import drive_km
from scripts.pictures import write_picture
from scripts.reproduction.completion import Job, Measured, Reproduce, complete
from scripts.reproduction.condition_figures import draw_conditions, draw_crashes
from scripts.training.drive import imitate_expert
from scripts.training.driving_settings import Drive

DEFAULT_MODELS = ("ncp", "ncp-fast", "lstm", "cnn")
MEASURES = ("driven_km", "crashes", "cross_track_m", "roughness_radps")
TRAININGS = {"clean": (), "conditions": tuple(f"{name}:1-3" for name in PICTURES)}
"""What the camera meets in training."""
TAU_S = (0.02, 0.5)
"""First time constants of `ncp` [s]."""
KM, EPOCHS = 2.0, 6


def reproduce_conditions(settings: Reproduce) -> None:
    """Train and drive what is missing, and print the table."""
    models = settings.chosen_models(DEFAULT_MODELS, [*CELLS, "ncp-fast"])
    asked = [f"{name}:{severity}" for name, severity in read_conditions(settings.tasks or ("all",))]
    results = settings.results_file(MEASURES)
    epochs = settings.epochs or EPOCHS
    jobs = [
        Job(model, seed, f"{training} {condition} km={KM:g} epochs={epochs}")
        for seed in range(settings.seeds or 3)
        for training in TRAININGS
        for model in models
        for condition in ("none", *asked)
    ]
    folder = settings.runs / "tables" / f"conditions-{results.commit or 'unknown'}"
    complete(results, jobs, Lesson(folder), settings)
    print(describe(results, jobs))
    conditions = list(dict.fromkeys(job.settings.split()[1] for job in jobs))
    for name, figure in (
        ("conditions.png", draw_crashes(crashes_per_km(results, jobs), conditions)),
        ("conditions-seen.jpg", draw_conditions()),
    ):
        picture = results.path.parent / name
        write_picture(picture, figure)
        print(f"figure: {picture}")


class Lesson:
    """Trains a policy, if it is not there yet, and drives it.

    Args:
        folder: Where trained policies are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, job: Job, is_silent: bool) -> Measured:
        """Return the row of one drive."""
        training, condition, _, epochs = job.settings.split()
        policy = self.learned(job.model, job.seed, training, int(epochs.removeprefix("epochs=")))
        place = drive_km(KM).place(0)
        if condition != "none":
            name, severity = condition.split(":")
            strengths = {**place.strengths, **strengths_of(name, int(severity))}
            place = replace(place, strengths=strengths)
        metrics = summarize(place.run(policy, description=None if is_silent else job.settings))
        return {
            "driven_km": metrics.driven_km,
            "crashes": metrics.crashes,
            "cross_track_m": metrics.mean_cross_track_m,
            "roughness_radps": metrics.roughness_radps,
        }

    def learned(self, model: str, seed: int, training: str, epochs: int) -> Policy:
        """Return the policy of a training, trained now if it is not there."""
        told = f"{model} {seed} {training} {epochs}"
        digest = hashlib.sha256(f"{told} {TRAININGS[training]} {TAU_S}".encode()).hexdigest()
        kept = self.folder / f"{told.replace(' ', '-')}-{digest[:8]}"
        if not kept.is_dir():
            self.learn(model, seed, training, epochs).save(kept)
        return Policy.load(kept)

    def learn(self, model: str, seed: int, training: str, epochs: int) -> Policy:
        """Train a policy by imitation, with DAgger before its fourth epoch."""
        cell = "ncp" if model == "ncp-fast" else model
        settings = Drive(
            model=cell,
            tau_s=TAU_S if model == "ncp" else None,
            conditions=TRAININGS[training],
            imitation=ImitationConfig(epochs=epochs, dagger_epochs=None),
            threads=1,
            runs=self.folder / "runs",
            seed=seed,
        )
        use_threads(1)
        torch.manual_seed(seed)
        policy = make_driving_policy(cell, head=settings.head, seed=seed)
        run = Run.create("drive", cell, settings, root=settings.runs)
        try:
            return imitate_expert(policy, settings, run)
        finally:
            run.close()


def crash_rate(rows: Sequence[Row]) -> float:
    """Return crashes per km over some drives."""
    crashes, driven_km = (
        sum(float(row[name]) for row in rows) for name in ("crashes", "driven_km")
    )
    return crashes / driven_km


def crashes_per_km(results: ResultsFile, jobs: Sequence[Job]) -> dict[str, dict[str, float]]:
    """Return crashes per km over all seeds, by model with its training, and by condition."""
    found: dict[str, dict[str, float]] = {}
    for job in sorted(jobs, key=lambda job: list(TRAININGS).index(job.settings.split()[0])):
        training, condition = job.settings.split()[:2]
        rows = results.trainings(job.model, job.settings)
        if rows:
            told = f"{job.model}, learned in {training}"
            found.setdefault(told, {})[condition] = crash_rate(rows)
    return found


def describe(results: ResultsFile, jobs: Sequence[Job]) -> str:
    """Return the table of the drives: a line for each training and condition, a column a model."""
    models = list(dict.fromkeys(job.model for job in jobs))
    lines: dict[str, list[str]] = {}
    for job in jobs:
        rows = results.trainings(job.model, job.settings)
        text = "–"
        if rows:
            text = f"{crash_rate(rows):.2f} ({mean_and_deviation(rows, 'roughness_radps', 3)})"
        line = lines.setdefault(" ".join(job.settings.split()[:2]), ["–"] * len(models))
        line[models.index(job.model)] = text
    cells = [[*told.split(), *line] for told, line in lines.items()]
    return "crashes per km, and roughness [rad/s] with its deviation over seeds\n" + (
        markdown_table(["learned in", "condition", *models], cells)
    )
