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

from envs.driving import LaneKeepingConfig, LaneKeepingEnv, VectorObservation
from envs.driving.metrics import LaneMetrics, summarize
from ncp_control.cells import CELLS
from ncp_control.learning.reinforcement.actor_critic import SequenceCore
from ncp_control.learning.reinforcement.perceived import PerceivedEnv
from ncp_control.learning.reinforcement.ppo import SequencePPO
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import policy_name
from ncp_control.learning.schedule import check_learning_rates
from ncp_control.names import check_name
from ncp_control.policy import FramesPolicy, Policy
from ncp_control.ranges import check_at_least, check_positive, check_seed
from ncp_control.worlds import find_world
from policies.from_sb3 import check_finite, policy_from_sb3
from policies.motor_circuits import make_motor_cell
from scripts.evaluation.driving import (
    DRIVING_WORLD,
    VectorDriveSettings,
    check_km,
    drive_km,
    evaluate,
)
from scripts.evaluation.report import metrics_table
from scripts.training.contracts import trained_in
from scripts.training.resumption import add_row, learn, open_run, read_settings, resume_model

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
    cell: str | None = None
    """Cell from scratch: ltc, cfc, wired_cfc, lstm or gru; ltc by default."""
    neurons: int | None = None
    """Its neurons or units; 19 by default."""
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
    critic_first_steps: int | None = None
    """Steps during which a driver's circuit is left alone while the critic gets to know it; 16,384
    by default."""
    evaluation_km: float = 4.0
    """Kilometres on held-out tracks at the end, for a driver also as it was before."""
    results: Path | None = None
    """CSV file to which the result is added, e.g. results/drive_rl.csv; a new one in the run folder
    by default."""
    runs: Path = Path("runs")
    """Where run folders are made."""
    resume: Path | None = None
    """Run folder to go on with; it brings its own settings."""
    seed: int = 0
    """Seed of weights, tracks and actions."""

    def __post_init__(self) -> None:
        if self.cell is not None:
            check_name("cell", self.cell, CELLS)
        check_at_least(self, 1, "steps", "num_envs", "neurons")
        check_at_least(self, 0, "critic_first_steps")
        check_seed(self)
        check_positive(self, "episode_s")
        check_learning_rates(self, "learning_rate", "actor_lr_scale")
        check_km("evaluation_km", self.evaluation_km)
        ignored = ("critic_first_steps",) if self.policy is None else ("cell", "neurons")
        for name in ignored:
            if getattr(self, name) is not None:
                where = "without --policy" if self.policy is None else "with --policy"
                raise ValueError(
                    f"`{name}` must be left out {where}, got {getattr(self, name)!r}."
                    " Nothing would come of it."
                )

        critic_first_steps = self.resolved.get("critic_first_steps", 0)
        if self.resume is None and self.steps <= critic_first_steps:
            raise ValueError(
                f"`steps` must be more than the {critic_first_steps} in which the critic learns"
                f" alone, got {self.steps}. Raise it, or lower `critic_first_steps`."
            )

    @property
    def resolved(self) -> dict[str, Any]:
        """What was set, or else what suits a training from scratch or a driver."""
        if self.policy is None:
            suits: dict[str, Any] = {"cell": "ltc", "neurons": 19, "learning_rate": 1e-3}
        else:
            suits = {"critic_first_steps": 16_384, "learning_rate": 3e-4}
        return {
            name: default if getattr(self, name) is None else getattr(self, name)
            for name, default in suits.items()
        }


def train_drive_rl(settings: DriveRL) -> Policy:
    """Train, drive held-out tracks, save the policy, add rows to the results."""
    if settings.resume is not None:
        settings = settings_of(settings)
    results = ResultsFile(settings.results, RESULTS_MEASURES)  # refused before the work, if so
    torch.manual_seed(settings.seed)
    driver = None if settings.policy is None else load_driver(settings.policy)
    name = settings.resolved["cell"] if settings.policy is None else policy_name(settings.policy)
    model = make_model(settings, driver)
    step = resume_model(model, settings)
    with open_run(settings, "drive-rl", name, step=step) as run:
        policy = learn(model, settings.steps, run, lambda model: export_policy(model, driver))
        measured = {} if driver is None else {f"{name} before": _drive(settings, driver)}
        measured[name if driver is None else f"{name} after"] = _drive(settings, policy)
        results.place(run.results)
        _add_rows(results, settings, measured)
    print(metrics_table([(who, 0.0, metrics) for who, metrics in measured.items()]))
    print(f"policy: {run.policy}\nreport: {run.report}\nresults: {results.path}")
    return policy


def load_driver(folder: Path) -> FramesPolicy:
    """Load a driver on frames.

    Raises:
        ValueError: If the policy is another one.
    """
    policy = Policy.load(folder)
    if not isinstance(policy, FramesPolicy):
        raise ValueError(
            f"`policy` must drive by frames, got {str(folder)!r}, a {type(policy).__name__}."
            " Name one that train.py drive or recorded made."
        )
    return policy


def settings_of(asked: DriveRL) -> DriveRL:
    """Return the settings that a run began with, to go on with it."""

    def build(values: dict[str, Any]) -> DriveRL:
        names = ("policy", "results", "runs")
        changed = {name: Path(values[name]) for name in names if values[name]}
        return DriveRL(**{**values, **changed, "resume": asked.resume})

    return read_settings(asked, build)


def _add_rows(results: ResultsFile, settings: DriveRL, measured: Mapping[str, LaneMetrics]) -> None:
    """Add a row for each policy that drove."""
    names = ("steps", "num_envs", "episode_s", "actor_lr_scale", "evaluation_km")
    told = {name: getattr(settings, name) for name in names} | settings.resolved
    described = json.dumps(told, sort_keys=True)
    for who, metrics in measured.items():
        add_row(results, settings, who, described, dataclasses.asdict(metrics))


def make_model(settings: DriveRL, driver: Policy | None) -> SequencePPO:
    """Build cars and algorithm."""
    chosen = settings.resolved
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
            chosen["cell"], size[0], chosen["neurons"], 1, frame_s=frame_s, seed=settings.seed
        )
    else:
        cell = copy.deepcopy(driver.circuit.cell)
    rate = chosen["learning_rate"]
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
        critic_first_steps=chosen.get("critic_first_steps", 0),
        policy_kwargs=policy_kwargs,
        seed=settings.seed,
        device="cpu",
    )


def export_policy(model: SequencePPO, driver: Policy | None) -> Policy:
    """Copy the circuit into a policy on numbers, or back behind the driver's conv head."""
    if driver is None:
        exported = policy_from_sb3(model)
        exported.contract = trained_in(find_world(DRIVING_WORLD, observe="numbers"), exported)
        return exported
    check_finite(model)
    core: SequenceCore = cast(Any, model.policy).actor
    policy = copy.deepcopy(driver)
    policy.circuit.cell.load_state_dict(core.circuit.cell.state_dict())
    policy.contract = trained_in(find_world(DRIVING_WORLD), policy)
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
