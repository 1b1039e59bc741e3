"""What a run folder and a progress bar get to see of a training by reinforcement."""

import math
import time
from collections import deque
from collections.abc import Callable

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from tqdm.auto import tqdm

from ncp_control.learning.reinforcement.checkpoint import save_checkpoint
from ncp_control.learning.reinforcement.guard import check_training
from ncp_control.learning.run import Run
from ncp_control.policy import Policy

CHECKPOINT = "training.pt"
"""Name of the file in a run's checkpoints from which a training resumes."""
MEASURES = ("approx_kl", "clip_fraction", "explained_variance", "value_loss")
"""What the algorithm tells of its last update."""

Export = Callable[[BaseAlgorithm], Policy]
"""Copies what a model has learned so far into a policy."""


class Progress(BaseCallback):
    """Log every rollout to a run, show return and speed, write checkpoints.

    A training that has diverged ends before anything of it is written.

    Args:
        run: Where rows and checkpoints go.
        total_steps: Steps of the whole training, all environments together.
        export: Makes the policy folders `checkpoints/last`, written with every checkpoint, and
            `checkpoints/best`, written when the mean return has never been higher; none without it.
        checkpoint_every: Rollouts from one checkpoint to the next, >= 1; there is one before the
            first rollout and one after it in any case.

    Raises:
        DivergenceError: During the training, if something learned is not finite.
    """

    def __init__(
        self,
        run: Run,
        total_steps: int,
        *,
        export: Export | None = None,
        checkpoint_every: int = 10,
    ) -> None:
        super().__init__()
        self.run = run
        self.total_steps = total_steps
        self.checkpoint_every = checkpoint_every
        self._export = export
        self._num_rollouts = 0
        self._returns: deque[float] = deque(maxlen=32)
        self._best = best_of(run, "mean_return")
        self._has_new_returns = False
        self._bar: tqdm | None = None

    def _on_training_start(self) -> None:
        self._bar = tqdm(total=self.total_steps, initial=self.num_timesteps, unit="step")
        self._since_s, self._since_steps = time.perf_counter(), self.num_timesteps

    def _on_step(self) -> bool:
        infos = self.locals["infos"]
        new = [info["episode"]["r"] for info in infos if "episode" in info]
        self._returns.extend(new)
        self._has_new_returns |= bool(new)
        return True

    def _on_rollout_start(self) -> None:
        # Between two rollouts: the update of the one before is in the weights.
        check_training(self.model)
        if self._num_rollouts:
            self._report()
        if self._num_rollouts % self.checkpoint_every == 0 or self._num_rollouts == 1:
            self._save()
        self._num_rollouts += 1

    def _on_rollout_end(self) -> None:
        # The weights are still those that the returns come from.
        if not self._has_new_returns:
            return
        self._has_new_returns = False
        mean_return = float(np.mean(self._returns))
        if math.isfinite(mean_return) and mean_return > self._best:
            self._best = mean_return
            check_training(self.model)
            self._keep("best")

    def _on_training_end(self) -> None:
        check_training(self.model)
        self._report()
        self._save()
        self.close()

    def close(self) -> None:
        """Take the progress bar away, also after a training that failed."""
        if self._bar is not None:
            self._bar.close()

    def _save(self) -> None:
        self._keep("last")  # first: what cannot be exported must not be resumed
        save_checkpoint(self.run.checkpoints / CHECKPOINT, self.model)

    def _keep(self, name: str) -> None:
        if self._export is None:
            return
        with torch.random.fork_rng(devices=[]):  # the training draws as if nobody had looked
            self.run.save_checkpoint(self._export(self.model), name)

    def _report(self) -> None:
        now_s = time.perf_counter()
        num_steps = self.model.num_timesteps - self._since_steps
        speed = num_steps / max(now_s - self._since_s, 1e-9)
        self._since_s, self._since_steps = now_s, self.model.num_timesteps
        told = self.logger.name_to_value
        metrics = {
            name: float(told[f"train/{name}"]) for name in MEASURES if f"train/{name}" in told
        }
        metrics["steps_per_s"] = speed
        log_std = getattr(self.model.policy, "log_std", None)  # none where actions are choices
        if log_std is not None:
            metrics["action_std"] = float(log_std.detach().exp().mean())
        elif "train/entropy_loss" in told:
            metrics["entropy"] = -float(told["train/entropy_loss"])
        if self._returns:
            metrics = {"mean_return": float(np.mean(self._returns))} | metrics
        self.run.log(self.model.num_timesteps, **metrics)
        shown = f"return {metrics.get('mean_return', float('nan')):.0f}, {speed:.0f} steps/s"
        if self._bar is not None:
            self._bar.set_postfix_str(shown, refresh=False)
            self._bar.update(num_steps)


def best_of(run: Run, measure: str) -> float:
    """Return the highest finite value that a run has logged of a measure, or -infinity."""
    values = [row[measure] for row in run.rows if measure in row]
    return max(filter(math.isfinite, values), default=-math.inf)
