"""The job `train.py drive`: lane keeping in the simulator, by imitation of an expert."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from envs.driving.metrics import summarize
from ncp_control.command_line import use_threads
from ncp_control.episode import Episode
from ncp_control.layers import num_parameters
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.training_state import epochs_done
from ncp_control.policy import Policy
from ncp_control.worlds import Expert, World
from policies.augmentation import augment_driving
from policies.driving import make_driving_policy
from scripts.evaluation.driving import DriveSettings, drive_km, track_place
from scripts.evaluation.places import Place
from scripts.evaluation.report import DRIVE_FILM_S, write_report
from scripts.evaluation.tables import Measured, results_table
from scripts.training.costs import foretell
from scripts.training.from_expert import (
    ImitationTask,
    demonstrations_folder,
    imitate_expert,
    load_expert,
)
from scripts.training.imitation_settings import Drive
from scripts.training.resumption import add_row, begun_with, open_run, relevant_settings

VALIDATION = DriveSettings(tracks="validation", num_tracks=16, seconds_per_track=12.0)


def train_drive(asked: Drive) -> Policy:
    """Record or reuse demonstrations, train, evaluate on held-out tracks, and write the report."""
    settings = begun_with(asked)
    use_threads(settings.threads)
    torch.manual_seed(settings.seed)
    policy = make_driving_policy(
        settings.model,
        head=settings.head,
        num_units=settings.neurons,
        **settings.drawn,
        seed=settings.seed,
    )
    task = driving_task(settings)
    held_out = drive_km(settings.evaluation_km).place()
    results = ResultsFile(settings.results, ("parameters", *held_out.world.measure_names))
    step = -1 if settings.resume is None else epochs_done(settings.resume)
    with open_run(settings, "drive", settings.model, step=step) as run:
        if settings.resume is None:
            is_recorded = demonstrations_folder(task, settings, run.folder).is_dir()
            print(foretell(settings, VALIDATION, is_recorded=is_recorded))
        policy = imitate_expert(policy, task, settings, run)
        print(f"policy: {run.policy}")
        episodes = held_out.run(policy, description="held-out tracks")
        measured = Measured(
            model=settings.model,
            labels=held_out.labels,
            measures=held_out.world.measure(episodes),
            episodes=episodes,
        )
        filmed = track_place(int(episodes[0].infos["track"][0]), DRIVE_FILM_S, seed=0)
        write_report(run, policy, [measured], filmed, seconds=DRIVE_FILM_S)
        row = {"parameters": num_parameters(policy), **measured.measures}
        described = json.dumps(relevant_settings(settings, "model"), sort_keys=True, default=str)
        results.place(run.results)
        add_row(results, settings, settings.model, described, row)
    print(results_table([measured]))
    print(f"report: {run.report}\nresults: {results.path}")
    return policy


def driving_task(settings: Drive) -> ImitationTask:
    """Return what the expert shows on training tracks, and where checkpoints are measured."""
    where = _training_tracks(settings, settings.tracks, 0)

    def asked(dagger: Path, epoch: int) -> tuple[Place, int]:
        first_track = settings.tracks + epoch * settings.dagger_tracks
        tracks = _training_tracks(settings, settings.dagger_tracks, first_track)
        return tracks.place(settings.seed), first_track + settings.seed

    return ImitationTask(
        expert=load_expert(None, where.world),
        find=partial(_find_scene, where),
        identity=str(where),
        demonstration_place=where.place(settings.seed),
        asked=asked,
        validation=VALIDATION.place(),
        score=score,
        augment=augment_driving,
    )


def score(episodes: Sequence[Episode]) -> dict[str, float]:
    """Return the measures of a checkpoint on the validation tracks.

    The score is crashes per km plus mean cross-track error [m]: among policies without crashes, the
    one closer to the lane centre wins.
    """
    metrics = summarize(episodes)
    return {
        "score": metrics.crashes_per_km + metrics.mean_cross_track_m,
        "crashes_per_km": metrics.crashes_per_km,
        "cross_track_m": metrics.mean_cross_track_m,
        "roughness_radps": metrics.roughness_radps,
    }


def _training_tracks(settings: Drive, num_tracks: int, first_track: int) -> DriveSettings:
    return DriveSettings(
        tracks="train",
        num_tracks=num_tracks,
        first_track=first_track,
        seconds_per_track=settings.seconds_per_track,
    )


def _find_scene(where: DriveSettings) -> tuple[World, Expert | Policy]:
    world = where.world
    return world, load_expert(None, world)
