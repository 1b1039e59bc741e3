"""Report of a policy that acted in an environment or was run on a recording.

report/
    report.md             the page: table, film, figures with captions, settings, versions
    table.csv             the table with all digits
    returns.csv           the return of every episode, if the environment measures returns
    film.mp4              the film, if the environment can be rendered
    robustness.png        return against each disturbance that has several strengths
    steering.png          steering of policy and expert, if there is an expert
    activity.png          activity of every neuron over the episode
    wiring.png            the wiring with its activity at the largest action of the expert, or of
                          the policy if there is none; where the policy is surest, if it chooses
                          (wired circuits only)
    worst.png             strips of the frames before the worst crashes (road only)
    track.png             held-out tracks from above, coloured by error (driving only)
    learning_curves.png   loss and validation over the epochs, if the run trained
"""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ncp_control import files
from ncp_control.audit.inspection import choice_names
from ncp_control.episode import Episode
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.learning.run import Run
from ncp_control.markdown import plain
from ncp_control.policy import Policy
from ncp_control.replay import replay, with_activity
from ncp_control.worlds import Disturbance
from scripts.disturbances import DISTURBANCES
from scripts.evaluation import episode_figures as figures
from scripts.evaluation.film import MakeFilm, film
from scripts.evaluation.places import CLEAN, DRIVING_WORLD, Place
from scripts.evaluation.recorded import rounded
from scripts.evaluation.tables import (
    Measured,
    all_measures,
    is_ours,
    results_table,
    returns_of_each,
)
from scripts.palette import BLUE
from scripts.reporting import Report, Table

FILM_S, DRIVE_FILM_S = 8.0, 20.0
"""Length of the film of an environment without a car, and of a drive [s]."""
_OF_DRIVES = (
    "Intervals are for 95 % confidence: of crashes per km the exact Poisson interval, of the"
    " cross-track error the t interval over tracks."
)
_OF_ROADS = (
    "The interval of interventions per km is the exact Poisson interval for 95 % confidence."
)
_OF_FILM = (
    "Its strip shows every neuron over the last seconds, a row each: violet at its lowest value so"
    " far, green at its highest. `audit.py` writes a page that plays them frame by frame."
)
_OF_RETURNS = "± is the 95 % t interval of the mean return over episodes."


def write_report(
    run: Run,
    policy: Policy,
    rows: Sequence[Measured],
    film_place: Place,
    *,
    seconds: float,
    make_film: MakeFilm | None = None,
    worst: Figure | None = None,
) -> Path:
    """Write the report of a policy that acted; an older report is replaced as a whole.

    Args:
        run: The run that is reported.
        policy: The policy. It acts again, for the film.
        rows: Measures of the policy in each place.
        film_place: Place of the film and the figures.
        seconds: Length of the film [s].
        make_film: Function that makes the film; None: make it in this process.
        worst: Strips of the worst crashes, if there were any.

    Returns:
        Path of the page, `report.md`.
    """
    is_driving = film_place.world.name == DRIVING_WORLD
    with files.new_folder(run.report) as folder:
        report = Report(folder, run, run.folder.name)
        report.say(results_table(rows))
        explained = {"crashes_per_km": _OF_DRIVES, "interventions_per_km": _OF_ROADS}
        if any(math.isfinite(row.measures.get("half_width", math.nan)) for row in rows):
            explained["mean_return"] = _OF_RETURNS
        for measure, explanation in explained.items():
            if measure in rows[0].measures and is_ours(measure, all_measures(rows[0])):
                report.say(explanation)
        _write_tables(report, rows)
        figure = robustness(rows, film_place.world.disturbances)
        if figure is not None:
            report.figure("robustness", figure, "Return against what disturbs it")
        if make_film is None:
            make_film = partial(film, policy=policy, place=film_place, seconds=seconds)
        episode, skipped = make_film(folder / "film.mp4")
        if skipped is not None:
            report.say(plain(skipped))
        elif is_driving:
            disturbed_by = film_place.disturbed_by
            report.say(
                f"[Film of {seconds:g} s on track {episode.infos['track'][0]}](film.mp4): the car"
                " from behind and what its camera sees; the blue bar is the policy's steering, the"
                " white mark the expert's. Film and figures but for the tracks are of a drive of"
                f" their own, {f'in {disturbed_by}' if disturbed_by else 'undisturbed'}."
                f" {_OF_FILM}"
            )
        else:
            report.say(f"[Film of {seconds:g} s](film.mp4). {_OF_FILM}")
        if worst is not None:
            caption = (
                "The fastest crashes, one of each place: the two seconds before, left to right"
            )
            report.figure("worst", worst, caption)
        if is_driving:
            report.figure("track", figures.tracks(rows[0].episodes), _of_tracks(rows))
        _draw(report, policy, with_activity(policy, episode))
        report.write()
    if skipped is not None:
        print(skipped)
    return run.report / "report.md"


def write_recorded_report(
    run: Run,
    policy: Policy,
    store: Demonstrations,
    errors: Table,
    doubts: Sequence[str] = (),
) -> Path:
    """Write the report of a policy that was run on a recording.

    Args:
        run: The run that is reported.
        policy: The policy to inspect.
        store: The recording on which it is tested; its longest episode is shown.
        errors: Errors of the policy and of simple drivers, see `recorded.errors_table`.
        doubts: Reasons why these errors may say little, each a sentence or two.

    Returns:
        Path of the page, `report.md`.
    """
    episode = replay(policy, store, actor=store.source.get("driver", "human"))
    with files.new_folder(run.report) as folder:
        report = Report(folder, run, run.folder.name)
        report.say(*(f"**Warning:** {doubt}" for doubt in doubts), rounded(errors))
        report.table("table.csv", errors.header, errors.rows)
        report.say(f"Shown: {len(episode)} frames, {episode.time_s[-1]:.0f} s.")
        _draw(report, policy, episode)
        report.write()
    return run.report / "report.md"


def robustness(rows: Sequence[Measured], disturbances: Sequence[Disturbance]) -> Figure | None:
    """Plot mean return with its interval against each disturbance that was varied.

    Rows under a condition appear only in the table. Return None if no disturbance was varied, or
    the environment does not measure returns.
    """
    rows = [row for row in rows if row.labels.get("condition", CLEAN) == CLEAN]
    if not rows or "mean_return" not in rows[0].measures:
        return None
    meanings = {one.name: one.meaning for one in disturbances}
    names = [name for name in DISTURBANCES if name in meanings and name in rows[0].strengths]
    varied = [name for name in names if len({row.strengths[name] for row in rows}) > 1]
    if not varied:
        return None
    figure = Figure(figsize=(4.6 * len(varied), 3.4), layout="constrained")
    panels = figure.subplots(1, len(varied), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, varied, strict=True):
        others = [other for other in names if other != name]
        base = [rows[0].strengths[other] for other in others]
        chosen = [row for row in rows if [row.strengths[other] for other in others] == base]
        chosen.sort(key=lambda row: row.strengths[name])
        strengths = [row.strengths[name] for row in chosen]
        axes.errorbar(
            strengths,
            [row.measures["mean_return"] for row in chosen],
            [np.nan_to_num(row.measures["half_width"]) for row in chosen],
            fmt="o-",
            color=BLUE,
            capsize=3,
        )
        axes.set_xlabel(meanings[name])
        axes.set_xticks(strengths)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("return of an episode")
    # Set last: with a shared axis, later plots would not widen the limits.
    lowest = [
        row.measures["mean_return"] - np.nan_to_num(row.measures["half_width"]) for row in rows
    ]
    panels[0].set_ylim(bottom=min(0.0, *(1.05 * value for value in lowest)))
    return figure


def _write_tables(report: Report, rows: Sequence[Measured]) -> None:
    """Write the measures with all digits, and, if measured, the return of each episode."""
    columns = [label.replace(" ", "_") for label in rows[0].labels]
    table = [[row.model, *row.labels.values(), *row.measures.values()] for row in rows]
    report.table("table.csv", ["model", *columns, *rows[0].measures], table)
    if "mean_return" in rows[0].measures:
        report.table("returns.csv", *returns_of_each(rows))


def _of_tracks(rows: Sequence[Measured]) -> str:
    """Return the caption of `figures.tracks` for the drives of the first row."""
    num_drives, where = len(rows[0].episodes), " in the table's first row" if len(rows) > 1 else ""
    num_shown = min(num_drives, figures.MAX_TRACKS)
    return (
        "Tracks from above, the driven line coloured by its error; the worst drives first"
        f" ({num_shown} of the {num_drives}{where})."
    )


def _largest_action(_: Policy, episode: Episode) -> tuple[int, str, str]:
    """Return the frame of the largest action, what happens there, and which frame it is.

    The largest action is that of the expert, if there is one; in a drive it is in a bend.
    """
    asked, name = episode.expert_actions, episode.action_names[0]
    who = "policy" if asked is None else episode.expert_name
    asked = episode.actions if asked is None else asked
    frame = int(np.argmax(np.abs(asked[:, 0])))
    bend = f"in a bend to the {'left' if asked[frame, 0] > 0 else 'right'}, "
    is_driving = name == "steering" and episode.has_frames
    moment = f"{bend if is_driving else 'at '}{episode.time_s[frame]:.1f} s: {name}"
    return frame, f"{moment} {episode.actions[frame, 0]:+.2f}", f"at the largest {name} ({who})"


def _surest_choice(policy: Policy, episode: Episode) -> tuple[int, str, str]:
    """Return the frame of the surest first choice, what happens there, and which frame it is."""
    scores = policy.respond(episode.recorded_activity.outputs[0])[:, : policy.choices[0]]
    sureness = scores.double().softmax(dim=1).amax(dim=1).cpu().numpy()
    frame, name = int(np.argmax(sureness)), episode.action_names[0]
    what = choice_names(policy)[0][int(episode.actions[frame, 0])]
    moment = f"at {episode.time_s[frame]:.1f} s: {name} {what}"
    return frame, moment, f"where the policy is surest of its {name}"


def _draw(report: Report, policy: Policy, episode: Episode) -> None:
    """Draw all figures that apply to a policy, its run and an inspected episode."""
    metrics_csv = report.run.folder / "metrics.csv"
    curves = figures.learning_curves(metrics_csv) if metrics_csv.is_file() else None
    if curves is not None:
        caption = "Loss and validation over the epochs; orange marks the checkpoint kept."
        report.figure("learning_curves", curves, caption)
    is_steered = list(episode.action_names) == ["steering"] or "cross_track_m" in episode.infos
    if episode.expert_actions is not None and is_steered:
        caption = (
            "What the policy steered, and what the legend's other driver did or would have done at"
            " the same places."
        )
        report.figure("steering", figures.steering(episode), caption)
    wiring = getattr(policy.circuit.cell, "wiring", None)
    if wiring is not None:
        find = _surest_choice if policy.choices else _largest_action
        frame, moment, which = find(policy, episode)
        figure = figures.wiring_at_work(episode, wiring, frame, moment)
        report.figure("wiring", figure, f"The wiring with its activity {which}.")
    report.figure("activity", figures.activity(episode), figures.OF_ACTIVITY)
