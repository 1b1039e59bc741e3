"""Comparison of the combinations of a sweep over their seeds."""

import math
import statistics
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ncp_control.learning.results import Row
from scripts.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, tidy
from scripts.sweeping.tables import mean, measures_of
from scripts.sweeping.trials import Curve, Trial, described, read_metrics

COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK, GREY)
"""Colours of the combinations in a figure, and thereby the largest number of them."""


class Repeated:
    """A combination of values, and the trials that were trained with it for different seeds.

    Args:
        trials: All trials of the combination that have ended.
        curve: Column by which trials are judged.
    """

    def __init__(self, trials: Sequence[Trial], curve: Curve) -> None:
        self.name = described(trials[0].combination) or "all"
        """The values in one line."""
        self.trials = [trial for trial in trials if trial.is_done]
        """Trials that are done."""
        self.is_whole = len(self.trials) == len(trials)
        """Whether no trial failed or was pruned."""
        self.has_seeds = "seed" in trials[0].values
        """Whether the trials differ in their seed; a search may also draw the same values twice."""
        scores = {trial.number: trial.best(curve)[1] for trial in self.trials}
        self.scores = {number: score for number, score in scores.items() if math.isfinite(score)}
        """Value of the column for each trial, by number."""

    @property
    def mean_score(self) -> float:
        """Mean of `scores`; NaN if there are none."""
        return statistics.fmean(self.scores.values()) if self.scores else math.nan


def repeated(trials: Sequence[Trial], curve: Curve) -> list[Repeated]:
    """Return the combinations of the trials that have ended, in order."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.outcome is not None:
            groups.setdefault(repr(trial.combination), []).append(trial)
    return [Repeated(group, curve) for group in groups.values()]


def best_mean(combinations: Sequence[Repeated], curve: Curve) -> Repeated | None:
    """Return the combination with the best mean score.

    If a trial of a combination failed or was pruned, its mean is that of the better seeds, so a
    combination without such trials is preferred. None if no combination has scores of two seeds.
    """
    several = [one for one in combinations if len(one.scores) > 1 and one.has_seeds]
    best: Repeated | None = None
    for one in [one for one in several if one.is_whole] or several:
        if best is None or curve.is_better(one.mean_score, best.mean_score):
            best = one
    return best


def paired_differences(
    combinations: Sequence[Repeated], best: Repeated, score: str
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a table of differences from the best combination on equal seeds.

    Each cell is the mean of the paired differences ± half the width of its 95 % t interval.

    Args:
        combinations: All combinations, in the order of the rows.
        best: The combination that is subtracted from the others.
        score: Title of the column by which trials are judged.
    """
    rows = [_last_row(trial) for one in combinations for trial in one.trials]
    names = list(best.trials[0].values)
    measures = [one for one in measures_of(rows, names) if all(row.get(one) for row in rows)]
    of_best = _by_seed(best, measures)
    lines = []
    for one in combinations:
        own = _by_seed(one, measures)
        pairs = [(own[seed], of_best[seed]) for seed in own if seed in of_best]
        if one is best or not pairs:
            continue
        differences = np.array([np.subtract(*pair) for pair in pairs])
        lines.append([one.name, str(len(pairs)), *(mean(list(x)) for x in differences.T)])
    return ["combination", "pairs", score, *measures], lines


def _last_row(trial: Trial) -> Row:
    """Return the row of the trained model; rows of simple predictors stand before it."""
    return (trial.rows() or [{}])[-1]


def _by_seed(one: Repeated, measures: Sequence[str]) -> dict[str, list[float]]:
    """Return score and measures of each trial that has a score, by its seed."""
    return {
        str(trial.values["seed"]): [
            one.scores[trial.number],
            *(float(_last_row(trial)[name]) for name in measures),
        ]
        for trial in one.trials
        if trial.number in one.scores
    }


def draw_learning_curves(combinations: Sequence[Repeated], curve: Curve) -> Figure | None:
    """Plot the column by which trials are judged over steps, for each combination.

    A thin line is one trial. The thick line is the mean, and the band reaches from the lowest to
    the highest trial, up to the step that all trials of the combination reached. Of many
    combinations, those with the best means are drawn. None if there is nothing to draw.
    """
    drawn = [one for one in combinations if one.scores]
    drawn.sort(key=lambda one: one.mean_score if curve.is_lowest else -one.mean_score)
    if not drawn:
        return None
    figure = Figure(figsize=(8.0, 4.5), layout="constrained")
    axes = figure.subplots()
    for one, colour in zip(drawn, COLOURS, strict=False):
        curves = [_points(trial, curve) for trial in one.trials if trial.number in one.scores]
        for points in curves:
            axes.plot(list(points), list(points.values()), color=colour, lw=0.7, alpha=0.5)
        steps = sorted(set.intersection(*map(set, curves)))
        values = np.array([[points[step] for step in steps] for points in curves])
        axes.plot(steps, values.mean(axis=0), color=colour, lw=2.0, label=one.name)
        axes.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.2, lw=0)
    axes.set(xlabel="step", ylabel=curve.name)
    some = f"the best {len(COLOURS)} of {len(drawn)}" if len(drawn) > len(COLOURS) else None
    axes.legend(title=some)
    tidy(axes)
    return figure


def _points(trial: Trial, curve: Curve) -> dict[float, float]:
    """Return the values of a column by step, of the best run folder of a trial."""
    run, _ = trial.best(curve)
    rows = read_metrics(run) if run is not None else []
    return {float(row["step"]): float(row[curve.name]) for row in rows if row.get(curve.name)}
