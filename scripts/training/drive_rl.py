"""Learn to keep the lane by reinforcement: from scratch on numbers, or a driver on frames."""

import copy
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gymnasium
import torch
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

import policies.driving  # noqa: F401 - makes its policies known to Policy.load
from envs.driving import LaneKeepingConfig, LaneKeepingEnv, VectorObservation
from envs.driving.metrics import LaneMetrics, summarize
from ncp_control.learning.reinforcement.actor_critic import SequenceCore
from ncp_control.learning.reinforcement.perceived import PerceivedEnv
from ncp_control.learning.reinforcement.ppo import SequencePPO
from ncp_control.learning.results import ResultsFile
from ncp_control.names import check_name
from ncp_control.policy import Policy
from ncp_control.ranges import check_at_least, check_positive
from policies.from_sb3 import check_finite, policy_from_sb3
from policies.motor_circuits import MOTOR_CELLS, make_motor_cell
from scripts.cli import typed_command
from scripts.evaluation.driving import VectorDriveSettings, drive_km, evaluate
from scripts.evaluation.report import metrics_table
from scripts.training.resumption import learn, read_settings

RESULTS_MEASURES = [field.name for field in dataclasses.fields(LaneMetrics)]
"""Columns of the results file that this job measures."""


@dataclass(frozen=True, kw_only=True)
class DriveRL:
    """Learn to keep the lane by reinforcement (PPO).

    The reward is in metres, see `LaneKeepingEnv`: progress along the centre line, minus the offset
    from it times the control period times 1/s, minus 10 m for a crash.
    """

    policy: Path | None = None
    """Driver on frames whose circuit goes on learning, its conv head as it is, e.g.
    policies/pretrained/drive-ncp; from scratch on numbers (`VectorObservation`) by default."""
    cell: str = "ltc"
    """Cell from scratch: ltc, cfc, wired_cfc, lstm or gru."""
    neurons: int = 19
    """Its neurons or units."""
    steps: int = 200_000
    """Steps of all cars together."""
    num_envs: int = 16
    """Cars side by side."""
    episode_s: float = 20.0
    """Longest episode [s]; a crash ends it."""
    learning_rate: float | None = None
    """Of the critic; 1e-3 from scratch and 3e-4 for a driver by default."""
    actor_lr_scale: float = 1.0
    """Learning rate of the circuit over the critic's."""
    critic_first_steps: int = 16_384
    """Steps during which a driver's circuit is left alone while the critic gets to know it."""
    evaluation_km: float = 4.0
    """Kilometres on held-out tracks at the end, for a driver also as it was before."""
    results: Path = Path("results/drive_rl.csv")
    """Table to which the result is added."""
    runs: Path = Path("runs")
    """Where run folders are made."""
    resume: Path | None = None
    """Run folder to go on with; it brings its own settings."""
    seed: int = 0
    """Seed of weights, tracks and actions."""

    def __post_init__(self) -> None:
        check_name("cell", self.cell, MOTOR_CELLS)
        check_at_least(self, 1, "steps", "num_envs", "neurons")
        check_at_least(self, 0, "critic_first_steps", "seed")
        check_positive(self, "episode_s", "learning_rate", "actor_lr_scale")
        drive_km(self.evaluation_km)  # refuses what cannot be driven, before the training


def train_drive_rl(settings: DriveRL) -> Policy:
    """Train, drive held-out tracks, save the policy, add rows to the results."""
    if settings.resume is not None:
        settings = settings_of(settings.resume)
    results = ResultsFile(settings.results, RESULTS_MEASURES)  # refused before the work, if so
    torch.manual_seed(settings.seed)
    driver = None if settings.policy is None else Policy.load(settings.policy)
    name = settings.cell if settings.policy is None else settings.policy.resolve().name
    model = make_model(settings, driver)
    run = learn(model, settings, settings.steps, "drive-rl", name)
    policy = export_policy(model, driver)
    policy.save(run.policy)
    measured = {} if driver is None else {f"{name} before": _drive(settings, driver)}
    measured[name if driver is None else f"{name} after"] = _drive(settings, policy)
    _add_rows(results, settings, measured)
    run.close()
    print(metrics_table([(who, 0.0, metrics) for who, metrics in measured.items()]))
    print(f"policy: {run.policy}\nreport: {run.report}\nresults: {settings.results}")
    return policy


def settings_of(run_folder: Path) -> DriveRL:
    """Return the settings that a run began with, to go on with it."""
    values = read_settings(run_folder, DriveRL)
    changed = {name: Path(values[name]) for name in ("policy", "results", "runs") if values[name]}
    return DriveRL(**{**values, **changed, "resume": run_folder})


def _add_rows(results: ResultsFile, settings: DriveRL, measured: Mapping[str, LaneMetrics]) -> None:
    """Add a row for each policy that drove."""
    left_out = ("policy", "seed", "results", "runs", "resume")
    told = {k: v for k, v in dataclasses.asdict(settings).items() if k not in left_out}
    for who, metrics in measured.items():
        described = json.dumps(told, sort_keys=True)
        results.append(who, settings.seed, described, dataclasses.asdict(metrics), typed_command())


def make_model(settings: DriveRL, driver: Policy | None) -> SequencePPO:
    """Build cars and algorithm."""
    venv: VecEnv = DummyVecEnv([lambda: _make_world(settings, driver)] * settings.num_envs)
    if driver is not None:
        venv = PerceivedEnv(venv, driver)
    # Features of a driver are what its circuit knows: they are not scaled again.
    env = VecNormalize(venv, norm_obs=driver is None)
    frame_s = LaneKeepingConfig().control_period_s
    size = env.observation_space.shape
    assert size is not None
    if driver is None:
        cell = make_motor_cell(
            settings.cell, size[0], settings.neurons, 1, frame_s=frame_s, seed=settings.seed
        )
    else:
        cell = copy.deepcopy(driver.circuit.cell)
    rate = settings.learning_rate
    if rate is None:
        rate = 1e-3 if driver is None else 3e-4
    policy_kwargs: dict[str, Any] = {
        "cell": cell,
        "critic_cell": None
        if driver is None
        else make_motor_cell("gru", size[0], 64, 64, frame_s=frame_s),
        "actor_lr_scale": settings.actor_lr_scale,
        "log_std_init": -1.0 if driver is None else -2.0,
    }
    return SequencePPO(
        env,
        n_steps=256,
        batch_size=512,
        learning_rate=lambda remaining: rate * max(remaining, 0.1),
        critic_first_steps=0 if driver is None else settings.critic_first_steps,
        policy_kwargs=policy_kwargs,
        seed=settings.seed,
        device="cpu",
    )


def export_policy(model: SequencePPO, driver: Policy | None) -> Policy:
    """Copy the circuit into a policy on numbers, or back behind the driver's conv head."""
    if driver is None:
        return policy_from_sb3(model)
    check_finite(model)
    core: SequenceCore = cast(Any, model.policy).actor
    policy = copy.deepcopy(driver)
    policy.circuit.cell.load_state_dict(core.circuit.cell.state_dict())
    policy.reset()
    return policy


def _make_world(settings: DriveRL, driver: Policy | None) -> gymnasium.Env:
    config = LaneKeepingConfig(
        episode_s=settings.episode_s,
        camera="none" if driver is None else "opencv",
        randomize_appearance=driver is not None,
    )
    world = LaneKeepingEnv(config)
    return Monitor(VectorObservation(world) if driver is None else world)


def _drive(settings: DriveRL, policy: Policy) -> LaneMetrics:
    """Measure a policy on held-out tracks."""
    where = drive_km(settings.evaluation_km)
    if settings.policy is None:
        where = VectorDriveSettings(**dataclasses.asdict(where))
    return summarize(evaluate(policy, where, description="held-out tracks"))
