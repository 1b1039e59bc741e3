"""Recordings of one task at several levels of skill: PPO that stops now and then to be recorded.

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
    """What a policy did after so much practice."""

    num_steps: int
    """Environment steps it was trained for."""
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
    """Train PPO and yield recordings of its policy at each number of steps.

    Actions are sampled, as in training. An episode that ends before `min_frames` is not kept.

    Args:
        make_world: Builds an environment.
        steps: Environment steps at which to record, increasing.
        num_traces: Episodes kept at each level.
        max_frames: Frames after which an episode is cut.
        min_frames: Frames that a trace must have.
        seed: Seed of worlds, weights and actions.
        num_worlds: Environments side by side.

    Raises:
        ValueError: If the steps do not increase, or a policy's episodes are too short to keep.
        DivergenceError: If the training reaches numbers that are not finite.
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
    """Move a progress bar as steps are taken."""

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
    """Drive one world with the policy as it is now."""
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
