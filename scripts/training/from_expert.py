"""Imitation of an expert, shared by jobs: train, ask the expert (DAgger), and save the policy."""

from collections.abc import Callable
from pathlib import Path

from ncp_control import files
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.learning.imitation import Augment, imitate
from ncp_control.learning.run import Run
from ncp_control.learning.settings import ImitationConfig
from ncp_control.policy import Policy
from ncp_control.worlds import World
from scripts.training.contracts import trained_in

Ask = Callable[[Path, Policy, int], Demonstrations]
"""Function of folder, policy and epoch. It lets the policy act and records the observations with
the actions that the expert would have chosen."""


def find_or_show(folder: Path, show: Callable[[], Demonstrations]) -> Demonstrations:
    """Open the demonstrations in a folder, record them first if there are none, print the folder.

    If another process is recording them, wait for it. Existing demonstrations may be on a read-only
    file system.

    Args:
        folder: Folder of the demonstrations.
        show: Records them in the folder.
    """
    found = Demonstrations.find(folder)
    if found is None:
        with files.locked(folder, waits=lambda: print(f"another process demonstrates: {folder}")):
            files.remove_leftovers(folder.parent)  # may be gigabytes after a killed recording
            found = Demonstrations.find(folder)
            if found is None:
                print(f"demonstrations: {folder}")
                return show()
    print(f"demonstrations: {folder}, recorded before")
    return found


def folder_of_epoch(epoch: int) -> str:
    """Return the folder name of the DAgger demonstrations recorded before an epoch."""
    return f"epoch-{epoch}"


def learn_from_expert(
    policy: Policy,
    world: World,
    shown: Demonstrations,
    config: ImitationConfig,
    run: Run,
    *,
    ask: Ask,
    validate: Callable[[Policy], dict[str, float]],
    augment: Augment | None,
) -> Policy:
    """Train a policy on an expert's demonstrations and save the best of its checkpoints.

    A resumed run reuses the DAgger demonstrations that it has recorded.

    Args:
        policy: The policy, changed in place.
        world: The environment; its contract becomes that of the policy.
        shown: Demonstrations of the expert.
        config: Settings of training, with the seed.
        run: The run, for metrics, DAgger demonstrations, checkpoints and the policy.
        ask: Called before each of `config.dagger_epochs`.
        validate: Measures a checkpoint; the lowest "score" wins.
        augment: Augmentation of the windows.

    Returns:
        The best checkpoint, saved as the run's policy.
    """

    def folder_of(epoch: int) -> Path:
        return run.folder / "dagger" / folder_of_epoch(epoch)

    policy.contract = trained_in(world)
    policy = imitate(
        policy,
        [shown],
        config,
        run,
        validate=validate,
        augment=augment,
        aggregate=lambda policy, epoch: ask(folder_of(epoch), policy, epoch),
        recall=lambda epoch: Demonstrations.find(folder_of(epoch)),
    )
    policy.contract = trained_in(world, policy)
    policy.save(run.policy)
    return policy
