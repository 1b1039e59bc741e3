"""Frames dropped as the paper drops them, and the table on traces made in a moment."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from ncp_control.learning import reinforcement_skills
from scripts.reproduce import reproduce
from scripts.reproduction import forecasts, walker2d, walker2d_rollouts, walker2d_traces
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


def write_rollouts(folder, num_rollouts=40, num_frames=120):
    """Write rollouts whose every value is their number, and return the file."""
    path = folder / walker2d_rollouts.FILE
    frames = {
        f"rollout_{i:03}": np.full((num_frames, 17), i, np.float32) for i in range(num_rollouts)
    }
    np.savez(path, **frames)
    return path


def test_the_papers_windows_are_reproduced(recordings):
    path = walker2d_rollouts.find_rollouts(recordings / "walker2d")
    assert path is not None
    data = walker2d.load(path)
    assert [len(part) for part in vars(data).values()] == [9684, 1272, 1937]
    frames = data.test.dt_s / FRAME_S
    assert frames.round().unique().tolist()[:3] == [1.0, 2.0, 3.0]
    assert 1.10 < frames.mean().item() < 1.12, "one frame of ten is dropped"


def test_rollouts_are_split_as_in_the_paper(tmp_path):
    path = write_rollouts(tmp_path)
    data = walker2d.load(path)
    parts = [set(part.inputs.flatten().tolist()) for part in vars(data).values()]
    assert [len(part) for part in parts] == [30, 4, 6]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert walker2d_rollouts.find_rollouts(tmp_path) == path
    assert walker2d_rollouts.find_rollouts(tmp_path / "traces") is None


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((100, 3), np.float32), r"shape \(frames, 17\), got float32 of shape \(100, 3\)"),
        (
            np.full((100, 17), np.nan, np.float32),
            "finite numbers, got NaN or infinity in rollout_0",
        ),
        (np.array(["a"]), r"shape \(frames, 17\), got <U1"),
    ],
)
def test_other_rollouts_are_refused(tmp_path, frames, message):
    path = tmp_path / walker2d_rollouts.FILE
    np.savez(path, rollout_0=frames)
    with pytest.raises(ValueError, match=message):
        walker2d_rollouts.read_rollouts(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="got a damaged one"):
        walker2d_rollouts.read_rollouts(path)


@pytest.mark.parametrize("model", walker2d.PUBLISHED)
def test_a_model_is_trained_as_published(tmp_path, monkeypatch, capsys, model):
    monkeypatch.setattr(walker2d, "WINDOW", 9)
    small = walker2d.PUBLISHED[model]
    monkeypatch.setitem(walker2d.PUBLISHED, model, replace(small, units=4, backbone_units=5))
    write_rollouts(tmp_path, num_rollouts=20, num_frames=40)
    settings = Reproduce(
        table="walker2d", data=tmp_path, models=(model,), seeds=1, epochs=2, results=tmp_path
    )
    reproduce(settings)
    with (tmp_path / "walker2d.csv").open(newline="") as file:
        row = list(csv.DictReader(file))[-1]
    assert row["model"] == model and row["best_epoch"] == "2"
    assert "rollouts=" in row["settings"] and "decay=0.95 last-epoch" in row["settings"]
    assert walker2d.PAPER[model] in capsys.readouterr().out
