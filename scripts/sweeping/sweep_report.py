"""What a sweep tells at its end: tables, learning curves, warnings, and the best policy."""

import math
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ncp_control import files
from ncp_control.learning.run import Run
from ncp_control.markdown import markdown_table, plain
from scripts.reporting import Report
from scripts.sweeping.comparison import (
    Repeated,
    best_mean,
    draw_learning_curves,
    paired_differences,
    repeated,
)
from scripts.sweeping.tables import all_rows, rows_of_trials, summary
from scripts.sweeping.trials import FAILED, PRUNED, Curve, Trial

IN_TRAINING = "in metrics.csv"
"""What tells a value of a training's curve from the result of its evaluation in the table."""
_OF_MEANS = "Mean over seeds ± half width of its 95 % t interval."
_OF_SURVIVORS = (
    "Means are those of the finished trainings, so a combination of which some failed or were"
    " pruned may look better than it is."
)
_OF_DIFFERENCES = (
    "Differences from {}, which has the best mean {}, on equal seeds: mean ± half width of the"
    " 95 % t interval of the paired differences. An interval that holds 0 may be chance; of many"
    " intervals, so may one or two others."
)
_OF_CURVES = "Learning curves: {} in metrics.csv; mean over the seeds, and range as a band"


def tell(trials: Sequence[Trial], run: Run, curve: Curve) -> None:
    """Print and report what the trials yielded, and save the best policy as that of the sweep.

    Raises:
        SystemExit: If a trial failed, after all else is done.
    """
    rows, ended = all_rows(trials), rows_of_trials(trials, curve)
    report = _Told(run.report, run, run.folder.name)
    table = summary(rows, ended, list(trials[0].values))
    report.tell_table(table, _OF_MEANS if "±" in table else "")
    num_pruned = sum(trial.state == PRUNED for trial in trials)
    failed = [trial for trial in trials if trial.state == FAILED]
    if num_pruned:
        report.tell(f"{num_pruned} of {len(trials)} trainings were pruned.")
    combinations = repeated(trials, curve)
    if any(one.trials and not one.is_whole for one in combinations):
        report.tell(_OF_SURVIVORS)
    best = best_mean(combinations, curve)
    if best is not None:
        header, lines = paired_differences(combinations, best, f"{curve.name} {IN_TRAINING}")
        if lines:
            report.tell_table(
                markdown_table(header, lines), _OF_DIFFERENCES.format(best.name, header[2])
            )
    figure = draw_learning_curves(combinations, curve)
    if figure is not None:
        report.figure("learning_curves", figure, _OF_CURVES.format(curve.name))
    for warning, number in Counter(one for trial in trials for one in trial.warnings()).items():
        report.tell(f"warning: {warning} ({number} of {len(trials)} trainings)")
    for trial in failed:
        reason = (trial.outcome or {})["reason"]
        report.tell(f"trial {trial.number} failed with {reason}; see {trial.log}")
    _keep_best(trials, run, curve, best)
    report.write()
    if rows:
        print(f"results: {run.results}")
    print(f"report: {run.report / 'report.md'}")
    if failed:
        raise SystemExit(
            f"failed: {len(failed)} of {len(trials)} trainings, with logs as listed above in"
            f" {run.trials}; --resume {run.folder} tries them again"
        )


class _Told(Report):
    """Report whose sentences and tables are printed, too."""

    def tell(self, sentence: str) -> None:
        """Add a paragraph of plain text."""
        print(sentence)
        self.say(plain(sentence))

    def tell_table(self, table: str, caption: str) -> None:
        """Add a table in Markdown, and its caption if it has one."""
        print(table)
        self.say(table)
        if caption:
            self.tell(caption)


def _keep_best(trials: Sequence[Trial], run: Run, curve: Curve, mean: Repeated | None) -> None:
    """Save the policy of the best trial as that of the sweep, and print whose it is."""
    best = best_policy(trials, curve)
    if best is None:
        return
    trial, policy, score = best
    with files.new_folder(run.policy) as new:
        shutil.copytree(policy, new, dirs_exist_ok=True)
    text = f"{curve.name} {score:.5g} {IN_TRAINING}: trial {trial.number}, {trial.described()}"
    print(f"policy: {run.policy}, of the best {text}")
    if mean is not None and trial not in mean.trials:
        print(
            f"the best mean {curve.name} over seeds is another combination's: {mean.name},"
            f" {mean.mean_score:.5g} of {len(mean.scores)} trainings"
        )


def best_policy(trials: Sequence[Trial], curve: Curve) -> tuple[Trial, Path, float] | None:
    """Return the best trial, its policy folder and its score; on a tie, the first trial."""
    best, best_score = None, math.nan
    for trial in trials:
        run, score = trial.best(curve) if trial.is_done else (None, math.nan)
        if run is not None and (run / "policy").is_dir() and curve.is_better(score, best_score):
            best, best_score = (trial, run / "policy", score), score
    return best
