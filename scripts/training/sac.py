"""The job `train.py sac`: SAC or TQC with a circuit as the actor.

The circuit acts in all environments and is updated on sequences from the replay buffer. The critics
are dense layers on the scaled observation, or on the last few for partial observations. With the
cell `mlp`, the stock algorithm of stable-baselines3 is used, with two layers of 256 units.
"""

import json
from typing import Any

import torch
from sb3_contrib import TQC
from stable_baselines3 import SAC as StockSAC
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from ncp_control.cells.first_values import NUM_PROBES, PROBE_FRAMES
from ncp_control.command_line import use_threads
from ncp_control.learning.reinforcement.perception import observation_size
from ncp_control.learning.reinforcement.sac import SequenceSAC, SequenceTQC
from ncp_control.learning.results import ResultsFile
from ncp_control.policy import Policy
from scripts.evaluation.worlds import WorldSettings, check_continuous
from scripts.training.reinforcement import (
    Task,
    add_rows,
    make_cell,
    make_worlds,
    train_and_measure,
)
from scripts.training.resumption import begun_with
from scripts.training.sac_settings import SAC

ROW_EVERY = 4096
"""Steps between two rows of metrics: as in a rollout of PPO, so that curves can be compared."""


def train_sac(asked: SAC) -> Policy:
    """Train, save the policy, evaluate it, and add the result to a table."""
    settings = begun_with(asked)
    use_threads(settings.threads)
    task = Task.of(settings)
    results = ResultsFile(settings.results, task.measures)  # refused before training
    model = make_model(task)
    policy, measured, run = train_and_measure(task, settings.algorithm, model, row_every=ROW_EVERY)
    add_rows(results, task, describe(settings, task.where), {task.name: measured}, run)
    return policy


def describe(settings: SAC, where: WorldSettings) -> str:
    """Return environment, observation and settings (without cell and seed) as one table cell."""
    names = ("algorithm", "batch_size", "evaluation_episodes", "first_steps", "gamma")
    names += ("learning_rate", "num_envs", "replay_steps", "steps", "updates")
    values = {name: getattr(settings, name) for name in names} | settings.disturbances
    if settings.cell != "mlp":
        names = ("burn_in", "encoder", "neurons", "sequence_length")
        values |= {name: getattr(settings, name) for name in names} | settings.resolved
    names = ("episode_s", "wiring", "reads", "tau_s", "synapses")
    asked = {name: getattr(settings, name) for name in names}
    values |= {name: value for name, value in asked.items() if value is not None}
    return f"{' '.join(where.words)} {json.dumps(values, sort_keys=True)}"


def make_model(task: Task) -> OffPolicyAlgorithm:
    """Build the environments and the untrained algorithm."""
    settings = task.settings
    assert isinstance(settings, SAC)
    check_continuous(task.where.env, task.world)
    env = make_worlds(task, scales_rewards=False)
    rate = settings.learning_rate
    shared: dict[str, Any] = {
        "learning_rate": lambda remaining: rate * max(remaining, 0.1),
        "learning_starts": settings.first_steps,
        "buffer_size": min(settings.replay_steps, settings.steps),
        "batch_size": settings.batch_size,
        "gradient_steps": settings.updates,
        "gamma": settings.gamma,
        "seed": settings.seed,
        "device": "cpu",
    }
    if settings.cell == "mlp":
        stock = {"sac": StockSAC, "tqc": TQC}[settings.algorithm]
        return stock("MlpPolicy", env, policy_kwargs={"net_arch": [256, 256]}, **shared)
    size = observation_size(env.observation_space)
    algorithm = {"sac": SequenceSAC, "tqc": SequenceTQC}[settings.algorithm]
    model = algorithm(
        env,
        sequence_length=settings.sequence_length,
        burn_in=settings.burn_in,
        critic_frames=settings.resolved["critic_frames"],
        policy_kwargs={
            "cell": make_cell(task, size),
            "encoder": settings.encoder,
            "actor_lr_scale": settings.resolved["actor_lr_scale"],
        },
        **shared,
    )
    if settings.first_values:
        shape = NUM_PROBES, PROBE_FRAMES, size
        inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        core = model.actor.core
        with torch.no_grad():
            settings.begin(core.circuit.cell, core.encoder(inputs), settings.seed)
    return model
