"""Parts of a sweep: grids, trials and their words, learning curves, and the table."""

from pathlib import Path

import numpy as np
import pytest

from scripts.sweeping.points import Points
from scripts.sweeping.settings import Sweep
from scripts.sweeping.sweep_job import is_behind
from scripts.sweeping.sweep_report import best_policy
from scripts.sweeping.tables import summary
from scripts.sweeping.trials import (
    CURVES,
    DONE,
    FAILED,
    PRUNED,
    Curve,
    Trial,
    command_of,
    curve_of,
    read_grid,
    words_of,
)
from scripts.training.jobs import JOBS


def test_a_grid_is_read_with_commas_in_brackets_and_several_words():
    words = ["seed=0,1", "log_options=crop=[0.3,0.1],stack=2", "encoder=64 64,32"]
    assert read_grid(words) == {
        "seed": ["0", "1"],
        "log_options": ["crop=[0.3,0.1]", "stack=2"],
        "encoder": ["64 64", "32"],
    }
    for word in ("seed", "seed=", "=3", "seed=0,,1", "seed=0,0"):
        with pytest.raises(ValueError, match="`grid` must be settings with values, each once"):
            read_grid([word])


def test_values_become_the_words_of_the_job():
    settings = Sweep(job="drive", grid=("seed=0,1",), fixed="--tracks 4 --data 'my data'")
    values = {
        "seed": 1,
        "imitation.batch_size": "8",
        "encoder": "64 32",
        "a.mirror": "no",
        "b": "yes",
    }
    assert words_of(settings, values) == [
        *("drive", "--tracks", "4", "--data", "my data", "--seed", "1"),
        *("--imitation.batch-size", "8", "--encoder", "64", "32", "--a.no-mirror", "--b"),
        *("--threads", "1"),
    ]  # fmt: skip
    asked = Sweep(job="ppo", grid=("seed=0,1",), fixed="--threads=3", threads=2)
    assert words_of(asked, {"seed": 1}) == ["ppo", "--threads=3", "--seed", "1"]
    for fixed, name in (("--runs x", "runs"), ("--results=t.csv", "results")):
        with pytest.raises(ValueError, match=f"`{name}` must be left out: a sweep decides it"):
            words_of(Sweep(job="drive", grid=("seed=0",), fixed=fixed), {})


def test_a_trial_goes_on_only_from_a_checkpoint(tmp_path):
    words, run = ["drive", "--seed", "1"], tmp_path / "runs" / "drive-1"
    first = [*words, "--runs", str(tmp_path / "runs")]
    assert command_of(words, tmp_path) == first
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.json").touch()
    assert command_of(words, tmp_path) == first
    assert not run.exists()  # it would only be in the way
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.json").touch()
    (run / "checkpoints" / "training.safetensors").touch()
    assert command_of(words, tmp_path) == ["drive", "--resume", str(run)]


def test_a_trial_with_several_runs_is_as_good_as_the_best_of_them(tmp_path):
    """One of `recorded` trains in several ways and keeps the best."""
    for name, scores in (("a", (3, 2)), ("b", (4, 1)), ("c", (1, 1))):
        run = tmp_path / "runs" / name
        (run / "policy").mkdir(parents=True)
        (run / "config.json").touch()
        (run / "metrics.csv").write_text("score\n" + "".join(f"{score}\n" for score in scores))
    trial = Trial(number=0, values={}, folder=tmp_path)
    assert trial.best(CURVES["recorded"]) == (tmp_path / "runs" / "b", 1.0)
    trial.end(DONE)
    assert best_policy([trial], CURVES["recorded"]) == (trial, tmp_path / "runs/b/policy", 1.0)


def test_curves_say_what_is_best():
    rows = [{"score": "3"}, {"score": ""}, {"score": "1"}, {"score": "2"}]
    lowest, highest = Curve(name="score", is_lowest=True), Curve(name="score")
    assert lowest.best_so_far(rows) == [3.0, 1.0, 1.0]
    assert highest.best_so_far(rows) == [3.0, 3.0, 3.0]
    assert (lowest.score(rows), Curve(name="score", is_last=True).score(rows)) == (1.0, 2.0)
    assert np.isnan(highest.score([]))
    assert lowest.is_better(1.0, float("nan")) and not lowest.is_better(float("nan"), 1.0)
    assert set(CURVES) == set(JOBS)


def test_settings_of_a_sweep_that_contradict_each_other_are_refused(tmp_path):
    pytest.importorskip("optuna")
    both = Sweep(job="ppo", grid=("neurons=16,24",), search=("neurons=16..64",))
    with pytest.raises(
        ValueError, match=r"`search` must name settings .* got \['neurons'\] in both"
    ):
        Points(both, tmp_path, CURVES["ppo"])
    with pytest.raises(ValueError, match="`lowest` must come with --by"):
        Sweep(job="ppo", grid=("seed=0,1",), lowest=True)
    last = curve_of(Sweep(job="ppo", grid=("seed=0,1",), by="mean_return"))
    assert last.score([{"mean_return": "900"}, {"mean_return": "10"}]) == 10.0


def test_a_trial_lags_when_it_is_worse_than_the_median_after_as_many_rows():
    curve, others = Curve(name="score", is_lowest=True), [[9, 8, 7, 1], [9, 8, 5], [9, 8, 3], [9]]
    assert is_behind([9, 8, 6], others, curve)
    assert not is_behind([9, 8, 4], others, curve)
    assert not is_behind([9, 9], others, curve)  # too early
    assert not is_behind([9, 8, 6, 5], others, curve)  # only one of the others came so far


def test_the_table_has_means_with_intervals_over_seeds():
    rows = [
        {"trial": str(i), "seed": str(i), "neurons": "8", "model": "ltc", "mean_return": str(x)}
        | {"half_width": "1", "command": "c"}
        for i, x in enumerate((1.0, 2.0, 6.0))
    ]
    half = 4.302653 * np.std([1, 2, 6], ddof=1) / np.sqrt(3)
    ended = [{"trial": row["trial"], "neurons": "8", "state": DONE} for row in rows]
    _, _, line = summary(rows, ended, ["seed", "neurons"]).splitlines()
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        *("ltc", "8", "3", "0", "0", f"3 ± {half:.2g}"),
    ]  # fmt: skip


def test_the_table_counts_trials_that_did_not_finish_and_has_a_row_where_none_did():
    ended = [
        {"trial": str(i), "seed": str(i % 3), "cell": cell, "rate": "1", "state": state}
        for i, (cell, state) in enumerate(
            [("ltc", DONE), ("ltc", PRUNED), ("ltc", FAILED), *[("lrc", FAILED)] * 3]
        )
    ]
    row = {"trial": "0", "seed": "0", "cell": "ltc", "rate": "1", "model": "ltc", "x": "7"}
    head, _, *lines = summary([row], ended, ["seed", "cell", "rate"]).splitlines()
    assert [cell.split() for cell in (head, *lines)] == [
        "| model | rate | finished | failed | pruned | x |".split(),
        "| ltc | 1 | 1 | 1 | 1 | 7 |".split(),
        "| lrc | 1 | 0 | 3 | 0 | – |".split(),
    ]
    head, _, *lines = summary([], ended[3:], ["seed", "cell"]).splitlines()
    assert [cell.split() for cell in (head, *lines)] == [
        "| model | cell | finished | failed | pruned |".split(),
        "| – | lrc | 0 | 3 | 0 |".split(),
    ]


def test_the_table_has_measures_that_simple_predictors_lack():
    ended = [{"trial": "0", "rate": "1", "state": DONE}]
    beside = {"trial": "0", "rate": "1", "note": ""}
    rows = [
        beside | {"model": "persistence", "parameters": "", "rmse": "3"},
        beside | {"model": "ltc", "parameters": "800", "rmse": "2"},
    ]
    head, _, *lines = summary(rows, ended, ["rate"]).splitlines()
    assert [cell.split() for cell in (head, *lines)] == [
        "| model | rate | finished | failed | pruned | parameters | rmse |".split(),
        "| persistence | 1 | 1 | 0 | 0 | – | 3 |".split(),
        "| ltc | 1 | 1 | 0 | 0 | 800 | 2 |".split(),
    ]


def test_the_table_names_a_model_once_and_drawn_numbers_with_few_digits():
    row = {"trial": "0", "cell": "ltc", "rate": "0.0012520653814999472", "model": "ltc", "x": "1"}
    head, _, line = summary([row], [row | {"state": DONE}], ["cell", "rate"]).splitlines()
    assert head.split("|")[1:4] == [" model ", " rate     ", " finished "]
    assert "| 0.001252 |" in line
    values = {"rate": 0.0012520653814999472, "small": 1.2520653814999e-06, "grid": "0.0003"}
    trial = Trial(number=0, values=values, folder=Path("trial"))
    assert trial.described() == "rate=0.001252 small=1.252e-06 grid=0.0003"


def test_drawn_numbers_have_as_many_digits_as_tell_them_apart():
    drawn = ["0.00125206538149994", "0.00125207999999999", "0.5123456789"]
    ended = [{"trial": f"{i}", "rate": rate, "state": DONE} for i, rate in enumerate(drawn)]
    rows = [row | {"model": "ltc", "x": "1"} for row in ended]
    lines = summary(rows, ended, ["rate"]).splitlines()[2:]
    told = [line.split("|")[2].strip() for line in lines]
    assert told == ["0.00125207", "0.00125208", "0.512346"]
