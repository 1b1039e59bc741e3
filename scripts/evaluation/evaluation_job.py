"""The job of `evaluate.py`: lets a policy act or compares it with a recording, and reports."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import numpy as np

from envs.recorded import Recording
from envs.recorded.parts import part_of, parts_file, read_parts
from ncp_control.command_line import use_threads
from ncp_control.contract import ActionContract, Contract
from ncp_control.keyword_options import read_options
from ncp_control.layers import num_parameters
from ncp_control.learning.demonstrations import Demonstrations, as_seen
from ncp_control.learning.imitation import predict_all
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import Run, policy_name, typed_command
from ncp_control.policy import FramesPolicy, Policy, load
from ncp_control.workers import Workers
from scripts.evaluation.asked import ACTING, DRIVING, RECORDED, find_places, place_to_film
from scripts.evaluation.live import watch_live
from scripts.evaluation.moments import Moment, draw_moments
from scripts.evaluation.places import CAR_WORLDS, Place, measured_options, world_text
from scripts.evaluation.recorded import errors_table, measure, measure_names, rounded
from scripts.evaluation.report import (
    DRIVE_FILM_S,
    FILM_S,
    write_recorded_report,
    write_report,
)
from scripts.evaluation.settings import Evaluate
from scripts.evaluation.sharing import Actors, threads_of
from scripts.evaluation.tables import Measured, results_table
from scripts.recordings import check_log, is_store, recording_for
from scripts.unused_settings import refuse_changed

LIVE_S = 30.0
"""Length of the live episode [s]."""


def evaluate_policy(settings: Evaluate, workers: Workers | None = None) -> None:
    """Evaluate a policy, print a table, and write a report.

    Args:
        settings: Settings of the job.
        workers: Workers started by `sharing.begin_worker`; None for this process.
    """
    policy = load(settings.policy)
    use_threads(threads_of(policy, settings))
    evaluate_it, measures = _way_of(policy, settings, workers)
    name = policy_name(settings.policy)
    # Opened first, so that a table of another kind is refused before the work.
    results = ResultsFile(settings.results, ("parameters", *measures))
    run = Run.create("evaluate", name, settings, root=settings.runs, tested={name: policy})
    results.place(run.results)
    print(f"run folder: {run.folder}")
    if policy.contract is not None:
        print(policy.contract.describe())
    evaluate_it(policy, name, settings, run, results)
    print(f"report: {run.report}")


def _way_of(
    policy: Policy, settings: Evaluate, workers: Workers | None
) -> tuple[Callable[..., None], Sequence[str]]:
    """Return the function that evaluates this policy, and the names of its measures.

    Raises:
        ValueError: If the policy does not fit the environment or recording, or a setting is not
            used.
    """
    if settings.log is None:
        places = find_places(policy, settings)
        if settings.camera == "mujoco":  # without OpenGL it fails before the work
            places[0].disturbed.make().close()
        return partial(evaluate_in, places, workers), places[0].world.measure_names
    if not isinstance(policy, FramesPolicy) and policy.contract is None:
        refuse_changed(settings, RECORDED, "for a policy that senses no frames and has no contract")
    refuse_changed(settings, (*DRIVING, *ACTING), "for a recording")
    check_log(settings.log, policy)
    measures = measure_names(policy)
    if is_store(settings.log):
        refuse_changed(settings, RECORDED[1:], "for a folder of demonstrations")
        store = Demonstrations.open(settings.log)
        action = tuple(ActionContract(name=f"action {i}") for i in range(store.action_size))
        described = f"demonstrations {settings.log.resolve().name}"
        return partial(evaluate_open_loop, nullcontext(store), action, described), measures
    options = read_options(settings.log_options, "log_options")
    recording = recording_for(settings.log, policy.contract, options)
    _warn_of_units(recording, policy.contract)
    if settings.log_part is not None:
        path = parts_file(recording.folder)
        recording = part_of(recording, read_parts(path), settings.log_part, path)
        if not len(recording):
            raise ValueError(
                f"`log_part` must have some frames of '{settings.log}', got {settings.log_part!r}"
                " with none. Choose another part."
            )
    elif settings.log_share < 1.0:
        _, recording = recording.split(1.0 - settings.log_share)
    elif policy.contract is not None and _is_trained_on(recording, policy.contract):
        warnings.warn(
            f"the policy was trained on a recording {recording.folder.name!r}: its error is smaller"
            " on frames that it has seen. Measure the test part, with --log-part test or"
            " --log-share 0.2.",
            stacklevel=2,
        )
    described = f"recording {recording.folder.resolve().name}"
    described += f" last {settings.log_share:g}" if settings.log_share < 1.0 else ""
    described += f" {settings.log_part} part" if settings.log_part is not None else ""
    frames = recording.as_demonstrations()
    return partial(evaluate_open_loop, frames, recording.action, described), measures


def _warn_of_units(recording: Recording, contract: Contract | None) -> None:
    """Warn if fractions of different things are compared; other units are refused before."""
    if contract is None:
        return
    for recorded, one in zip(recording.action, contract.action, strict=False):
        if recorded.unit and one.unit and recorded.unit != one.unit:
            warnings.warn(
                f"'{recording.folder}' has {one.name} as {recorded.unit}, and the policy as"
                f" {one.unit}: they are compared as if 1 meant the same. If it does not, convert"
                " the recording to the unit of the policy.",
                stacklevel=3,
            )


def _is_trained_on(recording: Recording, contract: Contract) -> bool:
    """True if the contract names a recording of the same name as training data."""
    return recording.folder.name in contract.provenance.get("data", "").split("+")


def evaluate_in(
    places: list[Place],
    workers: Workers | None,
    policy: Policy,
    name: str,
    settings: Evaluate,
    run: Run,
    results: ResultsFile,
) -> None:
    """Let the policy act in each place, and write measures, film and report."""
    world = places[0].world
    asked = measured_options(world.name, read_options(settings.world_options))
    print(f"measured  {world_text(world, asked)}")
    film_s = DRIVE_FILM_S if world.name in CAR_WORLDS else FILM_S
    longest_s = max(film_s, LIVE_S)
    film_place = place_to_film(places, settings, longest_s)
    if settings.live:
        page = run.folder / "live.html"
        print(f"open in a browser: {page}")
        watch_live(policy, page, film_place, name=name, seconds=LIVE_S)
    rows: list[Measured] = []
    worst: list[Moment] = []
    actors = Actors(policy, settings, workers)
    # Started first: it takes as long as a drive of several kilometres.
    make_film = actors.film(film_place, film_s, longest_s, run.folder / "film.mp4")
    for i, (place, episodes) in enumerate(actors.act_in(places, worst)):
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
    measured = {place.described: row.measures for place, row in zip(places, rows, strict=True)}
    add_results(results, settings, policy, name, measured)
    strips = draw_moments(worst)
    write_report(run, policy, rows, film_place, seconds=film_s, make_film=make_film, worst=strips)


def evaluate_open_loop(
    recorded: AbstractContextManager[Demonstrations],
    action: Sequence[ActionContract],
    described: str,
    policy: Policy,
    name: str,
    settings: Evaluate,
    run: Run,
    results: ResultsFile,
) -> None:
    """Compare the actions of the policy with those of a recording.

    Args:
        recorded: The recording.
        action: Contract of its actions, used for a policy without a contract.
        described: Name of the recording and of its part in the results file.
        policy: The policy.
        name: Its name.
        settings: Settings of the job.
        run: Run folder for metrics and report.
        results: Table to which the errors are added.
    """
    with recorded as frames:
        store = as_seen(frames, policy.contract)
        predicted = predict_all(policy, store)
        measured = measure(policy, predicted, store)
        run.log(0, **measured)
        action = action if policy.contract is None else policy.contract.action
        errors = errors_table(name, policy, predicted, store, action)
        print(rounded(errors))
        if num_unseen := store.source.get("rows_of_unseen_classes"):
            print(f"note: {num_unseen:,} further rows are of classes that the policy never learned")
        add_results(results, settings, policy, name, {described: measured})
        write_recorded_report(run, policy, store, errors)


def add_results(
    results: ResultsFile,
    settings: Evaluate,
    policy: Policy,
    name: str,
    measured: Mapping[str, Mapping[str, float]],
) -> None:
    """Add a row for each place or recording to the results file."""
    parameters = num_parameters(policy)
    for described, measures in measured.items():
        row = {"parameters": parameters, **measures}
        results.append(name, settings.seed, described, row, typed_command())
    print(f"results: {results.path}")
