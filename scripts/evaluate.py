"""Evaluate a saved policy.

python scripts/evaluate.py policies/pretrained/drive-ncp              closed loop, held-out tracks
python scripts/evaluate.py policies/pretrained/drive-ncp --log PATH   open loop, on a recording
python scripts/evaluate.py WALKER --sensor-noise 0 0.1 --drop 0 0.2   a policy that walks
"""

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

import policies.driving  # noqa: F401 - makes its policies known to Policy.load
from envs.driving.metrics import LaneMetrics, LaneTrace, summarize
from envs.recorded import load_recording
from ncp_control.learning.demonstrations import Demonstrations, DemonstrationWriter
from ncp_control.learning.imitation import imitation_error
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import Run
from ncp_control.policy import Policy
from policies.locomotion import LocomotionPolicy
from scripts.cli import run_job, typed_command
from scripts.evaluation.driving import drive_km, evaluate
from scripts.evaluation.live import drive_live
from scripts.evaluation.locomotion import (
    FRAMES_S,
    NUM_POSITIONS,
    WalkSettings,
    check_observation,
    half_width,
    returns_table,
    walk,
)
from scripts.evaluation.report import (
    metrics_table,
    write_driving_report,
    write_recorded_report,
)
from scripts.evaluation.walk_report import write_walk_report
from scripts.markdown import markdown_table


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Evaluate a saved policy: driving on held-out tracks or along a recording, or walking."""

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
    live: bool = False
    """First drive half a minute, and keep a page up to date for a browser to watch it."""
    env: str | None = None
    """halfcheetah or walker2d, for a policy that walks; the one with its frame interval if None."""
    observe: str | None = None
    """full or positions, for a policy that walks; what fits its input if None."""
    sensor_noise: tuple[float, ...] = (0.0,)
    """Deviations of noise on what a walking policy observes, each in the entry's own unit."""
    drop: tuple[float, ...] = (0.0,)
    """Shares of frames that a walking policy misses."""
    episodes: int = 20
    """Episodes that a policy walks in each setting."""
    results: Path | None = None
    """CSV file to which a row is added for each setting driven or walked in; none by default."""
    runs: Path = Path("runs")
    """Where run folders are made."""
    seed: int = 0
    """Seed of appearances and noise."""


def evaluate_policy(settings: Evaluate) -> None:
    """Evaluate, print a table, and write a report."""
    policy = Policy.load(settings.policy)
    places = where_to_walk(policy, settings) if isinstance(policy, LocomotionPolicy) else []
    run = Run.create("evaluate", settings.policy.resolve().name, settings, root=settings.runs)
    print(f"run folder: {run.folder}")
    if places:
        evaluate_walking(policy, places, settings, run)
    elif settings.log is not None:
        evaluate_open_loop(policy, settings.log, run)
    else:
        evaluate_closed_loop(policy, settings, run)
    run.close()
    print(f"report: {run.report}")


def where_to_walk(policy: LocomotionPolicy, settings: Evaluate) -> list[WalkSettings]:
    """Return every combination of noise and dropped frames asked for, in the policy's world.

    Raises:
        ValueError: If the policy does not fit the world or what is observed.
    """
    frame_s = policy.circuit.frame_s
    nearest = min(FRAMES_S, key=lambda name: abs(FRAMES_S[name] - frame_s))
    observe = "positions" if policy.observation_size == NUM_POSITIONS else "full"
    places = [
        WalkSettings(
            env=settings.env or nearest,
            observe=settings.observe or observe,
            sensor_noise_std=noise,
            drop_probability=drop,
            episodes=settings.episodes,
            seed=10_000 + settings.seed,
        )
        for noise, drop in itertools.product(settings.sensor_noise, settings.drop)
    ]
    for place in places:
        check_observation("policy", policy, place)
    return places


def evaluate_walking(
    policy: Policy, places: list[WalkSettings], settings: Evaluate, run: Run
) -> None:
    """Walk some episodes in each place."""
    rows = []
    for i, place in enumerate(places):
        returns = walk(policy, place)
        rows.append((settings.policy.name, place, returns))
        run.log(
            i,
            sensor_noise_std=place.sensor_noise_std,
            drop_probability=place.drop_probability,
            mean_return=float(returns.mean()),
            half_width=half_width(returns),
        )
    write_walk_report(run, policy, rows)
    print(returns_table(rows))
    add_results(
        settings,
        policy,
        {
            f"{place.env} {place.observe} noise={place.sensor_noise_std:g}"
            f" drop={place.drop_probability:g} episodes={place.episodes}": {
                "mean_return": round(float(returns.mean()), 1),
                "half_width": round(half_width(returns), 1),
                "lowest_return": round(float(returns.min()), 1),
            }
            for _, place, returns in rows
        },
    )


def evaluate_closed_loop(policy: Policy, settings: Evaluate, run: Run) -> None:
    """Drive held-out tracks at each noise level."""
    if settings.live:
        page = run.folder / "live.html"
        print(f"open in a browser: {page}")
        drive_live(policy, page, name=settings.policy.name, seed=settings.seed)
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
    add_results(
        settings,
        policy,
        {
            f"{settings.camera} noise={variance:g} km={settings.km:g}": dataclasses.asdict(metrics)
            for _, variance, metrics in rows
        },
    )


def add_results(
    settings: Evaluate, policy: Policy, measured: Mapping[str, Mapping[str, float]]
) -> None:
    """Add a row for each setting to the results file, if one was named."""
    if settings.results is None:
        return
    parameters = sum(parameter.numel() for parameter in policy.parameters())
    measures = ("parameters", *next(iter(measured.values())))
    results = ResultsFile(settings.results, measures)
    name = settings.policy.resolve().name
    for described, values in measured.items():
        row = {"parameters": parameters, **values}
        results.append(name, settings.seed, described, row, typed_command())
    print(f"results: {settings.results}")


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
