"""What all tables share: trainings that fail or are stopped, and a user's slips."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from ncp_control.learning.results import ResultsFile
from ncp_control.learning.training_state import TrainingState
from scripts.reproduce import reproduce
from scripts.reproduction.completion import Job, Reproduce, complete


def test_slips_are_answered_with_one_sentence(traces, tmp_path):
    def run(table, **settings):
        reproduce(Reproduce(table=table, results=tmp_path, **settings))

    with pytest.raises(
        ValueError, match="`table` must be one of .*, got 'halfcheeta'. Did you mean"
    ):
        run("halfcheeta")
    with pytest.raises(ValueError, match="got 'XOR'. Did you mean 'xor'?"):
        run("XOR")
    with pytest.raises(ValueError, match="got 'CT-RNN'. Did you mean 'ctrnn'?"):
        run("xor", models=("CT-RNN",))
    with pytest.raises(ValueError, match="`models` must be one of .* Did you mean 'lstm'?"):
        run("halfcheetah", data=traces, models=("lsmt",))
    with pytest.raises(ValueError, match="`data` must be the folder of the HalfCheetah traces"):
        run("halfcheetah")
    with pytest.raises(ValueError, match="`seeds` must be a whole number of at least 1, got 0"):
        run("xor", seeds=0)
    with pytest.raises(ValueError, match="`tasks` must be left out with halfcheetah, got"):
        run("halfcheetah", data=traces, tasks=("drive",))
    with pytest.raises(ValueError, match="`steps` must be left out with xor, got 5. It is of use"):
        run("xor", steps=5)
    with pytest.raises(ValueError, match="`data` must be the folder of the HalfCheetah traces"):
        run("wiring", tasks=("forecast",))
    (traces / "trace_0000.npy").unlink()
    with pytest.raises(ValueError, match="at least 25 traces of 17 dimensions, got 24 of 17"):
        run("halfcheetah", data=traces)


def test_the_command_of_a_row_has_what_was_asked_for_and_no_more():
    assert Reproduce(table="xor").command() == "python scripts/reproduce.py xor"
    asked = Reproduce(
        table="wiring",
        data=Path("somewhere"),
        tasks=("drive", "forecast"),
        seeds=2,
        epochs=3,
        steps=4,
        device="cpu",
        parallel=2,
    )
    assert asked.command("ncp") == (
        "python scripts/reproduce.py wiring --data PATH --models ncp --tasks drive forecast"
        " --seeds 2 --epochs 3 --steps 4 --device cpu"
    )


def test_a_training_that_another_process_has_done_meanwhile_is_left_to_it(tmp_path, capsys):
    results = ResultsFile(tmp_path / "table.csv", ["error"])
    jobs, begun = [Job("ltc", seed, "none") for seed in range(2)], []

    def train(job, is_silent):
        begun.append((job.seed, is_silent))
        ResultsFile(results.path, ["error"]).append("ltc", 1, "none", {"error": 7.0}, "another")
        return {"error": 0.0}

    complete(results, jobs, train, Reproduce(table="table"))
    assert begun == [(0, False)]
    assert [row["error"] for row in results.rows()] == ["7.0", "0.0"]
    assert "left out" not in capsys.readouterr().out, "every row counts"


def test_one_missing_training_needs_no_process_of_its_own(tmp_path):
    results = ResultsFile(tmp_path / "table.csv", ["error"])
    here = os.getpid()
    complete(
        results,
        [Job("ltc", 0, "none")],
        lambda job, is_silent: {"error": float(os.getpid() == here)},  # not importable by name
        Reproduce(table="table", parallel=2),
    )
    assert [row["error"] for row in results.rows()] == ["1.0"]


def trained(job, is_silent):
    """Stand for a training; the first seed's breaks. Importable, for another process runs it."""
    if job.seed == 0:
        raise RuntimeError("out of luck")
    return {"error": job.seed}


def test_a_training_that_fails_costs_no_other_its_row(tmp_path, capsys):
    results = ResultsFile(tmp_path / "table.csv", ["error"])
    jobs = [Job("ltc", seed, "none") for seed in range(3)]
    settings = Reproduce(table="table", parallel=2)
    with pytest.raises(RuntimeError, match="out of luck"):
        complete(results, jobs, trained, settings)
    assert sorted(row["seed"] for row in results.rows()) == ["1", "2"]


def killed_once(folder, job, is_silent):
    """Stand for a training that is killed the first time, but for the last seed's."""
    mark = folder / f"begun_{job.seed}"
    if not mark.exists() and job.seed < 2:
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"error": job.seed}


@pytest.mark.slow
@pytest.mark.parametrize("address", [None, "local"])
def test_trainings_that_are_killed_are_tried_again_here_and_on_ray(address, tmp_path, read):
    if address is not None:
        pytest.importorskip("ray", reason="Ray is missing: pip install ncp-control[scale]")
    results = ResultsFile(tmp_path / "table.csv", ["error"])
    jobs = [Job("ltc", seed, "none") for seed in range(3)]
    settings = Reproduce(table="table", parallel=2, address=address, runs=tmp_path)
    complete(results, jobs, partial(killed_once, tmp_path), settings)
    rows = sorted((row["seed"], row["error"]) for row in read(results.path))
    assert rows == [("0", "0"), ("1", "1"), ("2", "2")]


@pytest.mark.parametrize("models", [("gru",), ("ensemble",)])
def test_a_table_that_was_stopped_goes_on_within_its_training(
    traces, tmp_path, monkeypatch, models, read
):
    """Two epochs, or five members of two epochs; stopped after each checkpoint but the first."""
    table = "halfcheetah" if models == ("gru",) else "halfcheetah-best"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scripts.reproduction.halfcheetah_best.noise_floor_mse", lambda _: 0.0)
    monkeypatch.setattr("scripts.reproduction.halfcheetah_best.UNITS", 2)

    def run(results):
        settings = {"data": traces, "models": models, "seeds": 1, "epochs": 2}
        reproduce(Reproduce(table=table, results=tmp_path / results, **settings))
        (row,) = [
            row for row in read(tmp_path / results / f"{table}.csv") if row["model"] in models
        ]
        return row["validation_mse"], row["test_mse"], row["best_epoch"], row["epochs"]

    expected = run("whole")
    save, saved = TrainingState.save, []

    def save_and_stop(state, path):
        save(state, path)
        saved.append(path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            run("stopped")
        for _ in range(1 if models == ("gru",) else 8):
            with pytest.raises(KeyboardInterrupt):
                run("stopped")
    assert all(path.parent == Path("runs") / "tables" for path in saved)
    assert run("stopped") == expected
    assert not (tmp_path / "runs" / "tables").exists()


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["all", "parent"])
def test_after_ctrl_c_nothing_more_is_begun(tmp_path, whom, read):
    (tmp_path / "table.py").write_text(
        """
import signal, time
from pathlib import Path
from ncp_control.learning.results import ResultsFile
from scripts.reproduction.completion import Job, Reproduce, complete

def train(job, is_silent):
    Path(f"begun_{job.seed}").touch()
    time.sleep(0.0 if job.seed == 0 else 60.0)
    return {"error": 0.0}

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    jobs = [Job("ltc", seed, "none") for seed in range(6)]
    complete(ResultsFile("table.csv", ["error"]), jobs, train, Reproduce(table="t", parallel=2))
"""
    )
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "table.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        start_new_session=True,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    until = time.monotonic() + 120.0
    awaited = [tmp_path / name for name in ("begun_1", "begun_2", "table.csv")]
    while not all(path.exists() for path in awaited):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.1)
    (os.killpg if whom == "all" else os.kill)(process.pid, signal.SIGINT)
    assert process.wait(timeout=30.0) != 0
    assert {path.name for path in tmp_path.glob("begun_*")} == {"begun_0", "begun_1", "begun_2"}
    assert [row["seed"] for row in read(tmp_path / "table.csv")] == ["0"]
