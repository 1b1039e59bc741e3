import csv
import hashlib
import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ncp_control.learning.run import Run, commit_of
from ncp_control.policy import load, policy_folder


@dataclass(frozen=True)
class Settings:
    seed: int = 3
    log: Path = Path("somewhere")


def test_run_folder_says_what_was_done(tmp_path):
    run = Run.create("drive", "ncp", Settings(), root=tmp_path)
    config = json.loads((run.folder / "config.json").read_text())
    assert config["settings"] == {"seed": 3, "log": "somewhere"}
    assert {"versions", "commit", "processor", "time"} <= config["environment"].keys()


def test_a_run_folder_names_the_weights_that_were_tested(tmp_path):
    shipped = load("walker2d-ltc")
    run = Run.create("evaluate", "walker", Settings(), root=tmp_path, tested={"walker": shipped})
    config = json.loads((run.folder / "config.json").read_text())
    file = policy_folder("walker2d-ltc") / "weights.safetensors"
    assert config["weights_sha256"] == {"walker": hashlib.sha256(file.read_bytes()).hexdigest()}


def test_a_commit_tells_whether_files_were_changed_since(tmp_path):
    assert commit_of(tmp_path) is None
    file = tmp_path / "a.py"
    file.write_text("1\n")
    told = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "a.py"], ["commit", "-qm", "a"], ["tag", "v1"]):
        subprocess.run([*told, *words], check=True)
    head = subprocess.run([*told, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    assert commit_of(tmp_path) == head.stdout.strip()
    (tmp_path / "site-packages").mkdir()
    assert commit_of(tmp_path / "site-packages") is None, "it is not a part of the clone"
    (tmp_path / "b.csv").write_text("what a job wrote")
    table = tmp_path / "results" / "c.csv"
    table.parent.mkdir()
    table.write_text("1\n")
    for words in (["add", "results"], ["commit", "-qm", "b"]):
        subprocess.run([*told, *words], check=True)
    head = subprocess.run([*told, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    table.write_text("1\n2\n")  # a row that a job appended
    assert commit_of(tmp_path) == head.stdout.strip()
    dirty = []
    for text in ("2\n", "3\n", "2\n"):
        file.write_text(text)
        dirty.append(commit_of(tmp_path))
    assert dirty[0] == dirty[2] != dirty[1], "other changes are another state"
    for one in dirty:
        assert re.fullmatch(head.stdout.strip() + "-dirty-[0-9a-f]{8}", one)


def test_runs_never_share_a_folder(tmp_path):
    runs = [Run.create("drive", "ncp", Settings(), root=tmp_path) for _ in range(3)]
    assert len({run.folder for run in runs}) == 3
    assert [run.folder.name[-2:] for run in runs] == ["-1", "-2", "-3"]


def test_metrics_reach_the_table_and_tensorboard(tmp_path):
    run = Run.create("drive", "ncp", Settings(), root=tmp_path)
    run.log(1, loss=0.5)
    run.log(2, loss=0.25, crashes=3.0)
    with open(run.folder / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"step": "1", "loss": "0.5", "crashes": ""},
        {"step": "2", "loss": "0.25", "crashes": "3.0"},
    ]
    events = EventAccumulator(str(run.folder)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 0.5), (2, 0.25)]


def test_what_a_viewer_reads_survives_a_row_that_was_cut_off(tmp_path):
    run = Run.create("drive", "ncp", Settings(), root=tmp_path)
    run.log(1, loss=0.5)
    (events,) = run.folder.glob("events.*")
    whole = events.read_bytes()
    run.log(2, loss=0.25)
    events.write_bytes(events.read_bytes()[: len(whole) + 7])
    again = Run.reopen(run.folder, step=1)
    again.log(2, loss=0.125)
    read = EventAccumulator(str(run.folder)).Reload()
    assert [(e.step, e.value) for e in read.Scalars("loss")] == [(1, 0.5), (2, 0.125)]


def test_a_reopened_run_forgets_the_rows_that_it_will_repeat(tmp_path):
    run = Run.create("drive", "ncp", Settings(), root=tmp_path)
    for step in range(4):
        run.log(step, loss=0.5)
    again = Run.reopen(run.folder, step=1)
    assert [row["step"] for row in again.rows] == [0, 1]
    assert not again.remove_if_unused(), "it was not made now"


@pytest.mark.parametrize("table", ["step,loss\n1,high\n", "loss\n0.5\n", "step,loss\n1,2,3\n"])
def test_damaged_metrics_are_told(tmp_path, table):
    run = Run.create("drive", "ncp", Settings(), root=tmp_path)
    (run.folder / "metrics.csv").write_text(table)
    with pytest.raises(ValueError, match=r"metrics.csv must hold a number .* Start the training"):
        Run.reopen(run.folder, step=1)


def test_a_new_run_removes_what_was_left_half_written_in_others(tmp_path):
    run = Run.create("drive", "ncp", Settings(), root=tmp_path)
    left = [
        tmp_path / ".drive-ncp-20250101.ncp-0123abcd.new" / "config.json",
        run.checkpoints / ".best.ncp-0123abcd.new" / "weights.safetensors",
        run.folder / "dagger" / ".epoch-0.ncp-0123abcd.new" / "observations.npy",
    ]
    moved = run.checkpoints / ".last.ncp-0123abcd.old" / "config.json"
    foreign = run.folder / ".notes.new"
    for path in (*left, moved, foreign):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    Run.create("drive", "ncp", Settings(), root=tmp_path)
    assert not any(path.parent.exists() for path in left)
    assert (run.checkpoints / "last" / "config.json").read_text() == "x"
    assert foreign.exists()


def test_runs_begun_at_once_get_folders_of_their_own(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        runs = list(
            pool.map(lambda _: Run.create("drive", "ncp", Settings(), root=tmp_path), range(16))
        )
    assert len({run.folder for run in runs}) == 16
    assert {path.name for path in tmp_path.iterdir()} == {run.folder.name for run in runs}
