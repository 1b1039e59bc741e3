"""The job `train.py imitate`: imitate an expert in any environment, with DAgger."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch

from ncp_control.cells import cell_to_config
from ncp_control.command_line import use_threads
from ncp_control.episode import Episode
from ncp_control.imports import code_digest, import_function
from ncp_control.keyword_options import read_options
from ncp_control.layers import num_parameters
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.learning.demonstrations.expert import demonstrate, failed_before
from ncp_control.learning.experts import ExpertError, RandomChoices, SlowError
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import Run
from ncp_control.learning.training_state import epochs_done
from ncp_control.policy import FramesPolicy, Policy, VectorPolicy, load, shipped_policies
from ncp_control.policy.folder import weights_sha256
from ncp_control.recorder import run_episodes
from ncp_control.records import frames_part, record_frame
from ncp_control.worlds import Expert, World
from policies.augmentation import FrameAugmentation, mirrored_entries
from policies.locomotion import make_policy_for
from scripts.evaluation.locomotion import WalkSettings, open_world, plain_stem
from scripts.evaluation.tables import Measured, results_table
from scripts.training.from_expert import find_or_show, folder_of_epoch, learn_from_expert
from scripts.training.met_conditions import one_after_another
from scripts.training.places import place
from scripts.training.resumption import add_row, begun_with, open_run, settings_told
from scripts.training.settings import Imitate, refuse_unused

TRAINING_SEED, VALIDATION_SEED, EVALUATION_SEED = 1_000_000, 500_000, 10_000
"""First seeds of the episodes for training, validation and test."""


def train_imitate(asked: Imitate) -> Policy:
    """Record the expert, train a policy by imitation, save the policy, and evaluate both."""
    settings = begun_with(asked)
    use_threads(settings.threads)
    world, expert = find_scene(settings)
    results = ResultsFile(settings.results, ("parameters", *world.measure_names))
    torch.manual_seed(settings.seed)
    policy = begin_policy(settings, world)
    cell = settings.cell
    if settings.policy is not None:
        cell = cell_to_config(policy.circuit.cell)["name"]
    step = -1 if settings.resume is None else epochs_done(settings.resume)
    with open_run(settings, "imitate", cell, step=step) as run:
        policy = imitate_expert(policy, expert, world, settings, run)
        where = asked_place(settings).held_out().world
        episodes = act(policy, where, settings.evaluation_episodes, EVALUATION_SEED)
        measured = measured_in(world, cell, episodes)
        results.place(run.results)
        parameters = num_parameters(policy)
        row = {"parameters": parameters, **measured.measures}
        add_row(results, settings, cell, describe(settings), row)
        print(f"policy: {run.policy}\nresults: {results.path}")
        seeds = range(EVALUATION_SEED, EVALUATION_SEED + settings.evaluation_episodes)
        shown = run_episodes(where, None, seeds=seeds, expert=expert)
    print(results_table([measured_in(world, "expert", shown), measured]))
    return policy


def begin_policy(settings: Imitate, world: World) -> Policy:
    """Return the saved policy to train further, or a new one.

    Raises:
        ValueError: If the saved policy does not fit the environment, or a setting has no use there.
    """
    if settings.policy is None:
        sees_frames = frames_part(world.contract.observation) is not None
        refuse_unused(settings, sees_frames=sees_frames)
        return make_policy_for(
            world.contract,
            settings.cell,
            num_neurons=settings.neurons,
            head=settings.head,
            encoder=settings.encoder,
            seed=settings.seed,
            **settings.drawn,
        )
    policy = load(settings.policy)
    world.check_policy(policy.contract)
    return policy


def imitate_expert(
    policy: Policy, expert: Expert | Policy, world: World, settings: Imitate, run: Run
) -> Policy:
    """Train a policy on an expert's demonstrations and save the best of its checkpoints.

    A resumed run reuses the demonstrations that it has recorded.

    Args:
        policy: The policy, changed in place.
        expert: The expert.
        world: The environment.
        settings: Settings of the job.
        run: The run, for metrics, demonstrations, checkpoints and the policy.
    """
    augment = one_after_another(augmentation(settings, world), settings.conditions_in(world))
    first_seed = TRAINING_SEED * (1 + settings.seed)
    shown = find_or_demonstrate(expert, world, settings, run)
    if settings.policy is not None:
        pass  # it keeps its scaling of numbers
    elif isinstance(policy, VectorPolicy):
        policy.fit_scale(torch.from_numpy(np.array(shown.observations)))
    elif isinstance(policy, FramesPolicy) and policy.numbers:
        policy.fit_scale(torch.from_numpy(shown.numbers(policy.frame_shape)))
    settings.begin_from(policy, shown, settings.imitation.window, settings.seed)

    def ask(folder: Path, learner: Policy, epoch: int) -> Demonstrations:
        count = settings.dagger_episodes
        first = first_seed + settings.episodes + epoch * count
        again, conditions_seed = [], first
        if settings.dagger_repeat:
            failed = failed_before(
                Demonstrations.open(folder.parent / folder_of_epoch(before))
                for before in sorted(settings.imitation.asked_epochs)
                if before < epoch
            )
            again = failed[: int(settings.dagger_repeat * count)]
            conditions_seed = first_seed  # so that a repeated episode has the same condition
        seeds = [*again, *range(first, first + count - len(again))]
        return demonstrate(
            folder,
            world,
            expert,
            seeds,
            learner=settings.learner_in(world, learner, conditions_seed),
            description="learner",
            workers=settings.workers,
            frames_as=settings.frames_as,
            find=partial(find_scene, settings),
        )

    validation_world = asked_place(settings).validation().world

    def validate(policy: Policy) -> dict[str, float]:
        episodes = act(policy, validation_world, settings.validation_episodes, VALIDATION_SEED)
        mean = float(np.mean([episode.total_reward for episode in episodes]))
        return {"score": -mean, "mean_return": mean}

    return learn_from_expert(
        policy,
        world,
        shown,
        dataclasses.replace(settings.imitation, seed=settings.seed),
        run,
        ask=ask,
        validate=validate,
        augment=augment,
    )


def find_or_demonstrate(
    expert: Expert | Policy, world: World, settings: Imitate, run: Run
) -> Demonstrations:
    """Open the demonstrations for these settings; record them first if they do not exist."""
    folder = run.folder / "demonstrations"
    if settings.data is not None:
        words = (world.name, sorted(settings.world_options), settings.expert, settings.episodes)
        told = f"{words} {settings.expert_noise} {settings.seed}{settings.words_of_frames}"
        if isinstance(expert, Policy):  # its folder may later hold another policy
            told += f" {weights_sha256(expert)}"
        told += code_digest((settings.world, settings.expert))
        digest = hashlib.sha256(told.encode()).hexdigest()
        folder = settings.data / f"{plain_stem(world.name)}-{digest[:10]}"
    first = TRAINING_SEED * (1 + settings.seed)
    seeds = range(first, first + settings.episodes)
    show = partial(
        demonstrate,
        folder,
        world,
        expert,
        seeds,
        error=expert_error(settings, world),
        workers=settings.workers,
        frames_as=settings.frames_as,
        find=partial(find_scene, settings),
    )
    return find_or_show(folder, show)


def find_scene(settings: Imitate) -> tuple[World, Expert | Policy]:
    """Return environment and expert of the settings."""
    world = open_world(cast(str, settings.world), settings.world_options)
    return world, load_expert(settings.expert, world)


def asked_place(settings: Imitate) -> WalkSettings:
    """Return the environment of the settings as a place to evaluate policies in."""
    return place(cast(str, settings.world), read_options(settings.world_options))


def describe(settings: Imitate) -> str:
    """Return the environment and all settings but cell and seed as one cell of a results file."""
    told = settings_told(settings, "world", "cell")
    return f"{settings.world} {json.dumps(told, sort_keys=True, default=str)}"


def expert_error(settings: Imitate, world: World) -> ExpertError:
    """Return the error that is added to the expert's actions while it demonstrates."""
    noise = np.broadcast_to(settings.expert_noise, len(world.contract.action))
    generator = np.random.default_rng(settings.seed)
    if world.contract.choices:
        return RandomChoices(noise, world.contract.choices, generator)
    memory = 0.93 ** (30.0 * world.frame_s)  # the same duration at any frame rate
    return SlowError(noise, generator, memory=memory)


def load_expert(name: str | None, world: World) -> Expert | Policy:
    """Return the expert with a name, or that of the environment if the name is None.

    Raises:
        ValueError: If there is no such expert, or it is a policy that does not fit the environment.
    """
    if name is None:
        if world.expert is None:
            raise ValueError(
                f"`expert` must be given in {world.name!r}, got None: this world has nobody who can"
                " be asked. Name one with --expert: my_module:my_expert, or a policy, e.g."
                " halfcheetah-teacher."
            )
        return world.expert
    if ":" in name:
        return import_function("expert", name)
    if not Path(name).is_dir() and name not in shipped_policies():
        raise ValueError(
            f"`expert` must be <module>:<function>, the folder of a policy, or the name of a"
            f" shipped one, got {name!r}."
        )
    policy = load(name)
    world.check_policy(policy.contract)
    return policy


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
    mirrored = mirrored_entries(world.contract.action) if settings.mirror else ()
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


def act(policy: Policy, world: World, episodes: int, first_seed: int) -> list[Episode]:
    """Run a policy in episodes of an environment with consecutive seeds from `first_seed` on."""
    return run_episodes(world, policy, seeds=range(first_seed, first_seed + episodes))


def measured_in(world: World, model: str, episodes: Sequence[Episode]) -> Measured:
    """Return measures and returns of a model in some episodes."""
    returns = np.array([episode.total_reward for episode in episodes])
    return Measured(model=model, labels={}, measures=world.measure(episodes), returns=returns)
