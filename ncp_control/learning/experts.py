"""Experts in a closed loop: they act, or watch a learner act, and say what they would have done.

An expert is a function of the environment, the observation and its info, or a policy that sees
`info["full_observation"]`. While it demonstrates, a slowly varying error is added to what it does,
but not to what is written down: so the body strays, and the expert shows how to come back.

Source: Laskey et al. 2017, "DART" (arXiv 1703.09327), for the error.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ncp_control.contract import Contract
from ncp_control.json_files import shorten
from ncp_control.learning.closed_loop import Info, Pilot, PolicyPilot, Rows, RowsPilot
from ncp_control.policy import Policy
from ncp_control.worlds import Expert

_ROUNDING = 1e-6


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


class RandomChoices:
    """Choices drawn at random now and then, instead of the expert's.

    Args:
        probability: Of a random choice, one number or one for each entry of the action.
        choices: How many choices each entry has.
        generator: Source of the randomness.
    """

    def __init__(
        self, probability: ArrayLike, choices: Sequence[int], generator: np.random.Generator
    ) -> None:
        self.probability, self.choices = np.asarray(probability), np.asarray(choices)
        self.generator = generator

    def add(self, actions: np.ndarray, reset: np.ndarray) -> np.ndarray:
        """Return the choices (worlds, entry), some of them replaced."""
        drawn = self.generator.integers(0, self.choices, actions.shape)
        is_drawn = self.generator.random(actions.shape) < self.probability
        return np.where(is_drawn, drawn, actions)


ExpertError = SlowError | RandomChoices
"""What strays from an expert's actions while it demonstrates."""


class AskedPilot:
    """Let the expert act, or a learner, and keep what the expert would have done.

    Args:
        expert: A function of one world, or a policy.
        worlds: The environments, in the order of the observations.
        contract: What they take for an action.
        learner: Who acts; the expert itself if None.
        error: Added to what the expert does while it acts itself.
        rows: Which rows of a batch the environments are; they are the whole batch if None.
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
        self._is_choice, self._has_clipped = bool(contract.choices), False
        policy = PolicyPilot(expert) if isinstance(expert, Policy) else None
        self._expert = RowsPilot(policy, rows) if policy is not None else expert
        learner = PolicyPilot(learner) if isinstance(learner, Policy) else learner
        self._learner = None if learner is None else RowsPilot(learner, rows)
        self._error = error
        self.labels = np.empty(0)
        """What the expert would have done at the last step, shape (worlds, action)."""

    def __call__(
        self, observations: np.ndarray, infos: Sequence[Info], dt_s: np.ndarray, reset: np.ndarray
    ) -> np.ndarray:
        """Return the actions of whoever acts."""
        if isinstance(self._expert, RowsPilot):
            full = np.stack([info["full_observation"] for info in infos])
            self.labels = self._expert(full, infos, dt_s, reset)
        else:
            seen = zip(self._worlds, observations, infos, strict=True)
            self.labels = np.stack([self._checked(self._expert(*one)) for one in seen])
        if self._learner is not None:
            return self._learner(observations, infos, dt_s, reset)
        if self._error is None:
            return self.labels
        done = self._error.add(self._rows.fill(self.labels), self._rows.fill(reset))
        return self._rows.take(done, len(reset))

    def _checked(self, said: Any) -> np.ndarray:
        """Return what an expert said as an action, clipped to what can be done.

        Raises:
            ValueError: If it is no action of this world.
        """
        names = self._names
        try:
            action = np.atleast_1d(np.asarray(said, np.float64))
        except (TypeError, ValueError):
            action = np.full(1, np.nan)
        if action.shape != (len(names),) or not np.isfinite(action).all():
            raise ValueError(
                f"`expert` must return a finite number for each of {', '.join(names)}, got"
                f" {shorten(said)}. Mend the expert."
            )
        if self._is_choice:
            return np.asarray(said).reshape(len(names))
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
