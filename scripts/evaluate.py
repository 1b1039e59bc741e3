"""Evaluate a saved policy.

    python scripts/evaluate.py DRIVER                                    held-out tracks
    python scripts/evaluate.py DRIVER --log PATH                         along a recording
    python scripts/evaluate.py WALKER --sensor-noise 0 0.1 --drop 0 0.2  walking

A policy is a folder: what `train.py` printed, or one of policies/pretrained.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tyro

from envs.driving.metrics import LaneMetrics, LaneTrace, summarize
from envs.recorded import Recording, load_recording
from ncp_control.learning.imitation import imitation_error
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import Run, policy_name, typed_command
from ncp_control.names import check_name
from ncp_control.policy import Policy, VectorPolicy
from ncp_control.ranges import (
    check_at_least,
    check_given,
    check_not_negative,
    check_part,
    check_share,
)
from scripts.cli import run_job
from scripts.evaluation.driving import (
    CAMERAS,
    VectorDriveSettings,
    check_km,
    drive_km,
    evaluate,
    is_driver,
)
from scripts.evaluation.episode import kept_as_demonstrations
from scripts.evaluation.live import drive_live
from scripts.evaluation.locomotion import (
    DISTURBANCES,
    WalkSettings,
    check_observation,
    half_width,
    home_of,
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
    log_share: float = 1.0
    """Last share of the recording to run along. For a policy that learned from this recording
    take what was held back, 0.2 if not told otherwise: the rest is no test."""
    km: float = 20.0
    """Kilometres driven at each noise level."""
    noise: tuple[float, ...] = (0.0,)
    """Variances of Gaussian pixel noise on images in [0, 1]; the paper takes 0 0.1 0.2 0.3."""
    camera: str = "opencv"
    """opencv, or mujoco (rendered; needs EGL or OSMesa)."""
    live: bool = False
    """First drive half a minute, and keep a page up to date for a browser to watch it."""
    world: str | None = None
    """World of a policy that reads numbers: halfcheetah, walker2d, gymnasium:<id>, or
    <module>:<function>; that of the policy's contract if None."""
    observe: str | None = None
    """full or positions, of halfcheetah and walker2d; that of the policy's contract if None."""
    sensor_noise: tuple[float, ...] = (0.0,)
    """Deviations of noise on what a walking policy observes, each in the entry's own unit."""
    drop: tuple[float, ...] = (0.0,)
    """Shares of frames that a walking policy misses."""
    overwrite: tuple[float, ...] = (0.0,)
    """Shares of frames in which a walking body gets a random action."""
    delay: tuple[int, ...] = (0,)
    """Frames between a walking policy's choice of an action and its effect."""
    episodes: int = 20
    """Episodes that a policy walks in each setting: every combination of the four above."""
    results: Path | None = None
    """CSV file to which a row is added for each setting driven or walked in, e.g.
    results/driving.csv; a new one in the run folder by default."""
    runs: Path = Path("runs")
    """Where run folders are made."""
    seed: int = 0
    """Seed of appearances, noise and the worlds walked in."""

    def __post_init__(self) -> None:
        check_km("km", self.km)
        check_given(self, "noise", "sensor_noise", "drop", "overwrite", "delay")
        if self.log_share != 1.0:
            check_part("log_share", self.log_share)
        check_name("camera", self.camera, CAMERAS)
        check_at_least(self, 1, "episodes")
        check_at_least(self, 0, "seed")
        for name in ("noise", "sensor_noise", "delay"):
            for value in getattr(self, name):
                check_not_negative(name, value)
        for name in ("drop", "overwrite"):
            for value in getattr(self, name):
                check_share(name, value)


RECORDED = ("log", "log_share")
WALKING = ("world", "observe", "sensor_noise", "drop", "overwrite", "delay", "episodes")
DRIVING = ("km", "noise", "camera", "live")
"""Settings that only a recording, a policy that walks, or closed-loop driving has a use for."""
WALKING_MEASURES = ("mean_return", "half_width", "lowest_return")
DRIVING_MEASURES = tuple(field.name for field in dataclasses.fields(LaneMetrics))
RECORDED_MEASURES = ("mean_squared_error", "steering_variance")
"""Columns of the results file behind the policy's number of parameters."""


def evaluate_policy(settings: Evaluate) -> None:
    """Evaluate, print a table, and write a report."""
    policy = Policy.load(settings.policy)
    evaluate_it, measures = _way_of(policy, settings)
    name = policy_name(settings.policy)
    # Opened before the work, so that a table of another kind is refused before it, too.
    results = ResultsFile(settings.results, ("parameters", *measures))
    run = Run.create("evaluate", name, settings, root=settings.runs)
    results.place(run.results)
    print(f"run folder: {run.folder}")
    if policy.contract is not None:
        print(policy.contract.describe())
    evaluate_it(policy, name, settings, run, results)
    run.close()
    if run.report.is_dir():
        print(f"report: {run.report}")


def _way_of(policy: Policy, settings: Evaluate) -> tuple[Callable[..., None], tuple[str, ...]]:
    """Return what evaluates this policy and what that measures, once the settings fit it.

    Raises:
        ValueError: If the policy does not fit its world, or a setting is of no use to it.
    """
    if isinstance(policy, VectorPolicy) and not is_driver(policy):
        _refuse(settings, (*RECORDED, *DRIVING), "a policy that walks")
        return partial(evaluate_walking, where_to_walk(policy, settings)), WALKING_MEASURES
    _refuse(settings, WALKING, "a policy that drives")
    if isinstance(policy, VectorPolicy):
        no_use = ("noise", "camera", "live", "seed")  # it starts alike and sees no light
        _refuse(settings, (*RECORDED, *no_use), "a policy that sees no frames")
    if settings.log is None:
        _refuse(settings, ("log_share",), "driving without a recording")
        if settings.camera == "mujoco":  # refused before the work where there is no OpenGL
            drive_km(settings.km, camera="mujoco").make_world().close()
        return evaluate_closed_loop, DRIVING_MEASURES
    _refuse(settings, (*DRIVING, "seed"), "a recording")
    recording = load_recording(settings.log).center_only()
    if settings.log_share < 1.0:
        _, recording = recording.split(1.0 - settings.log_share)
    return partial(evaluate_open_loop, recording), RECORDED_MEASURES


def _refuse(settings: Evaluate, names: Sequence[str], what: str) -> None:
    """Refuse settings that would be silently ignored."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name in names and value != field.default:
            raise ValueError(f"`{field.name}` must be left out for {what}, got {value}. Drop it.")


def where_to_walk(policy: VectorPolicy, settings: Evaluate) -> list[WalkSettings]:
    """Return every combination of disturbances asked for, in the policy's world.

    Raises:
        ValueError: If the policy does not fit the world or what is observed.
    """
    env, observe, options = _place_of(policy, settings)
    asked_for = (settings.sensor_noise, settings.drop, settings.overwrite, settings.delay)
    places = dict.fromkeys(  # each once
        WalkSettings(
            env=env,
            observe=observe,
            options=options,
            sensor_noise_std=noise,
            drop_probability=drop,
            overwrite_probability=overwrite,
            delay_steps=delay,
            episodes=settings.episodes,
            seed=10_000 + 1_000 * settings.seed,
        )
        for noise, drop, overwrite, delay in itertools.product(*asked_for)
    )
    for place in places:
        check_observation("policy", policy, place)
    return list(places)


def _place_of(policy: VectorPolicy, settings: Evaluate) -> tuple[str, str, tuple[str, ...]]:
    """Return the world that was asked for, or that of the policy, and what is observed there."""
    if settings.world is None:
        env, observe, options = home_of(policy)
        return env, settings.observe or observe, options
    return settings.world, settings.observe or "full", ()


def evaluate_walking(
    places: list[WalkSettings],
    policy: Policy,
    name: str,
    settings: Evaluate,
    run: Run,
    results: ResultsFile,
) -> None:
    """Walk some episodes in each place."""
    rows = []
    for i, place in enumerate(places):
        returns = walk(policy, place)
        rows.append((name, place, returns))
        run.log(
            i,
            **{name: float(getattr(place, name)) for name in DISTURBANCES},
            mean_return=float(returns.mean()),
            half_width=half_width(returns),
        )
    print(returns_table(rows))
    measured = {
        place.describe(): (
            round(float(returns.mean()), 1),
            round(half_width(returns), 1),
            round(float(returns.min()), 1),
        )
        for _, place, returns in rows
    }
    add_results(results, settings, policy, name, WALKING_MEASURES, measured)
    write_walk_report(run, policy, rows)


def evaluate_closed_loop(
    policy: Policy, name: str, settings: Evaluate, run: Run, results: ResultsFile
) -> None:
    """Drive held-out tracks at each noise level."""
    if settings.live:
        page = run.folder / "live.html"
        print(f"open in a browser: {page}")
        drive_live(policy, page, name=name, seed=settings.seed)
    sees_numbers = isinstance(policy, VectorPolicy)
    rows: list[tuple[str, float, LaneMetrics]] = []
    first_traces: list[LaneTrace] = []
    for i, variance in enumerate(settings.noise):
        where = drive_km(settings.km, noise_variance=variance, camera=settings.camera)
        if sees_numbers:
            where = VectorDriveSettings(**dataclasses.asdict(where))
        traces = evaluate(policy, where, description=f"noise {variance}", seed=settings.seed)
        metrics = summarize(traces)
        rows.append((name, variance, metrics))
        run.log(i, noise_variance=variance, **dataclasses.asdict(metrics))
        first_traces = first_traces or traces
    print(metrics_table(rows))
    seen = "numbers" if sees_numbers else settings.camera
    measured = {
        f"{seen} noise={variance:g} km={settings.km:g}": dataclasses.astuple(metrics)
        for _, variance, metrics in rows
    }
    add_results(results, settings, policy, name, DRIVING_MEASURES, measured)
    if not sees_numbers:  # has no film
        write_driving_report(run, policy, first_traces, rows=rows, seed=settings.seed)


def evaluate_open_loop(
    recording: Recording,
    policy: Policy,
    name: str,
    settings: Evaluate,
    run: Run,
    results: ResultsFile,
) -> None:
    """Compare the policy's steering with a recording's."""
    with kept_as_demonstrations(recording) as store:
        error = imitation_error(policy, store)
        variance = float(store.actions.var())
        run.log(0, mean_squared_error=error, steering_variance=variance)
        rows = [[name, f"{error:.5f}"], ["mean of the recording", f"{variance:.5f}"]]
        print(markdown_table(["predictor", "MSE [action²]"], rows))
        share = f" last {settings.log_share:g}" if settings.log_share < 1.0 else ""
        measured = {f"recording {recording.folder.resolve().name}{share}": (error, variance)}
        add_results(results, settings, policy, name, RECORDED_MEASURES, measured)
        write_recorded_report(run, policy, store, error)


def add_results(
    results: ResultsFile,
    settings: Evaluate,
    policy: Policy,
    name: str,
    measures: Sequence[str],
    measured: Mapping[str, Sequence[float]],
) -> None:
    """Add a row for each setting to the results file."""
    parameters = sum(parameter.numel() for parameter in policy.parameters())
    for described, values in measured.items():
        row = {"parameters": parameters, **dict(zip(measures, values, strict=True))}
        results.append(name, settings.seed, described, row, typed_command())
    print(f"results: {results.path}")


if __name__ == "__main__":
    run_job(evaluate_policy, Evaluate, __doc__)
