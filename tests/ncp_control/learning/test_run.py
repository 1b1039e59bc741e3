import csv
import json
from dataclasses import dataclass
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ncp_control.learning.run import Run


@dataclass(frozen=True)
class Settings:
    seed: int = 3
    log: Path = Path("somewhere")


def test_run_folder_says_what_was_done(tmp_path):
    run = Run.create("drive", "ncp", Settings(), root=tmp_path)
    config = json.loads((run.folder / "config.json").read_text())
    assert config["settings"] == {"seed": 3, "log": "somewhere"}
    assert {"versions", "commit", "processor", "time"} <= config["environment"].keys()
    run.close()


def test_runs_never_share_a_folder(tmp_path):
    runs = [Run.create("drive", "ncp", Settings(), root=tmp_path) for _ in range(3)]
    assert len({run.folder for run in runs}) == 3
    assert [run.folder.name[-2:] for run in runs] == ["-1", "-2", "-3"]
    for run in runs:
        run.close()


def test_metrics_reach_the_table_and_tensorboard(tmp_path):
    run = Run.create("drive", "ncp", Settings(), root=tmp_path)
    run.log(1, loss=0.5)
    run.log(2, loss=0.25, crashes=3.0)
    run.close()
    with open(run.folder / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"step": "1", "loss": "0.5", "crashes": ""},
        {"step": "2", "loss": "0.25", "crashes": "3.0"},
    ]
    events = EventAccumulator(str(run.folder)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 0.5), (2, 0.25)]
