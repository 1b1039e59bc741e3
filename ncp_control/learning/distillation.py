"""Distillation: a small recurrent student learns to reproduce the actions of a large teacher.

The method is DAgger. In each round, student and teacher act in many parallel environments, the
teacher labels every step with its own action, and the student learns from all rounds so far by
truncated backpropagation through time:

    loss = mean over steps and joints of (student action − teacher action)²

over windows at random places. The first `burn_in` steps of a window warm up the student's hidden
state and do not count; if an episode begins within them, the steps from its first frame on count.
A running average of the student's weights acts, is measured and is saved.

Sources: Ross, Gordon & Bagnell 2011 (arXiv 1011.0686), DAgger; burn-in: Kapturowski et al. 2019,
"Recurrent experience replay in distributed reinforcement learning".
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ncp_control.acting.closed_loop import Env
from ncp_control.learning.rollouts import MixedPilot, Rollouts, collect
from ncp_control.learning.run import Run
from ncp_control.learning.schedule import half_cosine
from ncp_control.learning.settings import DistillationConfig
from ncp_control.learning.stored import difference
from ncp_control.learning.team import shares
from ncp_control.learning.trainer import Lessons, Trainer, TrainerConfig
from ncp_control.policy import Policy

_FIRST_SEED = 500_000
"""First seed of the environments in which student and teacher act."""


def distill(
    policy: Policy,
    teacher: Policy,
    worlds: Sequence[Env],
    config: DistillationConfig,
    run: Run,
    *,
    frame_s: float,
    fit_scale: Callable[[Tensor], None],
) -> Policy:
    """Distill a teacher into a policy and return the best of its checkpoints.

    A stopped run, reopened with `Run.reopen`, resumes from its last checkpoint and ends with the
    same weights as if it had not been stopped. If training diverges, it stops.

    Args:
        policy: The student, trained in place.
        teacher: The teacher; its observation is `info["full_observation"]`.
        worlds: `config.worlds` environments of the student; `info` carries `time_s` as well.
        config: Settings.
        run: Run folder for metrics, rollouts and checkpoints.
        frame_s: Control interval [s].
        fit_scale: Sets the student's input scale from the observations of the teacher's first
            round.

    Returns:
        The policy with the highest return, loaded from its checkpoint.

    Raises:
        ValueError: If no round ends with a finite return, or the files of a stopped run are
            damaged.
        DivergenceError: If training diverges before any round ends with a finite return.
    """
    num_updates = config.rounds * config.updates_per_round

    def rate_share(i: int, step: int) -> float:
        return half_cosine(i * config.updates_per_round + step, num_updates, final=0.01)

    trainer = Trainer(
        policy,
        TrainerConfig(
            epochs=config.rounds,
            learning_rates=(config.learning_rate,),
            rate_share=rate_share,
            gradient_clip=config.gradient_clip,
            weight_average=config.weight_average,
            unit="round",
        ),
        run=run,
    )
    lessons = _Lessons(teacher, worlds, config, run, frame_s, fit_scale)
    state = trainer.state
    if state.has_begun and state.epoch < config.rounds:  # else the rollouts may be gone
        lessons.load(state.epoch + 1)
    trainer.learn(lessons)
    if state.epoch == config.rounds:
        shutil.rmtree(lessons.folder, ignore_errors=True)
    return Policy.load(run.checkpoints / "best")


@dataclass(frozen=True)
class DistillationLoss:
    """Distillation loss over a batch of windows."""

    burn_in: int
    """Number of steps at the start of a window that do not count unless an episode has begun."""
    metric_names: ClassVar[tuple[str, ...]] = ()

    def loss(self, model: Policy, batch: Rollouts) -> Tensor:
        """Return the mean squared error of the actions over the steps that count."""
        actions, _ = model(batch.observations, dt_s=batch.dt_s, reset=batch.reset)
        error = (actions - batch.actions.clamp(-1.0, 1.0)).square().mean(dim=2)
        counts = self._counts(batch)
        return (error * counts).sum() / counts.sum()

    def weight(self, model: Policy, batch: Rollouts) -> Tensor:
        """Return the number of steps that count."""
        return self._counts(batch).sum()

    def split(self, batch: Rollouts, count: int) -> list[Rollouts | None]:
        """Split a batch into `count` shares of whole windows; None if there are too few windows."""
        return [None if share is None else Rollouts(**share) for share in shares(batch, count)]

    def _counts(self, batch: Rollouts) -> Tensor:
        counts = torch.cumsum(batch.reset, dim=1) > 0
        counts[:, self.burn_in :] = True
        return counts


@dataclass
class _Lessons(Lessons[Rollouts]):
    """Windows of the rollouts of all rounds so far.

    A round ends with the rollouts of the next one, which also measure the student.
    """

    teacher: Policy
    worlds: Sequence[Env]
    config: DistillationConfig
    run: Run
    frame_s: float
    fit_scale: Callable[[Tensor], None]
    parts: list[Rollouts] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = self.run.folder / "rollouts"
        self.shared = DistillationLoss(self.config.burn_in)

    def begin_epoch(
        self, epoch: int, kept: Policy, generator: torch.Generator
    ) -> tuple[Iterator[Rollouts], int]:
        config = self.config
        if not self.parts:
            returns = self._act(kept, 0)
            self.run.log(0, teacher_return=float(returns.mean()))
            print(f"  round 0  teacher's return {returns.mean():.0f}")
            self.fit_scale(self.parts[0].observations)
        data = Rollouts.join(self.parts)
        generator.manual_seed(config.seed * 10_000 + epoch)
        num_updates = config.updates_per_round
        size = config.batch_size, config.window, generator
        return (data.windows(*size) for _ in range(num_updates)), num_updates

    def judge(self, kept: Policy, epoch: int) -> tuple[float, dict[str, float]]:
        alone = self._act(kept, epoch + 1)[: self.config.worlds // 2]
        mean_return = float(alone.mean())
        return -mean_return, {"student_return": mean_return}

    def _act(self, student: Policy, i: int) -> np.ndarray:
        """Collect the rollouts of round `i`, and keep them unless it is after the last update.

        In the first round (0) the teacher acts alone.

        Returns:
            The return of the first episode of each environment.
        """
        config = self.config
        share = np.zeros(config.worlds)
        share[config.worlds // 2 :] = max(1.0 - i / max(config.mixed_rounds, 1), 0.0)
        if i == 0:
            share[:] = 1.0
        first_seed = _FIRST_SEED + (config.seed * (config.rounds + 1) + i) * config.worlds
        part, returns = collect(
            self.worlds,
            MixedPilot(student, self.teacher, share, np.random.default_rng([config.seed, i])),
            num_steps=config.steps_per_round,
            frame_s=self.frame_s,
            seeds=range(first_seed, first_seed + config.worlds),
        )
        if i < config.rounds:
            part.save(self._file(i))
            self.parts.append(part)
        return returns

    def load(self, rounds: int) -> None:
        """Load the rollouts of the first rounds of a stopped run."""
        self.parts = [Rollouts.load(self._file(i)) for i in range(rounds)]
        steps = (self.config.worlds, self.config.steps_per_round)
        for i, part in enumerate(self.parts):
            mismatch = difference(vars(part), vars(self.parts[0]), "rollouts")
            if mismatch is None and part.reset.shape != steps:
                mismatch = f"worlds and steps {tuple(part.reset.shape)} instead of {steps}"
            if mismatch is not None:
                raise ValueError(
                    f"{self._file(i)} must be rollouts of this training, got {mismatch}. Start the"
                    " training anew."
                )

    def _file(self, i: int) -> Path:
        return self.folder / f"round-{i:03d}.safetensors"
