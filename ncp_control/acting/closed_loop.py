"""Closed loop of a policy and several parallel environments, so that the policy gets a batch.

Demonstrations by experts, DAgger, evaluation and videos all use this loop. A world is any Gymnasium
environment. If its `info` carries `time_s`, the elapsed time is computed from it; otherwise each
step lasts one control interval.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from ncp_control.json_files import shorten
from ncp_control.policy import Policy, to_numpy
from ncp_control.ranges import check_above_zero, check_count, is_number

Info = dict[str, Any]


def elapsed_of(info: Info) -> float:
    """Return the time since the previous observation [s].

    Raises:
        KeyError: If `info` does not contain `dt_s`.
    """
    if "dt_s" not in info:
        raise KeyError(
            "`info` must carry dt_s, the time since the previous observation [s], got"
            f" {sorted(info)}. Put what knows it around the body, e.g. envs.locomotion.Timed."
        )
    return float(info["dt_s"])


class Env(Protocol):
    """The part of `gymnasium.Env` that the closed loop needs."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Info]:
        """Start an episode."""
        ...

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, Info]:
        """Apply an action for one control step."""
        ...


class Pilot(Protocol):
    """Interface of anything that chooses the actions of a batch of environments."""

    def __call__(
        self, observations: np.ndarray, infos: Sequence[Info], dt_s: np.ndarray, reset: np.ndarray
    ) -> np.ndarray:
        """Return actions (worlds, action) for observations (worlds, …).

        `infos` holds one dictionary per environment, `dt_s` the time since the previous observation
        [s], shape (worlds,); `reset` is True for the first observation of an episode.
        """
        ...


class PolicyPilot:
    """Pilot that runs a policy, with a separate hidden state for each environment.

    Args:
        policy: The policy; it is switched to evaluation mode.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy.eval()
        self._state: torch.Tensor | None = None

    @torch.inference_mode()
    def __call__(
        self, observations: np.ndarray, infos: Sequence[Info], dt_s: np.ndarray, reset: np.ndarray
    ) -> np.ndarray:
        """Return actions in [-1, 1], or the indices of discrete choices.

        Raises:
            ValueError: If an observation is not finite; the hidden states stay as they were. Or if
                a hidden state or an action is not finite, because of damaged weights or a time step
                too large for an explicit integrator; the hidden states are then reset.
        """
        frames = self.policy.read_observations(observations)[:, None]
        # Copies, since torch warns about read-only arrays.
        elapsed, is_first = torch.tensor(dt_s)[:, None], torch.tensor(reset)[:, None]
        actions, last = self.policy(
            frames,
            None if reset.all() else self._state,  # the number of worlds may have changed
            dt_s=elapsed.to(frames.device),
            reset=is_first.to(frames.device),
        )
        self._state = last
        for name, values in (("state", last), ("action", actions[:, 0])):
            is_good = torch.isfinite(values).all(dim=1)
            if not is_good.all():
                self._state = None
                world = int(is_good.long().argmin())
                raise ValueError(
                    f"`{name}` must be finite, got {shorten(values[world].tolist())} in world"
                    f" {world}. Check the weights, or integrate with one of the integrators that"
                    " cannot blow up."
                )
        return self.policy.command(to_numpy(actions[:, 0]))


@dataclass(frozen=True)
class Rows:
    """Position of a few rows within a larger batch, to get bit-identical results for them.

    Rounding depends on the batch size and on a row's position in the batch. The missing rows are
    therefore filled with copies, so that the present rows give the same results as in a full batch.
    """

    first: int
    """Index of the first row in the full batch; the others follow it."""
    size: int
    """Number of rows of the full batch."""

    def fill(self, values: np.ndarray) -> np.ndarray:
        """Return a full batch with the given rows at their positions and copies elsewhere."""
        if len(values) == self.size:
            return values
        return values[(np.arange(self.size) - self.first) % len(values)]

    def take(self, values: np.ndarray, count: int) -> np.ndarray:
        """Return the `count` present rows of a result for the full batch."""
        return values[self.first : self.first + count]


class RowsPilot:
    """Pilot for a few rows of a batch with the same result, bit for bit, as in the full batch.

    Args:
        pilot: Pilot that gets the full batch; must process each row independently.
        rows: Position of the rows in the full batch.
    """

    def __init__(self, pilot: Pilot, rows: Rows) -> None:
        self._pilot, self._rows = pilot, rows

    def __call__(
        self, observations: np.ndarray, infos: Sequence[Info], dt_s: np.ndarray, reset: np.ndarray
    ) -> np.ndarray:
        """Return the actions for the given rows."""
        rows, count = self._rows, len(observations)
        known = [infos[i] for i in rows.fill(np.arange(count)).tolist()]
        whole = rows.fill(observations), known, rows.fill(dt_s), rows.fill(reset)
        return rows.take(self._pilot(*whole), count)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One control step of all environments: observations, actions and their outcome."""

    observations: np.ndarray
    """Observations before the step, shape (worlds, …)."""
    infos: Sequence[Info]
    """`info` dictionaries that came with the observations."""
    dt_s: np.ndarray
    """Time since the previous observation [s], shape (worlds,)."""
    reset: np.ndarray
    """Whether the observation is the first of an episode, shape (worlds,), bool."""
    actions: np.ndarray
    """Actions of the pilot, shape (worlds, action)."""
    outcomes: Sequence[Info]
    """`info` dictionaries after the step."""
    rewards: np.ndarray
    """Reward of the step, shape (worlds,)."""
    terminated: np.ndarray
    """Whether the environment ended the episode, shape (worlds,), bool."""
    truncated: np.ndarray
    """Whether the episode was cut off, e.g. by a time limit, shape (worlds,), bool."""


def closed_loop(
    worlds: Sequence[Env],
    pilot: Pilot,
    *,
    num_steps: int,
    frame_s: float,
    seeds: Sequence[int | None] | None = None,
    options: Sequence[Any] | None = None,
) -> Iterator[Step]:
    """Run all environments in parallel and yield every step.

    An environment whose episode ends is reset without a seed, so its own random generator
    continues.

    Args:
        worlds: Environments, stepped one after the other.
        pilot: Chooses the actions of all environments in one call.
        num_steps: Number of control steps of each environment.
        frame_s: Control interval [s]: used as elapsed time for the first frame of an episode, and
            for every frame of an environment whose `info` has no `time_s`.
        seeds: Seed of each environment's first reset.
        options: Options of each environment's first reset.

    Raises:
        ValueError: If a number is out of range, or there is not one seed, option and action per
            environment; while it runs, if `time_s` of an environment runs backwards.
    """
    check_count("num_steps", num_steps, 0)
    check_above_zero("frame_s", frame_s)
    if not worlds:
        raise ValueError("`worlds` must hold at least one world, got none. Name some.")
    seeds = [None] * len(worlds) if seeds is None else seeds
    options = [None] * len(worlds) if options is None else options
    for name, values in (("seeds", seeds), ("options", options)):
        if len(values) != len(worlds):
            raise ValueError(
                f"`{name}` must be one for each of the {len(worlds)} worlds, got {len(values)}."
            )
    return _run(worlds, pilot, num_steps, frame_s, seeds, options)


def _run(
    worlds: Sequence[Env],
    pilot: Pilot,
    num_steps: int,
    frame_s: float,
    seeds: Sequence[int | None],
    options: Sequence[Any],
) -> Iterator[Step]:
    begun = [
        world.reset(seed=seed, options=option)
        for world, seed, option in zip(worlds, seeds, options, strict=True)
    ]
    observations, infos = [o for o, _ in begun], [info for _, info in begun]
    reset = np.ones(len(worlds), dtype=bool)
    dt_s = np.full(len(worlds), frame_s, dtype=np.float32)
    for _ in range(num_steps):
        stacked = np.stack(observations)
        actions = pilot(stacked, infos, dt_s, reset)
        if len(actions) != len(worlds):
            raise ValueError(
                f"`pilot` must give one action for each of the {len(worlds)} worlds, got"
                f" {len(actions)}."
            )
        results = [world.step(a) for world, a in zip(worlds, actions, strict=True)]
        outcomes = [result[4] for result in results]
        yield Step(
            observations=stacked,
            infos=infos,
            dt_s=dt_s,
            reset=reset,
            actions=actions,
            outcomes=outcomes,
            rewards=np.array([result[1] for result in results], dtype=np.float64),
            terminated=np.array([result[2] for result in results], dtype=bool),
            truncated=np.array([result[3] for result in results], dtype=bool),
        )
        before, infos = infos, list(outcomes)
        observations = [result[0] for result in results]
        reset = np.array([result[2] or result[3] for result in results])
        dt_s = np.array(
            [
                frame_s if is_over else _elapsed_between(earlier, after, frame_s)
                for earlier, after, is_over in zip(before, outcomes, reset, strict=True)
            ],
            dtype=np.float32,
        )
        for i in np.flatnonzero(reset).tolist():
            observations[i], infos[i] = worlds[i].reset()


def _elapsed_between(before: Info, after: Info, frame_s: float) -> float:
    """Return the time between two observations [s]; `frame_s` if `info` has no `time_s`.

    Raises:
        ValueError: If the time is not a finite number, or runs backwards.
    """
    if "time_s" not in before or "time_s" not in after:
        return frame_s
    first, last = before["time_s"], after["time_s"]
    if not (is_number(first) and is_number(last) and first <= last):
        raise ValueError(
            f"`time_s` in `info` must be a finite time that does not run backwards, got {last!r}"
            f" after {first!r}. Start a new episode where time jumps."
        )
    return last - first
