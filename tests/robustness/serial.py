"""Compares the table of a sweep with what the same trainings yield one after the other."""

import csv
import json

from ncp_control.command_line import find, parse_words
from scripts.sweeping.settings import Sweep
from scripts.sweeping.trials import words_of
from scripts.train import train
from scripts.training.jobs import JOBS

OWN = ("command", "time", "steps_per_s")
"""Columns that differ from one run to the next."""


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def check_rows(folder, settings: Sweep, count, where):
    """Check that a sweep has each row once, and that each is that of the training by itself.

    Args:
        folder: The sweep's run folder.
        settings: What it was told.
        count: How many rows there must be.
        where: Folder for the trainings, which are done in this process.
    """
    rows = read(folder / "results.csv")
    assert [row["trial"] for row in rows] == [str(i) for i in range(count)]
    for row in rows:
        trial = folder / "trials" / f"{int(row['trial']):04d}"
        values = json.loads((trial / "trial.json").read_text())["values"]
        alone = where / row["trial"]
        asked = [*words_of(settings, values)[1:], "--runs", str(alone)]
        train(parse_words(find(JOBS[settings.job].settings), asked, None))
        (run,) = alone.iterdir()
        (wanted,) = read(run / "results.csv")
        assert {name: row[name] for name in wanted if name not in OWN} == {
            name: value for name, value in wanted.items() if name not in OWN
        }
