"""Where a table's rows go: to a run folder, and to the published tables only by name."""

import re
import shutil
from pathlib import Path

import pytest

from ncp_control.learning.results import ResultsFile, read_header, read_table
from scripts.reproduce import TABLES, reproduce
from scripts.reproduction import (
    ablation,
    digits,
    expressivity,
    forecasts,
    halfcheetah_best,
    showing,
    walker2d,
    xor,
)
from scripts.reproduction.completion import Reproduce
from scripts.reproduction.measures import ACCURACY

QUICK = ["expressivity", "--models", "ltc", "ctrnn", "--seeds", "2"]


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    monkeypatch.setattr(expressivity, "WIDTHS", (5,))
    monkeypatch.setattr(expressivity, "SCALES", (2.0,))
    monkeypatch.setattr(expressivity, "DEFAULT_WIDTH", 5)


@pytest.fixture
def published(monkeypatch, tmp_path):
    """The published tables as a clone has them, in the folder where the job is typed."""
    folder = tmp_path / "results"
    shutil.copytree(showing.PUBLISHED, folder, ignore=shutil.ignore_patterns("benchmark"))
    monkeypatch.setattr(showing, "PUBLISHED", folder)
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_table_is_measured_and_not_read_from_the_clone(
    type_command, published, tmp_path, capsys, read
):
    before = contents(published)
    assert type_command(reproduce, Reproduce, *QUICK) == 0
    printed = capsys.readouterr().out
    assert "0 of 4 trainings are there" in printed
    (run,) = (tmp_path / "runs").glob("reproduce-expressivity-*")
    rows = read(run / "expressivity.csv")
    assert sorted((row["model"], row["seed"]) for row in rows) == [
        ("ctrnn", "0"), ("ctrnn", "1"), ("ltc", "0"), ("ltc", "1"),
    ]  # fmt: skip
    assert {"config.json", "expressivity.png", "bounds.png"} <= {p.name for p in run.iterdir()}
    assert contents(published) == before
    assert type_command(reproduce, Reproduce, *QUICK) == 0
    assert "0 of 4 trainings are there" in capsys.readouterr().out, "a run of its own"


def test_a_stopped_table_goes_on_as_it_says(type_command, tmp_path, capsys, read, monkeypatch):
    def stop(job, is_silent, measure=expressivity.measure):
        if job.model == "ctrnn":
            raise KeyboardInterrupt
        return measure(job, is_silent)

    with monkeypatch.context() as patch:
        patch.setattr(expressivity, "measure", stop)
        assert type_command(reproduce, Reproduce, *QUICK) == 130
    (folder,) = re.findall(
        r"the same command with (--results \S+) goes on", capsys.readouterr().out
    )
    assert type_command(reproduce, Reproduce, *QUICK, *folder.split()) == 0
    assert "2 of 4 trainings are there" in capsys.readouterr().out
    (run,) = (tmp_path / "runs").iterdir()
    assert len(read(run / "expressivity.csv")) == 4


def test_published_tables_grow_only_by_name(type_command, published, tmp_path, capsys):
    rows, _ = read_table(
        published / "expressivity.csv", read_header(published / "expressivity.csv")
    )
    before = contents(published)
    assert type_command(reproduce, Reproduce, *QUICK, "--results", "results") == 0
    grown = (published / "expressivity.csv").read_bytes()
    assert grown.startswith(before["expressivity.csv"])
    assert grown.count(b"\n") == len(rows) + 1 + 4
    assert not (tmp_path / "runs").exists()


NOT_MEASURED = ("har", "person", "power", "smnist")
"""Tables of which nothing is published yet."""


@pytest.mark.parametrize("table", NOT_MEASURED)
def test_a_table_that_nobody_has_measured_says_so(type_command, tmp_path, capsys, table):
    assert type_command(reproduce, Reproduce, table, "--show") == 2
    assert f"must hold {table}.csv to be shown" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("table", [table for table in TABLES if table not in NOT_MEASURED])
def test_a_published_table_is_shown_and_nothing_is_trained(
    type_command, published, tmp_path, capsys, monkeypatch, table
):
    monkeypatch.setattr(TABLES[table].replace(":", "."), lambda settings: pytest.fail("trained"))
    before = contents(published)
    assert type_command(reproduce, Reproduce, table, "--show") == 0
    printed = capsys.readouterr().out
    name = "ablation" if table in ("wiring", "integrators") else table
    columns = read_header(published / f"{name}.csv")
    rows, damaged = read_table(published / f"{name}.csv", columns)
    assert damaged == 0 and "nothing was trained now" in printed
    assert "± is the standard deviation over seeds." in printed
    for column in ("command", "processor"):
        assert all(row[column] in printed for row in rows)
    assert contents(published) == before
    assert not (tmp_path / "runs").exists()


def test_what_is_shown_is_mean_deviation_and_source(type_command, tmp_path, capsys):
    results = ResultsFile(tmp_path / "run" / "xor.csv", ["error", "neurons", "curve", "best"])
    for seed, error in ((0, 9.0), (0, 1.0), (1, 2.0), (2, 3.0)):
        row = {"error": error, "neurons": 19, "curve": "1 2", "time": f"2026-01-0{seed + 1}T00:00"}
        results.append("ltc", seed, "lr=1", {**row, "commit": "0123456789abcdef"}, "python a.py")
    results.append("cfc", 0, "lr=2", {"error": 1234.5678, "commit": "", "time": ""}, "python b.py")
    results.path.write_text(results.path.read_text() + "ltc,3,cut o")
    assert type_command(reproduce, Reproduce, "xor", "--show", "--results", "run") == 0
    printed = capsys.readouterr().out
    assert "run/xor.csv: 4 trainings" in printed
    assert re.search(r"\| model \| seeds \| error +\| neurons \| settings \|", printed)
    assert re.search(r"\| ltc +\| 3 +\| 2.0000 ± 1.0000 \| 19 +\| \[1\]", printed)
    assert re.search(r"\| cfc +\| 1 +\| 1234.6 +\| – +\| \[2\]", printed)
    first, second = printed.split("\n\n[")[1:]
    assert first.startswith("1] lr=1\n    python a.py\n    commit: 012345678\n")
    assert "measured: 2026-01-01 to 2026-01-03\n" in first
    assert (
        "2] lr=2\n    python b.py\n    commit: not recorded\n    measured: not recorded" in second
    )
    assert "left out: 1 older rows of trainings that were measured again\n" in printed
    assert "left out: 1 damaged rows\n" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--show", "--seeds", "2"], "`seeds` must be left out with --show, got 2"),
        (["--show", "--data", "x"], "`data` must be left out with --show, got"),
        (["--show", "--results", "x"], "`results` must hold expressivity.csv to be shown, got 'x'"),
        (["--show", "--results", "other"], "must be a table of results, got the columns"),
        (["--results", "other"], r"must have the columns .*, got \['a', 'b'\]"),
        (["--results", "file"], "Not a folder: .*file"),
        (["--models", "ltx"], "`models` must be one of"),
    ],
)
def test_a_refused_table_leaves_nothing(refuse, tmp_path, words, message):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "expressivity.csv").write_text("a,b\n1,2\n")
    (tmp_path / "file").touch()
    refuse(reproduce, Reproduce, ["expressivity", *words], message)
    assert {path.name for path in tmp_path.iterdir()} == {"other", "file"}


def test_a_table_is_refused_before_its_traces_are_made(refuse, tmp_path, monkeypatch):
    monkeypatch.setattr(walker2d, "find_or_make", lambda *_: pytest.fail("made traces"))
    (tmp_path / "file").touch()
    refuse(reproduce, Reproduce, ["walker2d", "--results", "file"], "Not a folder: .*file")


def test_a_seed_measured_twice_counts_once_and_that_is_told(tmp_path, capsys):
    settings = Reproduce(table="expressivity", models=("ltc",), seeds=2, results=tmp_path)
    results = settings.results_file(("stretch",))
    for seed, value in ((0, 900.0), (0, 1.0), (1, 2.0)):
        results.append("ltc", seed, expressivity.describe(5, 2.0), {"stretch": value}, "")
    reproduce(settings)
    printed = capsys.readouterr().out
    assert "2 of 2 trainings are there" in printed
    assert "left out: 1 older rows" in printed
    assert re.search(r"\| 5 +\| 2 +\| 1.5 \|", printed), "the median of 1 and 2"


def append_twice(path, measures, model, settings):
    """Write seeds 0, 0 and 1 with 900, 1 and 2 as every measure: the mean of what counts is 1.5."""
    results = ResultsFile(path, measures)
    for seed, value in ((0, 900.0), (0, 1.0), (1, 2.0)):
        results.append(model, seed, settings, dict.fromkeys(measures, value), "")


def test_each_table_of_classifiers_counts_a_seed_once(tmp_path, capsys):
    settings = xor.training_settings("dense", "lstm", 3)
    append_twice(tmp_path / "xor.csv", ACCURACY.columns, "lstm", settings)
    told = {"models": ("lstm",), "seeds": 2, "epochs": 3, "results": tmp_path}
    reproduce(Reproduce(table="xor", tasks=("dense",), **told))
    assert re.search(r"\| dense +\| lstm +\| 2 +\| 1.50 ± 0.71 ", capsys.readouterr().out)
    settings = f"split=0 {digits.training_settings('lstm', 3)}"
    append_twice(tmp_path / "digits.csv", ACCURACY.columns, "lstm", settings)
    for name in digits.linear_names("digits"):
        append_twice(tmp_path / "digits.csv", ACCURACY.columns, name, "split=0")
    reproduce(Reproduce(table="digits", **told))
    printed = capsys.readouterr().out
    assert re.search(r"\| lstm +\| 2 +\| 1.50 ± 0.71 ", printed)
    assert "left out: 3 older rows" in printed


def test_the_table_of_wirings_counts_a_seed_once(tmp_path, capsys):
    settings = Reproduce(
        table="wiring", tasks=("drive",), models=("ncp",), seeds=2, results=tmp_path
    )
    described = ablation.task_settings("drive", settings)
    append_twice(tmp_path / "ablation.csv", ablation.MEASURES, "ncp", described)
    reproduce(settings)
    assert re.search(r"\| ncp +\| 2 +\| 1.0 +\| 1.0 +\| 1.5000 ± 0.7071 ", capsys.readouterr().out)


def test_the_tables_of_forecasts_count_a_seed_once(tmp_path, capsys, traces, monkeypatch):
    measures, window = forecasts.MEASURES, f"window=32 stride=10 {forecasts.traces_note(traces)}"
    path = tmp_path / "halfcheetah-best.csv"
    for name in forecasts.LINEAR:
        append_twice(path, measures, name, window)
    best = f"{window.replace('10', '2', 1)} {halfcheetah_best.training_settings('lstm', 3)}"
    append_twice(path, measures, "lstm", best)
    cause = f"5% random actions {forecasts.traces_note(traces)}"
    for floor in (900.0, 2.0):
        ResultsFile(path, measures).append("noise floor", 0, cause, {"test_mse": floor}, "")
    table = "halfcheetah-best"
    reproduce(
        Reproduce(table=table, data=traces, models=("lstm",), seeds=2, epochs=3, results=tmp_path)
    )
    printed = capsys.readouterr().out
    assert "2 of 2 trainings are there" in printed
    assert re.search(r"\| lstm +\| 2 +\| 1.500 ± 0.707 ", printed)
    assert "noise floor of 5% random actions: MSE 2.00" in printed


def test_all_published_tables_are_whole():
    for path in Path(showing.PUBLISHED).glob("*.csv"):
        _, num_damaged = read_table(path, read_header(path))
        assert num_damaged == 0
