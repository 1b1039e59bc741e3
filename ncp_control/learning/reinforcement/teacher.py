"""Teachers: large feed-forward networks, trained once per task, from which circuits are distilled.

| algorithm | collected                 | learned                                              |
|-----------|---------------------------|------------------------------------------------------|
| tqc, sac  | one step of every world   | 2 batches of 512 from all experience, lr 1e-3        |
| ppo       | 256 steps of every world  | 10 passes in batches of 512, lr 3e-4, scaled inputs  |

Both have two layers of 256 ReLU units; the learning rate falls to zero over the last third.

Sources: Kuznetsov et al. 2020 (arXiv 2005.04269), TQC; Haarnoja et al. 2018 (arXiv 1812.05905),
SAC; Schulman et al. 2017 (arXiv 1707.06347), PPO.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import torch
from sb3_contrib import TQC
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from ncp_control.learning.reinforcement.checkpoint import load_checkpoint, save_checkpoint
from ncp_control.learning.reinforcement.guard import check_training, guarded_learning
from ncp_control.names import check_name
from ncp_control.ranges import check_at_least, check_seed

ALGORITHMS = ("tqc", "sac", "ppo")

Examine = Callable[[BaseAlgorithm, int], None]
"""Examines a model; called with the model and the number of steps so far."""


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """Settings of the training of a teacher."""

    algorithm: str
    """Name of the algorithm: tqc, sac or ppo."""
    steps: int
    """Number of steps in all environments together."""
    examine_every: int
    """Number of steps between two examinations."""
    first_steps: int = 10_000
    """Number of steps with random actions before the first update; not used by ppo."""
    num_envs: int = 16
    """Number of parallel environments."""
    seed: int = 0
    """Seed of weights, environments and actions."""

    def __post_init__(self) -> None:
        check_name("algorithm", self.algorithm, ALGORITHMS)
        check_at_least(self, 1, "steps", "examine_every", "first_steps", "num_envs")
        if self.algorithm != "ppo" and self.steps <= self.first_steps:
            raise ValueError(
                f"`steps` must be more than the {self.first_steps} with random actions, got"
                f" {self.steps}. Raise it, or lower `first_steps`."
            )
        check_seed(self)


def learning_rate(highest: float) -> Callable[[float], float]:
    """Return a schedule over the share of steps left: constant, then linearly to zero."""
    return lambda left: highest * min(1.0, 3.0 * left)


def train_teacher(
    make_one: Callable[[], gymnasium.Env],
    config: TeacherConfig,
    examine: Examine,
    *,
    checkpoint: Path,
) -> None:
    """Train a teacher, and examine it at the beginning, at regular intervals, and at the end.

    Args:
        make_one: Builds an environment.
        config: Settings.
        examine: Called to measure and save the teacher.
        checkpoint: File that is written after each examination; if it exists, training resumes
            from it.

    Raises:
        DivergenceError: If training diverges; the checkpoint keeps its last finite state.
    """
    env: VecEnv = DummyVecEnv([make_one] * config.num_envs)
    env.seed(config.seed)
    if config.algorithm == "ppo":
        env = VecNormalize(env)
    model = _make_model(env, config)
    is_new = not checkpoint.exists()
    if not is_new:
        load_checkpoint(checkpoint, model)
    examination = _Examination(config.examine_every, examine, checkpoint)
    steps_left = config.steps - model.num_timesteps
    if steps_left > 0:
        with guarded_learning(model):
            model.learn(steps_left, callback=examination, reset_num_timesteps=is_new)
        examination.examine_now()
    env.close()


def _make_model(env: VecEnv, config: TeacherConfig) -> BaseAlgorithm:
    shared: dict[str, Any] = {"seed": config.seed, "device": "cpu", "batch_size": 512}
    if config.algorithm == "ppo":
        layers = {"net_arch": [256, 256], "activation_fn": torch.nn.ReLU, "log_std_init": -1.0}
        return PPO(
            "MlpPolicy",
            env,
            n_steps=256,
            n_epochs=10,
            learning_rate=learning_rate(3e-4),
            policy_kwargs=layers,
            **shared,
        )
    algorithm = {"tqc": TQC, "sac": SAC}[config.algorithm]
    return algorithm(
        "MlpPolicy",
        env,
        learning_rate=learning_rate(1e-3),
        train_freq=1,
        gradient_steps=2,
        learning_starts=config.first_steps,
        buffer_size=min(1_000_000, config.steps),
        policy_kwargs={"net_arch": [256, 256]},
        **shared,
    )


class _Examination(BaseCallback):
    """Examine and save the model before the first update and then every `every` steps."""

    def __init__(self, every: int, examine: Examine, checkpoint: Path) -> None:
        super().__init__()
        self.every, self.examine, self.checkpoint = every, examine, checkpoint
        self._next = 0

    def init_callback(self, model: BaseAlgorithm) -> None:
        super().init_callback(model)
        is_new = model.num_timesteps == 0
        self._next = 0 if is_new else (model.num_timesteps // self.every + 1) * self.every

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        # Between an update and the next rollout, so that the saved state is consistent.
        if self.model.num_timesteps >= self._next:
            self._next += self.every
            self.examine_now()

    def examine_now(self) -> None:
        """Examine and save the model; raise DivergenceError if training has diverged."""
        check_training(self.model)
        self.examine(self.model, self.model.num_timesteps)
        save_checkpoint(self.checkpoint, self.model)
