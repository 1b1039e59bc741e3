"""The job `train.py ppo`: PPO with a circuit as the actor, a new one or that of a policy.

| circuit          | observation                 | critic               | initial std     |
|------------------|-----------------------------|----------------------|-----------------|
| new              | scaled numbers, encoded     | on the same numbers  | exp(−1)         |
| new              | frames, by a head that      | on the same features | exp(−1)         |
|                  | learns with it, and scaled  |                      |                 |
|                  | numbers beside them         |                      |                 |
| of a policy      | features of that policy     | 64 GRU units on them | exp(−2)         |
| `mlp` (no memory)| scaled numbers              | on the same numbers  | exp(−1)         |

Discrete actions have no standard deviation; they are drawn by their probabilities.

In LaneKeeping-v0 the reward is in metres: progress along the centre line, minus the offset from it
times the control period times 1/s, minus 10 m for a crash.
"""

import copy
import json
from typing import Any, cast

import torch
from stable_baselines3 import PPO as StockPPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from ncp_control.cells import Cell
from ncp_control.cells.first_values import NUM_PROBES, PROBE_FRAMES
from ncp_control.command_line import use_threads
from ncp_control.devices import find_device
from ncp_control.learning.launched import is_launched
from ncp_control.learning.reinforcement.actor_critic import CircuitActorCritic, check_action_space
from ncp_control.learning.reinforcement.perception import num_numbers, observation_size
from ncp_control.learning.reinforcement.ppo import SequencePPO
from ncp_control.learning.reinforcement.tensor_ppo import TensorPPO
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import Run
from ncp_control.policy import Policy, VectorPolicy
from ncp_control.policy.heads import head_width
from policies.locomotion import make_frames_cell
from policies.motor_circuits import make_motor_cell
from scripts.evaluation.worlds import WorldSettings
from scripts.training.ppo_settings import PPO
from scripts.training.reinforcement import (
    Task,
    add_rows,
    make_cell,
    make_worlds,
    measure,
    train_and_measure,
)
from scripts.training.resumption import begun_with
from scripts.training.settings import refuse_unused


def train_ppo(asked: PPO) -> Policy:
    """Train, save the policy, evaluate it, and add the result to a table.

    A policy that was trained further is also evaluated as it was before.
    """
    settings = begun_with(asked)
    use_threads(settings.threads)
    task = Task.of(settings)
    results = ResultsFile(settings.results, task.measures)  # refused before training
    policy, measured, run = reinforce(task)
    rows = {task.name: measured}
    if task.policy is not None:
        before = dict.fromkeys(task.measures, "") | measure(task, task.policy)
        rows = {f"{task.name} before": before, f"{task.name} after": measured}
    described = describe(settings, task.where, sees_frames=task.frames is not None)
    add_rows(results, task, described, rows, run)
    return policy


def reinforce(task: Task) -> tuple[Policy, dict[str, float | str], Run]:
    """Train and evaluate; see `train_and_measure`."""
    return train_and_measure(task, "ppo", make_model(task))


def describe(settings: PPO, where: WorldSettings, *, sees_frames: bool = False) -> str:
    """Return environment, observation and settings (without cell and seed) as one table cell.

    Args:
        settings: Settings of the job.
        where: Name, options and disturbances of the environment.
        sees_frames: Whether a new circuit has a conv head instead of an encoder.
    """
    names = ("batch_size", "epochs", "evaluation_episodes", "gamma", "learning_rate")
    names += ("neurons", "num_envs", "rollout_steps", "sequence_length", "steps")
    values = {name: getattr(settings, name) for name in names} | settings.disturbances
    values["encoder"] = () if sees_frames or settings.cell == "mlp" else settings.encoder
    values |= {name: settings.resolved[name] for name in ("critic", "actor_lr_scale")}
    if settings.num_worlds is not None:
        values |= {"num_worlds": settings.num_worlds, "device": find_device(settings.device).type}
        del values["num_envs"]
    # Left out if None: older rows do not have these settings.
    names = ("episode_s", "wiring", "reads", "log_std", "tau_s", "synapses")
    later = {name: getattr(settings, name) for name in names}
    if settings.head != "light":
        later["head"] = settings.head
    values |= {name: value for name, value in later.items() if value is not None}
    if settings.resolved["critic_first_steps"]:
        values["critic_first_steps"] = settings.resolved["critic_first_steps"]
    if settings.policy is not None:
        values = {name: values[name] for name in values if name not in ("neurons", "encoder")}
    return f"{' '.join(where.words)} {json.dumps(values, sort_keys=True)}"


def make_model(task: Task) -> OnPolicyAlgorithm:
    """Build the environments and the untrained algorithm."""
    settings, frames = _settings(task), task.frames
    refuse_unused(settings, sees_frames=frames is not None)
    env = make_worlds(task, scales_rewards=True)
    check_action_space(env.action_space)
    rate = settings.learning_rate
    shared: dict[str, Any] = {
        "learning_rate": lambda remaining: rate * max(remaining, 0.1),
        "n_steps": settings.rollout_steps,
        "batch_size": settings.batch_size,
        "n_epochs": settings.epochs,
        "gamma": settings.gamma,
        "seed": settings.seed,
        "device": find_device(settings.device),
    }
    if task.policy is None and settings.cell == "mlp":
        if frames is not None:
            raise ValueError(
                "`cell` must be another in a world of frames, got 'mlp', which takes numbers. Take"
                " cnn for a network without memory."
            )
        if is_launched():
            raise ValueError(
                "`cell` must have a memory under torchrun with several processes, got 'mlp'. Train"
                " it in one process."
            )
        layers = {
            "net_arch": [256, 256],
            "activation_fn": torch.nn.ReLU,
            "log_std_init": first_log_std(settings),
        }
        return StockPPO("MlpPolicy", env, policy_kwargs=layers, **shared)
    if frames is None:
        size = observation_size(env.observation_space)
    else:
        size = head_width(settings.head, frames.shape) + num_numbers(env.observation_space)
    model = (SequencePPO if settings.num_worlds is None else TensorPPO)(
        env,
        sequence_length=settings.sequence_length,
        critic_first_steps=settings.resolved["critic_first_steps"],
        policy_kwargs={
            **make_actor(task, size),
            "log_std_init": first_log_std(settings),
            "critic_cell": _critic_cell(task, size),
            "actor_lr_scale": settings.resolved["actor_lr_scale"],
        },
        **shared,
    )
    if settings.first_values:
        core = cast(CircuitActorCritic, model.policy).actor
        with torch.no_grad():
            settings.begin(core.circuit.cell, core.encoder(probes(task, model, env)), settings.seed)
    if isinstance(task.policy, VectorPolicy):  # the mean of the actions is the policy's command
        model.policy.action_net = copy.deepcopy(task.policy.squash)
    return model


@torch.no_grad()
def probes(task: Task, model: SequencePPO, env: VecEnv) -> torch.Tensor:
    """Return typical inputs of the encoder of a new circuit, shape (batch, time, feature).

    With frames: features of the first frame of each environment, repeated over time. Without
    frames: normally distributed numbers.
    """
    if task.frames is None:
        shape = NUM_PROBES, PROBE_FRAMES, observation_size(env.observation_space)
        drawn = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        return drawn.to(model.device)
    policy = cast(CircuitActorCritic, model.policy)
    observed = env.reset()
    if not isinstance(observed, torch.Tensor):
        observed, _ = policy.obs_to_tensor(cast(Any, observed))
    features = policy.perception(observed)[:, : policy.perception.size]  # without the elapsed time
    return features[:, None].expand(-1, PROBE_FRAMES, -1)


def make_actor(task: Task, num_inputs: int) -> dict[str, Any]:
    """Return the circuit for a `CircuitActorCritic`, with what a new one has before it.

    That is an encoder of the observation, or a conv head where there are frames.
    """
    settings = _settings(task)
    if task.policy is not None:
        return {"cell": copy.deepcopy(task.policy.circuit.cell)}
    if task.frames is None:
        return {"cell": make_cell(task, num_inputs), "encoder": settings.encoder}
    cell = make_frames_cell(
        settings.cell,
        num_inputs,
        settings.neurons,
        len(task.world.contract.output_names),
        frame_s=task.world.frame_s,
        seed=settings.seed,
        sees_time=settings.is_timed,
        **settings.drawn,
    )
    return {"cell": cell, "head": settings.head}


def first_log_std(settings: PPO) -> float:
    """Return the logarithm of the initial standard deviation of continuous actions."""
    suits = -1.0 if settings.policy is None else -2.0
    return suits if settings.log_std is None else settings.log_std


def _settings(task: Task) -> PPO:
    assert isinstance(task.settings, PPO)
    return task.settings


def _critic_cell(task: Task, size: int) -> Cell | None:
    if _settings(task).resolved["critic"] == "mlp":
        return None
    frame_s, is_timed = task.world.frame_s, task.settings.is_timed
    return make_motor_cell("gru", size, 64, 64, frame_s=frame_s, sees_time=is_timed)
