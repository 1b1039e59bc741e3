"""Jobs as a person types them, and a log for them."""

import csv
import re
import sys

import cv2
import numpy as np
import pytest

from ncp_control.command_line import run_job


@pytest.fixture
def type_command(monkeypatch, tmp_path):
    """Run a job as from the command line, in a folder of its own; return its exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ncp_control.imports._imported", [])  # for which a job imports modules

    def run(job, settings, *words):
        monkeypatch.setattr(sys, "argv", ["job", *map(str, words)])
        try:
            run_job(job, settings, "")
        except SystemExit as stop:
            return stop.code
        return 0

    return run


@pytest.fixture
def refuse(type_command, capsys, tmp_path):
    """Type a command that must end with one sentence, status 2 and no run."""

    def check(job, settings, words, message):
        assert type_command(job, settings, *words) == 2
        errors = capsys.readouterr().err.strip()
        assert len(errors.splitlines()) == 1
        assert errors.startswith("error: ")
        assert re.search(message, errors)
        assert not (tmp_path / "runs").exists()

    return check


@pytest.fixture
def udacity_log(tmp_path):
    """A log of 120 frames whose brightness on the left tells the steering."""
    folder = tmp_path / "log"
    (folder / "IMG").mkdir(parents=True)
    lines = []
    for i in range(120):
        name = f"center_2018_07_16_17_{11 + i // 600:02d}_{i // 10:02d}_{i % 10}00.jpg"
        image = np.full((160, 320, 3), 90, np.uint8)
        steering = np.sin(i / 10)
        image[:, :160] += np.uint8(60 * (1 + steering))
        cv2.imwrite(str(folder / "IMG" / name), image)
        lines.append(f"IMG/{name},IMG/none.jpg,IMG/none.jpg,{steering:.4f},0,0,10")
    (folder / "driving_log.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture
def traces(tmp_path):
    """Twenty-five short traces of a rotation, noise-free, 17 dimensions."""
    folder = tmp_path / "traces"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(17, 17)))[0]
    for i in range(25):
        trace = [rng.normal(size=17)]
        for _ in range(59):
            trace.append(rotation @ trace[-1])
        np.save(folder / f"trace_{i:04}.npy", np.stack(trace))
    return folder


@pytest.fixture
def read():
    """Return the rows of a CSV file."""

    def rows(path):
        with path.open(newline="") as file:
            return list(csv.DictReader(file))

    return rows
