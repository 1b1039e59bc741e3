"""Run policies in a world and record their episodes."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from ncp_control.acting.closed_loop import (
    Info,
    Pilot,
    PolicyPilot,
    Rows,
    RowsPilot,
    Step,
    closed_loop,
)
from ncp_control.acting.experts import AskedPilot, ExpertError
from ncp_control.episode import Episode
from ncp_control.policy import Policy
from ncp_control.ranges import check_count
from ncp_control.records import record_frame, sensor_names
from ncp_control.worlds import Expert, World

_MOST_NUMBERS = 64
"""Largest size of an `info` entry that an episode keeps; larger ones are observations."""


class Recorder:
    """Records the first episode of one of the environments of a loop.

    Args:
        world: The world of the environments.
        index: Index of the environment.
        name: Name of the policy that acts.
        where: Name of the world, for headings; if empty: the name of `world`.
        expert: Pilot that asks the world's expert for its actions.
        keeps_observations: Whether the episode keeps its observations.
    """

    def __init__(
        self,
        world: World,
        index: int = 0,
        *,
        name: str = "",
        where: str = "",
        expert: AskedPilot | None = None,
        keeps_observations: bool = True,
    ) -> None:
        self.is_over = False
        self._world, self._index, self._expert = world, index, expert
        self._named: dict[str, Any] = {"name": name, "where": where or world.name}
        self._keeps_observations = keeps_observations
        self._is_terminated = False
        self._infos: list[Info] = []
        self._rows: defaultdict[str, list[Any]] = defaultdict(list)

    @property
    def asked(self) -> np.ndarray | None:
        """Action of the expert at the last step; None if there is no expert."""
        return None if self._expert is None else self._expert.labels[self._index]

    def add(self, step: Step) -> None:
        """Record a step, unless the episode is over."""
        if self.is_over:
            return
        i, rows = self._index, self._rows
        elapsed_s = rows["time_s"][-1] + float(step.dt_s[i]) if rows["time_s"] else 0.0
        rows["time_s"].append(step.infos[i].get("time_s", elapsed_s))
        rows["dt_s"].append(step.dt_s[i])
        rows["actions"].append(np.atleast_1d(step.actions[i]))
        rows["rewards"].append(step.rewards[i])
        if self._keeps_observations:
            rows["observations"].append(step.observations[i])
        if self._expert is not None:
            rows["expert_actions"].append(self.asked)
        self._infos.append(
            {k: v for k, v in step.outcomes[i].items() if np.size(v) <= _MOST_NUMBERS}
        )
        self._is_terminated = bool(step.terminated[i])
        self.is_over = bool(step.terminated[i] or step.truncated[i])

    def episode(self) -> Episode:
        """Return the episode recorded so far."""
        rows: dict[str, Any] = {name: np.array(values) for name, values in self._rows.items()}
        if "observations" in rows and rows["observations"].dtype == np.float64:
            rows["observations"] = rows["observations"].astype(np.float32)  # as policies do
        infos, contract = _columns(self._infos), self._world.contract
        names = [entry.name for entry in contract.action]
        actions = dict(zip(names, rows["actions"].T, strict=True))
        return Episode(
            infos=infos,
            is_terminated=self._is_terminated,
            action_names=names,
            sensor_names=sensor_names(contract.observation),
            record_frame=record_frame(contract.observation),
            signals={**self._world.signals(infos), **actions},
            expert_name="" if self._expert is None else self._world.expert_name,
            **self._named,
            **rows,
        )


def run_episodes(
    world: World, policy: Policy | Pilot | None, *, seeds: Sequence[int], **settings: Any
) -> list[Episode]:
    """Run a policy in many environments in parallel; arguments as in `iterate_episodes`."""
    return list(iterate_episodes(world, policy, seeds=seeds, **settings))


def iterate_episodes(
    world: World,
    policy: Policy | Pilot | None,
    *,
    seeds: Sequence[int],
    options: Sequence[Any] | None = None,
    num_steps: int | None = None,
    parallel: int | None = None,
    expert: Expert | Policy | None = None,
    error: ExpertError | None = None,
    keeps_observations: bool = False,
    rows: Rows | None = None,
    description: str | None = None,
) -> Iterator[Episode]:
    """Run a policy in parallel environments, one group after the other, and yield each episode.

    Args:
        world: The world.
        policy: Policy or pilot that acts; if None: the expert.
        seeds: Seed of each episode.
        options: Options of the reset of each episode.
        num_steps: Maximum number of steps of an episode; if None: `world.max_steps`.
        parallel: Maximum number of parallel environments; if None: all. Another batch size may
            round differently.
        expert: Expert that is asked for its action at every step.
        error: Error added to the expert's actions while the expert acts.
        keeps_observations: Whether the episodes keep their observations.
        rows: Rows of these episodes in the batch, if other processes run the rest of the batch.
        description: Text of the progress bar; if None: no progress bar.

    Raises:
        ValueError: If nobody acts, or a count is below 1.
    """
    if policy is None and expert is None:
        raise ValueError("`policy` must be given, or else an `expert`, got neither. One must act.")
    num_steps = world.max_steps if num_steps is None else check_count("num_steps", num_steps)
    beside_most = check_count("parallel", parallel) if parallel is not None else len(seeds)
    envs = [world.make() for _ in range(min(beside_most, len(seeds)))]
    try:
        for first in range(0, len(seeds), max(len(envs), 1)):
            part = slice(first, first + len(envs))
            beside = envs[: len(seeds[part])]
            pilot = PolicyPilot(policy) if isinstance(policy, Policy) else policy
            asked = None
            if expert is not None:
                pilot = asked = AskedPilot(
                    expert, beside, world.contract, learner=pilot, error=error, rows=rows
                )
            elif pilot is not None and rows is not None:
                pilot = RowsPilot(pilot, rows)
            assert pilot is not None  # checked above
            recorders = [
                Recorder(world, i, expert=asked, keeps_observations=keeps_observations)
                for i in range(len(beside))
            ]
            steps = closed_loop(
                beside,
                pilot,
                num_steps=num_steps,
                frame_s=world.frame_s,
                seeds=seeds[part],
                options=None if options is None else options[part],
            )
            bar = tqdm(
                steps,
                description,
                num_steps,
                unit="frame",
                unit_scale=len(beside),  # a step gives a frame of each environment
                leave=False,
                disable=description is None,
            )
            for step in bar:
                for recorder in recorders:
                    recorder.add(step)
                if all(recorder.is_over for recorder in recorders):
                    break
            bar.close()
            yield from (recorder.episode() for recorder in recorders)
    finally:
        for env in envs:
            env.close()


def _columns(infos: Sequence[Info]) -> dict[str, np.ndarray]:
    """Return the numeric entries that all infos have, by name, each stacked over time."""
    columns = {}
    for name in infos[0]:
        if all(name in info for info in infos):
            try:
                values = np.array([info[name] for info in infos])
            except ValueError:  # of several shapes
                continue
            if values.dtype.kind in "biuf":
                columns[name] = values
    return columns
