"""Recording of demonstrations by an expert that acts, or that labels while a learner acts."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ncp_control.acting.closed_loop import Pilot
from ncp_control.acting.experts import ExpertError
from ncp_control.acting.recorder import iterate_episodes
from ncp_control.acting.shares import Find, show_in_workers
from ncp_control.episode import Episode
from ncp_control.learning.demonstrations.store import Demonstrations
from ncp_control.learning.demonstrations.writer import DemonstrationWriter
from ncp_control.policy import Policy
from ncp_control.records import array_of, record_frame
from ncp_control.worlds import Expert, World

PARALLEL = 8
"""Default number of parallel environments, so that a policy gets a batch."""


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
    """Record one episode per seed: the observations and the expert's actions for them.

    Args:
        folder: Folder of the demonstrations; an existing store there is replaced.
        world: The world.
        expert: The expert that acts or labels.
        seeds: Seed of each episode.
        options: Options of each reset.
        num_steps: Number of steps per episode; if None: as defined by the world.
        parallel: Maximum number of parallel environments.
        learner: Policy or pilot that acts (DAgger); if None: the expert acts.
        error: Noise added to the executed actions of the expert while it acts.
        description: Text of the progress bar.
        workers: Number of processes that share the episodes; the result does not depend on it.
        find: Returns the world and the expert in a worker process; needed if `workers` > 1.
        frames_as: Storage format of frames: raw, png or jpeg; see `DemonstrationWriter`.

    Raises:
        ValueError: If `workers` > 1 and `find` is None.
    """
    shown: dict[str, Any] = {
        "seeds": seeds,
        "options": options,
        "num_steps": num_steps,
        "parallel": parallel,
        "error": error,
        "description": description,
    }
    if workers == 1:
        episodes = iterate_episodes(world, learner, expert=expert, keeps_observations=True, **shown)
    elif find is None:
        raise ValueError(
            f"`find` must be given for several workers, got None for {workers}: each builds the"
            " world in a process of its own."
        )
    else:
        size = len(world.contract.action)
        episodes = show_in_workers(workers, find, num_actions=size, learner=learner, **shown)
    return _write(folder, world, seeds, episodes, frames_as)


def failed_before(stores: Iterable[Demonstrations]) -> list[int]:
    """Return the seeds whose last episode failed, the latest first.

    Args:
        stores: Results of `demonstrate`, in chronological order.
    """
    failed: dict[int, None] = {}
    for store in stores:
        for seed in store.source["seeds"]:
            failed.pop(seed, None)
        failed |= dict.fromkeys(store.source["failed"])
    return list(failed)[::-1]


def _write(
    folder: Path, world: World, seeds: Sequence[int], episodes: Iterable[Episode], frames_as: str
) -> Demonstrations:
    """Write episodes to a store, with the seeds and the failed seeds in `meta["source"]`.

    An episode has failed if `Episode.has_failed`.
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
            assert episode.expert_actions is not None  # the expert was given above
            writer.append_episode(
                episode.recorded_observations.astype(dtype, copy=False),
                episode.expert_actions,
                episode.dt_s,
            )
            failed += [int(seed)] if episode.has_failed else []
        writer.describe(seeds=[int(seed) for seed in seeds], failed=failed)
    return Demonstrations.open(folder)
