"""The job that learns from time series of a user's own."""

import csv
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from envs.series_rows import SeriesRows
from ncp_control import LTC, VectorPolicy, load
from ncp_control.commands.export import Export, export
from ncp_control.contract import ActionContract, Contract, Entry, VectorContract
from ncp_control.layers import num_parameters
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.wiring_rules import fully_connected
from scripts.audit import audit
from scripts.auditing.settings import Audit
from scripts.evaluate import evaluate_policy
from scripts.evaluation.settings import Evaluate
from scripts.recordings import opened
from scripts.running.calibration import calibrate
from scripts.running.campaign import campaign
from scripts.running.settings import Calibrate, Faults
from scripts.train import train
from scripts.training import series_report
from scripts.training.jobs import JOBS
from scripts.training.sac_settings import SAC
from scripts.training.series_doubts import doubts_of_result
from scripts.training.series_report import caption, compare, draw, measures_of, natural_order
from scripts.training.settings import Distill

QUICK = "--neurons 12 --imitation.window 16 --imitation.batch-size 4".split()


@pytest.fixture
def waves(tmp_path):
    """Two series at irregular times: a slow wave, and a class that is its sign."""
    generator = np.random.default_rng(0)
    path = tmp_path / "waves.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["t", "buoy", "height", "slope", "side"])
        for buoy in ("north", "south", "west"):
            time_s = np.cumsum(generator.uniform(0.05, 0.15, 400))
            heights, slopes = 3.0 + 2.0 * np.sin(2.0 * time_s), 4.0 * np.cos(2.0 * time_s)
            for t, height, slope in zip(time_s, heights, slopes, strict=True):
                side = "up" if height > 3 else "down"
                writer.writerow([f"{t:.4f}", buoy, f"{height:.4f}", f"{slope:.4f}", side])
    return path


def job(waves, *words):
    return ["series", "--data", waves, "--time", "t", "--series", "buoy", *QUICK, *words]


def results_in(folder):
    (path,) = folder.glob("*/results.csv")
    with path.open(newline="") as file:
        (row,) = csv.DictReader(file)
    return path.parent, row


def test_an_input_that_is_a_clock_is_named(waves, type_command, capsys):
    words = ["series", "--data", waves, "--target", "height", *QUICK, "--imitation.epochs", "1"]
    for more, is_told in ([], True), (["--time", "t"], False), (["--inputs", "slope"], False):
        assert type_command(train, JOBS, *words, "--series", "buoy", *more) == 0
        told = "inputs that rise in every row, as a clock does: t. " in capsys.readouterr().out
        assert told == is_told


def test_errors_are_measured_for_each_target_since_units_differ():
    wanted, said = np.array([[0.0, 0.0], [0.0, 0.0]]), np.array([[0.1, 0.7], [-0.1, 0.1]])
    last = np.ones((2, 2))
    coder = SimpleNamespace(
        classes=(), targets=("x", "p_pa"), unscale=lambda values: values * [1.0, 1000.0]
    )
    one = SimpleNamespace(observations=np.ones((2, 1)), wanted=wanted, last_known=last)
    table, measured = compare("ltc", coder, {"train": [one], "test": [one]}, [said], {})
    head, *_, own = ([cell.strip() for cell in row.split("|")] for row in table.splitlines())
    assert head[2:-1] == ["RMSE of x", "MAE of x", "RMSE of p_pa", "MAE of p_pa"]
    assert own[1:-1] == ["ltc", "0.1", "0.1", "500", "400"]
    assert tuple(measured) == measures_of(("x", "p_pa"), has_classes=False)
    errors = {"x rmse": 0.1, "x mae": 0.1, "p_pa rmse": 500.0, "p_pa mae": 400.0}
    assert measured == pytest.approx({**errors, "of_persistence": (0.1 + 0.5) / 2})
    assert measures_of(("x",), has_classes=False) == ("rmse", "mae", "of_persistence")


def test_inputs_whose_changes_are_not_seen_are_named(type_command, tmp_path, capsys):
    rows = [f"{i},{i % 7 + 1.7e9},{1e-6 * (i % 7)},5,{i % 5}" for i in range(300)]
    Path("data.csv").write_text("\n".join(["t,far,small,same,y", *rows]))
    words = ["--data", "data.csv", "--time", "t", "--target", "y", "--imitation.epochs", "1"]
    assert type_command(train, JOBS, "series", *words, *QUICK) == 0
    printed = capsys.readouterr().out
    assert "warning: inputs that are constant in the training part: same. Leave them" in printed
    assert "warning: 'far' is seen as constant: differences below 128 are lost in" in printed
    assert "Subtract 1.7e+09 from the column first" in printed
    assert "'small'" not in printed
    run, _ = results_in(tmp_path / "runs")
    np.testing.assert_allclose(load(run / "policy").observation_std[1], 2e-6, rtol=0.01)


def test_the_share_of_persistence_does_not_depend_on_units():
    """One target is told exactly, the other as persistence tells it: half, in any unit."""
    wanted, last = np.array([[0.1, 0.2], [0.2, 0.1]]), np.array([[0.0, 0.0], [0.1, 0.3]])
    said = np.column_stack([wanted[:, 0], last[:, 1]])
    shares = []
    for factor in (0.001, 1.0, 1000.0):
        scale = np.array([1.0, factor])
        coder = SimpleNamespace(
            classes=(), targets=("a", "b"), unscale=lambda values, scale=scale: values * scale
        )
        one = SimpleNamespace(observations=np.ones((2, 1)), wanted=wanted, last_known=last)
        table, measured = compare("ltc", coder, {"train": [one], "test": [one]}, [said], {})
        assert "ltc" in table
        shares.append(measured["of_persistence"])
    np.testing.assert_allclose(shares, 0.5)


def rows_of(wanted, time_s):
    return SeriesRows(
        name="room",
        time_s=time_s,
        file="room.csv",
        lines=np.arange(2, len(wanted) + 2),
        times=time_s.astype(str),
        observations=wanted,
        wanted=wanted,
        is_labelled=np.ones(len(wanted), np.bool_),
        dt_s=np.ones(len(wanted), np.float32),
        last_known=wanted,
    )


def test_the_figure_shows_a_gap_of_days_and_readable_times(monkeypatch):
    hours = np.r_[0:40, 112:152]
    wanted = np.sin(hours)[:, None].astype(np.float32)
    one = rows_of(wanted, 3600.0 * hours)
    coder = SimpleNamespace(classes=(), targets=("x",), unscale=lambda values: values)
    (axes,) = draw(coder, [one], [wanted]).axes
    assert axes.get_xlabel() == "time since the first row of the series [h]"
    for line in axes.lines:
        times, values = line.get_data()
        np.testing.assert_array_equal(np.flatnonzero(np.isnan(times)), [40])
        np.testing.assert_array_equal(np.delete(times, 40), hours)
        assert np.isnan(values[40])
    assert caption([one]) == "The test part"
    assert caption([one, one]) == "The longest series of the test part"
    monkeypatch.setattr(series_report, "SHOWN_ROWS", 50)
    assert caption([one]) == "The first 50 of 80 rows of the test part"
    assert len(draw(coder, [one], [wanted]).axes[0].lines[0].get_xdata()) == 51


def test_the_figure_orders_classes_as_a_person_would_and_names_some_of_many():
    names = [*map(str, (-2, 0, 1, 10, 2)), "room 1", "room 10", "room 9"]
    assert natural_order(names) == [0, 1, 2, 4, 3, 5, 7, 6]
    classes = tuple(sorted(map(str, range(25))))
    wanted = np.arange(25, dtype=np.float32)[:, None]
    one = rows_of(wanted, np.arange(25.0))
    coder = SimpleNamespace(classes=classes, targets=("state",))
    (axes,) = draw(coder, [one], [np.eye(25)]).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(map(str, range(0, 25, 3)))
    for line in axes.lines:  # the class of each row is drawn at its number
        np.testing.assert_array_equal(line.get_ydata(), [int(name) for name in classes])


def test_a_policy_that_is_worse_than_no_training_is_told():
    coder = SimpleNamespace(classes=())
    one = SimpleNamespace(
        wanted=np.array([[0.1], [0.3]]),
        last_known=np.array([[np.nan], [0.1]]),
        observations=np.ones((2, 1)),  # of which a linear map can only tell the mean
    )
    rows = {"train": [one], "test": [one]}  # mean 0.2: errors 0.1, 0.1; last known: 0.1, 0.2
    for said, told in (
        ([0.1, 0.25], []),
        (
            [0.25, 0.15],
            ["a linear map of each row and the training mean had a lower error than the poli"],
        ),
        ([0.5, 3.0], ["a linear map of each row and the last known value and the training mean h"]),
    ):
        doubts = doubts_of_result(coder, rows, [np.array(said)[:, None]])
        assert len(doubts) == len(told)
        assert all(doubt.startswith(text) for doubt, text in zip(doubts, told, strict=True))
    one.observations = np.array([[0.0], [1.0]])  # of which it tells the target
    (doubt,) = doubts_of_result(coder, rows, [np.array([[0.1], [0.25]])])
    assert doubt.startswith("a linear map of each row had a lower error than the policy. Raise --")
    coder.classes, one.wanted = ("down", "up"), np.array([[0.0], [1.0], [1.0]])
    scores = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert doubts_of_result(coder, rows, [scores]) == []  # as good as always up
    (doubt,) = doubts_of_result(coder, rows, [-scores])
    assert doubt.startswith("always telling the most frequent class had a lower error than")


def test_a_forecast_is_better_than_saying_that_nothing_changes(
    type_command, waves, tmp_path, capsys
):
    words = ["--target", "height", "--imitation.epochs", "12"]
    assert type_command(train, JOBS, *job(waves, *words, "--horizon", "5")) == 0
    run, row = results_in(tmp_path / "runs")
    printed = capsys.readouterr().out
    assert "only 168 optimizer steps in all (14 in each epoch). Raise --imitation.e" in printed
    told = "warning: a linear map of each row had a lower error than the policy. Raise --imit"
    assert told in printed, "a wave is a linear map of height and slope; nothing else is better"
    assert "not seen, since they hold no numbers in the training part: side. " in printed
    assert float(row["of_persistence"]) < 0.6
    assert f"{float(row['rmse']):.4g}" in printed
    policy = load(run / "policy")
    assert int(row["parameters"]) == num_parameters(policy)
    assert f"ltc: {num_parameters(policy):,} parameters, 12 neurons\n" in printed
    assert [entry.name for entry in policy.contract.observation.entries] == ["height", "slope"]
    assert policy.contract.action[0].name == "height 5 rows ahead"
    with (run / "report" / "predictions.csv").open(newline="") as file:
        told = list(csv.DictReader(file))
    assert {one["series"] for one in told} == {"north", "south", "west"}
    lines = [line.split(",") for line in waves.read_text().splitlines()]
    for one in told:  # it stands in the file as the row that was to be told
        t, buoy, height, *_ = lines[int(one["line"]) - 1]
        assert (one["time"], one["series"]) == (t, buoy)
        assert float(one["height true"]) == pytest.approx(float(height), abs=1e-5)
    errors = [float(one["height true"]) - float(one["height predicted"]) for one in told]
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(float(row["rmse"]), rel=1e-4)
    assert (run / "report" / "test.png").stat().st_size > 5_000
    assert type_command(export, Export, run / "policy", "--to", "c", "--out", "exported") == 0
    header = Path("exported/controller.h").read_text()
    found = (re.search(rf"ACTION_{name} {{(.*)f}}", header) for name in ("OFFSET", "FACTOR"))
    offset, factor = (float(one[1]) for one in found if one is not None)
    assert policy.contract.action[0].scale == pytest.approx((offset, factor), rel=1e-6)
    low, high = offset - factor, offset + factor
    assert f"in [-1, 1] for {low:.4g} to {high:.4g}" in policy.contract.describe()


@pytest.mark.parametrize("cell", ["ltc", "cfc", "lstm", "mixed_ltc"])
def test_cells_can_be_compared_at_one_number_of_parameters(
    type_command, waves, tmp_path, capsys, cell
):
    words = job(waves, "--target", "height", "--cell", cell, "--imitation.epochs", "1")
    at = words.index("--neurons")
    del words[at : at + 2]
    assert type_command(train, JOBS, *words, "--parameters", 1500) == 0
    run, row = results_in(tmp_path / "runs")
    assert abs(int(row["parameters"]) - 1500) < 150
    policy = load(run / "policy")
    assert num_parameters(policy) == int(row["parameters"])
    assert f"{cell}: {num_parameters(policy):,} parameters, " in capsys.readouterr().out
    assert '"parameters": 1500' in row["settings"] and '"neurons"' not in row["settings"]


def test_a_network_of_convolutions_is_refused_where_there_are_no_frames(refuse, waves):
    words = job(waves, "--target", "height", "--cell", "cnn")
    told = "`cell` must be another where there are no frames, got 'cnn', which needs them. Take mlp"
    refuse(train, JOBS, words, told)
    for kind in (Distill, SAC):
        with pytest.raises(ValueError, match="`cell` must be another where there are no frames"):
            kind(cell="cnn")


def answers_after(policy, steps_s):
    """Return the output of a policy at the same second row, some time after the first."""
    first, second = np.zeros(2, np.float32), np.ones(2, np.float32)
    answers = []
    for dt_s in steps_s:
        policy.reset()
        policy.act(first, dt_s=0.1)
        answers.append(float(policy.act(second, dt_s=dt_s)[0]))
    return answers


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_cells_that_know_no_time_are_told_where_it_varies(
    type_command, waves, tmp_path, capsys, cell
):
    words = ["--target", "height", "--cell", cell, "--imitation.epochs", "1"]
    assert type_command(train, JOBS, *job(waves, *words, "--runs", "varying")) == 0
    assert f"| {cell}, told the elapsed time | " in capsys.readouterr().out
    run, row = results_in(tmp_path / "varying")
    assert row["model"] == cell and '"sees_time": true' in row["settings"]
    short, long = answers_after(load(run / "policy"), (0.05, 0.5))
    assert short != long
    lines = [line.split(",") for line in waves.read_text().splitlines()]
    for i, cells in enumerate(lines[1:]):
        cells[0] = f"{0.1 * i + 0.002 * (-1) ** i:.4f}"  # stamps with a little jitter
    waves.write_text("\n".join(map(",".join, lines)))
    assert type_command(train, JOBS, *job(waves, *words, "--runs", "steady")) == 0
    assert "told the elapsed time" not in capsys.readouterr().out
    run, row = results_in(tmp_path / "steady")
    assert "sees_time" not in row["settings"]
    short, long = answers_after(load(run / "policy"), (0.05, 0.5))
    assert short == long


def test_nothing_is_forecast_across_a_gap(type_command, tmp_path, capsys):
    rows = [f"{i + 1000 * (i >= 195)},{i}" for i in range(200)]
    Path("data.csv").write_text("\n".join(["t,x", *rows]))
    words = ["--data", "data.csv", "--time", "t", "--target", "x", "--horizon", "3", *QUICK]
    for limit, count, told in ([], 24, True), (["--max-gap-s", "2000"], 27, False):
        words = [*words, "--imitation.epochs", "1", *limit]
        assert type_command(train, JOBS, "series", *words, "--runs", f"runs{count}") == 0
        assert (
            "by more than 10 times the usual step (count: 1, longest: 1001 s). Nothing is forecast"
            " across such gaps, so 3 rows have no target" in capsys.readouterr().out
        ) == told
        run, _ = results_in(tmp_path / f"runs{count}")
        with (run / "report" / "predictions.csv").open(newline="") as file:
            assert len(list(csv.DictReader(file))) == count


def test_rows_without_a_target_are_seen_by_the_policy(type_command, tmp_path, capsys):
    rows = [f"{i},{i % 7},{i % 5 if i % 8 == 7 else ''}" for i in range(400)]
    Path("rare.csv").write_text("\n".join(["t,x,y", *rows]))
    words = ["--data", "rare.csv", "--time", "t", "--target", "y", "--horizon", "0", *QUICK]
    assert type_command(train, JOBS, "series", *words, "--imitation.epochs", "1") == 0
    assert "rows: train 35, validation 7, test 8" in capsys.readouterr().out
    run, _ = results_in(tmp_path / "runs")
    store = Demonstrations.open(run / "demonstrations" / "train")
    assert (len(store), int(store.is_labelled.sum())) == (280, 35)
    np.testing.assert_array_equal(store.observations[:, 0], np.arange(280) % 7)
    with opened(run / "demonstrations" / "train", None) as (_, driver):
        assert driver == "last recorded", "the last known target stands in for an unknown one"
    assert len((run / "report" / "predictions.csv").read_text().splitlines()) == 1 + 8


def test_a_class_is_told_of_whole_series_that_were_not_learned(
    type_command, waves, tmp_path, capsys
):
    waves.write_text(waves.read_text().replace("down", "none"))
    words = ["--task", "classify", "--target", "side", "--split", "series"]
    assert type_command(train, JOBS, *job(waves, *words, "--imitation.epochs", "20")) == 0
    run, row = results_in(tmp_path / "runs")
    assert float(row["accuracy"]) > 0.9 > float(row["majority"])
    assert load(run / "policy").contract.action[0].choices == ("none", "up")
    assert (
        "warning: 'none' in 'side' is taken for a class. Leave cells empty"
        in capsys.readouterr().out
    )


def test_test_rows_of_a_class_that_was_never_seen_count_as_wrong(
    type_command, waves, tmp_path, capsys
):
    with waves.open(newline="") as file:
        rows = list(csv.DictReader(file))
    west = [row for row in rows if row["buoy"] == "west"]
    for row in west[300:]:
        row["side"] = "storm"
    with waves.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    words = ["--task", "classify", "--target", "side", "--split", "series"]
    assert type_command(train, JOBS, *job(waves, *words, "--imitation.epochs", "1")) == 0
    told = "100 of 400 test rows are of classes that the training part has not, and count as wrong."
    assert told in capsys.readouterr().out
    run, row = results_in(tmp_path / "runs")
    page = (run / "report" / "report.md").read_text()
    assert told in page
    store = run / "demonstrations" / "test"
    assert type_command(evaluate_policy, Evaluate, run / "policy", "--log", store) == 0
    told = "note: 100 further rows are of classes that the policy never learned"
    assert told in capsys.readouterr().out
    with (run / "report" / "predictions.csv").open(newline="") as file:
        said = [(one["side true"], one["side predicted"]) for one in csv.DictReader(file)]
    assert len(said) == 300
    num_right = {name: sum(pair == (name, name) for pair in said) for name in ("down", "up")}
    assert float(row["accuracy"]) == pytest.approx(sum(num_right.values()) / 400)
    cells = re.findall(r"^\| (.*?) +\| (\d+) +\| ([\d.]+)% +\| (\S+) ", page, flags=re.M)
    counts = Counter(true for true, _ in said)
    for name, other in (("down", "up"), ("up", "down")):
        share = f"{100 * num_right[name] / counts[name]:.1f}"
        wrong = other if num_right[name] < counts[name] else "-"
        assert (name, str(counts[name]), share, wrong) in cells
    assert ("storm (not in the training part)", "100", "0.0", "-") in cells


def test_a_job_goes_on_where_it_was_stopped(type_command, waves, tmp_path, monkeypatch, capsys):
    from ncp_control.learning import trainer
    from ncp_control.learning.training_state import TrainingState

    save, saved = TrainingState.save, []

    def save_or_stop(state, path):
        save(state, path)
        saved.append(path)
        if len(saved) == 5:
            raise KeyboardInterrupt

    words = job(waves.name, "--target", "height", "--imitation.epochs", "2")
    assert type_command(train, JOBS, *words, "--runs", "whole") == 0
    monkeypatch.setattr(trainer, "CHECKPOINT_S", 0.0)
    monkeypatch.setattr(TrainingState, "save", save_or_stop)
    assert type_command(train, JOBS, *words) == 130
    (run,) = (tmp_path / "runs").iterdir()
    text = waves.read_text()
    waves.write_text(f"{text}900,west,3,1,up\n")
    assert type_command(train, JOBS, "series", "--resume", run) == 2
    assert "`data` must be unchanged since the run began, got" in capsys.readouterr().err
    waves.write_text(text)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert type_command(train, JOBS, "series", "--resume", run) == 0
    (whole,) = (tmp_path / "whole").iterdir()
    for name in ("policy/weights.safetensors", "metrics.csv"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    assert results_in(tmp_path / "runs")[1]["rmse"] == results_in(tmp_path / "whole")[1]["rmse"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--target", "height", "--train-share", "0.9"], "must leave a share that tests"),
        (["--target", "height", "side", "--task", "classify"], "must be one column to classify"),
        (["--target", "side"], r"must hold numbers up to 1e\+18 to be forecast"),
        (["--target", "depth"], "`target` must name columns of the data, got 'depth'"),
        (["--target", "height", "--horizon", "4000"], "must be known in some rows of the train"),
        (["--target", "height", "height"], "`target` must name each column once"),
        (["--target", "height", "--max-gap-s", "0"], "`max_gap_s` must be positive, got 0"),
        (["--target", "height", "--task", "guess"], "`task` must be one of"),
        (["--target", "height", "--imitation.dagger-epochs", "1"], "There is no expert to ask"),
    ],
)
def test_what_cannot_be_done_is_refused_before_a_run_begins(refuse, waves, tmp_path, words, told):
    refuse(train, JOBS, job(waves, *words), told)
    assert not (tmp_path / "runs").exists()


def test_what_a_policy_of_a_time_series_can_be_given_is_said(refuse, waves, tmp_path):
    policy = VectorPolicy(LTC(fully_connected(2, 4, 1), frame_s=60.0), observation_size=2)
    policy.contract = Contract(
        observation=VectorContract(entries=(Entry(name="height"), Entry(name="slope"))),
        action=(ActionContract(name="height 1 rows ahead"),),
        frame_s=60.0,
    )
    policy.save(tmp_path / "policy")
    rows = "takes the rows that its training wrote, e.g. runs/RUN/demonstrations/"
    for job, settings in ((evaluate_policy, Evaluate), (audit, Audit), (calibrate, Calibrate)):
        told = rf"`log` must be demonstrations, .*waves.csv'. A policy of a time series {rows}test"
        refuse(job, settings, ["policy", "--log", waves], told)
    refuse(calibrate, Calibrate, ["policy"], f"`log` must name a recording .* {rows}train")
    told = f"e.g. --world walker2d. A .* {rows.replace('e.g. ', 'e.g. --log ')}test"
    refuse(evaluate_policy, Evaluate, ["policy"], told)
    told = (
        "`policy` must drive a car, got .*policy', which senses no frames. .* RoadDriving-v0 only. "
    )
    refuse(campaign, Faults, ["policy"], f"{told}evaluate.py and audit.py judge it with --log runs")


def test_whole_series_are_set_apart_only_where_there_are_enough(refuse, waves):
    words = ["series", "--data", waves, "--target", "height", "--split", "series"]
    refuse(train, JOBS, words, "must be 'time' for fewer than 3 series, got 1")


def test_a_series_is_learned_by_a_circuit_that_begins_and_is_read_as_asked_for(
    type_command, waves, tmp_path
):
    words = ["--target", "height", "--imitation.epochs", "2", "--reads", "all"]
    words += ["--wiring", "auto_ncp", "--tau-s", "0.2", "2.0"]
    assert type_command(train, JOBS, *job(waves, *words)) == 0
    run, row = results_in(tmp_path / "runs")
    cell = load(run / "policy").circuit.cell
    assert cell.reads == "all"
    assert cell.read_weight.abs().max() > 0.0  # learned: it begins at zero
    assert '"reads": "all"' in row["settings"]
    assert '"tau_s": [0.2, 2.0]' in row["settings"]
    assert "synapses" not in row["settings"]  # nothing was asked for
