"""Imitation of an expert, shared by `train.py imitate` and `drive`.

The expert demonstrates, a policy learns from the demonstrations, and before some epochs it acts
itself while the expert labels what it observes (DAgger).
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ncp_control import files
from ncp_control.acting.closed_loop import Pilot
from ncp_control.acting.experts import ExpertError, RandomChoices, SlowError
from ncp_control.acting.shares import Find
from ncp_control.episode import Episode
from ncp_control.imports import import_function, package_digest
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.learning.demonstrations.expert import PARALLEL, demonstrate
from ncp_control.learning.imitation import Augment, imitate
from ncp_control.learning.run import Run
from ncp_control.policy import FramesPolicy, Policy, VectorPolicy, load, shipped_policies
from ncp_control.worlds import Expert, World
from scripts.evaluation.places import Place
from scripts.evaluation.worlds import plain_stem
from scripts.training.contracts import trained_in
from scripts.training.imitation_settings import FromExpert
from scripts.training.met_conditions import one_after_another


@dataclass(frozen=True, kw_only=True)
class ImitationTask:
    """Where an expert demonstrates and labels, and how a policy that imitates it is validated."""

    expert: Expert | Policy
    """The expert."""
    find: Find
    """Returns environment and expert; pickled, to be called in worker processes."""
    identity: str
    """Environment, expert and episodes in words: equal only if the demonstrations are equal."""
    demonstration_place: Place
    """Episodes in which the expert demonstrates."""
    asked: Callable[[Path, int], tuple[Place, int]]
    """Function of the folder for DAgger and the epoch. It returns the episodes in which the policy
    acts before that epoch, and the seed of the conditions there."""
    validation: Place
    """Episodes in which a checkpoint is measured."""
    score: Callable[[Sequence[Episode]], dict[str, float]]
    """Measures of these episodes; the checkpoint with the lowest "score" is kept."""
    augment: Augment | None = None
    """Augmentation of the windows, before the conditions of the settings."""


def imitate_expert(
    policy: Policy,
    task: ImitationTask,
    settings: FromExpert,
    run: Run,
    *,
    shown: Demonstrations | None = None,
    is_new: bool = True,
) -> Policy:
    """Train a policy on an expert's demonstrations and save the best of its checkpoints.

    A resumed run reuses the demonstrations that it has recorded.

    Args:
        policy: The policy, changed in place; its contract becomes that of the environment.
        task: The task.
        settings: Settings of demonstrations and training.
        run: The run, for metrics, demonstrations, checkpoints and the policy.
        shown: The demonstrations; if None: `find_or_record` gives them.
        is_new: Whether the scaling of its numeric inputs is set from the demonstrations.

    Returns:
        The best checkpoint, saved as the run's policy.
    """
    world = task.demonstration_place.world
    augment = one_after_another(task.augment, settings.conditions_in(world))
    if shown is None:
        shown = find_or_record(task, settings, run.folder)
    if is_new:
        fit_scale(policy, shown)
    settings.begin_from(policy, shown, settings.imitation.window, settings.seed)
    dagger = run.folder / "dagger"

    def ask(learner: Policy, epoch: int) -> Demonstrations:
        place, seed = task.asked(dagger, epoch)
        pilot = settings.learner_in(world, learner, seed)
        return record(dagger / folder_of_epoch(epoch), place, task, settings, pilot)

    def validate(policy: Policy) -> dict[str, float]:
        return task.score(task.validation.run(policy, description="validation"))

    contract = policy.contract = trained_in(world, policy.contract)
    policy = imitate(
        policy,
        [shown],
        dataclasses.replace(settings.imitation, seed=settings.seed),
        run,
        validate=validate,
        augment=augment,
        aggregate=ask,
        recall=lambda epoch: Demonstrations.find(dagger / folder_of_epoch(epoch)),
    )
    policy.contract = contract
    policy.save(run.policy)
    return policy


def fit_scale(policy: Policy, demonstrations: Demonstrations) -> None:
    """Set the scaling of a policy's numeric inputs, if it has any, from demonstrations."""
    if isinstance(policy, VectorPolicy):
        policy.fit_scale(torch.from_numpy(np.array(demonstrations.observations)))
    elif isinstance(policy, FramesPolicy) and policy.numbers:
        policy.fit_scale(torch.from_numpy(demonstrations.numbers(policy.frame_shape)))


def find_or_record(task: ImitationTask, settings: FromExpert, run_folder: Path) -> Demonstrations:
    """Open the demonstrations for these settings, record them first if there are none.

    If another process is recording them, wait for it. Existing demonstrations may be on a read-only
    file system.

    Args:
        task: The task.
        settings: Settings of the job.
        run_folder: Run folder, which keeps them if `settings.data` is None.
    """
    folder = demonstrations_folder(task, settings, run_folder)
    found = Demonstrations.find(folder)
    if found is None:
        with files.locked(folder, waits=lambda: print(f"another process demonstrates: {folder}")):
            files.remove_leftovers(folder.parent)  # may be gigabytes after a killed recording
            found = Demonstrations.find(folder)
            if found is None:
                print(f"demonstrations: {folder}")
                return record(folder, task.demonstration_place, task, settings)
    print(f"demonstrations: {folder}, recorded before")
    return found


def demonstrations_folder(task: ImitationTask, settings: FromExpert, run_folder: Path) -> Path:
    """Return the folder of the demonstrations, in the run if `settings.data` is None.

    An edit of the expert's code, or of its package, gives another folder.
    """
    if settings.data is None:
        return run_folder / "demonstrations"
    asked = f"{task.identity} {settings.expert_noise} {settings.seed}{settings.words_of_frames}"
    if not isinstance(task.expert, Policy):
        asked += f" {package_digest(task.expert)}"
    digest = hashlib.sha256(asked.encode()).hexdigest()
    return settings.data / f"{plain_stem(task.demonstration_place.world.name)}-{digest[:10]}"


def record(
    folder: Path,
    place: Place,
    task: ImitationTask,
    settings: FromExpert,
    learner: Policy | Pilot | None = None,
) -> Demonstrations:
    """Record episodes: observations, and the actions that the expert would have chosen.

    Args:
        folder: Folder for the demonstrations.
        place: The episodes.
        task: The task, with the expert.
        settings: Settings of the job.
        learner: Policy that acts, for DAgger; if None: the expert, with the error of the settings.
    """
    return demonstrate(
        folder,
        place.world,
        task.expert,
        place.seeds,
        options=place.options,
        num_steps=place.num_steps,
        parallel=place.parallel or PARALLEL,
        learner=learner,
        error=expert_error(settings, place.world) if learner is None else None,
        description="expert" if learner is None else "learner",
        workers=settings.workers,
        find=task.find,
        frames_as=settings.frames_as,
    )


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
    world.check_policy(policy.contract, "expert")
    return policy


def folder_of_epoch(epoch: int) -> str:
    """Return the folder name of the DAgger demonstrations recorded before an epoch."""
    return f"epoch-{epoch}"


def expert_error(settings: FromExpert, world: World) -> ExpertError:
    """Return the error that is added to the expert's actions while it demonstrates.

    Raises:
        ValueError: If there are several numbers, but not one for each entry of the action, or a
            share of random choices is above 1.
    """
    asked, names = settings.expert_noise, [entry.name for entry in world.contract.action]
    if len(asked) not in (1, len(names)):
        raise ValueError(
            f"`expert_noise` must be one number, or one for each of {', '.join(names)}, got"
            f" {' '.join(map(str, asked))}."
        )
    noise = np.broadcast_to(asked, len(names))
    generator = np.random.default_rng(settings.seed)
    if world.contract.choices:
        if noise.max() > 1.0:
            raise ValueError(
                f"`expert_noise` must be from 0 to 1 in {world.name!r}, got"
                f" {' '.join(map(str, asked))}. It is the share of random choices there."
            )
        return RandomChoices(noise, world.contract.choices, generator)
    memory = 0.93 ** (30.0 * world.frame_s)  # the same duration at any frame rate
    return SlowError(noise, generator, memory=memory)
