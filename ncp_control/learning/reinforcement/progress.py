"""Logging, checkpoints and progress bar of a reinforcement learning run."""

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
"""Name of the file in a run's `checkpoints/` from which training resumes."""
MEASURES = (
    *("approx_kl", "clip_fraction", "explained_variance", "value_loss"),
    *("ent_coef", "critic_loss", "actor_loss"),
)
"""Metrics of the algorithm's last update that are logged."""
_MEAN_OF = 32
"""Number of last episodes over which the mean return is computed."""

Export = Callable[[BaseAlgorithm], Policy]
"""Returns a policy with a copy of a model's current weights."""


class Progress(BaseCallback):
    """Callback that logs rows to a run, shows return and speed, and writes checkpoints.

    If training has diverged, it stops before any of the diverged state is written.

    Args:
        run: Run folder for rows and checkpoints.
        total_steps: Number of steps of the whole training run, all environments together.
        export: Returns the policy that is saved to `checkpoints/last` with every checkpoint, and to
            `checkpoints/best` at each new highest mean return. If None: no policies are saved.
        checkpoint_every: Number of rows between checkpoints, >= 1. There is always a checkpoint
            before the first rollout and after the first row.
        row_every: Number of steps between rows; if a rollout is longer: one row per rollout.

    Raises:
        DivergenceError: During training, if a learned value or an action is not finite.
    """

    def __init__(
        self,
        run: Run,
        total_steps: int,
        *,
        export: Export | None = None,
        checkpoint_every: int = 10,
        row_every: int = 1,
    ) -> None:
        super().__init__()
        self.run = run
        self.total_steps = total_steps
        self.checkpoint_every = checkpoint_every
        self.row_every = row_every
        self._export = export
        self._num_rows: int | None = None
        self._latest: dict[str, float] = {}
        self._returns: deque[float] = deque(maxlen=_MEAN_OF)
        self._best = best_of(run, "mean_return")
        self._has_new_returns = False
        self._bar: tqdm | None = None

    def _on_training_start(self) -> None:
        rollout = getattr(self.model, "n_steps", 1) * self.model.n_envs  # always completed
        total = math.ceil(self.total_steps / rollout) * rollout
        self._bar = tqdm(total=total, initial=self.num_timesteps, unit="step")
        self._since_s, self._since_steps = time.perf_counter(), self.num_timesteps

    def _on_step(self) -> bool:
        infos = self.locals["infos"]
        new = [info["episode"]["r"] for info in infos if "episode" in info]
        self._returns.extend(new)
        self._has_new_returns |= bool(new)
        return True

    @property
    def _is_due(self) -> bool:
        """Whether the next row is due."""
        return self.model.num_timesteps - self._since_steps >= self.row_every

    def _on_rollout_start(self) -> None:
        # Between two rollouts: the weights include the update from the previous one.
        self._listen()
        is_first = self._num_rows is None
        if not is_first and not self._is_due:
            return
        check_training(self.model)
        if not is_first:
            self._report()
        num_rows = self._num_rows = 0 if self._num_rows is None else self._num_rows + 1
        if num_rows % self.checkpoint_every == 0 or num_rows == 1:
            self._save()

    def _on_rollout_end(self) -> None:
        # The newest returns come from the current weights, older ones from earlier weights. After a
        # resume there are only few returns at first, so their mean is not reliable.
        is_enough = len(self._returns) >= min(self.model.n_envs, _MEAN_OF)
        if not (self._has_new_returns and self._is_due and is_enough):
            return
        self._has_new_returns = False
        mean_return = float(np.mean(self._returns))
        if math.isfinite(mean_return) and mean_return > self._best:
            self._best = mean_return
            check_training(self.model)
            self._keep("best")

    def _on_training_end(self) -> None:
        self._listen()
        check_training(self.model)
        self._report()
        self._save()
        self.close()

    def close(self) -> None:
        """Close the progress bar, also after an error."""
        if self._bar is not None:
            self._bar.close()

    def _save(self) -> None:
        self._keep("last")  # first, so that no checkpoint is written if the export fails
        save_checkpoint(self.run.checkpoints / CHECKPOINT, self.model)

    def _keep(self, name: str) -> None:
        if self._export is None:
            return
        with torch.random.fork_rng(devices=[]):  # leaves the random numbers of training unchanged
            self.run.save_checkpoint(self._export(self.model), name)

    def _listen(self) -> None:
        """Copy the metrics of the last update, since the logger clears them at times."""
        logged = self.logger.name_to_value
        names = (*MEASURES, "entropy_loss")
        self._latest |= {
            name: logged[f"train/{name}"] for name in names if f"train/{name}" in logged
        }

    def _report(self) -> None:
        now_s = time.perf_counter()
        num_steps = self.model.num_timesteps - self._since_steps
        speed = num_steps / max(now_s - self._since_s, 1e-9)
        self._since_s, self._since_steps = now_s, self.model.num_timesteps
        latest, self._latest = self._latest, {}
        metrics = {name: float(latest[name]) for name in MEASURES if name in latest}
        metrics["steps_per_s"] = speed
        log_std = getattr(self.model.policy, "log_std", None)  # none where actions are choices
        if log_std is not None:
            metrics["action_std"] = float(log_std.detach().exp().mean())
        elif "entropy_loss" in latest:
            metrics["entropy"] = -float(latest["entropy_loss"])
        if self._returns:
            metrics = {"mean_return": float(np.mean(self._returns))} | metrics
        self.run.log(self.model.num_timesteps, **metrics)
        postfix = f"{speed:.0f} steps/s"
        if self._returns:
            postfix = f"return {metrics['mean_return']:.0f}, {postfix}"
        if self._bar is not None:
            self._bar.set_postfix_str(postfix, refresh=False)
            self._bar.update(num_steps)


def best_of(run: Run, measure: str) -> float:
    """Return the highest finite value of a logged metric of a run; -infinity if there is none."""
    values = [row[measure] for row in run.rows if measure in row]
    return max(filter(math.isfinite, values), default=-math.inf)
