"""What `evaluate.py` does: lets a policy act, or compares it with a recording, and reports."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from envs.conditions import CONDITIONS, read_conditions, strengths_of
from envs.driving.road import HELD_OUT_TRACKS
from envs.driving.safety_filter import guarded
from envs.recorded import Recording, load_recording
from envs.recorded.parts import part_of, parts_file, read_parts
from envs.recorded.readers import find_reader
from ncp_control.command_line import use_threads
from ncp_control.learning.demonstrations import as_seen
from ncp_control.learning.imitation import imitation_error
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import Run, policy_name, typed_command
from ncp_control.markdown import markdown_table
from ncp_control.policy import FramesPolicy, Policy, load
from ncp_control.worlds import read_options
from scripts.evaluate import Evaluate
from scripts.evaluation.driving import (
    DriveSettings,
    VectorDriveSettings,
    drive_km,
    road_place,
    track_place,
)
from scripts.evaluation.locomotion import open_world, place_in, where_to_act, words_of
from scripts.evaluation.moments import Moments
from scripts.evaluation.places import (
    CAR_WORLDS,
    DISTURBANCES,
    DRIVING_WORLD,
    ROAD_WORLD,
    Place,
    check_fit,
)
from scripts.evaluation.report import FILM_S, write_recorded_report, write_report
from scripts.evaluation.sharing import TORCH, acted_in, on_backend, threads_of
from scripts.evaluation.tables import Measured, results_table
from scripts.inspection import watch_live

LANE_KM = 20.0
"""Distance in LaneKeeping-v0 if nothing else is asked for [km]."""
DRIVE_FILM_S, LIVE_S = 20.0, 30.0
"""Length of the film of a drive, and of what is watched live [s]."""
RECORDED = ("log", "log_options", "log_share", "log_part")
DRIVING = ("km", "camera")
ACTING = (
    *("backend", "world", "world_options", *DISTURBANCES, "condition"),
    *("safety_filter", "episodes", "live", "seed", "workers"),
)
"""Settings that only a recording, driving, or acting in any world has a use for."""
RECORDED_MEASURES = ("mean_squared_error", "steering_variance")
"""Columns of the results file for a recording."""


def evaluate_policy(settings: Evaluate) -> None:
    """Evaluate, print a table, and write a report."""
    policy = load(settings.policy)
    use_threads(threads_of(policy, settings))
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
    is_told = policy.contract is not None and find_reader(settings.log) is not None
    if not isinstance(policy, FramesPolicy) and not is_told:
        _refuse(settings, RECORDED, "a policy that senses no frames")
    _refuse(settings, (*DRIVING, *ACTING), "a recording")
    options = read_options(settings.log_options, "log_options")
    recording = load_recording(settings.log, options=options).chosen_for(policy.contract)
    recording = recording.center_only()
    if settings.log_part is not None:
        path = parts_file(recording.folder)
        recording = part_of(recording, read_parts(path), settings.log_part, path)
        if not len(recording):
            raise ValueError(
                f"`log_part` must have some frames of '{settings.log}', got {settings.log_part!r}"
                " with none. Choose another part."
            )
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
    """Return the policy's world under every combination of disturbances, for every back end.

    Raises:
        ValueError: If the policy does not fit the world, or a setting or disturbance is of no use.
    """
    env, observe, options = where_to_act(policy, settings.world, settings.world_options)
    asked_for = (getattr(settings, name) for name in DISTURBANCES)
    grid: list[dict[str, float]] = [
        dict(zip(DISTURBANCES, one, strict=True)) for one in itertools.product(*asked_for)
    ]
    if env == DRIVING_WORLD:
        _refuse(settings, ("log_share", "log_part"), "driving without a recording")
        _refuse(settings, ("episodes", "safety_filter"), f"a policy that drives in {env}")
        open_world(env, words_of(observe, options))  # refuses options that it does not have
        places = [_drive(settings, observe, strengths) for strengths in grid]
    else:
        others = "another world than LaneKeeping-v0"
        _refuse(settings, (*RECORDED, "camera"), others)
        world, told = open_world(env, words_of(observe, options)), (env, observe, *options)
        if env != ROAD_WORLD:
            _refuse(settings, ("safety_filter",), f"another world than {ROAD_WORLD}")
        elif settings.safety_filter:
            world, told = guarded(world), (*told, "safety-filter")
        if settings.km is None:
            seed = 10_000 + 1_000 * settings.seed
            places = [place_in(world, told, one, settings.episodes, seed) for one in grid]
        else:
            if env != ROAD_WORLD:
                _refuse(settings, ("km",), "another world than those with a car")
            _refuse(settings, ("episodes",), "a drive with --km")
            places = [road_place(world, told, one, settings.km, settings.seed) for one in grid]
    check_fit("policy", policy, places[0].world, f"{env!r} with observe={observe!r}")
    if settings.condition:
        places = [_under(place, "clean", {}) for place in places]
        for name, severity in read_conditions(settings.condition, _conditions_of(places[0])):
            met = strengths_of(name, severity)
            places.append(_under(places[0], f"{name}:{severity}", met))
    places = list({place.described: place for place in places}.values())  # each once
    for place in places:
        place.world.disturbed(place.strengths)  # refuses what the world does not have
    if settings.backend == (TORCH,):
        return places
    backends = dict.fromkeys(settings.backend)
    return [on_backend(place, backend) for backend in backends for place in places]


def _conditions_of(place: Place) -> list[str]:
    """Return the conditions that a place's world can have."""
    known = {one.name for one in place.world.disturbances}
    return [name for name in CONDITIONS if known.issuperset(strengths_of(name, 1))]


def _under(place: Place, told: str, met: Mapping[str, float]) -> Place:
    """Return a place under a condition, which its labels tell."""
    described = " ".join([place.described, told] if met else [place.described])
    return dataclasses.replace(
        place,
        strengths={**place.strengths, **met},
        labels={**place.labels, "condition": told},
        described=described,
    )


def _drive(settings: Evaluate, observe: str, strengths: Mapping[str, float]) -> Place:
    """Return held-out tracks with disturbances."""
    km = LANE_KM if settings.km is None else settings.km
    where: DriveSettings = drive_km(km, camera=settings.camera)
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
        described=" ".join([seen, f"noise={noise}", *words, f"km={km:g}"]),
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
    world, shown = places[0].world, places[0]
    film_s = DRIVE_FILM_S if world.name in CAR_WORLDS else FILM_S
    if world.name == DRIVING_WORLD:
        observe = world.contract.world_options.get("observe", "full")
        longest_s = max(DRIVE_FILM_S, LIVE_S)
        shown = track_place(HELD_OUT_TRACKS[0], longest_s, settings.seed, observe)
    if settings.live:
        page = run.folder / "live.html"
        print(f"open in a browser: {page}")
        watch_live(policy, page, shown, name=name, seconds=LIVE_S)
    rows: list[Measured] = []
    moments = Moments()
    for i, (place, episodes) in enumerate(acted_in(find_places, places, policy, settings, moments)):
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
    write_report(run, policy, rows, shown, seconds=film_s, worst=moments.draw())


def evaluate_open_loop(
    recording: Recording,
    policy: Policy,
    name: str,
    settings: Evaluate,
    run: Run,
    results: ResultsFile,
) -> None:
    """Compare the policy's steering with a recording's."""
    with recording.as_demonstrations() as frames:
        store = as_seen(frames, policy.contract)
        error = imitation_error(policy, store)
        variance = float(store.actions.var())
        run.log(0, mean_squared_error=error, steering_variance=variance)
        rows = [[name, f"{error:.5f}"], ["mean of the recording", f"{variance:.5f}"]]
        print(markdown_table(["predictor", "MSE [action²]"], rows))
        share = f" last {settings.log_share:g}" if settings.log_share < 1.0 else ""
        share += f" {settings.log_part} part" if settings.log_part is not None else ""
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
