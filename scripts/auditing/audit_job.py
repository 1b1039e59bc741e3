"""The job of `audit.py`: record an episode of each policy, analyse it and write the report."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncp_control import files
from ncp_control.audit.ablation import ablate
from ncp_control.audit.bounds import Certificate
from ncp_control.audit.excerpt import write_excerpt
from ncp_control.audit.inspection import inspected
from ncp_control.audit.inspector import write_inspector
from ncp_control.audit.timescales import time_unit
from ncp_control.command_line import use_threads
from ncp_control.episode import Episode
from ncp_control.keyword_options import read_options
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import Run, policy_name, typed_command
from ncp_control.markdown import plain
from ncp_control.names import check_name
from ncp_control.policy import FramesPolicy, Policy, at_least_single, load, policy_folder
from ncp_control.policy.folder import EXCERPT_FILE
from ncp_control.records import sensor_names
from scripts.auditing import certifying, models, parts, seeing
from scripts.auditing.maps import Saliency, compute_saliency
from scripts.auditing.recording import act, count_frames, watch
from scripts.auditing.remembering import memory_part, wipe_place
from scripts.auditing.settings import FIRST_HELD_OUT, Audit
from scripts.evaluation.driving import changes_of, track_place
from scripts.evaluation.live import track_map
from scripts.evaluation.places import DRIVING_WORLD, Place, check_fit, threads_for, world_text
from scripts.evaluation.worlds import place_in, where_to_act
from scripts.recordings import check_log
from scripts.reporting import Part, Report, Table

MEASURES: tuple[str, ...] = models.HEADER[1:]
"""Columns of the results file after the policy."""
Recorded = Sequence[tuple[Policy, Episode]]
"""All policies under audit, each with its recorded episode."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A policy under audit, with the data that several parts of the report share."""

    policy: Policy
    audited: Episode
    certificate: Certificate | None
    """Certified bounds; None if there are none for this circuit."""
    maps: Saliency | None
    """Saliency maps; None without frames, or if none can be computed."""


def audit(settings: Audit) -> None:
    """Record an episode of each policy, make every part that applies, write the report."""
    results = None if settings.results is None else ResultsFile(settings.results, MEASURES)
    saved = {path: load(path) for path in (settings.policy, *settings.compare)}
    loaded = {path: at_least_single(policy) for path, policy in saved.items()}
    use_threads(threads_for(loaded[settings.policy], settings.threads))
    _check_names([settings.policy, *settings.compare])
    for policy in loaded.values():
        _check_fits(policy, settings)
    _check_worlds(loaded, settings)
    recorded = [(policy, _record(policy, path, settings)) for path, policy in loaded.items()]
    policy, audited = recorded[0]
    if settings.excerpt:
        write_excerpt(policy_folder(settings.policy) / EXCERPT_FILE, audited, track_map(audited))
    name, tested = policy_name(settings.policy), {str(path): one for path, one in saved.items()}
    run = Run.create("audit", name, settings, root=settings.runs, tested=tested)
    print(f"run folder: {run.folder}")
    if policy.contract is not None:
        print(policy.contract.describe())
    measured = "" if settings.log is not None else _measured_in(policy, settings)
    if measured:
        print(f"measured  {measured}")
    with files.new_folder(run.report) as folder:
        report = open_report(folder, run, audited, measured)
        subjects = [_prepare(report, *one) for one in recorded[:2]]  # as many as on the page
        _look_inside(report, subjects[0], settings)
        if settings.ablation_km and not settings.compare:
            report.part(
                "Ablation in closed loop",
                lambda: _table(recorded, settings, results, whole=False),
            )
        if settings.compare:
            _compare(report, recorded, settings, results)
        report.attempt("The inspector", lambda: _write_page(folder, report, subjects))
        report.write()
    print(f"report: {run.report / 'report.md'}")


def open_report(folder: Path, run: Run, audited: Episode, measured: str = "") -> Report:
    """Create the report of an audit, with a summary of the first policy's episode.

    Args:
        folder: Folder of the report.
        run: Run of the audit.
        audited: The episode.
        measured: Environment and its options; empty for a recording.
    """
    report = Report(folder, run, f"Audit of {audited.name}")
    report.say(
        f"{plain(audited.where)}, {_duration(audited)}, {len(audited.time_s)} frames.",
        *([f"Measured in {plain(measured)}."] if measured else []),
        *(f"Note: {plain(note)}" for note in audited.notes),
    )
    return report


def _check_fits(policy: Policy, settings: Audit) -> None:
    """Raise if no episode of the policy can be recorded, or if a setting would have no effect."""
    if settings.log is not None:
        for name in ("world", "world_options"):
            value = getattr(settings, name)
            if value:
                raise ValueError(f"`{name}` must be left out with --log, got {value!r}.")
        check_log(settings.log, policy)
        return
    has_world = isinstance(policy, FramesPolicy) or bool(settings.world or policy.contract)
    is_driving = has_world and _env(policy, settings) == DRIVING_WORLD
    for name, default in (("ablation_km", 0.0), ("track", FIRST_HELD_OUT)):
        value = getattr(settings, name)
        if not is_driving and value != default:
            raise ValueError(
                f"`{name}` must be left out in another world than {DRIVING_WORLD}, got {value:g}."
            )
    if settings.ablation_km:
        cell = policy.circuit.cell
        ablate(policy, neurons={cell.neuron_names[0]: 0.0})  # raises with the reason if impossible
    if is_driving and settings.world_s < 0.2:
        raise ValueError(
            f"`seconds` must be at least 0.2 to drive, got {settings.seconds!r}."
            " A few frames are needed."
        )
    place = _place_of(policy, settings)
    count_frames(settings.world_s, place.world.frame_s)  # raises if too many
    observe = place.labels.get("observed", "full")
    check_fit("policy", policy, place.world, f"{place.where!r} with observe={observe!r}")


def _check_names(paths: Iterable[Path]) -> None:
    """Raise if two policies have the same name: a table could not tell them apart."""
    names = [policy_name(path) for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"`compare` must hold policies of different names, got {name!r} twice."
                " Copy one folder to another name, or drop it."
            )


def _check_worlds(loaded: Mapping[Path, Policy], settings: Audit) -> None:
    """Raise if policies act in different environments: their numbers are not comparable."""
    worlds = {}
    for path, policy in loaded.items():
        env = _env(policy, settings) if settings.log is None else "the recording"
        worlds[path] = "driving" if env == DRIVING_WORLD else env
    here = worlds[settings.policy]
    for path, world in worlds.items():
        if world != here:
            raise ValueError(
                f"`compare` must hold policies of one world, {here!r}, got {str(path)!r} of"
                f" {world!r}. Audit it alone."
            )


def _env(policy: Policy, settings: Audit) -> str:
    return where_to_act(policy, settings.world, ()).env


def _lane_changes(settings: Audit) -> dict[str, Any]:
    """Return the fields of `DriveSettings` that `world_options` sets."""
    options = read_options(settings.world_options)
    if "tracks" in options:
        raise ValueError(
            "`world_options` must leave out tracks in an audit, got"
            f" {options['tracks']!r}. Name one with --track."
        )
    return changes_of(options)


def _place_of(policy: Policy, settings: Audit) -> Place:
    """Return the place where a policy acts: the requested environment, or the policy's own."""
    where = where_to_act(policy, settings.world, settings.world_options)
    world, observe = where.world, where.observe  # raises on unknown options
    if where.env == DRIVING_WORLD:
        changes = _lane_changes(settings)
        place = track_place(settings.track, settings.world_s, settings.seed, observe, **changes)
    else:
        place = place_in(world, where.words, {}, 1, settings.seed)
    for name, severity in settings.met:
        check_name("condition", name, place.conditions)
        place = place.under(name, severity)
    return place


def _measured_in(policy: Policy, settings: Audit) -> str:
    """Return the environment of an audit and its options; the episode names the track."""
    where = where_to_act(policy, settings.world, settings.world_options)
    is_driving = where.env == DRIVING_WORLD
    options = read_options(settings.world_options) if is_driving else where.options
    return world_text(_place_of(policy, settings).world, options)


def _record(policy: Policy, path: Path, settings: Audit) -> Episode:
    """Record a policy in its environment, or run it on the recording `log`."""
    name = policy_name(path)
    if settings.log is not None:
        options = read_options(settings.log_options, "log_options")
        return watch(policy, name, settings.log, seconds=settings.seconds, options=options)
    return act(policy, name, _place_of(policy, settings), seconds=settings.world_s)


def _wipe_place(policy: Policy, settings: Audit) -> Place | None:
    """Return the place where a policy acts with its memory wiped; None to skip this test."""
    if settings.log is not None or not settings.wipe_episodes:
        return None
    return wipe_place(_place_of(policy, settings), settings.wipe_episodes, settings.world_s)


def _look_inside(report: Report, subject: Subject, settings: Audit) -> None:
    """Add every part of one policy's audit to the report."""
    policy, audited = subject.policy, subject.audited
    certificate, maps = subject.certificate, subject.maps
    if maps is not None:
        if certificate is not None:
            report.part("At a glance", lambda: seeing.overview_part(audited, maps, certificate))
        report.part("Where it looks", lambda: seeing.saliency_part(audited, maps))
        report.part(
            "How steady the maps are",
            lambda: seeing.stability_part(policy, audited, maps, settings.seed),
        )
    names = audited.sensor_names
    if names is None and policy.contract is not None:  # they pass an encoder
        names = sensor_names(policy.contract.observation)
    if names is not None:
        report.part("What it senses and does", lambda: parts.sensors_part(policy, audited, names))
        report.part("What it goes by", lambda: parts.sensor_effects_part(policy, audited, names))
    report.part("How fast it thinks", lambda: parts.timescales_part(audited, certificate))
    report.part(
        "How far back it remembers",
        lambda: memory_part(policy, audited, _wipe_place(policy, settings)),
    )
    report.part("What the neurons do", lambda: parts.activity_part(policy, audited))
    report.part("What moves the motor neurons", lambda: parts.synapses_part(policy, audited))
    report.part("What each neuron is good for", lambda: parts.ablation_part(policy, audited))
    if certificate is not None:
        report.part(
            "What it can never do", lambda: certifying.bounds_part(policy, audited, certificate)
        )
    if audited.has_frames:
        report.part(
            "What faults do to it", lambda: seeing.robustness_part(policy, audited, settings.seed)
        )
    else:
        report.say("It senses no camera: there are no saliency maps and no faults of pictures.")
    report.part("How suddenly it moves", lambda: parts.steps_part([(policy, audited)]))


def _prepare(report: Report, policy: Policy, audited: Episode) -> Subject:
    """Certify the circuit and compute the saliency maps, if possible."""
    certificate = report.attempt(
        f"Certified bounds of {audited.name}", lambda: certifying.certified_bounds(policy, audited)
    )
    maps = None
    if audited.has_frames:
        followed = parts.followed_neurons(audited)
        maps = report.attempt(
            f"Saliency of {audited.name}", lambda: compute_saliency(policy, audited, followed)
        )
    return Subject(policy=policy, audited=audited, certificate=certificate, maps=maps)


def _compare(
    report: Report, recorded: Recorded, settings: Audit, results: ResultsFile | None
) -> None:
    """Add the parts that compare all policies."""
    report.part(
        "Policies beside each other", lambda: _table(recorded, settings, results, whole=True)
    )
    report.part("Their largest steps", lambda: parts.steps_part(recorded), prefix="all_")


def _table(
    recorded: Recorded, settings: Audit, results: ResultsFile | None, *, whole: bool
) -> Part:
    """Return the comparison of the policies: all quantities if `whole`, else the ablation."""
    rows: list[models.ModelRow] = []
    for policy, audited in recorded:
        if whole:
            rows += models.activity_rows(policy, audited)
            rows += models.memory_rows(policy, audited)
            if audited.has_frames:
                rows += models.stability_rows(policy, audited, settings.seed)
        if settings.ablation_km and "track" in audited.infos:
            km, seed = settings.ablation_km, settings.seed
            rows += models.closed_loop_rows(policy, audited, km, seed, **_lane_changes(settings))
    table = Table(header=models.HEADER, rows=[row.cells() for row in rows], words=models.WORDS)
    if results is not None:
        _add_results(results, rows, settings, recorded[0][1])
    text = [*models.describe(rows), *_of_durations([audited for _, audited in recorded])]
    return Part(text=text, tables={"comparison": table})


def _duration(episode: Episode) -> str:
    """Return the duration of an episode in s, or in min or h where these are at least 10."""
    unit = time_unit(max(episode.duration_s / 10.0, 1.0))
    return f"{episode.duration_s / unit.seconds:.1f} {unit.name}"


def _of_durations(episodes: list[Episode]) -> list[str]:
    """Return a sentence on the durations of episodes if they differ, else nothing."""
    durations = [f"{plain(episode.name)} {_duration(episode)}" for episode in episodes]
    if len({episode.duration_s for episode in episodes}) == 1:
        return []
    return [
        f"The episodes differ in length: {', '.join(durations)}. What is measured in a shorter one"
        " may differ for this reason alone."
    ]


def _add_results(
    results: ResultsFile, rows: list[models.ModelRow], settings: Audit, audited: Episode
) -> None:
    """Append the comparison to the results file, with the settings it depends on."""
    place = {"track": settings.track} if "track" in audited.infos else {"where": audited.where}
    is_acted = settings.log is None
    length = {"seconds": settings.world_s} if is_acted else {"frames": len(audited)}
    measured_by = length | {"ablation_km": settings.ablation_km}
    asked = {
        name: value
        for name in ("world", "world_options", "log_options", "condition")
        if (value := getattr(settings, name))
    }
    described = json.dumps(place | measured_by | asked, sort_keys=True)
    for row in rows:
        measured = dict(zip(MEASURES, row.cells()[1:], strict=True))
        results.append(row.policy, settings.seed, described, measured, typed_command())


def _write_page(folder: Path, report: Report, subjects: list[Subject]) -> bool:
    """Write the inspector page of the policies, beside each other."""
    panels = [
        inspected(
            subject.policy,
            subject.audited,
            maps=None if subject.maps is None else subject.maps.over_time,
            certificate=subject.certificate,
            track=track_map(subject.audited),
        )
        for subject in subjects
    ]
    names = " and ".join(subject.audited.name for subject in subjects)
    title = f"{names}: {subjects[0].audited.where}"
    write_inspector(folder / "inspector.html", panels, title=title)
    report.say("[The episode as a page](inspector.html): open it in a browser.")
    return True
