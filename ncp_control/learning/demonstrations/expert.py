"""Experts in a closed loop: they act, or watch a learner act, and say what they would have done.

An expert is a function of the environment, the observation and its info, or a policy that sees
`info["full_observation"]`. While it demonstrates, a slowly varying error is added to what it does,
but not to what is written down: so the body strays, and the expert shows how to come back.

Source: Laskey et al. 2017, "DART" (arXiv 1703.09327), for the error.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from ncp_control.contract import FramesContract, VectorContract
from ncp_control.learning.closed_loop import Info, PolicyPilot, closed_loop
from ncp_control.learning.demonstrations.store import Demonstrations
from ncp_control.learning.demonstrations.writer import DemonstrationWriter
from ncp_control.policy import Policy
from ncp_control.worlds import World

Expert = Callable[[Any, np.ndarray, Info], np.ndarray]
"""Environment, observation and info to an action as policies give them."""

PARALLEL = 8
"""Worlds side by side, so that a policy sees a batch."""


class SlowError:
    """An error that varies slowly: Gaussian, and similar from one frame to the next.

    Args:
        std: Standard deviation, one number or one for each entry of the action.
        generator: Source of the randomness.
        memory: Share kept from one frame to the next; 0.93 lasts about 14 frames.
    """

    def __init__(
        self, std: ArrayLike, generator: np.random.Generator, *, memory: float = 0.93
    ) -> None:
        self.std, self.memory = np.asarray(std), memory
        self.generator = generator
        self._error: np.ndarray | None = None

    def add(self, actions: np.ndarray, reset: np.ndarray) -> np.ndarray:
        """Return the actions (worlds, action) with their errors; `reset` begins an error anew."""
        if self._error is None or reset.all():  # other worlds, perhaps not as many
            self._error = np.zeros_like(actions)
        fresh = self.generator.standard_normal(actions.shape) * self.std
        kept = np.where(reset[:, None], 0.0, self.memory * self._error)
        self._error = kept + fresh * (np.sqrt(1.0 - self.memory**2))
        return np.clip(actions + self._error, -1.0, 1.0).astype(np.float32)


class AskedPilot:
    """Let the expert act, or a learner, and keep what the expert would have done.

    Args:
        expert: A function of one world, or a policy.
        worlds: The environments, in the order of the observations.
        learner: Who acts; the expert itself if None.
        error: Added to what the expert does while it acts itself.
    """

    def __init__(
        self,
        expert: Expert | Policy,
        worlds: Sequence[Any],
        *,
        learner: Policy | None = None,
        error: SlowError | None = None,
    ) -> None:
        self._worlds = worlds
        self._expert = PolicyPilot(expert) if isinstance(expert, Policy) else expert
        self._learner = None if learner is None else PolicyPilot(learner)
        self._error = error
        self.labels = np.empty(0)
        """What the expert would have done at the last step, shape (worlds, action)."""

    def __call__(
        self, observations: np.ndarray, infos: Sequence[Info], dt_s: np.ndarray, reset: np.ndarray
    ) -> np.ndarray:
        """Return the actions of whoever acts."""
        if isinstance(self._expert, PolicyPilot):
            full = np.stack([info["full_observation"] for info in infos])
            self.labels = self._expert(full, infos, dt_s, reset)
        else:
            seen = zip(self._worlds, observations, infos, strict=True)
            self.labels = np.stack([np.atleast_1d(self._expert(*one)) for one in seen])
        if self._learner is not None:
            return self._learner(observations, infos, dt_s, reset)
        return self.labels if self._error is None else self._error.add(self.labels, reset)


def demonstrate(
    folder: Path,
    world: World,
    expert: Expert | Policy,
    seeds: Sequence[int],
    *,
    learner: Policy | None = None,
    error: SlowError | None = None,
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
    shape, dtype = _observation_of(world)
    bar = tqdm(total=len(seeds), desc=description, unit="episode", leave=False)
    size = len(world.contract.action)
    with bar, DemonstrationWriter(folder, shape, dtype, size, overwrite=True) as writer:
        for first in range(0, len(seeds), PARALLEL):
            group = seeds[first : first + PARALLEL]
            envs = [world.make() for _ in group]
            pilot = AskedPilot(expert, envs, learner=learner, error=error)
            for frames in _first_episodes(world, envs, pilot, group):
                observations, labels, dt_s = zip(*frames, strict=True)
                writer.append_episode(
                    np.stack(observations).astype(dtype), np.stack(labels), np.array(dt_s)
                )
                bar.update()
            for env in envs:
                env.close()
    return Demonstrations.open(folder)


def _observation_of(world: World) -> tuple[tuple[int, ...], type[np.generic]]:
    """Return shape and type of what is written down of an observation.

    Raises:
        ValueError: If the world shows several parts.
    """
    seen = world.contract.observation
    if isinstance(seen, FramesContract):
        return seen.shape, np.uint8
    if isinstance(seen, VectorContract):
        return (seen.size,), np.float32
    raise ValueError(
        f"`world` must show frames or numbers to be imitated in, got {world.name!r}, which shows"
        f" {sorted(seen.parts)}. Wrap it, e.g. with gymnasium.wrappers.FlattenObservation."
    )


_Frame = tuple[np.ndarray, np.ndarray, float]
"""What was seen, what the expert would have done, time since the previous frame [s]."""


def _first_episodes(
    world: World, envs: Sequence[Any], pilot: AskedPilot, seeds: Sequence[int]
) -> list[list[_Frame]]:
    """Run environments side by side and return the frames of each one's first episode."""
    episodes: list[list[_Frame]] = [[] for _ in envs]
    is_over = np.zeros(len(envs), dtype=bool)
    steps = closed_loop(envs, pilot, num_steps=world.max_steps, frame_s=world.frame_s, seeds=seeds)
    for step in steps:
        is_over |= step.reset & bool(episodes[0])
        if is_over.all():
            break
        for i in np.flatnonzero(~is_over):
            frame = step.observations[i], pilot.labels[i], float(step.dt_s[i])
            episodes[i].append(frame)
    return episodes
