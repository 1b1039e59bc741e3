"""Evaluate a saved policy.

python scripts/evaluate.py policies/pretrained/drive-ncp              closed loop, held-out tracks
python scripts/evaluate.py policies/pretrained/drive-ncp --log PATH   open loop, on a recording
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

import policies.driving  # noqa: F401 - makes its policies known to Policy.load
from envs.driving.metrics import LaneMetrics, LaneTrace, summarize
from envs.recorded import load_recording
from ncp_control.learning.demonstrations import Demonstrations, DemonstrationWriter
from ncp_control.learning.imitation import imitation_error
from ncp_control.learning.run import Run
from ncp_control.policy import Policy
from scripts.cli import run_job
from scripts.driving import drive_km, evaluate
from scripts.markdown import markdown_table
from scripts.report import (
    metrics_table,
    write_driving_report,
    write_recorded_report,
)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Evaluate a saved policy in closed loop on held-out tracks, or in open loop on a recording."""

    policy: tyro.conf.Positional[Path]
    """Folder of the policy, e.g. policies/pretrained/drive-ncp."""
    log: Path | None = None
    """Recording to run in open loop, instead of driving."""
    km: float = 20.0
    """Kilometres driven at each noise level."""
    noise: tuple[float, ...] = (0.0,)
    """Variances of Gaussian pixel noise on images in [0, 1]; the paper takes 0 0.1 0.2 0.3."""
    camera: str = "opencv"
    """opencv, or mujoco (rendered; needs EGL or OSMesa)."""
    runs: Path = Path("runs")
    """Where run folders are made."""
    seed: int = 0
    """Seed of appearances and noise."""


def evaluate_policy(settings: Evaluate) -> None:
    """Evaluate, print a table, and write a report."""
    policy = Policy.load(settings.policy)
    run = Run.create("evaluate", settings.policy.resolve().name, settings, root=settings.runs)
    print(f"run folder: {run.folder}")
    if settings.log is not None:
        evaluate_open_loop(policy, settings.log, run)
    else:
        evaluate_closed_loop(policy, settings, run)
    run.close()
    print(f"report: {run.report}")


def evaluate_closed_loop(policy: Policy, settings: Evaluate, run: Run) -> None:
    """Drive held-out tracks at each noise level."""
    rows: list[tuple[str, float, LaneMetrics]] = []
    first_traces: list[LaneTrace] = []
    for i, variance in enumerate(settings.noise):
        where = drive_km(settings.km, noise_variance=variance, camera=settings.camera)
        traces = evaluate(policy, where, description=f"noise {variance}", seed=settings.seed)
        metrics = summarize(traces)
        rows.append((settings.policy.name, variance, metrics))
        run.log(i, noise_variance=variance, **dataclasses.asdict(metrics))
        first_traces = first_traces or traces
    write_driving_report(run, policy, first_traces, rows=rows, seed=settings.seed)
    print(metrics_table(rows))


def evaluate_open_loop(policy: Policy, log: Path, run: Run) -> None:
    """Compare the policy's steering with a recording's."""
    recording = load_recording(log).center_only()
    folder = run.folder / "demonstrations"
    with DemonstrationWriter(folder, recording.observation_shape, np.uint8, 1) as writer:
        recording.write(writer)
    store = Demonstrations.open(folder)
    error = imitation_error(policy, store)
    variance = float(store.actions.var())
    run.log(0, mean_squared_error=error, steering_variance=variance)
    write_recorded_report(run, policy, store, error)
    rows = [["policy", f"{error:.5f}"], ["mean of the recording", f"{variance:.5f}"]]
    print(markdown_table(["predictor", "MSE [action²]"], rows))


if __name__ == "__main__":
    run_job(evaluate_policy, Evaluate, __doc__)
