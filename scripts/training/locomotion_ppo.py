"""Learn to walk by reinforcement: PPO with a liquid circuit, or a network, as the actor."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from ncp_control.cells import Cell
from ncp_control.learning.reinforcement.actor_critic import check_action_space
from ncp_control.learning.reinforcement.elapsed import ObserveElapsed
from ncp_control.learning.reinforcement.ppo import SequencePPO
from ncp_control.learning.run import Run
from ncp_control.policy import Policy
from policies.from_sb3 import policy_from_sb3
from policies.motor_circuits import make_motor_cell
from scripts.evaluation.locomotion import mean_and_std, walk
from scripts.training.contracts import trained_in
from scripts.training.locomotion_settings import Locomotion
from scripts.training.resumption import learn, open_run, resume_model

MEASURES = ("mean_return", "std_return", "steps_per_s", "parameters", "curve")
"""Columns of the results file that this job measures."""
CURVE_POINTS = 50
"""Points of a learning curve in the results file, at equal distances up to the last step."""


def reinforce(settings: Locomotion) -> tuple[Policy, dict[str, float | str], Run]:
    """Train, save the policy in its run folder, and measure it.

    Args:
        settings: Where to learn, and what; `resume` names a run to go on with.

    Returns:
        The policy, its row of the results file (`MEASURES` by name), and its run.
    """
    torch.manual_seed(settings.seed)
    model = make_model(settings)

    def export(model: BaseAlgorithm) -> Policy:
        policy = policy_from_sb3(model, frame_s=settings.where.world.frame_s)
        policy.contract = trained_in(settings.where.world, policy)
        return policy

    step = resume_model(model, settings)
    with open_run(settings, "locomotion", settings.run_name, step=step) as run:
        policy = learn(model, settings.ppo.steps, run, export)
        print(f"policy: {run.policy}\nreport: {run.report}")
        returns = walk(policy, settings.where)
    speeds = [row["steps_per_s"] for row in run.rows if "steps_per_s" in row]
    measured = {
        **mean_and_std(returns),
        "steps_per_s": round(float(np.median(speeds))) if speeds else 0,
        "parameters": sum(parameter.numel() for parameter in policy.parameters()),
        "curve": learning_curve(run.rows, settings.ppo.steps),
        "threads": torch.get_num_threads(),
    }
    return policy, measured, run


def learning_curve(rows: Sequence[Mapping[str, float]], steps: int) -> str:
    """Return the running mean return at `CURVE_POINTS` equal distances as one cell."""
    known = [(row["step"], row["mean_return"]) for row in rows if "mean_return" in row]
    if not known:
        return ""
    at = np.linspace(0, steps, CURVE_POINTS + 1)[1:]
    values = np.interp(at, *np.array(known).T, left=np.nan)
    return " ".join(f"{value:.0f}" for value in values)


def make_model(settings: Locomotion) -> OnPolicyAlgorithm:
    """Build environments and algorithm, untrained."""
    is_timed = settings.is_timed and settings.cell != "mlp"

    def make_one() -> gymnasium.Env:
        world = settings.where.make_world()
        return Monitor(ObserveElapsed(world) if is_timed else world)

    env = VecNormalize(
        DummyVecEnv([make_one] * settings.ppo.num_envs),
        gamma=settings.ppo.gamma,
        norm_obs_keys=["observation"] if is_timed else None,
    )
    check_action_space(env.action_space)
    rate = settings.ppo.learning_rate
    shared: dict[str, Any] = {
        "learning_rate": lambda remaining: rate * max(remaining, 0.1),
        "n_steps": settings.ppo.rollout_steps,
        "batch_size": settings.ppo.batch_size,
        "n_epochs": settings.ppo.epochs,
        "gamma": settings.ppo.gamma,
        "seed": settings.seed,
        "device": "cpu",
    }
    if settings.cell == "mlp":
        layers = {"net_arch": [256, 256], "activation_fn": torch.nn.ReLU, "log_std_init": -1.0}
        return PPO("MlpPolicy", env, policy_kwargs=layers, **shared)
    observed = env.observation_space
    box = observed["observation"] if isinstance(observed, gymnasium.spaces.Dict) else observed
    size, encoder = int(cast(Any, box.shape)[0]), settings.encoder_widths
    policy_kwargs = {
        "cell": make_cell(settings, (size, *encoder)[-1]),
        "encoder": encoder,
        "critic_cell": _critic_cell(settings, size),
        "actor_lr_scale": settings.actor_lr_scale,
    }
    return SequencePPO(
        env, sequence_length=settings.ppo.sequence_length, policy_kwargs=policy_kwargs, **shared
    )


def make_cell(settings: Locomotion, num_inputs: int) -> Cell:
    """Build the actor's cell."""
    return make_motor_cell(
        settings.cell,
        num_inputs,
        settings.neurons,
        len(settings.where.world.contract.action),
        frame_s=settings.where.world.frame_s,
        seed=settings.seed,
        sees_time=settings.is_timed,
    )


def _critic_cell(settings: Locomotion, size: int) -> Cell | None:
    if settings.critic == "mlp":
        return None
    frame_s = settings.where.world.frame_s
    return make_motor_cell("gru", size, 64, 64, frame_s=frame_s, sees_time=settings.is_timed)
