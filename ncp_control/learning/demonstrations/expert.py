"""Demonstrations by an expert that acts, or is asked while a learner acts."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from ncp_control.episode import Episode, iterate_episodes
from ncp_control.learning.demonstrations.store import Demonstrations
from ncp_control.learning.demonstrations.writer import DemonstrationWriter
from ncp_control.learning.experts import ExpertError
from ncp_control.policy import Policy
from ncp_control.records import array_of
from ncp_control.worlds import Expert, World

PARALLEL = 8
"""Worlds side by side, so that a policy sees a batch."""


def demonstrate(
    folder: Path,
    world: World,
    expert: Expert | Policy,
    seeds: Sequence[int],
    *,
    learner: Policy | None = None,
    error: ExpertError | None = None,
    description: str = "expert",
) -> Demonstrations:
    """Write down an episode for each seed: what was seen, and what the expert would have done.

    Args:
        folder: Where the demonstrations are written; what stands there is replaced.
        world: Where.
        expert: Who is asked.
        seeds: Seed of each episode.
        learner: Who acts, as DAgger asks; the expert itself if None.
        error: Added to what the expert does while it acts itself.
        description: What the progress bar says.
    """
    episodes = iterate_episodes(
        world,
        learner,
        seeds=seeds,
        parallel=PARALLEL,
        expert=expert,
        error=error,
        keeps_observations=True,
        description=description,
    )
    return write_demonstrations(folder, world, episodes)


def write_demonstrations(folder: Path, world: World, episodes: Iterable[Episode]) -> Demonstrations:
    """Write down what was seen in episodes, and what the expert would have done.

    Args:
        folder: Where the demonstrations are written; what stands there is replaced.
        world: Where the episodes were.
        episodes: Episodes that keep what was seen, and in which an expert was asked.
    """
    shape, dtype = array_of(world.contract.observation)
    size = len(world.contract.action)
    with DemonstrationWriter(folder, shape, dtype, size, overwrite=True) as writer:
        for episode in episodes:
            assert episode.expert_actions is not None  # it was asked
            writer.append_episode(
                episode.seen.astype(dtype, copy=False), episode.expert_actions, episode.dt_s
            )
    return Demonstrations.open(folder)
