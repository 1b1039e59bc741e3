"""Experts in a closed loop: they act, or label the observations of a learner that acts.

An expert is a function of the environment, the observation and its info, or a policy whose
observation is `info["full_observation"]`. While the expert demonstrates, a slowly varying error is
added to the executed actions but not to the recorded ones. The robot therefore leaves the ideal
path, and the demonstrations show how to return to it.

Source: Laskey et al. 2017, "DART" (arXiv 1703.09327), for the error.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ncp_control.acting.closed_loop import Info, Pilot, PolicyPilot, Rows, RowsPilot
from ncp_control.contract import Contract
from ncp_control.json_files import shorten
from ncp_control.policy import Policy
from ncp_control.worlds import Expert

_ROUNDING = 1e-6


class SlowError:
    """Gaussian action noise that is correlated over time (an AR(1) process).

    Args:
        std: Standard deviation, one number or one for each entry of the action.
        generator: Source of randomness.
        memory: Correlation from one frame to the next; 0.93 lasts about 14 frames.
    """

    def __init__(
        self, std: ArrayLike, generator: np.random.Generator, *, memory: float = 0.93
    ) -> None:
        self.std, self.memory = np.asarray(std), memory
        self.generator = generator
        self._error: np.ndarray | None = None

    def add(self, actions: np.ndarray, reset: np.ndarray) -> np.ndarray:
        """Return the actions (worlds, action) plus noise; `reset` restarts the noise of a world."""
        if self._error is None or reset.all():  # the number of worlds may have changed
            self._error = np.zeros_like(actions)
        fresh = self.generator.standard_normal(actions.shape) * self.std
        kept = np.where(reset[:, None], 0.0, self.memory * self._error)
        self._error = kept + fresh * (np.sqrt(1.0 - self.memory**2))
        return np.clip(actions + self._error, -1.0, 1.0).astype(np.float32)


class RandomChoices:
    """Action noise for discrete choices: replaces some of the expert's choices by random ones.

    Args:
        probability: Probability of a random choice, one number or one for each entry of the action.
        choices: Number of choices of each entry.
        generator: Source of randomness.
    """

    def __init__(
        self, probability: ArrayLike, choices: Sequence[int], generator: np.random.Generator
    ) -> None:
        self.probability, self.choices = np.asarray(probability), np.asarray(choices)
        self.generator = generator

    def add(self, actions: np.ndarray, reset: np.ndarray) -> np.ndarray:
        """Return the choices (worlds, entry), some of them replaced at random."""
        drawn = self.generator.integers(0, self.choices, actions.shape)
        is_drawn = self.generator.random(actions.shape) < self.probability
        return np.where(is_drawn, drawn, actions)


ExpertError = SlowError | RandomChoices
"""Noise on the executed actions of an expert while it demonstrates."""


class AskedPilot:
    """Pilot that lets the expert or a learner act, and keeps the expert's actions as labels.

    Args:
        expert: A function of one environment, its observation and its info, or a policy.
        worlds: The environments, in the order of the observations.
        contract: Names, and perhaps choices, of the entries of their actions.
        learner: Policy or pilot that acts; if None: the expert acts.
        error: Noise added to the actions of the expert while it acts.
        rows: Position of these environments in a larger batch; if None: they are the whole batch.
    """

    def __init__(
        self,
        expert: Expert | Policy,
        worlds: Sequence[Any],
        contract: Contract,
        *,
        learner: Policy | Pilot | None = None,
        error: ExpertError | None = None,
        rows: Rows | None = None,
    ) -> None:
        rows = Rows(0, len(worlds)) if rows is None else rows
        self._worlds, self._rows = worlds, rows
        self._names = [entry.name for entry in contract.action]
        self._choices, self._has_clipped = contract.choices, False
        policy = PolicyPilot(expert) if isinstance(expert, Policy) else None
        self._expert = RowsPilot(policy, rows) if policy is not None else expert
        learner = PolicyPilot(learner) if isinstance(learner, Policy) else learner
        self._learner = None if learner is None else RowsPilot(learner, rows)
        self._error = error
        self.labels = np.empty(0)
        """The expert's actions for the last observations, shape (worlds, action)."""

    def __call__(
        self, observations: np.ndarray, infos: Sequence[Info], dt_s: np.ndarray, reset: np.ndarray
    ) -> np.ndarray:
        """Return the actions of the learner, or of the expert with noise; update `labels`."""
        if isinstance(self._expert, RowsPilot):
            full = np.stack([info["full_observation"] for info in infos])
            self.labels = self._expert(full, infos, dt_s, reset)
        else:
            inputs = zip(self._worlds, observations, infos, strict=True)
            self.labels = np.stack([self._checked(self._expert(*one)) for one in inputs])
        if self._learner is not None:
            return self._learner(observations, infos, dt_s, reset)
        if self._error is None:
            return self.labels
        actions = self._error.add(self._rows.fill(self.labels), self._rows.fill(reset))
        return self._rows.take(actions, len(reset))

    def _checked(self, answer: Any) -> np.ndarray:
        """Return an expert's answer as an action; unless it is a choice, clip it to [-1, 1].

        Raises:
            ValueError: If there is not one finite number for each entry of the action, or it is not
                the number of a choice.
        """
        names = self._names
        try:
            action = np.atleast_1d(np.asarray(answer, np.float64))
        except (TypeError, ValueError):
            action = np.full(1, np.nan)
        if action.shape != (len(names),) or not np.isfinite(action).all():
            raise ValueError(
                f"`expert` must return a finite number for each of {', '.join(names)}, got"
                f" {shorten(answer)}. Correct the expert."
            )
        if self._choices:
            if ((action != np.floor(action)) | (action < 0) | (action >= self._choices)).any():
                choices = zip(names, self._choices, strict=True)
                allowed = ", ".join(f"{name} (0 to {count - 1})" for name, count in choices)
                raise ValueError(
                    f"`expert` must return the number of a choice for {allowed}, got"
                    f" {shorten(answer)}. Correct the expert."
                )
            return action.astype(np.int64)
        clipped = np.clip(action, -1.0, 1.0)
        if not self._has_clipped and np.abs(action - clipped).max() > _ROUNDING:
            self._has_clipped = True
            warnings.warn(
                f"the expert's actions must be in [-1, 1], as a policy's are whatever the"
                f" environment's own range, got {shorten(action.tolist())} for {', '.join(names)}:"
                " they are clipped",
                stacklevel=2,
            )
        return clipped
