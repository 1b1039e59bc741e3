"""Where a policy is measured, looked at or filmed: a world, what disturbs it, and how it begins."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import gymnasium

from envs.conditions import CONDITIONS, PICTURES, read_conditions, strengths_of
from ncp_control.contract import FRAME_TOLERANCE, VectorContract
from ncp_control.episode import Episode
from ncp_control.learning.closed_loop import Pilot, PolicyPilot, Step, closed_loop
from ncp_control.learning.experts import AskedPilot
from ncp_control.policy import FramesPolicy, Policy
from ncp_control.recorder import Recorder, iterate_episodes, run_episodes
from ncp_control.records import frames_part
from ncp_control.shares import Share, shares_of
from ncp_control.worlds import World

DRIVING_WORLD = "LaneKeeping-v0"
ROAD_WORLD = "RoadDriving-v0"
CAR_WORLDS = (DRIVING_WORLD, ROAD_WORLD)
"""Worlds with a car, which tell its speed, its place in the lane and crashes."""

MEASURED_WITH: Mapping[str, Mapping[str, Any]] = {
    DRIVING_WORLD: {"tracks": "held_out"},
    ROAD_WORLD: {"tracks": "held_out", "on_crash": "recover"},
}
"""Options with which a world is measured if nothing else is asked for: not those of training."""


def measured_options(world: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with which a world is measured: those asked for, else its own.

    Args:
        world: Its full name.
        asked: Options that were asked for.
    """
    return {**MEASURED_WITH.get(world, {}), **asked}


def validation_options(world: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with which a world chooses a checkpoint.

    They are those of `measured_options`, with validation tracks in the place of held-out ones.

    Args:
        world: Its full name.
        asked: Options that were asked for.
    """
    measured = MEASURED_WITH.get(world, {})
    tracks = {"tracks": "validation"} if "tracks" in measured else {}
    return {**measured, **tracks, **asked}


CLEAN = "clean"
"""What a table calls a place that is under no condition, beside others that are."""


def check_fit(name: str, policy: Policy, world: World, told: str) -> None:
    """Compare a policy with the world that it is to act in.

    Args:
        name: What a message calls the policy.
        policy: Who is to act.
        world: Where.
        told: What a message calls the world.

    Raises:
        ValueError: If its contract does not fit the world's; or, where it has none, if it takes
            observations or gives actions of another size, or decides at another rate.
    """
    offered = world.contract
    if policy.contract is not None:
        policy.contract.check_offer(offered, told)
        return
    if not isinstance(offered.observation, VectorContract):
        return
    size = getattr(policy, "observation_size", None)
    num_actions = policy.action_size
    if (size, num_actions) != (offered.observation.size, len(offered.action)):
        raise ValueError(
            f"`{name}` must take {offered.observation.size} numbers and give {len(offered.action)}"
            f" actions in {told}, got {size!r} and {num_actions}. Choose another policy, or what is"
            " observed."
        )
    frame_s = policy.circuit.frame_s
    if not math.isclose(frame_s, offered.frame_s, rel_tol=FRAME_TOLERANCE):
        raise ValueError(
            f"`{name}` must decide every {offered.frame_s:g} s in {told}, got {frame_s:g} s. Choose"
            " a policy of that world."
        )


def threads_for(policy: Policy, asked: int | None) -> int | None:
    """Return the torch threads that were asked for, or that suit: one for numbers, else all."""
    return asked or (None if isinstance(policy, FramesPolicy) else 1)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a policy is measured."""

    world: World
    """The world without disturbances."""
    seeds: Sequence[int]
    """Seed of each episode."""
    options: Sequence[Any] | None = None
    """Options of each episode's reset."""
    num_steps: int | None = None
    """Steps after which an episode is over; those of the world if None."""
    strengths: Mapping[str, float] = field(default_factory=dict)
    """Strength of each disturbance by name."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Columns of a table that tell this place from others."""
    described: str = ""
    """This place as one cell of a results file."""
    where: str = ""
    """This place in a heading; the world's name if empty."""
    parallel: int | None = None
    """Most environments side by side; all of them if None."""
    least_km: float | None = None
    """Distance after which a car begins no further episode [km]; all are driven if None."""

    @cached_property
    def disturbed(self) -> World:
        """The world with its disturbances."""
        return self.world.disturbed(self.strengths)

    @property
    def conditions(self) -> list[str]:
        """Names of the conditions that this world can have."""
        known = {one.name for one in self.world.disturbances}
        sees = frames_part(self.world.contract.observation) is not None
        return [
            name
            for name in CONDITIONS
            if known.issuperset(strengths_of(name, 1)) and (sees or name not in PICTURES)
        ]

    @property
    def disturbed_by(self) -> str:
        """What disturbs it, in words: the condition, and what was asked for beside it."""
        told, covered = [], dict[str, float]()
        if (condition := self.labels.get("condition", CLEAN)) != CLEAN:
            ((name, severity),) = read_conditions((condition,))
            told, covered = [condition], strengths_of(name, severity)
        told += [
            f"{name} {strength:g}"
            for name, strength in self.strengths.items()
            if strength and name not in covered
        ]
        return ", ".join(told)

    def under(self, name: str, severity: int) -> "Place":
        """Return this place under a condition of `envs.conditions`, which labels and heading tell.

        What disturbs it already stays, unless the condition is the same disturbance.
        """
        told = f"{name}:{severity}"
        return replace(
            self,
            strengths={**self.strengths, **strengths_of(name, severity)},
            labels={**self.labels, "condition": told},
            described=f"{self.described} {told}".lstrip(),
            where=f"{self.where or self.world.name} in {told}",
        )

    def run(self, policy: Policy | Pilot, *, description: str | None = None) -> list[Episode]:
        """Let a policy act, and return what it did in each episode.

        Args:
            policy: Who acts.
            description: What the progress bar says; there is none if None.
        """
        return self.enough_of(
            iterate_episodes(
                self.disturbed,
                policy,
                seeds=self.seeds,
                options=self.options,
                num_steps=self.num_steps,
                parallel=self.parallel,
                description=description,
            )
        )

    def enough_of(self, episodes: Iterable[Episode]) -> list[Episode]:
        """Return episodes in their order: all, or those after which a car has come far enough."""
        kept, driven_km = [], 0.0
        for episode in episodes:
            kept.append(episode)
            if self.least_km is not None:
                driven_km += float(episode.told["distance_m"][-1]) / 1000.0
                if driven_km >= self.least_km:
                    break
        return kept

    def shares(self, workers: int) -> list[Share]:
        """Return what some workers can do at once, in the order of the episodes."""
        return shares_of(len(self.seeds), self.parallel, workers)

    def run_share(self, policy: Policy | Pilot, share: Share) -> list[Episode]:
        """Let a policy act in a few episodes as `run` does, to the last bit."""
        return run_episodes(
            self.disturbed,
            policy,
            seeds=self.seeds[share.chosen],
            options=None if self.options is None else self.options[share.chosen],
            num_steps=self.num_steps,
            rows=share.rows,
        )

    def make_rendered(self, **camera: Any) -> Any:
        """Build an environment that draws pictures, disturbances included.

        Args:
            camera: Width and height of the pictures [px], for a world that can choose them.
        """
        tracking = {"camera_name": "track", **camera} if self.world.has_camera else {}
        return self.disturbed.make(render_mode="rgb_array", **tracking)

    @contextmanager
    def open(
        self,
        policy: Policy,
        *,
        seconds: float,
        name: str = "",
        env: gymnasium.Env | None = None,
    ) -> Iterator[tuple[gymnasium.Env, Iterator[Step], Recorder]]:
        """Let a policy act in the first episode, step by step, to be looked at.

        Args:
            policy: Who acts.
            seconds: How long [s]; what ends before begins again.
            name: The policy's name, for the recorder.
            env: Where it acts, an environment of this place; one without pictures if None.

        Yields:
            The environment, the steps, and a recorder to which they can be added.
        """
        world = self.disturbed
        env = world.make() if env is None else env
        try:
            asked = None
            if world.expert is not None:
                asked = AskedPilot(world.expert, [env], world.contract, learner=policy)
            steps = closed_loop(
                [env],
                asked or PolicyPilot(policy),
                num_steps=max(round(seconds / world.frame_s), 1),
                frame_s=world.frame_s,
                seeds=self.seeds[:1],
                options=None if self.options is None else self.options[:1],
            )
            yield env, steps, Recorder(world, name=name, where=self.where, expert=asked)
        finally:
            env.close()
