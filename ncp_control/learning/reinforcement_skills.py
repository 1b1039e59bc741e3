"""Recordings of a task at several levels of skill: PPO training with recordings in between.

Source: PPO: Schulman et al. 2017 (arXiv 1707.06347), as implemented by stable-baselines3.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from tqdm import tqdm

from ncp_control.learning.reinforcement.guard import check_training, guarded_learning

ROLLOUT_STEPS, BATCH_SIZE, LEARNING_RATE, LOG_STD = 256, 512, 3e-4, -1.0


@dataclass(frozen=True, kw_only=True)
class SkillLevel:
    """Recordings of a policy after a number of training steps."""

    num_steps: int
    """Number of environment steps of training."""
    traces: list[np.ndarray]
    """Observations of each episode, shape (frames, dimensions), float32."""
    returns: list[float]
    """Sum of rewards of each episode."""


def record_skill_levels(
    make_world: Callable[[], gymnasium.Env],
    steps: Sequence[int],
    *,
    num_traces: int,
    max_frames: int,
    min_frames: int,
    seed: int,
    num_worlds: int = 16,
) -> Iterator[SkillLevel]:
    """Train PPO and yield recordings of its policy after each number of steps.

    Actions are sampled, as in training. Episodes shorter than `min_frames` are discarded.

    Args:
        make_world: Builds an environment.
        steps: Numbers of environment steps at which to record, increasing.
        num_traces: Number of episodes to keep at each level.
        max_frames: Maximum number of frames per episode.
        min_frames: Minimum number of frames per episode.
        seed: Seed of environments, weights and actions.
        num_worlds: Number of parallel environments.

    Raises:
        ValueError: If the steps do not increase, or too few episodes reach `min_frames`.
        DivergenceError: If training diverges.
    """
    if list(steps) != sorted(set(steps)) or not steps or steps[0] < 1:
        raise ValueError(f"`steps` must increase from 1 on, got {steps!r}. Sort them.")
    worlds = VecNormalize(DummyVecEnv([make_world] * num_worlds))
    model = PPO(
        "MlpPolicy",
        worlds,
        learning_rate=LEARNING_RATE,
        n_steps=ROLLOUT_STEPS,
        batch_size=BATCH_SIZE,
        policy_kwargs={"log_std_init": LOG_STD},
        seed=seed,
        device="cpu",
    )
    world = make_world()
    world.reset(seed=seed)
    with tqdm(total=steps[-1], desc="PPO", unit="step") as bar:
        for target in steps:
            wanted = target - model.num_timesteps
            if wanted > 0:
                with guarded_learning(model):
                    model.learn(wanted, callback=_Progress(bar), reset_num_timesteps=False)
                check_training(model)
            yield _record(model, worlds, world, num_traces, max_frames, min_frames)
    worlds.close()
    world.close()


class _Progress(BaseCallback):
    """Callback that advances a progress bar."""

    def __init__(self, bar: Any) -> None:
        super().__init__()
        self.bar = bar

    def _on_step(self) -> bool:
        self.bar.update(self.training_env.num_envs)
        return True


def _record(
    model: PPO,
    worlds: VecNormalize,
    world: gymnasium.Env,
    num_traces: int,
    max_frames: int,
    min_frames: int,
) -> SkillLevel:
    """Record episodes of the current policy in one environment."""
    traces, returns = [], []
    for _ in range(100 * num_traces):
        if len(traces) == num_traces:
            break
        observation, _ = world.reset()
        frames, total = [observation], 0.0
        while len(frames) < max_frames:
            action, _ = model.predict(np.asarray(worlds.normalize_obs(observation)))
            observation, reward, is_terminated, is_truncated, _ = world.step(action)
            frames.append(observation)
            total += float(reward)
            if is_terminated or is_truncated:
                break
        if len(frames) >= min_frames:
            traces.append(np.stack(frames).astype(np.float32))
            returns.append(total)
    if len(traces) < num_traces:
        raise ValueError(
            f"`min_frames` must be reached by the policy, got {min_frames!r}, which {len(traces)}"
            f" of {100 * num_traces} episodes reached after {model.num_timesteps} steps."
            " Train longer before the first level."
        )
    return SkillLevel(num_steps=model.num_timesteps, traces=traces, returns=returns)
