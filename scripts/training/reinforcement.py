"""Shared parts of reinforcement-learning jobs: task, environments, evaluation, rows of results."""

import contextlib
import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from ncp_control.cells import Cell
from ncp_control.contract import FramesContract
from ncp_control.devices import find_device
from ncp_control.layers import num_parameters
from ncp_control.learning.reinforcement.elapsed import ObserveElapsed, ObserveParts
from ncp_control.learning.reinforcement.perceived import PerceivedEnv
from ncp_control.learning.reinforcement.perception import num_numbers
from ncp_control.learning.reinforcement.shared_worlds import SharedWorlds
from ncp_control.learning.reinforcement.tensor_env import TensorEnv, TensorNormalize
from ncp_control.learning.reinforcement.wrappers import environments, scaled_key
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import Run, policy_name
from ncp_control.markdown import markdown_table
from ncp_control.policy import Policy, VectorPolicy, load
from ncp_control.records import frames_part, record_frame
from ncp_control.worlds import World
from policies.from_sb3 import check_finite, policy_from_sb3
from policies.motor_circuits import make_motor_cell
from scripts.evaluation.driving import DRIVING_WORLD, drive_km
from scripts.evaluation.worlds import (
    WorldSettings,
    mean_and_std,
    returns_in,
)
from scripts.training.contracts import trained_in
from scripts.training.places import run_name, where_to_learn
from scripts.training.ppo_settings import PPO
from scripts.training.resumption import add_row, learn, open_run, resume_model
from scripts.training.sac_settings import SAC

MEASURES = ("mean_return", "std_return", "steps_per_s", "parameters", "curve")
"""Measured columns of the results file; in LaneKeeping-v0 those of the environment instead."""
CURVE_POINTS = 50
"""Number of points of a learning curve in the results file, equidistant up to the asked steps. The
last rollout may go beyond them, and metrics.csv has it."""
EPISODE_KM = 0.4
"""Distance that counts as one evaluation episode in LaneKeeping-v0 [km]."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Settings of a job, with its environment and its policy."""

    settings: PPO | SAC
    where: WorldSettings
    """Name, options and disturbances of the environment."""
    world: World
    policy: Policy | None
    """Policy whose circuit is trained further; None for a new circuit."""

    @classmethod
    def of(cls, settings: PPO | SAC) -> "Task":
        """Find environment and policy of the settings, and seed torch.

        Raises:
            ValueError: If the policy or a setting does not fit the environment.
        """
        torch.manual_seed(settings.seed)
        folder = settings.policy if isinstance(settings, PPO) else None
        policy = None if folder is None else load(folder)
        where = where_to_learn(settings, policy)
        world = where.world
        if policy is not None:
            world.check_policy(policy.contract)
        if settings.sensor_noise_std and world.contract.observation.kind != "vector":
            raise ValueError(
                f"`sensor_noise_std` must be 0 in a world of frames, got"
                f" {settings.sensor_noise_std!r}. It is noise on numbers."
            )
        return cls(settings=settings, where=where, world=world, policy=policy)

    @property
    def frames(self) -> FramesContract | None:
        """Frames of the environment, for which a conv head is trained with a new circuit.

        None without frames, and for the circuit of a policy, which keeps its own head.
        """
        return None if self.policy is not None else frames_part(self.world.contract.observation)

    @property
    def drives(self) -> bool:
        """Whether driving metrics are measured, in LaneKeeping-v0."""
        return self.world.name == DRIVING_WORLD

    @property
    def measures(self) -> tuple[str, ...]:
        """Measured columns of the results file."""
        return self.world.measure_names if self.drives else MEASURES

    @property
    def steps(self) -> int:
        """Number of environment steps of the whole training run."""
        assert self.settings.steps is not None, "settings fill in what was left out"
        return self.settings.steps

    @property
    def name(self) -> str:
        """Name of the policy that is trained further, or of the cell of a new circuit."""
        if isinstance(self.settings, PPO) and self.settings.policy is not None:
            return policy_name(self.settings.policy)
        return self.settings.cell


def train_and_measure(
    task: Task, job: str, model: BaseAlgorithm, *, row_every: int = 1
) -> tuple[Policy, dict[str, float | str], Run]:
    """Train, save the policy in its run folder, and evaluate it.

    Args:
        task: The task; `settings.resume` names a run to be resumed.
        job: Name of the job, for the name of the run folder.
        model: The algorithm, untrained.
        row_every: Number of steps between two rows of metrics, if a rollout is shorter.

    Returns:
        The policy, its row of the results file, and its run.
    """
    settings = task.settings
    scale = settings.resolved["actor_lr_scale"]
    if settings.actor_lr_scale is None and scale != 1.0:
        print(
            f"note: the actor of a new {settings.cell} circuit learns {scale:g} times as fast as"
            " the critic, by default; with other cells both are as fast (--actor-lr-scale 1)"
        )
    step = resume_model(model, settings)
    with open_run(settings, job, run_name(task.where, task.name), step=step) as run:
        with contextlib.closing(environments(model)):
            policy = learn(
                model,
                task.steps,
                run,
                lambda model: export_policy(model, task),
                row_every=row_every,
            )
        measured = measure(task, policy)
    if not task.drives:
        speeds = [row["steps_per_s"] for row in run.rows if "steps_per_s" in row]
        measured["steps_per_s"] = round(float(np.median(speeds))) if speeds else 0
        measured["curve"] = learning_curve(run.rows, task.steps)
        measured["threads"] = torch.get_num_threads()
    return policy, measured, run


def add_rows(
    results: ResultsFile,
    task: Task,
    described: str,
    rows: Mapping[str, Mapping[str, float | str]],
    run: Run,
) -> None:
    """Add the rows of a training run to a table, and print them with the paths of all results.

    Args:
        results: The table; it is in the run folder if the settings name none.
        task: The task.
        described: The settings as one cell.
        rows: Measured columns, by name of the policy.
        run: The training run.
    """
    results.place(run.results)
    for who, row in rows.items():
        add_row(results, task.settings, who, described, row)
    columns = [name for name in task.measures if name != "curve"]
    cells = [[who, *(_short(row[name]) for name in columns)] for who, row in rows.items()]
    print(markdown_table(["policy", *columns], cells))
    print(f"policy: {run.policy}\nreport: {run.report}\nresults: {results.path}")


def measure(task: Task, policy: Policy) -> dict[str, float | str]:
    """Evaluate a policy and return the measured columns of the results file."""
    episodes = task.settings.evaluation_episodes
    if not task.drives:
        parameters = num_parameters(policy)
        return {**mean_and_std(returns_in(policy, task.where.held_out())), "parameters": parameters}
    options = task.where.options
    looks = {name: options[name] for name in ("camera", "randomize_appearance") if name in options}
    observe = "numbers" if isinstance(policy, VectorPolicy) else "full"
    where = drive_km(EPISODE_KM * episodes, observe=observe, **looks)
    place = dataclasses.replace(where.place(), strengths=task.where.strengths)
    return {**place.world.measure(place.run(policy, description="held-out tracks"))}


def learning_curve(rows: Sequence[Mapping[str, float]], steps: int) -> str:
    """Return the mean return at `CURVE_POINTS` equidistant steps as one cell."""
    known = [(row["step"], row["mean_return"]) for row in rows if "mean_return" in row]
    if not known:
        return ""
    at = np.linspace(0, steps, CURVE_POINTS + 1)[1:]
    values = np.interp(at, *np.array(known).T, left=np.nan)
    return " ".join(f"{value:.6g}" for value in values)


def make_batch(task: Task, num_worlds: int, device: str) -> TensorNormalize:
    """Build environments that are simulated at once on a device, with normalised observations.

    Args:
        task: The task.
        num_worlds: Number of environments.
        device: Name of the device.

    Raises:
        ValueError: If the environment can only be simulated one by one.
    """
    settings, world = task.settings, task.world
    if world.make_batch is None:
        raise ValueError(
            f"`num_worlds` must be left out in the world {world.name!r}, got {num_worlds}. It is"
            " for halfcheetah, walker2d, hopper and LaneKeeping-v0, and for worlds of your own with"
            " `make_batch`."
        )
    max_steps = world.max_steps
    if settings.episode_s is not None:
        max_steps = min(max(round(settings.episode_s / world.frame_s), 1), max_steps)
    worlds = world.make_batch(num_worlds, find_device(device), max_steps=max_steps)
    worlds.seed(settings.seed)  # draws data that all of them share
    shared_mb = worlds.shared_bytes / 1e6
    also = f", and {shared_mb:.0f} MB that all share" if shared_mb else ""
    print(f"worlds: {num_worlds} on {worlds.device}, {worlds.bytes_each / 1e3:.0f} kB each{also}")
    return TensorNormalize(TensorEnv(worlds), gamma=settings.gamma)


def make_worlds(task: Task, *, scales_rewards: bool) -> VecNormalize:
    """Build the parallel environments, with observations as the inputs of the circuit.

    Args:
        task: The task.
        scales_rewards: Whether rewards are divided by the standard deviation of returns. Has no
            effect on environments that are simulated at once.
    """
    settings, policy = task.settings, task.policy
    if isinstance(settings, PPO) and settings.num_worlds is not None:
        return make_batch(task, settings.num_worlds, settings.device)
    if settings.workers == 1:
        venv: VecEnv = DummyVecEnv([lambda: make_world(task)] * settings.num_envs)
    else:
        venv = SharedWorlds(settings.workers, settings.num_envs, partial(build_worlds, settings))
    if policy is not None:
        venv = PerceivedEnv(venv, policy)
    # A policy scales its observations itself, and so does a conv head.
    space = venv.observation_space
    is_scaled = policy is None and (task.frames is None or num_numbers(space) > 0)
    keys = [scaled_key(space)] if isinstance(space, spaces.Dict) and is_scaled else None
    return VecNormalize(
        venv,
        gamma=settings.gamma,
        norm_obs=is_scaled,
        norm_reward=scales_rewards,
        norm_obs_keys=keys,
    )


def make_world(task: Task) -> gymnasium.Env:
    """Build one environment, with disturbances, time limit and the elapsed time if needed."""
    settings, frame = task.settings, record_frame(task.world.contract.observation)
    env = task.world.disturbed(task.where.strengths).make()
    if settings.episode_s is not None:
        env = TimeLimit(env, max(round(settings.episode_s / task.world.frame_s), 1))
    if frame is not None and task.policy is None:
        env = ObserveParts(env, frame)
    is_timed = settings.is_timed and settings.cell != "mlp"
    return Monitor(ObserveElapsed(env) if is_timed else env)


def build_worlds(settings: PPO | SAC, count: int) -> list[gymnasium.Env]:
    """Build the environments of one worker process."""
    task = Task.of(settings)
    return [make_world(task) for _ in range(count)]


def make_cell(task: Task, num_inputs: int) -> Cell:
    """Build a new cell, with one output for each action entry or choice.

    Args:
        task: The task.
        num_inputs: Size of the observation, the input of the encoder.
    """
    settings = task.settings
    return make_motor_cell(
        settings.cell,
        (num_inputs, *settings.encoder)[-1],
        settings.neurons,
        len(task.world.contract.output_names),
        frame_s=task.world.frame_s,
        seed=settings.seed,
        sees_time=settings.is_timed,
        **settings.drawn,
    )


def export_policy(model: BaseAlgorithm, task: Task) -> Policy:
    """Return the trained model as a policy: a new one, or a copy of the one trained further."""
    if task.policy is None:
        policy: Policy = policy_from_sb3(model, frame_s=task.world.frame_s)
    else:
        check_finite(model)
        learned = cast(Any, model.policy).actor.circuit.cell.state_dict()
        policy = copy.deepcopy(task.policy)
        policy.circuit.cell.load_state_dict(learned)
        policy.reset()
    policy.contract = trained_in(task.world, task.policy and task.policy.contract)
    return policy


def _short(value: float | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) and not value.is_integer() else str(value)
