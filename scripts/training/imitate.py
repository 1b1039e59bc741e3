"""Learn to do what an expert does, in any world: it demonstrates, then it is asked (DAgger)."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch

from ncp_control.episode import run_episodes
from ncp_control.imports import import_function
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.learning.demonstrations.expert import demonstrate
from ncp_control.learning.experts import ExpertError, RandomChoices, SlowError
from ncp_control.learning.imitation import imitate
from ncp_control.learning.run import Run
from ncp_control.learning.training_state import epochs_done
from ncp_control.policy import Policy, VectorPolicy
from ncp_control.worlds import Expert, World
from policies.augmentation import FrameAugmentation, mirrored_entries
from policies.locomotion import make_policy_for
from scripts.cli import use_threads
from scripts.evaluation.locomotion import open_world
from scripts.markdown import markdown_table
from scripts.training.contracts import trained_in
from scripts.training.resumption import begun_with, open_run
from scripts.training.settings import Imitate

TRAINING_SEED, VALIDATION_SEED, EVALUATION_SEED = 1_000_000, 500_000, 10_000
"""First seeds of the worlds that teach, choose the checkpoint, and test."""


def train_imitate(asked: Imitate) -> Policy:
    """Let the expert demonstrate, imitate it, measure both, and save the policy."""
    settings = begun_with(asked)
    use_threads(settings.threads)
    world = open_world(cast(str, settings.world), settings.world_options)
    expert = load_expert(cast(str, settings.expert), world)
    torch.manual_seed(settings.seed)
    policy = make_policy_for(
        world.contract,
        settings.cell,
        num_neurons=settings.neurons,
        head=settings.head,
        encoder=settings.encoder,
        seed=settings.seed,
        wiring=settings.wiring,
    )
    step = -1 if settings.resume is None else epochs_done(settings.resume)
    with open_run(settings, "imitate", settings.cell, step=step) as run:
        policy = imitate_expert(policy, expert, world, settings, run)
        returns = measure(policy, world, settings.evaluation_episodes, EVALUATION_SEED)
    print(f"policy: {run.policy}")
    print(returns_table(settings.cell, returns))
    return policy


def imitate_expert(
    policy: Policy, expert: Expert | Policy, world: World, settings: Imitate, run: Run
) -> Policy:
    """Train a policy on an expert's demonstrations and save the best of its checkpoints.

    In a run that was stopped, what was demonstrated in it is found again.
    """
    first_seed = TRAINING_SEED * (1 + settings.seed)
    error = expert_error(settings, world)
    folder = run.folder / "demonstrations"
    shown = Demonstrations.find(folder) or demonstrate(
        folder,
        world,
        expert,
        range(first_seed, first_seed + settings.episodes),
        error=error,
    )
    if isinstance(policy, VectorPolicy):
        policy.fit_scale(torch.from_numpy(np.array(shown.observations)))

    def folder_of(epoch: int) -> Path:
        return run.folder / "dagger" / f"epoch-{epoch}"

    def aggregate(policy: Policy, epoch: int) -> Demonstrations:
        first = first_seed + settings.episodes + epoch * settings.dagger_episodes
        return demonstrate(
            folder_of(epoch),
            world,
            expert,
            range(first, first + settings.dagger_episodes),
            learner=policy,
            description="learner",
        )

    def validate(policy: Policy) -> dict[str, float]:
        returns = measure(policy, world, settings.validation_episodes, VALIDATION_SEED)
        return {"score": -float(returns.mean()), "mean_return": float(returns.mean())}

    policy.contract = trained_in(world)
    policy = imitate(
        policy,
        [shown],
        dataclasses.replace(settings.imitation, seed=settings.seed),
        run,
        validate=validate,
        augment=augmentation(settings, world),
        aggregate=aggregate,
        recall=lambda epoch: Demonstrations.find(folder_of(epoch)),
    )
    policy.contract = trained_in(world, policy)
    policy.save(run.policy)
    return policy


def expert_error(settings: Imitate, world: World) -> ExpertError:
    """Return what strays from the expert's actions while it demonstrates."""
    noise = np.broadcast_to(settings.expert_noise, len(world.contract.action))
    generator = np.random.default_rng(settings.seed)
    if world.contract.choices:
        return RandomChoices(noise, world.contract.choices, generator)
    memory = 0.93 ** (30.0 * world.frame_s)  # the same time at any rate
    return SlowError(noise, generator, memory=memory)


def load_expert(name: str, world: World) -> Expert | Policy:
    """Return the expert of a name.

    Raises:
        ValueError: If there is none, or it is a policy that does not fit the world.
    """
    if ":" in name:
        return import_function("expert", name)
    if not Path(name).is_dir():
        raise ValueError(
            f"`expert` must be <module>:<function> or the folder of a policy, got {name!r}."
        )
    policy = Policy.load(name)
    world.check_policy(policy.contract)
    return policy


def augmentation(settings: Imitate, world: World) -> FrameAugmentation | None:
    """Return what is done to the windows of frames, as the settings ask."""
    if not settings.mirror and not settings.relight:
        return None
    mirrored = mirrored_entries(world.contract.action) if settings.mirror else ()
    if settings.mirror and not mirrored:
        raise ValueError(
            f"`mirror` must be left out in {world.name!r}: its contract names no action whose"
            " positive side is left or right."
        )
    return FrameAugmentation(mirrored=mirrored, is_relit=settings.relight)


def measure(policy: Policy, world: World, episodes: int, first_seed: int) -> np.ndarray:
    """Return the return of each episode, shape (episodes,)."""
    seeds = range(first_seed, first_seed + episodes)
    return np.array([episode.total_reward for episode in run_episodes(world, policy, seeds=seeds)])


def returns_table(name: str, returns: Sequence[float] | np.ndarray) -> str:
    """Return mean, lowest and highest return as a table."""
    values = np.asarray(returns)
    cells = [
        name,
        str(len(values)),
        *(f"{v:.1f}" for v in (values.mean(), values.min(), values.max())),
    ]
    return markdown_table(["model", "episodes", "mean return", "lowest", "highest"], [cells])
