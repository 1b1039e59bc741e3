"""Random conditions during training: in the training windows, and while a policy acts."""

import dataclasses
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import torch

from envs.conditions import PICTURES
from envs.conditions.draws import Scene
from envs.conditions.pictures import Effect
from ncp_control.acting.closed_loop import Info, Pilot, PolicyPilot
from ncp_control.framing import once_a_frame
from ncp_control.learning.demonstrations import Batch
from ncp_control.policy import Policy
from ncp_control.records import change_frame, frames_in, numbers_in, with_frames

Relabel = Callable[[str, int, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Function that returns the actions of an expert that sees only the frames: from the condition, its
severity, the frames under it, the numbers beside them, and the actions of the expert."""


@dataclasses.dataclass(frozen=True)
class RandomConditions:
    """Apply one random condition each to a share of the training windows.

    A condition lasts for the whole window; blackouts and frozen frames start somewhere in it.
    Numbers beside the frames stay unchanged. So do the actions, those of an expert that saw the
    clear road, unless `relabel` is given.

    Args:
        conditions: Pairs of name and severity, with names of `PICTURES`; all are equally likely.
        frame_s: Time between two frames [s].
        share: Share of the windows that get a condition.
        record_frame: Shape of the frame in each record; None if the observations are frames.
        stack: Number of frames stacked in each observation, see `View`. Each frame is changed
            once, when it is the newest.
        relabel: Changes the actions of the windows that get a condition, see `Relabel`; only for
            records.

    Raises:
        ValueError: If `relabel` is given without `record_frame`.
    """

    conditions: Sequence[tuple[str, int]]
    frame_s: float
    share: float = 0.75
    record_frame: tuple[int, int, int] | None = None
    stack: int = 1
    relabel: Relabel | None = None

    def __post_init__(self) -> None:
        if self.relabel is not None and self.record_frame is None:
            raise ValueError(
                "`relabel` must be left out where observations are not records, got"
                f" {self.relabel!r}. It needs the numbers beside the frames."
            )

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Return a batch with changed frames and actions; the given batch stays unchanged.

        Args:
            batch: Windows with observations that are uint8 frames, shape (batch, time, height,
                width, channels), or records, shape (batch, time, bytes).
            generator: Source of the randomness.

        Raises:
            ValueError: If the observations are not uint8 frames.
        """
        observations, numbers = batch.observations, None
        if self.record_frame is not None:
            numbers = numbers_in(observations, self.record_frame).numpy()
            observations = frames_in(observations, self.record_frame)
        if observations.dtype != torch.uint8 or observations.ndim != 5:
            raise ValueError(
                "`observations` must be uint8 of shape (batch, time, height, width, channels), got"
                f" {observations.dtype} of shape {tuple(observations.shape)}. Only camera frames"
                " have conditions."
            )
        frames, actions = observations.numpy().copy(), batch.actions.numpy().copy()
        draws = torch.rand(len(frames), 2, generator=generator).tolist()
        seeds = torch.randint(2**62, (len(frames),), generator=generator).tolist()
        for row, (whether, which) in enumerate(draws):
            if whether < self.share:
                window = frames[row]
                effect = self._effect(which, seeds[row], window.shape[1:3], len(window))
                for i, frame in enumerate(window):
                    window[i] = effect(frame)
                if self.relabel is not None and numbers is not None:
                    condition = self._condition(which)
                    actions[row] = self.relabel(*condition, window, numbers[row], actions[row])
        changed = torch.from_numpy(frames)
        if self.record_frame is not None:
            changed = with_frames(batch.observations, changed)
        return dataclasses.replace(batch, observations=changed, actions=torch.from_numpy(actions))

    def as_pilot(self, policy: Policy, seed: int) -> Pilot:
        """Return a pilot that shows a policy its episodes under random conditions.

        A share of the episodes has one condition from beginning to end. Recordings of these
        episodes hold the unchanged observations of the world.

        Args:
            policy: Policy that acts.
            seed: Seed of the conditions, >= 0; use another seed each time the policy acts.
        """
        return _PilotInConditions(PolicyPilot(policy), self, seed)

    def draw(self, first: np.ndarray, seed: int) -> Effect:
        """Draw the effect on the frames of one episode.

        The effect depends only on the first observation and the seed. So an episode has the same
        condition in any process and beside any other episodes. Episodes with the same seed and the
        same first observation have the same condition.
        """
        rng = np.random.default_rng([seed, zlib.crc32(first.tobytes())])
        whether, which = rng.random(2).tolist()
        if whether >= self.share:
            return lambda frame: frame
        shape = first.shape if self.record_frame is None else self.record_frame
        return self._effect(which, int(rng.integers(2**62)), shape)

    def _effect(
        self, which: float, seed: int, shape: Sequence[int], frames: int | None = None
    ) -> Effect:
        height, width = shape[:2]
        name, severity = self._condition(which)
        rng = np.random.default_rng(seed)
        effect = PICTURES[name](severity, Scene(height, width, self.frame_s, rng, frames))
        return once_a_frame(effect, self.stack)

    def _condition(self, which: float) -> tuple[str, int]:
        return self.conditions[int(which * len(self.conditions))]


class _PilotInConditions:
    """Pilot that changes the observations of another pilot: one condition for each episode."""

    def __init__(self, pilot: Pilot, conditions: RandomConditions, seed: int) -> None:
        self._pilot, self._conditions, self._seed = pilot, conditions, seed
        self._effects: list[Effect] = []

    def __call__(
        self, observations: np.ndarray, infos: Sequence[Info], dt_s: np.ndarray, reset: np.ndarray
    ) -> np.ndarray:
        """Return the pilot's actions for the changed observations."""
        met = self._conditions
        self._effects = [
            met.draw(observation, self._seed) if is_first else self._effects[i]
            for i, (observation, is_first) in enumerate(zip(observations, reset, strict=True))
        ]
        changed = [
            change_frame(observation, effect, met.record_frame)
            for observation, effect in zip(observations, self._effects, strict=True)
        ]
        return self._pilot(np.stack(changed), infos, dt_s, reset)
