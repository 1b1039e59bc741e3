"""Evaluate a saved policy.

    python scripts/evaluate.py POLICY                              in the world of its contract
    python scripts/evaluate.py POLICY --noise 0 0.1 --drop 0 0.2   under disturbances
    python scripts/evaluate.py POLICY --world gymnasium:Hopper-v5  in another world
    python scripts/evaluate.py DRIVER --log PATH                   along a recording

A policy is a folder: what `train.py` printed, or one of policies/pretrained.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from envs.driving.road import HELD_OUT_TRACKS
from envs.recorded import Recording, load_recording
from ncp_control.learning.imitation import imitation_error
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import Run, policy_name, typed_command
from ncp_control.names import check_name
from ncp_control.policy import FramesPolicy, Policy
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
    DriveSettings,
    VectorDriveSettings,
    check_km,
    drive_km,
    track_place,
)
from scripts.evaluation.locomotion import open_world, place_in, where_to_act, words_of
from scripts.evaluation.places import DISTURBANCES, DRIVING_WORLD, Place, check_fit
from scripts.evaluation.report import FILM_S, write_recorded_report, write_report
from scripts.evaluation.tables import Measured, results_table
from scripts.inspection import watch_live
from scripts.markdown import markdown_table

DRIVE_FILM_S, LIVE_S = 20.0, 30.0
"""Length of the film of a drive, and of what is watched live [s]."""


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Evaluate a saved policy: in its world or another, or along a recording."""

    policy: tyro.conf.Positional[Path]
    """Folder of the policy, e.g. policies/pretrained/drive-ncp."""
    log: Path | None = None
    """Recording to run in open loop, instead of driving."""
    log_share: float = 1.0
    """Last share of the recording to run along. For a policy that learned from this recording
    take what was held back, 0.2 if not told otherwise: the rest is no test."""
    km: float = 20.0
    """Kilometres driven in each setting: every combination of the disturbances."""
    camera: str = "opencv"
    """What a driver sees through: opencv, or mujoco (rendered; needs EGL or OSMesa)."""
    live: bool = False
    """First act for half a minute, and keep a page up to date for a browser to watch it."""
    world: str | None = None
    """World to act in: LaneKeeping-v0, halfcheetah, walker2d, gymnasium:<id>, or
    <module>:<function>; that of the policy's contract if None."""
    world_options: tuple[str, ...] = ()
    """Options of that world, e.g. observe=positions."""
    observe: str | None = None
    """full or positions, of halfcheetah and walker2d; that of the policy's contract if None."""
    noise: Annotated[tuple[float, ...], tyro.conf.arg(aliases=["--sensor-noise"])] = (0.0,)
    """Strengths of Gaussian noise on what is observed: variances of pixel noise on images in
    [0, 1], of which the paper takes 0 0.1 0.2 0.3, or deviations of numbers, each in the entry's
    own unit."""
    drop: tuple[float, ...] = (0.0,)
    """Shares of frames that the policy misses."""
    overwrite: tuple[float, ...] = (0.0,)
    """Shares of frames in which a random action is done."""
    delay: tuple[int, ...] = (0,)
    """Frames between the choice of an action and its effect."""
    episodes: int = 20
    """Episodes in each setting, in any world but that of driving."""
    results: Path | None = None
    """CSV file to which a row is added for each setting, e.g.
    results/driving.csv; a new one in the run folder by default."""
    runs: Path = Path("runs")
    """Where run folders are made."""
    seed: int = 0
    """Seed of the worlds and of their disturbances."""

    def __post_init__(self) -> None:
        check_km("km", self.km)
        check_given(self, *DISTURBANCES)
        if self.log_share != 1.0:
            check_part("log_share", self.log_share)
        check_name("camera", self.camera, CAMERAS)
        check_at_least(self, 1, "episodes")
        check_at_least(self, 0, "seed")
        for name in ("noise", "delay"):
            for value in getattr(self, name):
                check_not_negative(name, value)
        for name in ("drop", "overwrite"):
            for value in getattr(self, name):
                check_share(name, value)


RECORDED = ("log", "log_share")
DRIVING = ("km", "camera")
ACTING = ("world", "world_options", "observe", *DISTURBANCES, "episodes", "live", "seed")
"""Settings that only a recording, driving, or acting in any world has a use for."""
RECORDED_MEASURES = ("mean_squared_error", "steering_variance")
"""Columns of the results file for a recording."""


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
    print(f"report: {run.report}")


def _way_of(policy: Policy, settings: Evaluate) -> tuple[Callable[..., None], Sequence[str]]:
    """Return what evaluates this policy and what that measures, once the settings fit it.

    Raises:
        ValueError: If the policy does not fit its world, or a setting is of no use to it.
    """
    if settings.log is None:
        places = find_places(policy, settings)
        if settings.camera == "mujoco":  # refused before the work where there is no OpenGL
            places[0].disturbed.make().close()
        return partial(evaluate_in, places), places[0].world.measure_names
    if not isinstance(policy, FramesPolicy):
        _refuse(settings, RECORDED, "a policy that walks")
    _refuse(settings, (*DRIVING, *ACTING), "a recording")
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


def find_places(policy: Policy, settings: Evaluate) -> list[Place]:
    """Return the policy's world under every combination of disturbances asked for.

    Raises:
        ValueError: If the policy does not fit the world, or a setting or disturbance is of no use.
    """
    env, observe, options = where_to_act(
        policy, settings.world, settings.observe, settings.world_options
    )
    asked_for = (getattr(settings, name) for name in DISTURBANCES)
    grid: list[dict[str, float]] = [
        dict(zip(DISTURBANCES, one, strict=True)) for one in itertools.product(*asked_for)
    ]
    if env == DRIVING_WORLD:
        _refuse(settings, ("log_share",), "driving without a recording")
        _refuse(settings, ("episodes", "world_options"), "a policy that drives")
        places = [_drive(settings, observe, strengths) for strengths in grid]
    else:
        _refuse(settings, (*RECORDED, *DRIVING), "a policy that walks")
        world, seed = open_world(env, words_of(observe, options)), 10_000 + 1_000 * settings.seed
        places = [
            place_in(world, (env, observe, *options), one, settings.episodes, seed) for one in grid
        ]
    check_fit("policy", policy, places[0].world, f"{env!r} with observe={observe!r}")
    places = list({place.described: place for place in places}.values())  # each once
    for place in places:
        place.world.disturbed(place.strengths)  # refuses what the world does not have
    return places


def _drive(settings: Evaluate, observe: str, strengths: Mapping[str, float]) -> Place:
    """Return held-out tracks with disturbances."""
    where: DriveSettings = drive_km(settings.km, camera=settings.camera)
    seen = settings.camera
    if observe == "numbers":
        _refuse(settings, ("camera",), "a policy that sees no frames")
        where, seen = VectorDriveSettings(**dataclasses.asdict(where)), "numbers"
    others = {name: f"{x:g}" for name, x in strengths.items() if name != "noise"}
    is_plain = all(getattr(settings, name) == (0,) for name in others)
    words = [] if is_plain else [f"{name}={text}" for name, text in others.items()]
    noise = f"{strengths['noise']:g}"
    return dataclasses.replace(
        where.place(settings.seed),
        strengths=strengths,
        labels={"noise variance": noise} | ({} if is_plain else others),
        described=" ".join([seen, f"noise={noise}", *words, f"km={settings.km:g}"]),
    )


def evaluate_in(
    places: list[Place],
    policy: Policy,
    name: str,
    settings: Evaluate,
    run: Run,
    results: ResultsFile,
) -> None:
    """Let the policy act in each place, and measure what its world measures."""
    world, shown, film_s = places[0].world, places[0], FILM_S
    is_driving = world.name == DRIVING_WORLD
    if is_driving:
        observe, film_s = world.contract.world_options.get("observe", "full"), DRIVE_FILM_S
        longest_s = max(DRIVE_FILM_S, LIVE_S)
        shown = track_place(HELD_OUT_TRACKS[0], longest_s, settings.seed, observe)
    if settings.live:
        page = run.folder / "live.html"
        print(f"open in a browser: {page}")
        watch_live(policy, page, shown, name=name, seconds=LIVE_S)
    rows: list[Measured] = []
    for i, place in enumerate(places):
        told = ", ".join(f"{label} {text}" for label, text in place.labels.items())
        episodes = place.run(policy, description=told)
        measures = world.measure(episodes)
        rows.append(
            Measured(
                model=name,
                labels=place.labels,
                measures=measures,
                episodes=episodes,
                returns=np.array([episode.total_reward for episode in episodes])
                if "mean_return" in measures
                else np.empty(0),
                strengths=place.strengths,
            )
        )
        run.log(i, **{k: float(x) for k, x in place.strengths.items()}, **measures)
    print(results_table(rows))
    measured = {
        place.described: [
            round(x, 1) if "mean_return" in row.measures else x for x in row.measures.values()
        ]
        for place, row in zip(places, rows, strict=True)
    }
    add_results(results, settings, policy, name, list(rows[0].measures), measured)
    write_report(run, policy, rows, shown, seconds=film_s)


def evaluate_open_loop(
    recording: Recording,
    policy: Policy,
    name: str,
    settings: Evaluate,
    run: Run,
    results: ResultsFile,
) -> None:
    """Compare the policy's steering with a recording's."""
    with recording.as_demonstrations() as store:
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
