"""Rollouts of closed-loop control in memory: recording, files and random windows.

For observations of a few numbers, where all rounds of a distillation fit into memory. Use
`ncp_control.learning.demonstrations` for camera frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError
from torch import Tensor

from ncp_control import files
from ncp_control.acting.closed_loop import Env, Info, PolicyPilot, closed_loop
from ncp_control.policy import Policy


@dataclass(frozen=True, kw_only=True, eq=False)
class Rollouts:
    """Rollouts of W environments over T steps, or W windows of T steps."""

    observations: Float[Tensor, "worlds time observation"]
    """Observations of the student."""
    actions: Float[Tensor, "worlds time action"]
    """Actions of the teacher (labels), whoever acted."""
    dt_s: Float[Tensor, "worlds time"]
    """Time since the previous observation [s]."""
    reset: Bool[Tensor, "worlds time"]
    """True for first steps of episodes."""

    def save(self, path: Path) -> None:
        """Write the rollouts to a safetensors file, atomically.

        Raises:
            ValueError: If they hold NaN or infinity, or shapes or dtypes do not fit.
        """
        try:
            self._check()
        except ValueError as error:
            raise ValueError(
                f"rollouts must be finite numbers of fitting shapes, got {error}."
                " Check the teacher's weights and the worlds."
            ) from error
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        files.write_file(path, safetensors.torch.save(tensors))

    @classmethod
    def load(cls, path: Path) -> "Rollouts":
        """Read a file that `save` wrote.

        Raises:
            ValueError: If the file is missing or damaged, or holds NaN or infinity.
        """
        try:
            rollouts = cls(**safetensors.torch.load(path.read_bytes()))
            rollouts._check()
        except (OSError, SafetensorError, TypeError, ValueError) as error:
            got = "none" if isinstance(error, FileNotFoundError) else f"a damaged file: {error}"
            raise ValueError(
                f"{path} must be rollouts of the training, got {got}. Start the training anew."
            ) from error
        return rollouts

    def _check(self) -> None:
        """Raise ValueError if shapes or types do not fit, or a number is not finite."""
        time = self.reset.shape if self.reset.ndim == 2 else None
        for field in fields(self):
            values: Tensor = getattr(self, field.name)
            ndim = 3 if field.name in ("observations", "actions") else 2
            wanted = torch.bool if field.name == "reset" else torch.float32
            if values.ndim != ndim or values.shape[:2] != time or values.dtype != wanted:
                raise ValueError(f"{values.dtype} of shape {tuple(values.shape)} as {field.name}")
            if not bool(torch.isfinite(values).all()):
                raise ValueError(f"NaN or infinity in {field.name}")

    @classmethod
    def join(cls, parts: Sequence["Rollouts"]) -> "Rollouts":
        """Concatenate rollouts with equal numbers of steps along the first axis."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})

    def windows(self, count: int, length: int, generator: torch.Generator) -> "Rollouts":
        """Return `count` windows of `length` steps at random places."""
        num_worlds, num_steps = self.reset.shape
        world = torch.randint(num_worlds, (count, 1), generator=generator)
        start = torch.randint(num_steps - length + 1, (count, 1), generator=generator)
        step = start + torch.arange(length)
        names = [field.name for field in fields(self)]
        return Rollouts(**{name: getattr(self, name)[world, step] for name in names})


class MixedPilot:
    """Pilot in which student and teacher take turns at random.

    Both run at every step: the student's hidden state continues while the teacher acts, and the
    teacher labels every step.

    Args:
        student: Policy that gets the observations.
        teacher: Policy that gets `info["full_observation"]`.
        teacher_share: Probability that the teacher acts in a turn, for each environment; 0 lets the
            student always act.
        generator: Source of randomness of the turns.
    """

    turn_steps = 25
    """Number of steps per turn."""

    def __init__(
        self,
        student: Policy,
        teacher: Policy,
        teacher_share: np.ndarray,
        generator: np.random.Generator,
    ) -> None:
        self._student, self._teacher = PolicyPilot(student), PolicyPilot(teacher)
        self._teacher_share = teacher_share
        self._generator = generator
        self._is_teachers = np.zeros(len(teacher_share), dtype=bool)
        self._steps = 0
        self.labels = np.empty(0)
        """Actions of the teacher at the last step, shape (worlds, action)."""

    def __call__(
        self, observations: np.ndarray, infos: Sequence[Info], dt_s: np.ndarray, reset: np.ndarray
    ) -> np.ndarray:
        """Return, for each environment, the action of student or teacher, depending on the turn."""
        if self._steps % self.turn_steps == 0:
            draws = self._generator.random(len(self._teacher_share))
            self._is_teachers = draws < self._teacher_share
        self._steps += 1
        full = np.stack([info["full_observation"] for info in infos])
        self.labels = self._teacher(full, infos, dt_s, reset)
        acted = self._student(observations, infos, dt_s, reset)
        return np.where(self._is_teachers[:, None], self.labels, acted)


def collect(
    worlds: Sequence[Env],
    pilot: MixedPilot,
    *,
    num_steps: int,
    frame_s: float,
    seeds: Sequence[int],
) -> tuple[Rollouts, np.ndarray]:
    """Run a mixed pilot and record the observations with the teacher's actions as labels.

    Args:
        worlds: Environments whose `info` carries `time_s` and `full_observation`.
        pilot: The pilot.
        num_steps: Number of steps of each environment.
        frame_s: Control interval [s].
        seeds: Seed of each environment.

    Returns:
        The rollouts, and the return of each environment's first episode.
    """
    steps, labels = [], []
    for step in closed_loop(worlds, pilot, num_steps=num_steps, frame_s=frame_s, seeds=seeds):
        steps.append(step)
        labels.append(pilot.labels)

    def stack(arrays: Sequence[np.ndarray], dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(np.stack(arrays, axis=1)).to(dtype)

    rollouts = Rollouts(
        observations=stack([step.observations for step in steps], torch.float32),
        actions=stack(labels, torch.float32),
        dt_s=stack([step.dt_s for step in steps], torch.float32),
        reset=stack([step.reset for step in steps], torch.bool),
    )
    rewards = np.stack([step.rewards for step in steps], axis=1)
    return rollouts, first_returns(rewards, rollouts.reset.numpy())


def first_returns(
    rewards: Float[np.ndarray, "worlds time"], reset: Bool[np.ndarray, "worlds time"]
) -> Float[np.ndarray, " worlds"]:
    """Return the sum of rewards of each environment's first episode."""
    is_first = np.cumsum(reset, axis=1) <= 1
    return np.where(is_first, rewards, 0.0).sum(axis=1)
