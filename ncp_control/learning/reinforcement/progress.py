"""What a run folder and a progress bar get to see of a training by reinforcement."""

import time
from collections import deque

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from tqdm.auto import tqdm

from ncp_control.learning.reinforcement.checkpoint import save_checkpoint
from ncp_control.learning.run import Run

CHECKPOINT = "training.pt"
"""Name of the file in a run's checkpoints from which a training resumes."""
MEASURES = ("approx_kl", "clip_fraction", "explained_variance", "value_loss")
"""What the algorithm tells of its last update."""


class Progress(BaseCallback):
    """Log every rollout to a run, show return and speed, write checkpoints.

    Args:
        run: Where rows and checkpoints go.
        total_steps: Steps of the whole training, all environments together.
        checkpoint_every: Rollouts from one checkpoint to the next, >= 1; the first one is saved in
            any case.
    """

    def __init__(self, run: Run, total_steps: int, *, checkpoint_every: int = 10) -> None:
        super().__init__()
        self.run = run
        self.total_steps = total_steps
        self.checkpoint_every = checkpoint_every
        self._num_rollouts = 0
        self._returns: deque[float] = deque(maxlen=32)

    def _on_training_start(self) -> None:
        self._bar = tqdm(total=self.total_steps, initial=self.num_timesteps, unit="step")
        self._since_s, self._since_steps = time.perf_counter(), self.num_timesteps

    def _on_step(self) -> bool:
        infos = self.locals["infos"]
        self._returns.extend(info["episode"]["r"] for info in infos if "episode" in info)
        return True

    def _on_rollout_start(self) -> None:
        # Between two rollouts: the update of the one before is in the weights.
        if self._num_rollouts:
            self._report()
            if self._num_rollouts % self.checkpoint_every == 0 or self._num_rollouts == 1:
                self._save()
        self._num_rollouts += 1

    def _on_training_end(self) -> None:
        self._report()
        self._save()
        self._bar.close()

    def _save(self) -> None:
        save_checkpoint(self.run.checkpoints / CHECKPOINT, self.model)  # type: ignore[arg-type]

    def _report(self) -> None:
        now_s = time.perf_counter()
        num_steps = self.model.num_timesteps - self._since_steps
        speed = num_steps / max(now_s - self._since_s, 1e-9)
        self._since_s, self._since_steps = now_s, self.model.num_timesteps
        told = self.logger.name_to_value
        metrics = {
            name: float(told[f"train/{name}"]) for name in MEASURES if f"train/{name}" in told
        }
        deviation = self.model.policy.log_std.detach().exp().mean()  # type: ignore[union-attr]
        metrics |= {"steps_per_s": speed, "action_std": float(deviation)}
        if self._returns:
            metrics = {"mean_return": float(np.mean(self._returns))} | metrics
        self.run.log(self.model.num_timesteps, **metrics)
        shown = f"return {metrics.get('mean_return', float('nan')):.0f}, {speed:.0f} steps/s"
        self._bar.set_postfix_str(shown, refresh=False)
        self._bar.update(num_steps)
