"""Jobs that were stopped go on with --resume to the weights of a job that was not."""

from types import SimpleNamespace

import pytest

from ncp_control.learning import trainer
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.training_state import TrainingState
from scripts.train import train
from scripts.training.imitation_settings import Imitate
from scripts.training.jobs import JOBS
from scripts.training.resumption import add_row, begun_with

QUICK = ["--imitation.epochs", "1", "--imitation.batch-size", "2", "--imitation.window", "16"]
ONE_WAY = "--mirror True --smoothing-s 0.2 --shift True --balance True".split()
STEPS = ["--imitation.epoch-steps", "4"]
RECORDED = ["recorded", "--models", "cnn", "lstm", *ONE_WAY, *QUICK, *STEPS]
pytestmark = pytest.mark.filterwarnings("ignore:.*skipped:UserWarning")


@pytest.fixture
def stop_at(monkeypatch):
    """Let Ctrl-C come at the n-th of the next checkpoints, of which each step has one."""
    save, left = TrainingState.save, []

    def save_or_stop(state, path):
        save(state, path)
        if left:
            left[0] -= 1
            if left[0] == 0:
                left.clear()
                raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "CHECKPOINT_S", 0.0)
    monkeypatch.setattr(TrainingState, "save", save_or_stop)
    monkeypatch.setattr("scripts.training.recorded.write_recorded_report", lambda *_: None)
    return left.append


def results_of(runs, read):
    """Return the weights and metrics of a job's runs, and the errors in its table."""
    kept = ("policy/weights.safetensors", "checkpoints/last/weights.safetensors", "metrics.csv")
    (table,) = (run / "results.csv" for run in runs if (run / "results.csv").exists())
    rows = [(row["model"], row["test_mse"], row["correlation"]) for row in read(table)]
    return [(run / name).read_bytes() for run in runs for name in kept], rows


def test_all_models_of_a_recording_go_on_where_they_were_stopped(
    type_command, udacity_log, read, tmp_path, stop_at
):
    def runs_in(folder):
        return [next((tmp_path / folder).glob(f"recorded-{name}-*")) for name in ("cnn", "lstm")]

    words = [*RECORDED, "--log", udacity_log]
    assert type_command(train, JOBS, *words, "--runs", "whole") == 0
    whole = results_of(runs_in("whole"), read)
    stop_at(2)  # within the first epoch of the first model
    assert type_command(train, JOBS, *words) == 130
    (first,) = (tmp_path / "runs").iterdir()
    stop_at(5)  # within the second model
    assert type_command(train, JOBS, "recorded", "--resume", first) == 130
    _, second = runs_in("runs")
    stop_at(1)
    assert type_command(train, JOBS, "recorded", "--resume", second) == 130
    assert (second / "checkpoints" / "training.safetensors").exists()
    assert not (second / "policy").exists()
    for _ in range(2):  # a job that has ended gets no other row
        assert type_command(train, JOBS, "recorded", "--resume", second) == 0
        assert results_of([first, second], read) == whole
    assert len(list((tmp_path / "runs").iterdir())) == 2, "no run is begun anew"


def test_a_job_that_was_stopped_before_all_its_runs_were_there_cannot_go_on(
    type_command, udacity_log, tmp_path, capsys, stop_at
):
    stop_at(1)
    assert type_command(train, JOBS, *RECORDED, "--log", udacity_log) == 130
    (run,) = (tmp_path / "runs").glob("recorded-cnn-*")
    for names in (None, "{", "3", '["a"]'):
        (run / "runs.json").unlink() if names is None else (run / "runs.json").write_text(names)
        capsys.readouterr()
        assert type_command(train, JOBS, "recorded", "--resume", run) == 2
        told = capsys.readouterr().err.splitlines()[-1]
        assert told.startswith("error: `resume` must be a run of which all models had begun, got ")


def test_a_recording_must_be_named(refuse):
    refuse(train, JOBS, ["recorded"], "`log` must be the folder of a recording, got none")


def test_a_row_of_other_code_does_not_stand_for_that_of_a_resumed_one(tmp_path):
    (tmp_path / "config.json").write_text('{"command": "python mine.py"}')
    results = ResultsFile(tmp_path / "r.csv", ("error",))
    results.append("ltc", 0, "lr=1", {"error": 1.0, "commit": "older"}, "python mine.py")
    resumed = SimpleNamespace(seed=0, resume=tmp_path)
    for _ in range(2):  # it may be resumed once more after it has ended
        add_row(results, resumed, "ltc", "lr=1", {"error": 0.25})
    assert [row["error"] for row in results.rows()] == ["1.0", "0.25"]


def test_a_table_of_the_users_own_above_a_run_is_no_run(tmp_path):
    run = tmp_path / "runs" / "imitate-x-1"
    (run / "checkpoints").mkdir(parents=True)
    for folder in (tmp_path, run):
        (folder / "metrics.csv").write_text("loss\n")
    (run / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="config.json must be what this job wrote"):
        begun_with(Imitate(resume=run))
    with pytest.raises(ValueError, match=r"in one. Name '.*imitate-x-1'"):
        begun_with(Imitate(resume=run / "checkpoints"))
