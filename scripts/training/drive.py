"""The job `train.py drive`: lane keeping in the simulator, by imitation of an expert."""

import dataclasses
import hashlib
import json
from functools import partial
from pathlib import Path

import numpy as np
import torch

from envs.driving.metrics import LaneMetrics, summarize
from ncp_control.command_line import use_threads
from ncp_control.layers import num_parameters
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.learning.experts import SlowError
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import Run
from ncp_control.learning.training_state import epochs_done
from ncp_control.policy import Policy
from ncp_control.worlds import find_world
from policies.augmentation import augment_driving
from policies.driving import make_driving_policy
from scripts.evaluation.driving import (
    DRIVING_WORLD,
    DriveSettings,
    drive_km,
    evaluate,
    make_expert,
    record,
)
from scripts.evaluation.report import metrics_table, write_driving_report
from scripts.training.costs import foretell
from scripts.training.driving_settings import Drive
from scripts.training.from_expert import find_or_show, learn_from_expert
from scripts.training.met_conditions import one_after_another
from scripts.training.resumption import add_row, begun_with, open_run, settings_told

VALIDATION = DriveSettings(tracks="validation", num_tracks=16, seconds_per_track=12.0)
MEASURES = tuple(field.name for field in dataclasses.fields(LaneMetrics))
"""Columns of the results file that are measured on the held-out tracks."""


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
    results = ResultsFile(None, ("parameters", *MEASURES))
    step = -1 if settings.resume is None else epochs_done(settings.resume)
    with open_run(settings, "drive", settings.model, step=step) as run:
        if settings.resume is None:
            is_recorded = demonstrations_folder(settings).is_dir()
            print(foretell(settings, VALIDATION, is_recorded=is_recorded))
        policy = imitate_expert(policy, settings, run)
        print(f"policy: {run.policy}")
        traces = evaluate(policy, drive_km(settings.evaluation_km), description="held-out tracks")
        write_driving_report(run, policy, traces)
        metrics = summarize(traces)
        parameters = num_parameters(policy)
        row = {"parameters": parameters, **dataclasses.asdict(metrics)}
        described = json.dumps(settings_told(settings, "model"), sort_keys=True, default=str)
        results.place(run.results)
        add_row(results, settings, settings.model, described, row)
    print(metrics_table([(settings.model, 0.0, metrics)]))
    print(f"report: {run.report}\nresults: {results.path}")
    return policy


def imitate_expert(policy: Policy, settings: Drive, run: Run) -> Policy:
    """Train a policy on the expert's demonstrations and save the best of its checkpoints.

    Args:
        policy: The policy, changed in place. `settings.model` and `settings.head` are not used.
        settings: Settings of demonstrations and training.
        run: The run, for metrics, checkpoints and the policy.
    """
    demonstrations = find_or_record(settings)
    settings.begin_from(policy, demonstrations, settings.imitation.window, settings.seed)
    world = find_world(DRIVING_WORLD)

    def ask(folder: Path, learner: Policy, epoch: int) -> Demonstrations:
        first_track = settings.tracks + epoch * settings.dagger_tracks
        where = _training_tracks(settings, settings.dagger_tracks, first_track)
        return record(
            folder,
            where,
            make_expert(),
            learner=settings.learner_in(world, learner, first_track + settings.seed),
            description="learner",
            seed=settings.seed,
            workers=settings.workers,
            frames_as=settings.frames_as,
        )

    return learn_from_expert(
        policy,
        world,
        demonstrations,
        dataclasses.replace(settings.imitation, seed=settings.seed),
        run,
        ask=ask,
        validate=validate,
        augment=one_after_another(augment_driving, settings.conditions_in(world)),
    )


def validate(policy: Policy) -> dict[str, float]:
    """Measure a policy on the validation tracks.

    The score is crashes per km plus mean cross-track error [m]: among policies without crashes, the
    one closer to the lane centre wins.
    """
    metrics = summarize(evaluate(policy, VALIDATION, description="validation tracks"))
    return {
        "score": metrics.crashes_per_km + metrics.mean_cross_track_m,
        "crashes_per_km": metrics.crashes_per_km,
        "cross_track_m": metrics.mean_cross_track_m,
        "roughness_radps": metrics.roughness_radps,
    }


def demonstrations_folder(settings: Drive) -> Path:
    """Return the folder of the demonstrations for these settings."""
    asked = f"{_training_tracks(settings, settings.tracks, 0)} {settings.expert_noise}"
    digest = hashlib.sha256(
        f"{asked} {settings.seed}{settings.words_of_frames}".encode()
    ).hexdigest()
    return settings.data / f"lane-keeping-{digest[:10]}"


def expert_error(settings: Drive) -> SlowError:
    """Return the error that is added to the expert's actions while it demonstrates."""
    return SlowError(settings.expert_noise, np.random.default_rng(settings.seed))


def find_or_record(settings: Drive) -> Demonstrations:
    """Open the demonstrations for these settings; record them first if they do not exist."""
    where, folder = _training_tracks(settings, settings.tracks, 0), demonstrations_folder(settings)
    show = partial(
        record,
        folder,
        where,
        make_expert(),
        error=expert_error(settings),
        description="expert",
        seed=settings.seed,
        workers=settings.workers,
        frames_as=settings.frames_as,
    )
    return find_or_show(folder, show)


def _training_tracks(settings: Drive, num_tracks: int, first_track: int) -> DriveSettings:
    return DriveSettings(
        tracks="train",
        num_tracks=num_tracks,
        first_track=first_track,
        seconds_per_track=settings.seconds_per_track,
    )
