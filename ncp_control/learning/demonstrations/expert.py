"""Demonstrations by an expert that acts, or is asked while a learner acts."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ncp_control.episode import Episode
from ncp_control.learning.closed_loop import Pilot
from ncp_control.learning.demonstrations.store import Demonstrations
from ncp_control.learning.demonstrations.writer import DemonstrationWriter
from ncp_control.learning.experts import ExpertError
from ncp_control.policy import Policy
from ncp_control.recorder import iterate_episodes
from ncp_control.records import array_of, record_frame
from ncp_control.shares import Find, show_in_workers
from ncp_control.worlds import Expert, World

PARALLEL = 8
"""Worlds side by side, so that a policy sees a batch."""


def demonstrate(
    folder: Path,
    world: World,
    expert: Expert | Policy,
    seeds: Sequence[int],
    *,
    options: Sequence[Any] | None = None,
    num_steps: int | None = None,
    parallel: int = PARALLEL,
    learner: Policy | Pilot | None = None,
    error: ExpertError | None = None,
    description: str = "expert",
    workers: int = 1,
    find: Find | None = None,
    frames_as: str = "raw",
) -> Demonstrations:
    """Write down an episode for each seed: what was seen, and what the expert would have done.

    Args:
        folder: Where the demonstrations are written; what stands there is replaced.
        world: Where.
        expert: Who is asked.
        seeds: Seed of each episode.
        options: Options of each reset.
        num_steps: Steps after which an episode is over; those of the world if None.
        parallel: Most environments side by side.
        learner: Who acts, as DAgger asks; the expert itself if None.
        error: Added to what the expert does while it acts itself.
        description: What the progress bar says.
        workers: Processes that share the episodes; what is written is the same with any number.
        find: Returns the world and the expert in a process of its own; needed for several.
        frames_as: How frames are kept; see `DemonstrationWriter`.
    """
    if workers > 1:
        if find is None:
            raise ValueError(
                f"`find` must be given for several workers, got None for {workers}: each builds the"
                " world in a process of its own."
            )
        episodes = show_in_workers(
            workers,
            find,
            seeds=seeds,
            options=options,
            num_steps=num_steps,
            parallel=parallel,
            num_actions=len(world.contract.action),
            learner=learner,
            error=error,
            description=description,
        )
    else:
        episodes = iterate_episodes(
            world,
            learner,
            seeds=seeds,
            options=options,
            num_steps=num_steps,
            parallel=parallel,
            expert=expert,
            error=error,
            keeps_observations=True,
            description=description,
        )
    return _write(folder, world, seeds, episodes, frames_as)


def failed_before(stores: Iterable[Demonstrations]) -> list[int]:
    """Return the seeds of episodes that failed, the latest first, and have not gone well since.

    Args:
        stores: What `demonstrate` returned, in the order of time.
    """
    failed: dict[int, None] = {}
    for store in stores:
        told = store.meta["source"]
        for seed in told["seeds"]:
            failed.pop(seed, None)
        failed |= dict.fromkeys(told["failed"])
    return list(failed)[::-1]


def _write(
    folder: Path, world: World, seeds: Sequence[int], episodes: Iterable[Episode], frames_as: str
) -> Demonstrations:
    """Write down what was seen in episodes that keep it, and what the expert would have done.

    With it stand the seeds, and which of them failed; see `Episode.has_failed`.
    """
    observation = world.contract.observation
    shape, dtype = array_of(observation)
    size = len(world.contract.action)
    with DemonstrationWriter(
        folder,
        shape,
        dtype,
        size,
        frames_as=frames_as,
        frame_shape=record_frame(observation),
        overwrite=True,
    ) as writer:
        failed = []
        for seed, episode in zip(seeds, episodes, strict=True):
            assert episode.expert_actions is not None  # it was asked
            writer.append_episode(
                episode.seen.astype(dtype, copy=False), episode.expert_actions, episode.dt_s
            )
            failed += [int(seed)] if episode.has_failed else []
        writer.describe(seeds=[int(seed) for seed in seeds], failed=failed)
    return Demonstrations.open(folder)
