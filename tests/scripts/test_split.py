"""`data.py split`: parts that share no drive and no place, for training and evaluation."""

import csv
import errno
import json
import re
import shlex
import subprocess

import numpy as np
import pytest

from envs.recorded import load_recording
from envs.recorded.parts import PARTS, part_of, parts_file, read_parts
from ncp_control.command_line import run_command
from scripts.curating.settings import Split
from scripts.curating.splitting import keep_apart
from scripts.data import COMMANDS
from scripts.evaluate import evaluate_policy
from scripts.evaluation.settings import Evaluate
from scripts.training.recorded import train_recorded
from scripts.training.recorded_settings import Recorded
from scripts.training.recordings import load


def data(settings):
    run_command(COMMANDS, settings)


def write(folder, *, laps=1, frames=100, pauses=(), begin_s=1000.0, radius=30.0, episode=None):
    """Write a drive of laps around a circle at 10 Hz, with a pause before some frames.

    `episode` is the length of the episodes that it declares [frames], if it declares any.
    """
    folder.mkdir()
    lines = ["time_s,steering,speed,x [m],y [m]" + ",episode" * (episode is not None)]
    time_s = begin_s
    for i in range(frames * laps):
        angle = 2.0 * np.pi * i / frames
        time_s += 60.0 if i in pauses else 0.1
        x, y = 100.0 + radius * np.cos(angle), 100.0 + radius * np.sin(angle)
        lines.append(f"{time_s:.2f},{0.5 * np.sin(3 * angle):.4f},3.0,{x:.3f},{y:.3f}")
        lines[-1] += f",ep{i // episode}" if episode is not None else ""
    (folder / "frames.csv").write_text("\n".join(lines))
    return folder


def parts_of(folder):
    recording, path = load_recording(folder), parts_file(folder)
    return {name: part_of(recording, read_parts(path), name, path) for name in PARTS}


def read(table):
    return list(csv.DictReader(table.read_text().splitlines()))


def rows(part):
    return np.concatenate([np.zeros(0, int), *[one.rows for one in part.episodes]])


def numbers(part, name):
    return np.concatenate([one.numbers[name] for one in part.episodes])


def test_a_split_by_time_is_the_cut_that_training_makes(type_command, tmp_path):
    drive = write(tmp_path / "drive")
    recording = load_recording(drive)
    learn, test = recording.split(0.8)
    train, validation = learn.split(0.85)
    assert type_command(data, COMMANDS, "split", drive) == 0
    parts = parts_of(drive)
    for name, expected in zip(PARTS, (train, validation, test), strict=True):
        np.testing.assert_array_equal(rows(parts[name]), rows(expected))


def test_sessions_are_never_cut(type_command, tmp_path, capsys):
    begins = (20, 45, 60, 90)
    drive = write(tmp_path / "drive", pauses=begins)
    assert type_command(data, COMMANDS, "split", drive, "--by", "session") == 0
    told = capsys.readouterr().out
    session = np.searchsorted(begins, np.arange(100), side="right")
    first = rows(load_recording(drive))[0]
    found = {name: set(session[rows(part) - first]) for name, part in parts_of(drive).items()}
    assert found == {"train": {0, 1, 2}, "validation": {3}, "test": {4}}
    assert "| 60 " in told and "60.0 %" in told


@pytest.mark.parametrize(("pauses", "share"), [((65, 80), None), ((17, 60), 17), ((90, 95), 90)])
def test_shares_that_whole_sessions_miss_are_told(type_command, tmp_path, capsys, pauses, share):
    drive = write(tmp_path / "drive", pauses=pauses)
    assert type_command(data, COMMANDS, "split", drive, "--by", "session") == 0
    told = capsys.readouterr().out
    assert ("asked for" in told) == (share is not None)
    if share is not None:
        assert f"asked for 68 % of the frames in the training part, got {share} %" in told


def test_recordings_are_sessions_where_there_are_several(type_command, tmp_path):
    drives = [write(tmp_path / f"drive-{i}", frames=40 + 20 * i) for i in range(4)]
    assert type_command(data, COMMANDS, "split", tmp_path, "--by", "session") == 0
    held = [[name for name, part in parts_of(one).items() if len(part)] for one in drives]
    assert held == [["train"], ["train"], ["validation"], ["test"]]
    settings = Recorded(log=tuple(drives), models=("lstm",))
    _, parts, doubts = load(settings)
    assert [sum(len(one[name]) for one in parts) for name in PARTS] == [100, 80, 100]
    assert not doubts


def episodes_of(folder, length):
    """Return the declared episodes that have a frame in each part."""
    first = rows(load_recording(folder))[0]
    return {n: set((rows(part) - first) // length) for n, part in parts_of(folder).items()}


def test_declared_episodes_are_never_cut_with_gaps_or_without(type_command, tmp_path):
    drive = write(tmp_path / "drive", episode=20)
    assert type_command(data, COMMANDS, "clean", drive, "--out-of", "2.75-3.25") == 0
    assert len(load_recording(drive).episodes) == 6
    words = ("--by", "episode", "--train-share", "0.6", "--validation-share", "0.5")
    assert type_command(data, COMMANDS, "split", drive, *words) == 0
    assert episodes_of(drive, 20) == {"train": {0, 1}, "validation": {2}, "test": {3, 4}}


def test_episodes_of_several_recordings_are_dealt_together(type_command, tmp_path):
    drives = [write(tmp_path / f"drive-{i}", episode=20) for i in range(2)]
    gaps = write(tmp_path / "drive-2", pauses=(30, 60))
    words = ("--by", "episode", "--validation-share", "0.3")
    assert type_command(data, COMMANDS, "split", tmp_path, *words) == 0
    assert [episodes_of(one, 20) for one in drives] == [
        {"train": {0, 1, 2, 3, 4}, "validation": set(), "test": set()},
        {"train": {0, 1, 2}, "validation": {3, 4}, "test": set()},
    ]
    counts = {name: len(part) for name, part in parts_of(gaps).items()}
    assert counts == {"train": 0, "validation": 30, "test": 70}


def test_a_seed_shuffles_the_episodes(type_command, tmp_path):
    drive = write(tmp_path / "drive", frames=200, episode=20)
    files, held = [], []
    for seed in (0, 0, 1, 2, 3):
        words = ("--by", "episode", "--shuffle-seed", seed)
        assert type_command(data, COMMANDS, "split", drive, *words) == 0
        files.append(parts_file(drive).read_bytes())
        held.append(episodes_of(drive, 20))
    assert files[0] == files[1] and len(set(files)) == 4
    for one in held:
        assert [len(one[name]) for name in PARTS] == [7, 1, 2]
        assert set().union(*one.values()) == set(range(10))
    assert any(9 in one["train"] for one in held), "the last episode trains under some seed"


def test_a_split_that_episodes_allow_is_named(type_command, tmp_path, capsys):
    write(tmp_path / "a", episode=20)
    write(tmp_path / "b", episode=20)
    assert type_command(data, COMMANDS, "split", tmp_path, "--by", "session") != 0
    message = " ".join(capsys.readouterr().err.split())
    assert "got 2 by session. Name more recordings. Or split --by episode" in message
    assert "of which there are 10" in message and "pause" not in message


def test_no_square_of_the_ground_is_in_two_parts(type_command, tmp_path):
    drive = write(tmp_path / "drive", laps=3)
    words = ("--by", "place", "--place", "x", "y", "--cell-size", "10")
    assert type_command(data, COMMANDS, "split", drive, *words) == 0
    squares = {
        name: set(zip(*np.floor([numbers(part, n) / 10.0 for n in "xy"]), strict=True))
        for name, part in parts_of(drive).items()
    }
    assert sum(map(len, squares.values())) == len(set().union(*squares.values())) > 10
    counts = {name: len(part) for name, part in parts_of(drive).items()}
    assert sum(counts.values()) == 300 and abs(counts["test"] / 300 - 0.2) < 0.06
    laps = (rows(parts_of(drive)["test"]) - 1) // 100
    assert set(laps) == {0, 1, 2}, "each lap drives there"


def test_frames_near_those_that_judge_do_not_train(type_command, tmp_path):
    drive = write(tmp_path / "drive")
    assert type_command(data, COMMANDS, "split", drive, "--gap-s", "1.0") == 0
    parts = parts_of(drive)
    time_s = {
        name: np.concatenate([e.time_s for e in part.episodes]) for name, part in parts.items()
    }
    assert time_s["validation"].min() - time_s["train"].max() >= 1.0
    assert len(parts["train"]) in (58, 59) and len(parts["test"]) == 20


def test_episodes_that_begin_at_the_same_time_are_not_near_each_other():
    part = np.repeat([0, 0, 1], 5)
    kept = keep_apart(part, np.tile(np.arange(5) * 0.1, 3), 0.25)
    np.testing.assert_array_equal(kept, part)
    kept = keep_apart(part, np.arange(15) * 0.1, 0.25)
    np.testing.assert_array_equal(np.flatnonzero(kept < 0), [8, 9])


def test_training_and_evaluation_take_the_parts(type_command, tmp_path, capsys):
    drive = write(tmp_path / "drive", frames=120, pauses=(40, 80))
    assert type_command(data, COMMANDS, "split", drive, "--by", "session") == 0
    words = ("--log", drive, "--models", "lstm", "--inputs", "x", "y", "--balance", "False")
    few = ("--imitation.epochs", "1", "--imitation.epoch-steps", "2", "--smoothing-s", "0")
    assert type_command(train_recorded, Recorded, *words, *few) == 0
    assert "parts: as data.py split wrote them (--by session" in capsys.readouterr().out
    (policy,) = tmp_path.glob("runs/recorded-lstm-*/policy")
    rows_written = read(policy.parent / "results.csv")
    assert all("--by session" in row["settings"] for row in rows_written)
    assert not any("train_share" in row["settings"] for row in rows_written)
    (learned,) = [float(row["test_mse"]) for row in rows_written if row["model"] == "lstm"]
    words = (policy, "--log", drive, "--log-part", "test", "--results", "errors.csv")
    assert type_command(evaluate_policy, Evaluate, *words) == 0
    (row,) = read(tmp_path / "errors.csv")
    assert float(row["mean_squared_error"]) == pytest.approx(learned, rel=1e-4)
    assert "recording drive test part" in row["settings"]


def test_parts_of_another_recording_are_refused_and_undo_removes_them(type_command, tmp_path):
    drive = write(tmp_path / "drive")
    other = write(tmp_path / "other", begin_s=2000.0)
    assert type_command(data, COMMANDS, "split", drive) == 0
    parts_file(other).write_bytes(parts_file(drive).read_bytes())
    with pytest.raises(ValueError, match="`parts` must have the marks of '.*other'"):
        parts_of(other)
    settings = Recorded(log=(other,), models=("lstm",), use_parts=False)
    assert len(load(settings)[1][0]["test"]) == 20
    assert type_command(data, COMMANDS, "split", drive, "--undo") == 0
    assert not parts_file(drive).exists()


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ({"format": 2}, "its format is 2"),
        ({"format": 1, "by": "time", "why": ""}, "no 'parts'"),
        (
            {
                "format": 1,
                "by": "time",
                "why": "",
                "parts": {name: [{"rows": [2, 1]}] for name in PARTS},
            },
            "no 'time_s'",
        ),
    ],
)
def test_damaged_parts_are_refused(tmp_path, told, fault):
    path = tmp_path / "parts.json"
    path.write_text(json.dumps(told))
    with pytest.raises(ValueError, match=f"`parts` must be a file that data.py split .*{fault}"):
        read_parts(path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--by", "session"], "`by` must leave at least 3 sessions .* got 1 by session"),
        (["--by", "episode"], "at least 3 episodes .* got 1 by episode"),
        (["--shuffle-seed", "1"], "`shuffle_seed` must come with --by session or --by episode"),
        (["--by", "place"], "`place` must name .* got none. .*drive' has .*, x, y: choose by"),
        (["--place", "x"], "`place` must come with --by place, got x with --by time"),
        (["--by", "place", "--place", "x", "up"], "`place` must be .* got 'up'"),
        (["--by", "place", "--place", "x", "y", "--cell-size", "1000"], "at least 3 squares"),
        (["--gap-s", "60"], "`gap_s` must leave some frames that train, got 60.0"),
        (["--train-share", "1.5"], "`train_share` must"),
    ],
)
def test_what_cannot_be_split_is_told_and_nothing_is_written(
    type_command, tmp_path, capsys, words, message
):
    drive = write(tmp_path / "drive")
    assert type_command(data, COMMANDS, "split", drive, *words) != 0
    assert re.search(message, " ".join(capsys.readouterr().err.split()))
    assert not parts_file(drive).exists()


def test_a_part_that_marks_empty_is_told_at_once_and_by_training(type_command, tmp_path, capsys):
    drive = write(tmp_path / "drive")
    assert type_command(data, COMMANDS, "split", drive) == 0
    assert type_command(data, COMMANDS, "clean", drive, "--out-of", "0-5") == 0
    assert "has no frames left" not in capsys.readouterr().err
    assert type_command(data, COMMANDS, "clean", drive, "--out-of", "0-7") == 0
    assert re.search(r"the train part of .*parts.json has no frames left", capsys.readouterr().err)
    with pytest.raises(
        ValueError, match=r"train part, got none .* by the marks of left_out.json\."
    ):
        load(Recorded(log=(drive,), models=("lstm",)))
    assert type_command(data, COMMANDS, "clean", drive, "--undo") == 0
    assert "has no frames left" not in capsys.readouterr().err
    (drive / "left_out.json").unlink()
    load(Recorded(log=(drive,), models=("lstm",)))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_read_only_recording_is_split_by_links_to_its_files(tmp_path, monkeypatch, number):
    folder = write(tmp_path / "drive", laps=3)

    def refuse(path, parts):
        raise OSError(number, "it is read-only", str(path))

    with monkeypatch.context() as context:
        context.setattr("scripts.curating.splitting.write_parts", refuse)
        with pytest.raises(ValueError, match="read-only '.*drive'. Make links .* cp -rs") as told:
            data(Split(log=(folder,)))
    copying = re.search(r"(cp -rs '.*') NEW", str(told.value)).group(1)
    subprocess.run([*shlex.split(copying), str(tmp_path / "links")], check=True)
    data(Split(log=(tmp_path / "links",)))
    assert not parts_file(folder).exists()
    assert sum(len(part) for part in parts_of(tmp_path / "links").values()) == 300
