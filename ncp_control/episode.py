"""Episodes: what was seen, done, elapsed and thought, frame by frame, and how they are recorded.

Evaluation, audit, film, live page and the replay of a recording all look at an `Episode`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ncp_control.audit.saliency import previous_states
from ncp_control.circuit import Activity
from ncp_control.contract import ObservationContract
from ncp_control.learning.closed_loop import (
    Info,
    Pilot,
    PolicyPilot,
    Rows,
    RowsPilot,
    Step,
    closed_loop,
)
from ncp_control.learning.demonstrations.store import Demonstrations
from ncp_control.learning.experts import AskedPilot, ExpertError
from ncp_control.policy import Policy, to_numpy
from ncp_control.records import entries_of, frames_in, numbers_in, record_frame
from ncp_control.worlds import Expert, World

_CHUNK_FRAMES = 64
_MOST_TOLD = 64
"""Numbers in an entry of `info` that an episode keeps; a longer one is an observation."""
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, eq=False)
class Episode:
    """One episode of one policy, from the first observation to the last action.

    Every array has one row a frame.
    """

    time_s: np.ndarray
    """Time of each observation since the first [s], shape (time,)."""
    dt_s: np.ndarray
    """Time since the previous observation [s], shape (time,)."""
    actions: np.ndarray
    """What was done, shape (time, action)."""
    rewards: np.ndarray
    """Reward of each action, shape (time,)."""
    told: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What the world told after each action, by name, shape (time, …)."""
    observations: np.ndarray | None = None
    """What was seen, shape (time, …); None if it was not kept."""
    record_frame: tuple[int, int, int] | None = None
    """Shape of the frame in each observation, if these are records of a frame and numbers."""
    is_terminated: bool = False
    """Whether the world ended the episode, and not the clock."""
    name: str = ""
    """Who acted."""
    where: str = ""
    """In which world, for headings."""
    action_names: Sequence[str] = ()
    """What each entry of the action is."""
    sensor_names: Sequence[str] | None = None
    """What each number of the observation measures, with its unit; None if it has no name. Once
    looked into, what each input of the circuit is."""
    signals: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What activity is compared with, by name and unit, each of shape (time,)."""
    overlays: Mapping[str, str] = field(default_factory=dict)
    """Signals drawn in the plot of another, on one scale: the signal's name to the other's."""
    expert_actions: np.ndarray | None = None
    """What the expert would have done at the same places, shape (time, action)."""
    expert_name: str = ""
    """Who the expert is."""
    features: np.ndarray | None = None
    """What the circuit was given, shape (time, input)."""
    activity: Activity | None = None
    """What every neuron did; batch of one."""
    pictures: np.ndarray | None = None
    """RGB uint8 pictures of what happened, shape (time, height, width, 3)."""
    notes: Sequence[str] = ()
    """What could not be had."""

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def total_reward(self) -> float:
        """Sum of the rewards."""
        return float(self.rewards.sum())

    @property
    def has_frames(self) -> bool:
        """Whether camera frames were seen, and kept."""
        is_seen = self.observations is not None
        return is_seen and (self.record_frame is not None or self.seen.ndim == 4)

    @property
    def frames(self) -> np.ndarray:
        """The camera frames that were seen, shape (time, height, width, channels).

        Raises:
            ValueError: If there are none.
        """
        if not self.has_frames:
            raise ValueError("`episode` must have camera frames, got none.")
        return self.seen if self.record_frame is None else frames_in(self.seen, self.record_frame)

    @property
    def numbers(self) -> np.ndarray:
        """The numbers that were seen, shape (time, numbers): `sensor_names` ends with theirs."""
        return self.seen if self.record_frame is None else numbers_in(self.seen, self.record_frame)

    @property
    def seen(self) -> np.ndarray:
        """The observations of an episode that has kept them.

        Raises:
            ValueError: If it has not.
        """
        return _kept("observations", self.observations)

    @property
    def thought(self) -> Activity:
        """The activity of an episode that was looked into.

        Raises:
            ValueError: If it was not.
        """
        return _kept("activity", self.activity)

    @property
    def given(self) -> np.ndarray:
        """The features of an episode that was looked into.

        Raises:
            ValueError: If it was not.
        """
        return _kept("features", self.features)

    @property
    def main_signal(self) -> str:
        """The signal that figures show first: the road's curvature, if there is a road."""
        road = "curvature [1/m]"
        return road if road in self.signals else next(iter(self.signals))

    def label(self, name: str) -> str:
        """Return a neuron or synapse with its sensor: "sensory_0 (height) → inter_3"."""
        source, arrow, target = name.partition(" → ")
        layer, _, number = source.partition("_")
        if self.sensor_names is None or layer != "sensory":
            return name
        sensor = self.sensor_names[int(number)].partition(" [")[0]
        return f"{source} ({sensor}){arrow}{target}"

    def state_before(self) -> Tensor:
        """Return the state before each frame, shape (time, state), begun from zeros."""
        return previous_states(self.thought)


class Recorder:
    """Writes down the first episode of one of the environments of a loop.

    Args:
        world: The world of the environments.
        index: Which of them.
        name: Who acts.
        where: Where, for headings; the world's name if empty.
        expert: The pilot that asks the world's expert.
        keeps_observations: Whether the episode keeps what was seen.
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
        self._told: list[Info] = []
        self._rows: dict[str, list[Any]] = {
            name: []
            for name in (
                "time_s", "dt_s", "actions", "rewards", "observations", "expert_actions"
            )
        }  # fmt: skip

    @property
    def asked(self) -> np.ndarray | None:
        """What the expert would have done at the last step; None if it is not asked."""
        return None if self._expert is None else self._expert.labels[self._index]

    def add(self, step: Step) -> None:
        """Write down a step, unless the episode is over."""
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
        self._told.append({k: v for k, v in step.outcomes[i].items() if np.size(v) <= _MOST_TOLD})
        self._is_terminated = bool(step.terminated[i])
        self.is_over = bool(step.terminated[i] or step.truncated[i])

    def episode(self) -> Episode:
        """Return the episode up to now."""
        rows: dict[str, Any] = {k: np.array(values) for k, values in self._rows.items() if values}
        if "observations" in rows and rows["observations"].dtype == np.float64:
            rows["observations"] = rows["observations"].astype(np.float32)  # as policies take them
        told, contract = _columns(self._told), self._world.contract
        names = [entry.name for entry in contract.action]
        done = dict(zip(names, rows["actions"].T, strict=True))
        return Episode(
            told=told,
            is_terminated=self._is_terminated,
            action_names=names,
            sensor_names=sensor_names(contract.observation),
            record_frame=record_frame(contract.observation),
            signals={**self._world.signals(told), **done},
            expert_name="" if self._expert is None else self._world.expert_name,
            **self._named,
            **rows,
        )


def run_episodes(
    world: World, policy: Policy | Pilot, *, seeds: Sequence[int], **settings: Any
) -> list[Episode]:
    """Let a policy act in many environments side by side; arguments as `iterate_episodes`."""
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
    """Let a policy act in environments side by side, group after group, and yield each episode.

    Args:
        world: The world.
        policy: Who acts; the expert if None.
        seeds: Seed of each episode.
        options: Options of each reset.
        num_steps: Steps after which an episode is over; those of the world if None.
        parallel: Most environments side by side; all of them if None. In another number, the
            arithmetic of a batch may round otherwise.
        expert: Who is asked at every step what it would do.
        error: Added to what the expert does while it acts itself.
        keeps_observations: Whether the episodes keep what was seen.
        rows: Which of the episodes that are side by side these are, if others run elsewhere.
        description: What a progress bar says; there is none if None.
    """
    num_steps = world.max_steps if num_steps is None else num_steps
    envs = [world.make() for _ in range(min(parallel or len(seeds), len(seeds)))]
    try:
        for first in range(0, len(seeds), len(envs)):
            part = slice(first, first + len(envs))
            beside = envs[: len(seeds[part])]
            pilot = PolicyPilot(policy) if isinstance(policy, Policy) else policy
            asked = None
            if expert is not None:
                pilot = asked = AskedPilot(expert, beside, learner=pilot, error=error, rows=rows)
            elif pilot is not None and rows is not None:
                pilot = RowsPilot(pilot, rows)
            assert pilot is not None  # somebody acts
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
            is_silent = description is None
            bar = tqdm(steps, description, num_steps, unit="frame", leave=False, disable=is_silent)
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


def replay(
    policy: Policy,
    recording: Demonstrations,
    *,
    max_frames: int = 1800,
    name: str = "",
    where: str = "",
    actor: str = "shown",
) -> Episode:
    """Show a policy the longest episode of a recording, and look into it.

    Args:
        policy: Who watches.
        recording: The recording; its actions are those of the expert.
        max_frames: Frames shown, from the episode's first on.
        name: The policy's name.
        where: What the recording is, for headings.
        actor: What the recording's actions are called, e.g. human: "human steering".

    Raises:
        ValueError: If the policy does not take such observations, or gives another number of
            actions than were recorded.
    """
    lengths = recording.episode_stops - recording.episode_starts
    frames = recording.episode(int(np.argmax(lengths)))
    frames = slice(frames.start, min(frames.stop, frames.start + max_frames))
    dt_s = np.array(recording.dt_s[frames])
    done = np.array(recording.actions[frames])
    contract = policy.contract
    episode = Episode(
        name=name,
        where=where,
        time_s=np.cumsum(dt_s) - dt_s[0],
        dt_s=dt_s,
        observations=np.array(recording.observations[frames]),  # a copy: the store is read-only
        record_frame=None if contract is None else record_frame(contract.observation),
        sensor_names=None if contract is None else sensor_names(contract.observation),
        actions=done,
        rewards=np.zeros(len(done)),
        expert_actions=done,
        expert_name=actor,
    )
    episode = looked_into(policy, episode)
    actions = actions_of(policy, episode)
    if actions.shape != done.shape:
        raise ValueError(
            f"`recording` must hold {actions.shape[1]} actions a frame, as the policy gives, got"
            f" {done.shape[1]}. Choose the policy that learned from such a recording."
        )
    names = [f"action {i}" for i in range(done.shape[1])]
    if episode.has_frames and len(names) == 1:
        names = ["steering"]
    if contract is not None:
        names = [entry.name for entry in contract.action]
    shown = {f"{actor} {one}": of_one for one, of_one in zip(names, done.T, strict=True)}
    return replace(
        episode,
        actions=actions,
        action_names=names,
        signals={**dict(zip(names, actions.T, strict=True)), **shown},
        overlays=dict(zip(shown, names, strict=True)),
    )


def actions_of(policy: Policy, episode: Episode) -> np.ndarray:
    """Return what a policy does in an episode that was looked into, shape (time, action)."""
    return policy.command(to_numpy(policy.respond(episode.thought.outputs).detach()[0]))


def looked_into(policy: Policy, episode: Episode) -> Episode:
    """Return an episode with the features of what was seen and what the circuit made of them.

    Numbers that pass an encoder lose the names of their sensors; features of a head stand before
    them. Colour frames that were seen are
    the pictures of what happened, unless there are others.
    """
    features, activity = look_inside(policy, episode.seen, episode.dt_s)
    named = None if getattr(policy, "encoder_widths", ()) else episode.sensor_names
    if named is not None:  # a head's features come before the numbers
        num_features = features.shape[1] - len(named)
        named = [*(f"feature {i}" for i in range(num_features)), *named]
    is_colour = episode.has_frames and episode.frames.shape[3] == 3
    return replace(
        episode,
        features=features,
        activity=activity,
        sensor_names=named,
        pictures=episode.frames if episode.pictures is None and is_colour else episode.pictures,
    )


@torch.no_grad()
def look_inside(
    policy: Policy, observations: np.ndarray, dt_s: np.ndarray
) -> tuple[np.ndarray, Activity]:
    """Return the features of consecutive observations and what the circuit makes of them."""
    device = next(policy.eval().parameters()).device
    chunks = [
        policy.perceive(policy.read_observations(observations[i : i + _CHUNK_FRAMES]))
        for i in range(0, len(observations), _CHUNK_FRAMES)
    ]
    features = torch.cat(chunks)
    elapsed_s = torch.as_tensor(dt_s, dtype=torch.float32)[None].to(device)
    return features.cpu().numpy(), policy.circuit.record(features[None], dt_s=elapsed_s)


def _kept(name: str, values: _T | None) -> _T:
    if values is None:
        raise ValueError(f"`episode` must have kept its {name}, got none. Record it with them.")
    return values


def sensor_names(sensed: ObservationContract) -> list[str] | None:
    """Return name and unit of each number that is sensed; None if there are none."""
    named = [f"{one.name} [{one.unit}]" if one.unit else one.name for one in entries_of(sensed)]
    return named or None


def _columns(infos: Sequence[Info]) -> dict[str, np.ndarray]:
    """Return what every info tells as numbers of one shape, by name."""
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
