"""The job `train.py imitate`: imitate an expert in any environment, with DAgger."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch

from ncp_control.acting.recorder import run_episodes
from ncp_control.cells import cell_to_config
from ncp_control.command_line import use_threads
from ncp_control.episode import Episode
from ncp_control.imports import code_digest
from ncp_control.keyword_options import read_options
from ncp_control.layers import num_parameters
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.learning.demonstrations.expert import failed_before
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.training_state import epochs_done
from ncp_control.policy import Policy, load
from ncp_control.policy.folder import weights_sha256
from ncp_control.records import frames_part, record_frame
from ncp_control.worlds import Expert, World
from policies.augmentation import FrameAugmentation, steering_signs
from policies.locomotion import make_policy_for
from scripts.evaluation.places import Place
from scripts.evaluation.tables import Measured, results_table
from scripts.evaluation.worlds import WorldSettings
from scripts.training.from_expert import (
    ImitationTask,
    find_or_record,
    folder_of_epoch,
    imitate_expert,
    load_expert,
)
from scripts.training.imitation_settings import OF_A_NEW_CIRCUIT, Imitate
from scripts.training.resumption import (
    add_row,
    begun_with,
    label_of,
    open_run,
    relevant_settings,
    seen_time,
    words_of_size,
)
from scripts.training.settings import refuse_unused

TRAINING_SEED, VALIDATION_SEED, EVALUATION_SEED = 1_000_000, 500_000, 10_000
"""First seeds of the episodes for training, validation and test."""


def train_imitate(asked: Imitate) -> Policy:
    """Record the expert, train a policy by imitation, save the policy, and evaluate both."""
    settings = begun_with(asked)
    use_threads(settings.threads)
    task = imitation_task(settings)
    world = task.demonstration_place.world
    results = ResultsFile(settings.results, ("parameters", *world.measure_names))
    policy = begin_policy(settings, world)
    cell = settings.cell
    if settings.policy is not None:
        cell = cell_to_config(policy.circuit.cell)["name"]
    step = -1 if settings.resume is None else epochs_done(settings.resume)
    with open_run(settings, "imitate", cell, step=step) as run:
        shown, is_new = find_or_record(task, settings, run.folder), settings.policy is None
        if is_new and shown.is_timed:
            policy = begin_policy(settings, world, sees_time=True)
        policy = imitate_expert(policy, task, settings, run, shown=shown, is_new=is_new)
        held_out = where_to_imitate(settings).held_out().world
        place = episodes_in(held_out, EVALUATION_SEED, settings.evaluation_episodes)
        measured = measured_in(world, label_of(cell, policy), place.run(policy))
        results.place(run.results)
        parameters = num_parameters(policy)
        row = {"parameters": parameters, **measured.measures}
        add_row(results, settings, cell, describe(settings, policy), row)
        print(f"{cell}: {words_of_size(policy)}")
        print(f"policy: {run.policy}\nresults: {results.path}")
        expert_episodes = run_episodes(held_out, None, seeds=place.seeds, expert=task.expert)
    print(results_table([measured_in(world, "expert", expert_episodes), measured]))
    return policy


def begin_policy(settings: Imitate, world: World, *, sees_time: bool = False) -> Policy:
    """Return the saved policy to train further, or a new one with weights drawn by the seed.

    Args:
        settings: Settings of the job.
        world: The environment.
        sees_time: Whether a new LSTM or GRU gets the elapsed time as an input.

    Raises:
        ValueError: If the saved policy does not fit the environment, or a setting has no use there.
    """
    torch.manual_seed(settings.seed)
    if settings.policy is None:
        sees_frames = frames_part(world.contract.observation) is not None
        refuse_unused(settings, sees_frames=sees_frames)
        return settings.build(
            lambda neurons: make_policy_for(
                world.contract,
                settings.cell,
                num_neurons=neurons,
                head=settings.head,
                encoder=settings.encoder,
                seed=settings.seed,
                sees_time=sees_time,
                **settings.drawn,
            )
        )
    policy = load(settings.policy)
    world.check_policy(policy.contract)
    return policy


def imitation_task(settings: Imitate) -> ImitationTask:
    """Return what the expert of the settings shows in which episodes, and the validation."""
    world, expert = find_scene(settings)
    first = TRAINING_SEED * (1 + settings.seed)
    words = (world.name, sorted(settings.world_options), settings.expert, settings.episodes)
    identity = f"{words}{code_digest((settings.world, settings.expert))}"
    if isinstance(expert, Policy):  # its folder may later hold another policy
        identity += f" {weights_sha256(expert)}"

    def asked(dagger: Path, epoch: int) -> tuple[Place, int]:
        count = settings.dagger_episodes
        begin = first + settings.episodes + epoch * count
        if not settings.dagger_repeat:
            return episodes_in(world, begin, count), begin
        again = failed_before(
            Demonstrations.open(dagger / folder_of_epoch(before))
            for before in sorted(settings.imitation.asked_epochs)
            if before < epoch
        )[: int(settings.dagger_repeat * count)]
        place = episodes_in(world, begin, count - len(again))
        # With the same seed, a repeated episode has the same condition.
        return replace(place, seeds=[*again, *place.seeds]), first

    return ImitationTask(
        expert=expert,
        find=partial(find_scene, settings),
        identity=identity,
        demonstration_place=episodes_in(world, first, settings.episodes),
        asked=asked,
        validation=episodes_in(
            where_to_imitate(settings).validation().world,
            VALIDATION_SEED,
            settings.validation_episodes,
        ),
        score=score,
        augment=augmentation(settings, world),
    )


def score(episodes: Sequence[Episode]) -> dict[str, float]:
    """Return the measures of a checkpoint: the mean return, and as score its negative."""
    mean = float(np.mean([episode.total_reward for episode in episodes]))
    return {"score": -mean, "mean_return": mean}


def episodes_in(world: World, first_seed: int, count: int) -> Place:
    """Return episodes of an environment with consecutive seeds from `first_seed` on."""
    return Place(world=world, seeds=range(first_seed, first_seed + count))


def find_scene(settings: Imitate) -> tuple[World, Expert | Policy]:
    """Return environment and expert of the settings."""
    world = where_to_imitate(settings).world
    return world, load_expert(settings.expert, world)


def where_to_imitate(settings: Imitate) -> WorldSettings:
    """Return the environment of the settings, in which policies can be evaluated."""
    options = read_options(settings.world_options)
    return WorldSettings(env=cast(str, settings.world), options=options)


def describe(settings: Imitate, policy: Policy) -> str:
    """Return the environment and all settings but cell and seed as one cell of a results file.

    Settings of a new circuit are left out if a saved policy was trained further.
    """
    unused = () if settings.policy is None else OF_A_NEW_CIRCUIT
    values = relevant_settings(settings, "world", "cell", *unused) | seen_time(policy)
    return f"{settings.world} {json.dumps(values, sort_keys=True, default=str)}"


def augmentation(settings: Imitate, world: World) -> FrameAugmentation | None:
    """Return the augmentation of windows of frames that the settings ask for; None if none.

    Raises:
        ValueError: If it does not fit the observations or actions of the environment.
    """
    if not settings.mirror and not settings.relight:
        return None
    if frames_part(world.contract.observation) is None:
        name = "mirror" if settings.mirror else "relight"
        raise ValueError(f"`{name}` must be left out in {world.name!r}, which shows no frames.")
    mirrored = tuple(steering_signs(world.contract.action)) if settings.mirror else ()
    if settings.mirror and not mirrored:
        raise ValueError(
            f"`mirror` must be left out in {world.name!r}: its contract names no action whose"
            " positive side is left or right."
        )
    if settings.mirror and record_frame(world.contract.observation) is not None:
        raise ValueError(
            f"`mirror` must be left out in {world.name!r}, which shows numbers beside frames: it is"
            " not known which of them a mirror turns round."
        )
    return FrameAugmentation(
        mirrored=mirrored,
        is_relit=settings.relight,
        record_frame=record_frame(world.contract.observation),
    )


def measured_in(world: World, model: str, episodes: Sequence[Episode]) -> Measured:
    """Return measures and returns of a model in some episodes."""
    returns = np.array([episode.total_reward for episode in episodes])
    return Measured(model=model, labels={}, measures=world.measure(episodes), returns=returns)
