"""The report of a run: tables, figures, a film, and a page that holds them together.

report/
    report.md             the page: table, figures with captions, settings, versions
    table.csv             the table with all digits
    learning_curves.png   loss and validation over the epochs, where something was learned
    steering.png          the policy's steering against the expert's
    track.png             held-out tracks from above, coloured by error (driving only)
    wiring.png            the wiring with its activity in a bend (wired circuits only)
    activity.png          every neuron over the episode
    drive.mp4             the film (driving only)
"""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from envs.driving.metrics import LaneMetrics, LaneTrace, summarize
from ncp_control import files
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.learning.run import Run
from ncp_control.policy import Policy
from scripts.evaluation import figures
from scripts.evaluation.episode import Episode, drive_episode, replay_episode
from scripts.evaluation.film import Film
from scripts.markdown import json_block, markdown_table, plain
from scripts.pictures import write_picture

Row = tuple[str, float, LaneMetrics]
"""Model, variance of the pixel noise, metrics."""

_CAPTIONS = {
    "learning_curves": "Loss and validation over the epochs; orange marks the checkpoint kept.",
    "steering": "What the policy steered, and what the expert would have done at the same places.",
    "track": "Tracks from above, the driven line coloured by its error; the worst drives first.",
    "wiring": "The wiring with its activity in the sharpest bend.",
    "activity": "Every neuron over the episode.",
}


def metrics_table(rows: Sequence[Row]) -> str:
    """Return a table of how well lanes were kept, with 95 % intervals."""
    header = [
        "model",
        "noise variance",
        "driven [km]",
        "crashes",
        "crashes per km",
        "mean cross-track error [m]",
        "roughness [rad/s]",
    ]
    return markdown_table(header, [_cells(*row) for row in rows])


def write_driving_report(
    run: Run,
    policy: Policy,
    traces: Sequence[LaneTrace],
    *,
    rows: Sequence[Row] | None = None,
    seconds: float = 20.0,
    seed: int = 0,
) -> Path:
    """Write the report of a policy that drives; an older report is replaced as a whole.

    Args:
        run: Whose report it is.
        policy: The policy to look into; it drives the first of the tracks once more, on film.
        traces: What it drove in evaluation.
        rows: The table; the metrics of the traces if None.
        seconds: Length of the film [s].
        seed: Seed of the evaluation, so that the track looks the same.

    Returns:
        The page, `report.md`.
    """
    if rows is None:
        rows = [(_read_config(run)["model"], 0.0, summarize(traces))]
    with files.new_folder(run.report) as folder:
        with Film(folder / "drive.mp4") as film:
            episode = drive_episode(
                policy, track=traces[0].track, seconds=seconds, seed=seed, film=film
            )
        drawn = _draw(run, policy, episode) | {"track": figures.tracks(traces)}
        _save_figures(folder, drawn)
        files.write_file(folder / "table.csv", _metrics_csv(rows))
        text = [
            metrics_table(rows),
            "Intervals are for 95 % confidence: of crashes per km the exact Poisson interval, of"
            " the cross-track error the t interval over tracks.",
            f"[Film of {seconds:g} s on track {traces[0].track}](drive.mp4): the car from behind"
            " and what its camera sees; the blue bar is the policy's steering, the white mark the"
            " expert's. Film and figures but for the tracks are of a drive of their own, through"
            " the ground-plane camera and without pixel noise.",
        ]
        files.write_file(folder / "report.md", _page(run, text, drawn))
    return run.report / "report.md"


def write_recorded_report(
    run: Run, policy: Policy, store: Demonstrations, error: float, doubts: Sequence[str] = ()
) -> Path:
    """Write the report of a policy that watched a recording.

    Args:
        run: Whose report it is.
        policy: The policy to look into.
        store: The recording it is tested on; its longest episode is shown.
        error: Its mean squared error on that recording.
        doubts: Why that error may say little, each a sentence or two.

    Returns:
        The page, `report.md`.
    """
    episode = replay_episode(policy, store)
    variance = float(np.var(store.actions))
    rows = [["policy", f"{error:.5f}"], ["mean of the recording", f"{variance:.5f}"]]
    header = ["predictor", "MSE [action²]"]
    with files.new_folder(run.report) as folder:
        drawn = _draw(run, policy, episode)
        _save_figures(folder, drawn)
        files.write_file(folder / "table.csv", _csv(header, rows))
        shown = f"Shown: {len(episode.time_s)} frames, {episode.time_s[-1]:.0f} s."
        warned = [f"**Warning:** {doubt}" for doubt in doubts]
        text = [*warned, markdown_table(header, rows), shown]
        files.write_file(folder / "report.md", _page(run, text, drawn))
    return run.report / "report.md"


def _draw(run: Run, policy: Policy, episode: Episode) -> dict[str, Figure]:
    """Return the figures that a policy and its run have, by name."""
    drawn = {"steering": figures.steering(episode), "activity": figures.activity(episode)}
    wiring = getattr(policy.circuit.cell, "wiring", None)
    if wiring is not None:
        drawn["wiring"] = figures.wiring_in_a_bend(episode, wiring)
    metrics_csv = run.folder / "metrics.csv"
    curves = figures.learning_curves(metrics_csv) if metrics_csv.is_file() else None
    if curves is not None:
        drawn["learning_curves"] = curves
    return drawn


def _save_figures(folder: Path, drawn: dict[str, Figure]) -> None:
    for name, figure in drawn.items():
        write_picture(folder / f"{name}.png", figure)


def _cells(model: str, noise_variance: float, metrics: LaneMetrics) -> list[str]:
    """Return a row of the metrics table as text."""
    m = metrics
    # One track gives no interval.
    is_known = math.isfinite(m.mean_cross_track_m_halfwidth)
    halfwidth = f" ± {m.mean_cross_track_m_halfwidth:.3f}" if is_known else ""
    interval = f"[{m.crashes_per_km_low:.2f}, {m.crashes_per_km_high:.2f}]"
    return [
        model,
        f"{noise_variance:g}",
        f"{m.driven_km:.2f}",
        str(m.crashes),
        f"{m.crashes_per_km:.2f} {interval}",
        f"{m.mean_cross_track_m:.3f}{halfwidth}",
        f"{m.roughness_radps:.3f}",
    ]


def _metrics_csv(rows: Sequence[Row]) -> str:
    names = [field.name for field in dataclasses.fields(LaneMetrics)]
    return _csv(
        ["model", "noise_variance", *names],
        [[model, variance, *dataclasses.astuple(metrics)] for model, variance, metrics in rows],
    )


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([header, *rows])
    return table.getvalue()


def _page(run: Run, text: Sequence[str], drawn: dict[str, Figure]) -> str:
    """Return the page: text, then figures with captions, then what the numbers depend on."""
    shown = [
        f"![{caption}]({name}.png)\n\n{caption}"
        for name, caption in _CAPTIONS.items()
        if name in drawn
    ]
    how = f"## Settings and versions\n\n{json_block(_read_config(run))}"
    return "\n\n".join([f"# {plain(run.folder.name)}", *text, *shown, how]) + "\n"


def _read_config(run: Run) -> dict:
    return json.loads((run.folder / "config.json").read_text())
