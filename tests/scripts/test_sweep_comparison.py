"""What a sweep tells of its combinations: differences on equal seeds, curves, best, warnings."""

import math

import numpy as np
import pytest
from scipy import stats

from ncp_control.learning.run import Run
from scripts.sweeping.comparison import (
    best_mean,
    draw_learning_curves,
    paired_differences,
    repeated,
)
from scripts.sweeping.settings import Sweep
from scripts.sweeping.sweep_report import tell
from scripts.sweeping.trials import CURVES, DONE, FAILED, Trial

CURVE = CURVES["imitate"]
LTC, LSTM = (
    {0: (4.0, 1.0), 1: (5.0, 3.0), 2: (9.0, 2.0)},
    {0: (1.0, 5.0), 1: (9.0, 4.0), 2: (9.5, 9.0)},
)
"""Scores and errors of two cells, by seed."""


@pytest.fixture
def make(tmp_path):
    """Return trials of cells that scored so, in the order of the seeds."""

    def trials(**cells):
        made = []
        for cell, measured in cells.items():
            for seed, (score, error) in measured.items():
                values = {"seed": str(seed), "cell": cell}
                trial = Trial(number=len(made), values=values, folder=tmp_path / f"{len(made):04d}")
                run = trial.folder / "runs" / "run"
                (run / "policy").mkdir(parents=True, exist_ok=True)
                (run / "config.json").write_text("{}")
                steps = [f"{step},{score + max(3 - step, 0)}" for step in range(1, 4 + seed)]
                (run / "metrics.csv").write_text("\n".join(["step,score", *steps]) + "\n")
                header = "model,seed,settings,test,command,commit,time,python"
                header += ",versions,processor,cores,threads"
                row = f"{cell},{seed},s,{error}" + "," * 8
                (run / "results.csv").write_text(f"{header}\n{row}\n")
                trial.begin([])
                trial.end(DONE if math.isfinite(score) else FAILED)
                made.append(trial)
        return made

    return trials


def test_differences_on_equal_seeds_are_those_of_a_paired_t_test(make):
    combinations = repeated(make(ltc=LTC, lstm=LSTM), CURVE)
    best = best_mean(combinations, CURVE)
    assert best is combinations[0] and best.name == "cell=ltc"
    header, (line,) = paired_differences(combinations, best, "score")
    assert header == ["combination", "pairs", "score", "test"]
    assert line[:2] == ["cell=lstm", "3"]
    for cell, column in zip(line[2:], (0, 1), strict=True):
        pairs = np.array([(LSTM[seed][column], LTC[seed][column]) for seed in LTC])
        low, high = stats.ttest_rel(*pairs.T).confidence_interval(0.95)
        assert cell == f"{(low + high) / 2:.4g} ± {(high - low) / 2:.2g}"


def test_only_seeds_of_both_are_compared_and_a_combination_that_lost_seeds_is_not_the_best(make):
    lost = {0: (0.5, 1.0), 1: (0.5, 3.0), 2: (math.nan, 1.0)}
    combinations = repeated(make(ltc=lost, lstm=LSTM), CURVE)
    best = best_mean(combinations, CURVE)
    assert best.name == "cell=lstm"
    _, ((name, pairs, *_),) = paired_differences(combinations, best, "score")
    assert (name, pairs) == ("cell=ltc", "2")
    assert best_mean(repeated(make(gru={0: (1.0, 1.0)}), CURVE), CURVE) is None
    drawn_twice = [Trial(number=t.number, values={}, folder=t.folder) for t in make(ltc=LTC)]
    assert best_mean(repeated(drawn_twice, CURVE), CURVE) is None


def test_learning_curves_show_mean_and_range_over_seeds(make):
    figure = draw_learning_curves(repeated(make(ltc=LTC, lstm=LSTM), CURVE), CURVE)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["cell=ltc", "cell=lstm"]
    thick = [line for line in axes.lines if line.get_linewidth() == 2.0]
    np.testing.assert_allclose(thick[0].get_xydata(), [[1, 8], [2, 7], [3, 6]])
    (band, _) = axes.collections
    low, high = band.get_paths()[0].vertices[:, 1].min(), band.get_paths()[0].vertices[:, 1].max()
    assert (low, high) == (4.0, 11.0)
    assert draw_learning_curves(repeated(make(gru={0: (math.nan, 0.0)}), CURVE), CURVE) is None


def test_the_end_tells_each_warning_once_and_the_best_mean_if_another_trial_is_the_best(
    make, tmp_path, capsys
):
    trials = make(ltc=LTC, lstm=LSTM)
    for trial in trials[:2]:
        trial.log.write_text("warning: steps are uneven\n" * 2 + "no warning: here\n")
    run = Run.create("sweep", "imitate", Sweep(job="imitate", grid=("seed=0",)), root=tmp_path)
    tell(trials, run, CURVE)
    told = capsys.readouterr().out
    page = (run.report / "report.md").read_text()
    for text in (told, page):
        assert text.count("steps are uneven") == 1
        assert "warning: steps are uneven (2 of 6 trainings)" in text and ": here" not in text
        assert "Mean over seeds ± half width of its 95 % t interval." in text
    assert "of the best score 1 in metrics.csv: trial 3, seed=0 cell=lstm" in told
    assert "the best mean score over seeds is another combination's: cell=ltc, 6 of" in told
    assert (run.report / "learning_curves.png").is_file()
