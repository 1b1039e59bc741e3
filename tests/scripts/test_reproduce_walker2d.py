"""Frames dropped as the paper drops them, and the table on traces made in a moment."""

import csv
import json

import numpy as np
import pytest

from ncp_control.learning import reinforcement_skills
from scripts.reproduce import reproduce
from scripts.reproduction import forecasts, walker2d, walker2d_traces
from scripts.reproduction.completion import Reproduce
from scripts.reproduction.walker2d import FRAME_S, cut, drop_frames


def test_dropped_frames_leave_their_time_behind():
    trace = np.arange(2000, dtype=np.float32)[:, None] * [1.0, -1.0]
    inputs, targets, elapsed_s = drop_frames(trace, np.random.default_rng(0))
    # The value is the frame's number, so time and target can be read off.
    assert np.array_equal(targets - inputs, np.ones((len(inputs), 2)) * [1.0, -1.0])
    np.testing.assert_allclose(elapsed_s[1:], FRAME_S * np.diff(inputs[:, 0]), rtol=1e-5)
    assert elapsed_s[0] == pytest.approx(FRAME_S * (inputs[0, 0] + 1))
    assert 0.88 < len(inputs) / 1999 < 0.92


def test_windows_are_a_quarter_apart():
    trace = np.arange(200, dtype=np.float32)[:, None]
    windows = cut([(trace, trace + 1, trace[:, 0])])
    assert windows.inputs[:, 0, 0].tolist() == list(range(0, 200 - 64, 16))
    assert windows.dt_s.shape == (len(windows), 64)
    short = np.zeros((walker2d.WINDOW, 1), np.float32)
    with pytest.raises(ValueError, match="keep more than 64 frames, got one of 64"):
        cut([(trace, trace + 1, trace[:, 0]), (short, short, short[:, 0])])


def test_each_part_has_traces_of_its_own(tmp_path):
    for i in range(40):  # the value is the number of the trace
        np.save(tmp_path / f"trace_{i:02}.npy", np.full((120, 2), i, np.float32))
    data = walker2d.load(tmp_path)
    parts = [set(part.inputs.flatten().tolist()) for part in vars(data).values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 40
    assert sorted(map(len, parts)) == [4, 6, 30]
    assert {0.0, 7.0, 13.0, 20.0} <= set(data.test.inputs.flatten().tolist())


def test_walker2d_makes_its_traces_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(walker2d_traces, "LEVELS", (64, 128))
    monkeypatch.setattr(walker2d_traces, "TRACES_PER_LEVEL", 10)
    monkeypatch.setattr(walker2d_traces, "MIN_FRAMES", 8)
    monkeypatch.setattr(reinforcement_skills, "ROLLOUT_STEPS", 4)
    monkeypatch.setattr(reinforcement_skills, "BATCH_SIZE", 32)
    monkeypatch.setattr(walker2d, "WINDOW", 5)
    monkeypatch.setattr(walker2d, "STRIDE", 2)
    folder = tmp_path / "traces"

    def run(*models):
        reproduce(
            Reproduce(
                table="walker2d", data=folder, models=models, seeds=1, epochs=1, results=tmp_path
            )
        )
        with (tmp_path / "walker2d.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    with monkeypatch.context() as patch:
        # An AR(8) needs eight frames to look back on.
        patch.setitem(forecasts.LINEAR, "linear AR(8)", forecasts.LINEAR["persistence"])
        rows = run("gru")
        assert [row["model"] for row in rows] == [*forecasts.LINEAR, "gru"]
        notes = json.loads((folder / "traces.json").read_text())
        assert [level["steps"] for level in notes["levels"]] == [64, 128]
        assert len(list(folder.glob("*.npy"))) == 20
        assert len(run("gru", "ctrnn")) == len(rows) + 1
    printed = capsys.readouterr().out
    assert "made before" in printed and "1.198" in printed
