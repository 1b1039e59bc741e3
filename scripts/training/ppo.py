"""Learn by reinforcement: PPO with a circuit as the actor, a new one or that of a policy.

| circuit          | what it senses              | critic               | first deviation |
|------------------|-----------------------------|----------------------|-----------------|
| new              | scaled numbers, encoded     | on the same numbers  | exp(−1)         |
| new              | frames, by a head that      | on the same features | exp(−1)         |
|                  | learns with it, and scaled  |                      |                 |
|                  | numbers beside them         |                      |                 |
| of a policy      | what that policy perceives  | 64 GRU units on that | exp(−2)         |
| `mlp` (no memory)| scaled numbers              | on the same numbers  | exp(−1)         |

Actions that are choices have no deviation; each choice is drawn by its probability.

In LaneKeeping-v0 the reward is in metres: progress along the centre line, minus the offset from it
times the control period times 1/s, minus 10 m for a crash.
"""

import copy
import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from stable_baselines3 import PPO as StockPPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from envs.driving.metrics import LaneMetrics, summarize
from ncp_control.cells import Cell
from ncp_control.cells.first_values import NUM_PROBES, PROBE_FRAMES
from ncp_control.command_line import use_threads
from ncp_control.learning.reinforcement.actor_critic import CircuitActorCritic, check_action_space
from ncp_control.learning.reinforcement.elapsed import ObserveElapsed, ObserveParts
from ncp_control.learning.reinforcement.perceived import PerceivedEnv
from ncp_control.learning.reinforcement.perception import (
    frame_shape,
    num_numbers,
    observation_size,
)
from ncp_control.learning.reinforcement.ppo import SequencePPO
from ncp_control.learning.reinforcement.wrappers import scaled_key
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import Run, policy_name
from ncp_control.markdown import markdown_table
from ncp_control.policy import Policy, VectorPolicy
from ncp_control.policy.heads import head_width
from ncp_control.records import record_frame
from ncp_control.worlds import World
from policies.from_sb3 import check_finite, policy_from_sb3
from policies.locomotion import make_frames_cell
from policies.motor_circuits import make_motor_cell
from scripts.evaluation.driving import DRIVING_WORLD, VectorDriveSettings, drive_km, evaluate
from scripts.evaluation.locomotion import (
    WalkSettings,
    mean_and_std,
    open_world,
    walk,
)
from scripts.training.contracts import trained_in
from scripts.training.places import describe_place, run_name, where_to_learn
from scripts.training.resumption import (
    add_row,
    begun_with,
    learn,
    open_run,
    results_path,
    resume_model,
)
from scripts.training.settings import PPO

MEASURES = ("mean_return", "std_return", "steps_per_s", "parameters", "curve")
"""Columns of the results file that this job measures, but for driving."""
DRIVING_MEASURES = tuple(field.name for field in dataclasses.fields(LaneMetrics))
"""The same in LaneKeeping-v0."""
CURVE_POINTS = 50
"""Points of a learning curve in the results file, at equal distances up to the last step."""
EPISODE_KM = 0.4
"""Distance that stands for an episode where driving is measured [km]."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What learns, and where."""

    settings: PPO
    where: WalkSettings
    """The world's name, options and disturbances."""
    world: World
    policy: Policy | None
    """The policy whose circuit goes on learning, if it is not a new one."""

    @classmethod
    def of(cls, settings: PPO) -> "Task":
        """Find the world and the policy that the settings name, and seed torch.

        Raises:
            ValueError: If the policy does not fit the world, or there is no way to learn in it.
        """
        torch.manual_seed(settings.seed)
        policy = None if settings.policy is None else Policy.load(settings.policy)
        where = where_to_learn(settings, policy)
        world = open_world(where.env, where.words)
        if policy is not None:
            world.check_policy(policy.contract)
        if settings.sensor_noise_std and world.contract.observation.kind != "vector":
            raise ValueError(
                f"`sensor_noise_std` must be 0 in a world of frames, got"
                f" {settings.sensor_noise_std!r}. It is noise on numbers."
            )
        return cls(settings=settings, where=where, world=world, policy=policy)

    @property
    def drives(self) -> bool:
        """Whether what is measured is driving."""
        return self.world.name == DRIVING_WORLD

    @property
    def name(self) -> str:
        """What learns, in one word."""
        folder = self.settings.policy
        return self.settings.cell if folder is None else policy_name(folder)


def train_ppo(asked: PPO) -> Policy:
    """Train, save the policy, measure it, and add the result to a table.

    A policy whose circuit went on learning is also measured as it was before.
    """
    settings = begun_with(asked)
    use_threads(settings.threads)
    task = Task.of(settings)
    table = "drive_rl.csv" if task.drives else "reinforcement.csv"
    measures = DRIVING_MEASURES if task.drives else MEASURES
    results = ResultsFile(results_path(settings, table), measures)  # refused before the training
    policy, measured, run = reinforce(task)
    rows = {task.name: measured}
    if task.policy is not None:
        before = dict.fromkeys(measures, "") | measure(task, task.policy)
        rows = {f"{task.name} before": before, f"{task.name} after": measured}
    results.place(run.results)
    for who, row in rows.items():
        add_row(results, settings, who, describe(settings, task.where), row)
    columns = [name for name in measures if name != "curve"]
    cells = [[who, *(_short(row[name]) for name in columns)] for who, row in rows.items()]
    print(markdown_table(["policy", *columns], cells))
    print(f"policy: {run.policy}\nreport: {run.report}\nresults: {results.path}")
    return policy


def reinforce(task: Task) -> tuple[Policy, dict[str, float | str], Run]:
    """Train, save the policy in its run folder, and measure it.

    Args:
        task: What is to learn, and where; `settings.resume` names a run to go on with.

    Returns:
        The policy, its row of the results file, and its run.
    """
    settings = task.settings
    model = make_model(task)
    step = resume_model(model, settings)
    with open_run(settings, "ppo", run_name(task.where, task.name), step=step) as run:
        policy = learn(model, settings.steps, run, lambda model: export_policy(model, task))
        measured = measure(task, policy)
    if not task.drives:
        speeds = [row["steps_per_s"] for row in run.rows if "steps_per_s" in row]
        measured["steps_per_s"] = round(float(np.median(speeds))) if speeds else 0
        measured["curve"] = learning_curve(run.rows, settings.steps)
        measured["threads"] = torch.get_num_threads()
    return policy, measured, run


def measure(task: Task, policy: Policy) -> dict[str, float | str]:
    """Return what the world measures of a policy, by column of the results file."""
    episodes = task.settings.evaluation_episodes
    if not task.drives:
        parameters = sum(parameter.numel() for parameter in policy.parameters())
        return {**mean_and_std(walk(policy, task.where)), "parameters": parameters}
    where = drive_km(EPISODE_KM * episodes)
    if isinstance(policy, VectorPolicy):
        where = VectorDriveSettings(**dataclasses.asdict(where))
    metrics = summarize(evaluate(policy, where, description="held-out tracks"))
    return dataclasses.asdict(metrics)


def describe(settings: PPO, where: WalkSettings) -> str:
    """Return all but cell and seed as one cell of the results file: world, observation, rest."""
    names = ("batch_size", "epochs", "evaluation_episodes", "gamma", "learning_rate")
    names += ("neurons", "num_envs", "rollout_steps", "sequence_length", "steps")
    told = {name: getattr(settings, name) for name in names} | settings.disturbances
    told["encoder"] = settings.encoder if settings.cell != "mlp" else ()
    told |= {name: settings.resolved[name] for name in ("critic", "actor_lr_scale")}
    # Rows that are older than these settings tell nothing of them.
    names = ("episode_s", "wiring", "log_std", "tau_s", "synapses")
    later = {name: getattr(settings, name) for name in names}
    if settings.head != "light":
        later["head"] = settings.head
    told |= {name: value for name, value in later.items() if value is not None}
    if settings.resolved["critic_first_steps"]:
        told["critic_first_steps"] = settings.resolved["critic_first_steps"]
    if settings.policy is not None:
        told = {name: told[name] for name in told if name not in ("neurons", "encoder")}
    return f"{describe_place(where)} {json.dumps(told, sort_keys=True)}"


def learning_curve(rows: Sequence[Mapping[str, float]], steps: int) -> str:
    """Return the running mean return at `CURVE_POINTS` equal distances as one cell."""
    known = [(row["step"], row["mean_return"]) for row in rows if "mean_return" in row]
    if not known:
        return ""
    at = np.linspace(0, steps, CURVE_POINTS + 1)[1:]
    values = np.interp(at, *np.array(known).T, left=np.nan)
    return " ".join(f"{value:.0f}" for value in values)


def make_model(task: Task) -> OnPolicyAlgorithm:
    """Build worlds and algorithm, untrained."""
    settings = task.settings
    env = make_worlds(task)
    check_action_space(env.action_space)
    rate = settings.learning_rate
    shared: dict[str, Any] = {
        "learning_rate": lambda remaining: rate * max(remaining, 0.1),
        "n_steps": settings.rollout_steps,
        "batch_size": settings.batch_size,
        "n_epochs": settings.epochs,
        "gamma": settings.gamma,
        "seed": settings.seed,
        "device": "cpu",
    }
    seen = frame_shape(env.observation_space)
    sees_frames = seen is not None
    if task.policy is None and settings.cell == "mlp" and not sees_frames:
        layers = {"net_arch": [256, 256], "activation_fn": torch.nn.ReLU}
        layers |= {"log_std_init": first_log_std(settings)}
        return StockPPO("MlpPolicy", env, policy_kwargs=layers, **shared)
    if seen is None:
        size = observation_size(env.observation_space)
    else:
        size = head_width(settings.head, seen) + num_numbers(env.observation_space)
    model = SequencePPO(
        env,
        sequence_length=settings.sequence_length,
        critic_first_steps=settings.resolved["critic_first_steps"],
        policy_kwargs={
            **(make_seeing_actor if sees_frames else make_actor)(task, size),
            "critic_cell": _critic_cell(task, size),
            "actor_lr_scale": settings.resolved["actor_lr_scale"],
        },
        **shared,
    )
    if settings.first_values:
        core = cast(CircuitActorCritic, model.policy).actor
        with torch.no_grad():
            settings.begin(core.circuit.cell, core.encoder(probes(model, env)), settings.seed)
    if isinstance(task.policy, VectorPolicy):  # the mean of the actions is what it commands
        model.policy.action_net = copy.deepcopy(task.policy.squash)
    return model


@torch.no_grad()
def probes(model: SequencePPO, env: VecEnv) -> torch.Tensor:
    """Return features that the encoder of a new circuit may meet: (batch, time, feature).

    Those of the first frames of the worlds, each held for a while, or normalised numbers that are
    otherwise random.
    """
    if frame_shape(env.observation_space) is None:
        shape = NUM_PROBES, PROBE_FRAMES, observation_size(env.observation_space)
        return torch.randn(shape, generator=torch.Generator().manual_seed(0))
    policy = cast(CircuitActorCritic, model.policy)
    seen, _ = policy.obs_to_tensor(cast(Any, env.reset()))
    return policy.perception(seen)[:, None].expand(-1, PROBE_FRAMES, -1)


def make_worlds(task: Task) -> VecEnv:
    """Build the worlds side by side, as the circuit senses them."""
    settings, policy = task.settings, task.policy
    is_timed = settings.is_timed and settings.cell != "mlp"
    frame = record_frame(task.world.contract.observation)

    def make_one() -> gymnasium.Env:
        env = task.world.disturbed(task.where.strengths).make()
        if settings.episode_s is not None:
            env = TimeLimit(env, max(round(settings.episode_s / task.world.frame_s), 1))
        if frame is not None and policy is None:
            env = ObserveParts(env, frame)
        return Monitor(ObserveElapsed(env) if is_timed else env)

    venv: VecEnv = DummyVecEnv([make_one] * settings.num_envs)
    if policy is not None:
        venv = PerceivedEnv(venv, policy)
    # A policy scales what it senses by itself, and so does a conv head.
    space = venv.observation_space
    is_scaled = policy is None and (frame_shape(space) is None or num_numbers(space) > 0)
    keys = [scaled_key(space)] if isinstance(space, spaces.Dict) and is_scaled else None
    return VecNormalize(venv, gamma=settings.gamma, norm_obs=is_scaled, norm_obs_keys=keys)


def make_actor(task: Task, num_inputs: int) -> dict[str, Any]:
    """Return the actor's part of the arguments of a `CircuitActorCritic`."""
    settings, policy = task.settings, task.policy
    if policy is not None:
        cell = copy.deepcopy(policy.circuit.cell)
        return {"cell": cell, "log_std_init": first_log_std(settings)}
    cell = make_motor_cell(
        settings.cell,
        (num_inputs, *settings.encoder)[-1],
        settings.neurons,
        len(task.world.contract.output_names),
        frame_s=task.world.frame_s,
        seed=settings.seed,
        sees_time=settings.is_timed,
        wiring=settings.wiring,
    )
    log_std = first_log_std(settings)
    return {"cell": cell, "encoder": settings.encoder, "log_std_init": log_std}


def make_seeing_actor(task: Task, num_inputs: int) -> dict[str, Any]:
    """Return the same for a new circuit that sees frames; an encoder is of no use there."""
    settings = task.settings
    cell = make_frames_cell(
        settings.cell,
        num_inputs,
        settings.neurons,
        len(task.world.contract.output_names),
        frame_s=task.world.frame_s,
        seed=settings.seed,
        wiring=settings.wiring,
    )
    log_std = first_log_std(settings)
    return {"cell": cell, "head": settings.head, "log_std_init": log_std}


def first_log_std(settings: PPO) -> float:
    """Return the logarithm of the first deviation of actions that are numbers."""
    suits = -1.0 if settings.policy is None else -2.0
    return suits if settings.log_std is None else settings.log_std


def _critic_cell(task: Task, size: int) -> Cell | None:
    if task.settings.resolved["critic"] == "mlp":
        return None
    frame_s, is_timed = task.world.frame_s, task.settings.is_timed
    return make_motor_cell("gru", size, 64, 64, frame_s=frame_s, sees_time=is_timed)


def export_policy(model: BaseAlgorithm, task: Task) -> Policy:
    """Copy what has learned into a policy of its own, or back into the one that it came from."""
    if task.policy is None:
        policy: Policy = policy_from_sb3(model, frame_s=task.world.frame_s)
    else:
        check_finite(model)
        learned = cast(Any, model.policy).actor.circuit.cell.state_dict()
        policy = copy.deepcopy(task.policy)
        policy.circuit.cell.load_state_dict(learned)
        policy.reset()
    policy.contract = trained_in(task.world, policy)
    return policy


def _short(value: float | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) and not value.is_integer() else str(value)
