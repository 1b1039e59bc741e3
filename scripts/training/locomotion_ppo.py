"""Learn to walk by reinforcement: PPO with a liquid circuit, or a network, as the actor."""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from envs.locomotion import OBSERVE
from ncp_control.cells import Cell
from ncp_control.learning.reinforcement.actor_critic import CircuitActorCritic, check_action_space
from ncp_control.learning.reinforcement.checkpoint import observation_scale
from ncp_control.learning.reinforcement.elapsed import ObserveElapsed
from ncp_control.learning.reinforcement.ppo import SequencePPO
from ncp_control.learning.results import ResultsFile
from ncp_control.names import check_name
from ncp_control.policy import Policy
from policies.motor_circuits import MOTOR_CELLS, make_motor_cell
from policies.reinforced import feedforward_from_layers, policy_from_actor
from scripts.evaluation.locomotion import FRAMES_S, WalkSettings, walk
from scripts.markdown import markdown_table
from scripts.training.resumption import learn, read_settings

CELL_NAMES = (*MOTOR_CELLS, "mlp")
ACTOR_LR_SCALES = {"ltc": 10.0}
"""Learning rate of the actor over the critic's where it is not 1, found in short trainings."""
MEASURES = ("mean_return", "std_return", "steps_per_s", "parameters", "curve")
"""Columns of the results file that this job measures."""
CURVE_POINTS = 50
"""Points of a learning curve in the results file, at equal distances up to the last step."""


@dataclass(frozen=True, kw_only=True)
class LocomotionPPO:
    """Learn to walk by reinforcement (PPO)."""

    env: str = "halfcheetah"
    """halfcheetah or walker2d."""
    cell: str = "ltc"
    """Actor: ltc, cfc, wired_cfc, lstm, gru, or mlp (feed-forward PPO, two layers of 256)."""
    observe: str = "full"
    """full, or positions: no velocities."""
    neurons: int = 32
    """Neurons of a liquid circuit, motor neurons included; units of the other cells."""
    encoder: tuple[int, ...] = ()
    """Widths of dense layers between observation and cell; none by default."""
    critic: str = "mlp"
    """mlp: two layers of 256; gru: 64 units before them, for observations that hide something."""
    sensor_noise_std: float = 0.0
    """Deviation of the noise on each entry of the observation, in its own unit."""
    drop_probability: float = 0.0
    """Share of frames that are dropped; the elapsed time then reaches the circuit."""
    steps: int = 1_000_000
    """Steps of all environments together."""
    num_envs: int = 16
    """Environments side by side."""
    rollout_steps: int = 256
    """Steps of each environment between two updates."""
    sequence_length: int = 32
    """Steps through which a circuit's gradients flow."""
    batch_size: int = 512
    """Steps of a minibatch."""
    epochs: int = 10
    """Passes over each rollout."""
    learning_rate: float = 3e-4
    """Of the critic, and of everything in mlp; falls linearly to a tenth."""
    actor_lr_scale: float | None = None
    """Learning rate of the actor over the critic's; what suits the cell by default."""
    gamma: float = 0.99
    """Discount a step."""
    evaluation_episodes: int = 20
    """Episodes at the end, with the most likely actions."""
    results: Path = Path("results/reinforcement.csv")
    """Table to which the result is added."""
    runs: Path = Path("runs")
    """Where run folders are made."""
    resume: Path | None = None
    """Run folder to go on with; it brings its own settings."""
    seed: int = 0
    """Seed of weights, wiring, environments and actions."""

    def __post_init__(self) -> None:
        check_name("cell", self.cell, CELL_NAMES)
        check_name("env", self.env, FRAMES_S)
        check_name("observe", self.observe, OBSERVE)
        check_name("critic", self.critic, ("mlp", "gru"))
        if self.steps < 1 or self.num_envs < 1 or self.evaluation_episodes < 1:
            raise ValueError(
                "`steps`, `num_envs` and `evaluation_episodes` must be at least 1, got"
                f" {(self.steps, self.num_envs, self.evaluation_episodes)!r}. Correct them."
            )

    @property
    def where(self) -> WalkSettings:
        """World that is learned in, and in which the result is measured."""
        return WalkSettings(
            env=self.env,
            observe=self.observe,
            sensor_noise_std=self.sensor_noise_std,
            drop_probability=self.drop_probability,
            episodes=self.evaluation_episodes,
        )


def train_locomotion_ppo(settings: LocomotionPPO) -> Policy:
    """Train, evaluate, save the policy and add a row to the results."""
    resume = settings.resume
    if resume is not None:
        settings = dataclasses.replace(settings_of(resume), resume=resume)
    policy, measured = reinforce(settings)
    described = describe(settings)
    command = " ".join(["python", *sys.argv])
    results = ResultsFile(settings.results, MEASURES)
    results.append(settings.cell, settings.seed, described, measured, command)
    shown = [settings.cell, settings.seed, *(measured[name] for name in MEASURES[:-1])]
    print(markdown_table(["cell", "seed", *MEASURES[:-1]], [[str(value) for value in shown]]))
    print(f"results: {settings.results}")
    return policy


def reinforce(settings: LocomotionPPO) -> tuple[Policy, dict[str, float | str]]:
    """Train, save the policy in its run folder, and measure it.

    Args:
        settings: Where to learn, and what; `resume` names a run to go on with.

    Returns:
        The policy, and its row of the results file: `MEASURES` by name.
    """
    torch.manual_seed(settings.seed)
    model = make_model(settings)
    run = learn(model, settings, "locomotion", _model_name(settings))
    policy = export_policy(model, FRAMES_S[settings.env])
    policy.save(run.policy)
    print(f"policy: {run.policy}\nreport: {run.report}")
    returns = walk(policy, settings.where)
    run.close()
    speeds = [row["steps_per_s"] for row in run.rows if "steps_per_s" in row]
    return policy, {
        "mean_return": round(float(returns.mean()), 1),
        "std_return": round(float(returns.std(ddof=1)) if len(returns) > 1 else 0.0, 1),
        "steps_per_s": round(float(np.median(speeds))) if speeds else 0,
        "parameters": sum(parameter.numel() for parameter in policy.parameters()),
        "curve": learning_curve(run.rows, settings.steps),
        "threads": torch.get_num_threads(),
    }


def describe(settings: LocomotionPPO) -> str:
    """Return world, observation, steps and everything else but cell and seed as one cell."""
    told = ("env", "observe", "steps")
    left_out = (*told, "cell", "seed", "results", "runs", "resume")
    others = {
        field.name: getattr(settings, field.name)
        for field in dataclasses.fields(settings)
        if field.name not in left_out
    }
    named = " ".join(str(getattr(settings, name)) for name in told)
    return f"{named} {json.dumps(others, sort_keys=True)}"


def learning_curve(rows: Sequence[Mapping[str, float]], steps: int) -> str:
    """Return the running mean return at `CURVE_POINTS` equal distances as one cell."""
    known = [(row["step"], row["mean_return"]) for row in rows if "mean_return" in row]
    if not known:
        return ""
    at = np.linspace(0, steps, CURVE_POINTS + 1)[1:]
    values = np.interp(at, *np.array(known).T, left=np.nan)
    return " ".join(f"{value:.0f}" for value in values)


def make_model(settings: LocomotionPPO) -> OnPolicyAlgorithm:
    """Build environments and algorithm, untrained."""
    is_timed = settings.drop_probability > 0.0 and settings.cell != "mlp"

    def make_one() -> gymnasium.Env:
        world = settings.where.make_world()
        return Monitor(ObserveElapsed(world) if is_timed else world)

    env = VecNormalize(
        DummyVecEnv([make_one] * settings.num_envs),
        gamma=settings.gamma,
        norm_obs_keys=["observation"] if is_timed else None,
    )
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
    if settings.cell == "mlp":
        layers = {"net_arch": [256, 256], "activation_fn": torch.nn.ReLU, "log_std_init": -1.0}
        return PPO("MlpPolicy", env, policy_kwargs=layers, **shared)
    observed = env.observation_space
    box = observed["observation"] if isinstance(observed, gymnasium.spaces.Dict) else observed
    size = int(cast(Any, box.shape)[0])
    policy_kwargs = {
        "cell": make_cell(settings, settings.encoder[-1] if settings.encoder else size),
        "encoder": settings.encoder,
        "critic_cell": _critic_cell(settings, size),
        "actor_lr_scale": _actor_lr_scale(settings),
    }
    return SequencePPO(
        env, sequence_length=settings.sequence_length, policy_kwargs=policy_kwargs, **shared
    )


def make_cell(settings: LocomotionPPO, num_inputs: int) -> Cell:
    """Build the actor's cell; both worlds have six joints."""
    return make_motor_cell(
        settings.cell,
        num_inputs,
        settings.neurons,
        6,
        frame_s=FRAMES_S[settings.env],
        seed=settings.seed,
    )


def export_policy(model: OnPolicyAlgorithm, frame_s: float) -> Policy:
    """Copy the actor and the scale of its observations into a policy of this project."""
    mean, std = observation_scale(model)
    policy: Any = model.policy
    if isinstance(policy, CircuitActorCritic):
        core = policy.actor
        return policy_from_actor(core.circuit.cell, core.encoder, mean, std)
    layers = policy.mlp_extractor.policy_net
    cell = feedforward_from_layers(layers, policy.action_net, frame_s=frame_s)
    return policy_from_actor(cell, torch.nn.Sequential(), mean, std)


def settings_of(run_folder: Path) -> LocomotionPPO:
    """Return the settings that a run began with."""
    values = read_settings(run_folder, LocomotionPPO)
    paths = {name: Path(values[name]) for name in ("results", "runs")}
    widths = {"encoder": tuple(values["encoder"]), "resume": None}
    return LocomotionPPO(**{**values, **paths, **widths})


def _critic_cell(settings: LocomotionPPO, size: int) -> Cell | None:
    if settings.critic == "mlp":
        return None
    return make_motor_cell("gru", size, 64, 64, frame_s=FRAMES_S[settings.env])


def _actor_lr_scale(settings: LocomotionPPO) -> float:
    if settings.actor_lr_scale is not None:
        return settings.actor_lr_scale
    return ACTOR_LR_SCALES.get(settings.cell, 1.0)


def _model_name(settings: LocomotionPPO) -> str:
    return f"{settings.env}-{settings.observe}-{settings.cell}-ppo"
