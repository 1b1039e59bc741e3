"""Sweeps as they run: killed, failed and stopped trials, resumption, searches and clusters."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from ncp_control import files
from scripts.sweep import sweep
from scripts.sweeping import running, sweep_job
from scripts.sweeping.points import Points
from scripts.sweeping.settings import Sweep
from scripts.sweeping.trials import (
    CURVES,
    DONE,
)
from tests.scripts.processes import descendants
from tests.scripts.tiny_world import TINY

PRETENDED = Path(__file__).with_name("pretended_training.py")


@pytest.fixture
def pretend(monkeypatch):
    monkeypatch.setattr(running, "TRAIN", PRETENDED)
    monkeypatch.setattr(running, "POLL_S", 0.01)


@pytest.fixture
def type_sweep(type_command):
    return lambda *words: type_command(sweep, Sweep, "imitate", *words, "--", "--world", "x")


def measured(rows):
    return [{k: row[k] for k in ("trial", "seed", "cell", "model", "mean_return")} for row in rows]


def folder_of(tmp_path):
    (folder,) = (tmp_path / "runs").iterdir()
    return folder


def test_a_column_that_a_job_does_not_write_is_refused_and_another_one_resumes_the_sweep(
    pretend, type_sweep, type_command, read, capsys, tmp_path
):
    assert type_sweep("--grid", "seed=0,1,2", "--parallel", 1, "--by", "mean_retrun") == 2
    told = capsys.readouterr().err
    told_columns = "`by` must be one of step, score, the columns of the trainings' metrics.csv, got"
    assert f"{told_columns} 'mean_retrun'. Name one of them with --by; resume it" in told
    folder = folder_of(tmp_path)
    first = folder / "trials" / "0000" / "outcome.json"
    ended_ns = first.stat().st_mtime_ns
    assert len(list((folder / "trials").iterdir())) < 3
    assert type_command(sweep, Sweep, "--resume", folder, "--by", "score", "--lowest") == 0
    assert "of the best score" in capsys.readouterr().out
    assert [row["seed"] for row in read(folder / "results.csv")] == ["0", "1", "2"]
    assert first.stat().st_mtime_ns == ended_ns, "it was not trained again"
    assert json.loads((folder / "policy" / "config.json").read_text())["seed"] == 2
    assert type_command(sweep, Sweep, "--resume", folder, "--lowest") == 2
    assert "`lowest` must be left out with --resume" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_trials_are_tried_again_and_the_table_is_the_serial_one(
    pretend, type_sweep, read, tmp_path, monkeypatch
):
    grid = ["--grid", "seed=0,1,2,3,4,5,6,7,8,9,10,11", "cell=ltc,lstm"]
    assert type_sweep("--parallel", 1, "--runs", "serial", *grid) == 0
    (serial,) = (tmp_path / "serial").iterdir()
    monkeypatch.setenv("DEATHS", "0.15")
    assert type_sweep("--parallel", 4, "--tries", 50, *grid) == 0
    folder = folder_of(tmp_path)
    rows = read(folder / "results.csv")
    assert measured(rows) == measured(read(serial / "results.csv"))
    assert [row["trial"] for row in rows] == [str(i) for i in range(24)]
    assert json.loads((folder / "policy" / "config.json").read_text()) == {
        **{"seed": 11, "cell": "lstm", "neurons": 24}
    }
    logs = [path.parent.name for path in folder.glob("trials/*/outcome.json")]
    assert len(logs) == 24


def test_a_trial_that_fails_or_dies_too_often_costs_only_itself(
    pretend, type_sweep, read, tmp_path, monkeypatch, capsys
):
    ended = type_sweep("--parallel", 2, "--grid", "seed=0,1", "cell=ltc,cnn")
    assert ended.startswith("failed: 2 of 4 trainings, with logs as listed above in runs/")
    folder = folder_of(tmp_path)
    assert [row["cell"] for row in read(folder / "results.csv")] == ["ltc", "ltc"]
    states = [(row["cell"], row["state"], row["score"]) for row in read(folder / "trials.csv")]
    assert states == [("ltc", "done", "36.0"), ("cnn", "failed", ""), *states[2:]]
    told = "trial 1 failed with status 2: error: `cell` must be another, got 'cnn'."
    assert told in capsys.readouterr().out
    assert (folder / "policy").is_dir() and (folder / "report" / "report.md").is_file()
    monkeypatch.setenv("DEATHS", "1")
    ended = type_sweep("--tries", 2, "--grid", "seed=0", "--runs", "dead")
    assert ended.startswith("failed: 1 of 1 trainings")
    (dead,) = (tmp_path / "dead").iterdir()
    outcome = json.loads((dead / "trials" / "0000" / "outcome.json").read_text())
    assert outcome["state"] == "failed" and "status -9" in outcome["reason"]
    assert not (dead / "results.csv").exists() and not (dead / "policy").exists()


def test_a_stopped_sweep_goes_on_where_it_was(
    pretend, type_sweep, type_command, read, tmp_path, monkeypatch, capsys
):
    began = []
    start = running.run_trial

    def stop_at_the_third(trial, *others):
        began.append(trial.name)
        if len(began) == 3:
            raise KeyboardInterrupt
        return start(trial, *others)

    monkeypatch.setattr(running, "run_trial", stop_at_the_third)
    monkeypatch.setattr(sweep_job._Work, "_take", raising(sweep_job._Work._take))
    words = ["--parallel", 1, "--grid", "seed=0,1,2,3"]
    assert type_sweep(*words) == 130
    folder = folder_of(tmp_path)
    kept = "holds trials, results.csv, trials.csv"
    told = f"{kept}; resume it with --resume {folder.relative_to(tmp_path)}\n"
    assert told in capsys.readouterr().err
    assert type_command(sweep, Sweep, "--resume", folder) == 0
    assert began == ["0000", "0001", "0002", "0002", "0003"]
    assert [row["seed"] for row in read(folder / "results.csv")] == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ("BROKEN_AT", ["begins after step 0"]),
        ("KILLED_AT", [f"begins after step {n}" for n in (0, 2)]),
    ],
)
def test_resuming_a_sweep_tries_again_what_failed(
    ending, told, pretend, type_sweep, type_command, read, tmp_path, monkeypatch
):
    """A training with an error of its own begins anew, a killed one goes on."""
    monkeypatch.setenv(ending, "3")
    assert type_sweep("--tries", 1, "--grid", "seed=0").startswith("failed: 1 of 1 trainings")
    folder = folder_of(tmp_path)
    assert read(folder / "trials.csv")[0]["state"] == "failed"
    words = json.loads((folder / "trials" / "0000" / "trial.json").read_text())["words"]
    assert words == ["imitate", "--world", "x", "--seed", "0", "--threads", "1"]
    assert not (folder / "results.csv").exists()
    monkeypatch.delenv(ending)
    assert type_command(sweep, Sweep, "--resume", folder) == 0
    assert read(folder / "trials.csv")[0]["state"] == "done"
    assert len(read(folder / "results.csv")) == 1
    assert (folder / "trials" / "0000" / "log.txt").read_text().splitlines() == told


def raising(take):
    """Let an interrupt in a trial be one of the sweep."""

    def taking(self, future, trial):
        if isinstance(future.exception(), KeyboardInterrupt):
            raise KeyboardInterrupt
        take(self, future, trial)

    return taking


def test_two_processes_do_not_train_in_one_folder(pretend, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STEP_S", "0.05")
    statuses = []
    threads = [
        threading.Thread(
            target=lambda: statuses.append(
                running.run_trial(tmp_path, ["imitate"], str(tmp_path), {})
            )
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0, 0]
    assert f"another process trains in {tmp_path}: waiting" in capsys.readouterr().out
    (run,) = (tmp_path / "runs").iterdir()
    assert len((run / "metrics.csv").read_text().splitlines()) == 6


def test_a_second_process_says_that_it_waits_for_the_first(
    pretend, type_sweep, type_command, tmp_path, capsys
):
    assert type_sweep("--grid", "seed=0") == 0
    folder = folder_of(tmp_path)
    with contextlib.ExitStack() as first:
        first.enter_context(files.locked(folder))
        threading.Timer(0.5, first.pop_all().close).start()
        assert type_command(sweep, Sweep, "--resume", folder) == 0
    assert f"another process runs this sweep: {folder}" in capsys.readouterr().out


def test_wrong_settings_are_refused_before_anything_is_trained(refuse):
    words = ["imitate", "--grid", "neurons=8,0", "--fixed=--world x"]
    refuse(sweep, Sweep, words, "`neurons` must be a whole number of at least 1, got 0")
    for given in ("seed=0,00", "imitation.circuit-learning-rate=0.01,1e-2"):
        words = ["imitate", "--grid", given, "--fixed=--world x"]
        refuse(sweep, Sweep, words, "`grid` must hold each training once, got .* mean the same")
    refuse(sweep, Sweep, ["imitate"], "`grid` must name a setting, got none")
    words = ["imitate", "--prune", "--grid", "neurons=8,9", "seed=0,1", "--fixed=--world x"]
    refuse(sweep, Sweep, words, "`prune` must be left out if the grid names `seed`")
    refuse(sweep, Sweep, ["walk", "--grid", "seed=0"], "`job` must be one of")


def test_lagging_trials_are_stopped(pretend, type_sweep, read, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HANG_S", "60")
    monkeypatch.setattr(sweep_job, "LOOK_S", 0.05)
    assert type_sweep("--parallel", 1, "--prune", "--grid", "neurons=30,29,28,1") == 0
    folder = folder_of(tmp_path)
    assert [row["neurons"] for row in read(folder / "results.csv")] == ["30", "29", "28"]
    outcome = json.loads((folder / "trials" / "0003" / "outcome.json").read_text())
    assert outcome["state"] == "pruned"
    told = capsys.readouterr().out
    assert "| –     | 1       | 0        | 0      | 1      | –" in told
    assert "1 of 4 trainings were pruned." in told


def test_in_a_search_only_trials_with_the_same_values_of_the_grid_compete(tmp_path):
    pytest.importorskip("optuna", reason="Optuna is missing: pip install ncp-control[scale]")
    settings = Sweep(
        job="imitate", search=("x=0.0..1.0",), grid=("cell=ltc,lstm", "seed=0,1"), trials=3
    )
    points = Points(settings, tmp_path, CURVES["imitate"])
    trials = [points.next() for _ in range(12)]
    assert [trial.number for trial in points.rivals(trials[5])] == [1, 9]


def test_a_search_finds_the_best_and_asks_for_the_same_points_again(
    pretend, type_sweep, type_command, tmp_path
):
    pytest.importorskip("optuna", reason="Optuna is missing: pip install ncp-control[scale]")
    words = ["--search", "neurons=8..48", "--grid", "seed=0,1", "--trials", 6, "--parallel", 2]
    assert type_sweep(*words) == 0
    folder = folder_of(tmp_path)
    asked = [json.loads((t / "trial.json").read_text()) for t in sorted(folder.glob("trials/*"))]
    assert len(asked) == 12
    sizes = [one["values"]["neurons"] for one in asked]
    assert sizes[::2] == sizes[1::2]
    best = json.loads((folder / "policy" / "config.json").read_text())
    assert abs(best["neurons"] - 30) == min(abs(size - 30) for size in sizes) and best["seed"] == 1
    (folder / "trials" / "0005" / "outcome.json").unlink()
    assert type_command(sweep, Sweep, "--resume", folder) == 0
    again = [json.loads((t / "trial.json").read_text()) for t in sorted(folder.glob("trials/*"))]
    assert again == asked


@pytest.mark.parametrize("num_ended", [4, 12])
def test_a_resumed_search_explores_the_points_of_an_uninterrupted_one(tmp_path, num_ended):
    """12 points are more than the ten that Optuna draws at random before it models the scores."""
    pytest.importorskip("optuna", reason="Optuna is missing: pip install ncp-control[scale]")
    settings = Sweep(
        job="imitate", search=("x=0.0..1.0", "rate=log:1e-4..1e-2", "cell=ltc,lstm"), trials=15
    )

    def explore(folder, num_points):
        points = Points(settings, folder, CURVES["imitate"])
        for _ in range(num_points):
            trial = points.next()
            if trial.outcome is None:
                trial.begin([])
                run = trial.folder / "runs" / "run"
                run.mkdir(parents=True)
                (run / "config.json").touch()
                (run / "metrics.csv").write_text(f"score\n{(trial.values['x'] - 0.3) ** 2}\n")
                trial.end(DONE)
            points.end(trial)
        return [trial.values for trial in points.trials]

    whole = explore(tmp_path / "whole", 15)
    assert explore(tmp_path / "stopped", num_ended) == whole[:num_ended]
    assert explore(tmp_path / "stopped", 15) == whole
    assert len({values["x"] for values in whole}) == 15


def test_ranges_of_a_search(tmp_path):
    pytest.importorskip("optuna", reason="Optuna is missing: pip install ncp-control[scale]")

    def points(*search):
        settings = Sweep(job="drive", search=search, trials=5)
        return Points(settings, tmp_path, CURVES["drive"])

    values = points("neurons=8..48", "rate=log:1e-4..1e-2", "cell=ltc,lstm").next().values
    assert isinstance(values["neurons"], int) and 1e-4 <= values["rate"] <= 1e-2
    assert points("neurons=8..48", "cell=ltc,lstm").ends() == [
        {"neurons": 8, "cell": "ltc"},
        {"neurons": 48, "cell": "lstm"},
    ]
    with pytest.raises(ValueError, match=r"`search` must give a range .*, got 'a\.\.b' for 'x'"):
        points("x=a..b")


@pytest.mark.slow
@pytest.mark.parametrize("address", [None, "local"])
def test_trainings_killed_at_random_give_the_serial_table(address, read, tmp_path):
    if address is not None:
        pytest.importorskip("ray", reason="Ray is missing: pip install ncp-control[scale]")
    script = Path(__file__).parents[2] / "scripts" / "sweep.py"
    words = ["imitate", "--grid", "seed=0,1", "cell=ltc,lstm", f"--fixed={TINY}"]
    command = [sys.executable, str(script), *words, "--parallel"]
    subprocess.run([*command, "1", "--runs", "serial"], cwd=tmp_path, check=True)
    places = [] if address is None else ["--address", address]
    command = [*command, "2", "--tries", "20", *places]
    process = subprocess.Popen(command, cwd=tmp_path)
    rng, kills = np.random.default_rng(0), 0
    while process.poll() is None:
        time.sleep(rng.uniform(2.0, 5.0))
        victims = descendants(process.pid, "ray::run_trial" if address else "train.py")
        if victims and kills < 8:
            os.kill(int(rng.choice(victims)), signal.SIGKILL)
            kills += 1
    assert process.returncode == 0 and kills >= 2
    (serial,) = (tmp_path / "serial").iterdir()
    own = ("command", "time")
    tables = [
        [{k: v for k, v in row.items() if k not in own} for row in read(folder / "results.csv")]
        for folder in (serial, folder_of(tmp_path))
    ]
    assert tables[0] == tables[1] and len(tables[0]) == 4
    assert (serial / "policy" / "weights.safetensors").read_bytes() == (
        folder_of(tmp_path) / "policy" / "weights.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://[::1]:{port}", "no address"])
def test_a_cluster_that_does_not_answer_is_refused_at_once(address, refuse):
    pytest.importorskip("ray", reason="Ray is missing: pip install ncp-control[scale]")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # nobody listens there once it is closed
    words = ["imitate", "--grid", "seed=0", "--address", address.format(port=port)]
    refuse(sweep, Sweep, [*words, "--", "--world", "x"], "`address` must be a Ray cluster, got")
