"""What every imitation of an expert does: learn, ask before some epochs, and save the policy."""

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
"""Lets a policy act, asks the expert what it would have done, and writes both down: called with the
folder, the policy and the epoch."""


def find_or_show(folder: Path, show: Callable[[], Demonstrations]) -> Demonstrations:
    """Open the demonstrations in a folder, made now if there are none, and print the folder.

    A process that asks while another one makes them waits for them. Those that are there may lie
    where nothing can be written.

    Args:
        folder: Where they are.
        show: Makes them there.
    """
    found = Demonstrations.find(folder)
    if found is None:
        with files.locked(folder, waits=lambda: print(f"another process demonstrates: {folder}")):
            files.remove_leftovers(folder.parent)  # gigabytes, if a recording was killed
            found = Demonstrations.find(folder)
            if found is None:
                print(f"demonstrations: {folder}")
                return show()
    print(f"demonstrations: {folder}, recorded before")
    return found


def folder_of_epoch(epoch: int) -> str:
    """Return the name of the folder of what the expert was asked before an epoch."""
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

    In a run that was stopped, what the expert was asked before an epoch is found again.

    Args:
        policy: The policy, in place.
        world: Where it acts; its contract becomes the policy's.
        shown: What the expert demonstrated.
        config: The training, with its seed.
        run: Where metrics, answers of the expert, checkpoints and the policy go.
        ask: Asks the expert, before each of `config.dagger_epochs`.
        validate: Measures a checkpoint; the lowest "score" wins.
        augment: What is done to the windows.

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
