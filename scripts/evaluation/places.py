"""Places for the evaluation of policies: environment, disturbances, seeds and reset options."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import gymnasium

from envs.conditions import CONDITIONS, PICTURES, read_conditions, strengths_of
from ncp_control.acting.closed_loop import Pilot, PolicyPilot, Step, closed_loop
from ncp_control.acting.experts import AskedPilot
from ncp_control.acting.recorder import Recorder, iterate_episodes, run_episodes
from ncp_control.acting.shares import Share, shares_of
from ncp_control.contract import VectorContract
from ncp_control.episode import Episode
from ncp_control.policy import FramesPolicy, Policy
from ncp_control.policy.fitting import has_rate_of
from ncp_control.records import frames_part
from ncp_control.worlds import World

DRIVING_WORLD = "LaneKeeping-v0"
ROAD_WORLD = "RoadDriving-v0"
CAR_WORLDS = (DRIVING_WORLD, ROAD_WORLD)
"""Environments with a car, which report speed, position in the lane and crashes in info."""

MEASURED_WITH: Mapping[str, Mapping[str, Any]] = {
    DRIVING_WORLD: {"tracks": "held_out"},
    ROAD_WORLD: {"tracks": "held_out", "on_crash": "recover"},
}
"""Default options of an environment for evaluation, where they differ from training."""


def measured_options(
    world: str, asked: Mapping[str, Any], *, tracks: str = "held_out"
) -> dict[str, Any]:
    """Return the options of an environment for evaluation: given ones, and else the defaults.

    Args:
        world: Full name of the environment.
        asked: Given options.
        tracks: Tracks of an environment that has them: "held_out", or "validation" to choose a
            checkpoint.
    """
    usual = dict(MEASURED_WITH.get(world, {}))
    if "tracks" in usual:
        usual["tracks"] = tracks
    return {**usual, **asked}


def world_text(world: World, options: Mapping[str, Any]) -> str:
    """Return name and options of an environment, as typed on the command line.

    Args:
        world: The environment.
        options: Options that were set, besides those that its contract names.
    """
    options = {**world.contract.world_options, **options}
    return replace(world.contract, world_options=options).world_text


CLEAN = "clean"
"""Label in tables of a place without a condition, if others have one."""


def check_fit(name: str, policy: Policy, world: World, where: str) -> None:
    """Check that a policy fits an environment.

    Args:
        name: Name of the policy in messages.
        policy: The policy.
        world: The environment.
        where: Name of the environment in messages.

    Raises:
        ValueError: If the contracts do not fit; or, for a policy without a contract, if sizes of
            observations or actions, or the frame intervals, differ.
    """
    offered = world.contract
    if policy.contract is not None:
        policy.contract.check_offer(offered, where, name)
        return
    if not isinstance(offered.observation, VectorContract):
        return
    size = getattr(policy, "observation_size", None)
    num_actions = policy.action_size
    if (size, num_actions) != (offered.observation.size, len(offered.action)):
        raise ValueError(
            f"`{name}` must take {offered.observation.size} numbers and give {len(offered.action)}"
            f" actions in {where}, got {size!r} and {num_actions}. Choose another policy, or what"
            " is observed."
        )
    if not has_rate_of(policy, offered):
        raise ValueError(
            f"`{name}` must decide every {offered.frame_s:g} s in {where}, got"
            f" {policy.circuit.frame_s:g} s. Choose a policy of that world."
        )


def threads_for(policy: Policy, asked: int | None) -> int | None:
    """Return the number of PyTorch threads: as given, else one without frames, None (all) with."""
    return asked or (None if isinstance(policy, FramesPolicy) else 1)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Environment, disturbances and episodes in which a policy is evaluated."""

    world: World
    """The environment without disturbances."""
    seeds: Sequence[int]
    """Seed of each episode."""
    options: Sequence[Any] | None = None
    """Reset options of each episode."""
    num_steps: int | None = None
    """Number of steps after which an episode is over; if None: the limit of the environment."""
    strengths: Mapping[str, float] = field(default_factory=dict)
    """Strength of each disturbance by name."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Columns of a table that distinguish this place from others."""
    described: str = ""
    """This place as one cell of a results file."""
    where: str = ""
    """This place in a heading; if empty: the name of the environment."""
    parallel: int | None = None
    """Largest number of parallel environments; if None: one for each episode."""
    least_km: float | None = None
    """Distance after which no further episode starts [km]; if None: all episodes are driven."""

    @cached_property
    def disturbed(self) -> World:
        """The environment with its disturbances."""
        return self.world.disturbed(self.strengths)

    @property
    def conditions(self) -> list[str]:
        """Names of the conditions that this environment can have."""
        known = {one.name for one in self.world.disturbances}
        sees = frames_part(self.world.contract.observation) is not None
        return [
            name
            for name in CONDITIONS
            if known.issuperset(strengths_of(name, 1)) and (sees or name not in PICTURES)
        ]

    @property
    def disturbed_by(self) -> str:
        """Disturbances in words: the condition, and further disturbances with their strengths."""
        words, covered = [], dict[str, float]()
        if (condition := self.labels.get("condition", CLEAN)) != CLEAN:
            ((name, severity),) = read_conditions((condition,))
            words, covered = [condition], strengths_of(name, severity)
        words += [
            f"{name} {strength:g}"
            for name, strength in self.strengths.items()
            if strength and name not in covered
        ]
        return ", ".join(words)

    def under(self, name: str, severity: int) -> "Place":
        """Return this place with a condition of `envs.conditions`, added to labels and heading.

        Disturbances of this place stay, unless the condition sets the same ones.

        Args:
            name: Name of the condition.
            severity: Severity from 1 to 5.
        """
        condition = f"{name}:{severity}"
        return replace(
            self,
            strengths={**self.strengths, **strengths_of(name, severity)},
            labels={**self.labels, "condition": condition},
            described=f"{self.described} {condition}".lstrip(),
            where=f"{self.where or self.world.name} in {condition}",
        )

    def run(self, policy: Policy | Pilot, *, description: str | None = None) -> list[Episode]:
        """Run a policy and return its episodes.

        Args:
            policy: The policy that acts.
            description: Text of the progress bar; None for no progress bar.
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
        """Return episodes in order: all of them, or until `least_km` is driven."""
        kept, driven_km = [], 0.0
        for episode in episodes:
            kept.append(episode)
            if self.least_km is not None:
                driven_km += float(episode.infos["distance_m"][-1]) / 1000.0
                if driven_km >= self.least_km:
                    break
        return kept

    def shares(self, workers: int) -> list[Share]:
        """Return shares of the episodes for some workers, in order of the episodes."""
        return shares_of(len(self.seeds), self.parallel, workers)

    def run_share(self, policy: Policy | Pilot, share: Share) -> list[Episode]:
        """Run a share of the episodes, with exactly the same results as `run`."""
        return run_episodes(
            self.disturbed,
            policy,
            seeds=self.seeds[share.chosen],
            options=None if self.options is None else self.options[share.chosen],
            num_steps=self.num_steps,
            rows=share.rows,
        )

    def make_rendered(self, **camera: Any) -> Any:
        """Build an environment with disturbances that renders images.

        Args:
            camera: Width and height of the images [px]; ignored by environments with fixed size.
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
        """Let a policy act in the first episode, step by step, for films and live pages.

        Args:
            policy: The policy that acts.
            seconds: Duration [s]; if the episode ends earlier, another one starts.
            name: Name of the policy, for the recorder.
            env: Environment of this place to act in; if None: a new one that renders no images.

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
