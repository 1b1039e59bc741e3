"""`data.py clean`: marks that every job respects, and that can be taken back."""

import json

import numpy as np
import pytest

from envs.recorded import load_recording, load_recordings
from envs.recorded.left_out import marks_file
from ncp_control.command_line import run_command
from scripts.data import COMMANDS


def data(settings):
    run_command(COMMANDS, settings)


@pytest.fixture
def drive(tmp_path):
    """Ten seconds at 10 Hz in two episodes; it stands for 3 s, and goes straight for 2.5 s."""
    folder = tmp_path / "drive"
    folder.mkdir()
    lines = ["time_s,steering,speed,episode"]
    for i in range(100):
        steering = 0.0 if 60 <= i <= 85 or i == 3 else 0.5
        speed = 0.0 if 10 <= i <= 40 or i == 90 else 3.0
        lines.append(f"{1000 + 0.1 * (i % 50):.1f},{steering},{speed},{'ab'[i // 50]}")
    (folder / "frames.csv").write_text("\n".join(lines))
    return folder


def rows(recording):
    return np.concatenate([one.rows for one in recording.episodes]).tolist()


def without(*ranges):
    return [row for row in range(100) if not any(a <= row <= b for a, b in ranges)]


def test_times_are_those_of_the_page_and_nothing_is_deleted(type_command, drive, capsys):
    before = (drive / "frames.csv").read_bytes()
    first = rows(load_recording(drive))[0]
    words = ("clean", drive, "--out-of", "1.0-1.5", "6.95-20")
    assert type_command(data, COMMANDS, *words) == 0
    assert "left out: 36 of 100 frames" in capsys.readouterr().out
    left = load_recording(drive)
    assert [row - first for row in rows(left)] == without((10, 15), (70, 99))
    assert left.skipped == {"marked to be left out": 36} and len(left.episodes) == 3
    assert left.num_listed == 100 and len(load_recordings([drive])[0]) == 64
    assert len(load_recording(drive, options={"left_out": False})) == 100
    assert (drive / "frames.csv").read_bytes() == before


def test_a_command_that_marks_nothing_new_or_everything_changes_nothing(
    type_command, drive, capsys
):
    assert type_command(data, COMMANDS, "clean", drive, "--out-of", "1-2") == 0
    marked = marks_file(drive).read_bytes()
    assert type_command(data, COMMANDS, "clean", drive, "--out-of", "1-2") == 0
    assert "marked already: --out-of 1-2" in capsys.readouterr().out
    assert type_command(data, COMMANDS, "clean", drive, "--out-of", "0-100") == 2
    told = capsys.readouterr().err
    assert "must leave some frames, got '--out-of 0-100'" in told and "Nothing was marked" in told
    assert marks_file(drive).read_bytes() == marked


def test_marks_are_used_by_whatever_name_the_recording_is_called(type_command, drive):
    whole = len(load_recording(drive))
    assert type_command(data, COMMANDS, "clean", drive / "frames.csv", "--still") == 0
    marked = len(load_recording(drive))
    assert marked == len(load_recording(drive / "frames.csv")) < whole


def test_a_recorded_speed_in_km_h_is_compared_in_m_s(type_command, drive):
    """0.2 km/h are 0.06 m/s, below the limit of 0.1 m/s."""
    log = drive / "frames.csv"
    slow = log.read_text().replace(",0.0,a", ",0.2,a")
    for unit, does_stand in (("km/h", True), ("m/s", False)):
        log.write_text(slow.replace("speed", f"speed [{unit}]", 1))
        status = type_command(data, COMMANDS, "clean", drive, "--still")
        assert (status == 0) == does_stand == marks_file(drive).exists()
        marks_file(drive).unlink(missing_ok=True)


def test_rules_mark_what_holds_long_enough_and_undo_takes_back_the_last(type_command, drive):
    first = rows(load_recording(drive))[0]
    assert type_command(data, COMMANDS, "clean", drive, "--still") == 0
    assert type_command(data, COMMANDS, "clean", drive, "--no-steering") == 0
    both = without((10, 40), (60, 85))
    assert [row - first for row in rows(load_recording(drive))] == both
    assert type_command(data, COMMANDS, "clean", drive) == 0, "which only tells"
    assert type_command(data, COMMANDS, "clean", drive, "--undo") == 0
    assert [row - first for row in rows(load_recording(drive))] == without((10, 40))
    assert type_command(data, COMMANDS, "clean", drive, "--undo") == 0
    assert not marks_file(drive).exists() and len(load_recording(drive)) == 100


def test_marks_of_a_named_file_are_used_where_they_are_named(type_command, drive, tmp_path):
    words = ("clean", drive, "--out-of", "0-1", "--marks", "mine.json")
    assert type_command(data, COMMANDS, *words) == 0
    assert len(load_recording(drive)) == 100
    assert len(load_recording(drive, options={"left_out": str(tmp_path / "mine.json")})) == 89
    other = tmp_path / "other"
    other.mkdir()
    (other / "frames.csv").write_text((drive / "frames.csv").read_text().replace("\n100", "\n200"))
    with pytest.raises(ValueError, match="`left_out` must have the marks of '.*other'"):
        load_recording(other, options={"left_out": "mine.json"})
    with pytest.raises(ValueError, match="marks of one recording, got 2 recordings"):
        load_recordings([drive, other], options={"left_out": "mine.json"})


def test_side_cameras_are_left_out_too(type_command, udacity_log):
    for side in ("left", "right"):
        for path in list((udacity_log / "IMG").glob("center_*")):
            (udacity_log / "IMG" / path.name.replace("center", side)).write_bytes(path.read_bytes())
    log = udacity_log / "driving_log.csv"
    lines = [line.split(",") for line in log.read_text().splitlines()]
    for cells in lines:
        cells[1:3] = [cells[0].replace("center", side) for side in ("left", "right")]
    log.write_text("\n".join(map(",".join, lines)))
    assert len(load_recording(udacity_log)) == 360
    assert type_command(data, COMMANDS, "clean", udacity_log, "--out-of", "0-1.95") == 0
    left = load_recording(udacity_log)
    assert {one.camera: len(one) for one in left.episodes} == dict.fromkeys(
        ("center", "left", "right"), 100
    )


def test_inspect_keeps_the_times_of_the_whole_recording(type_command, drive, tmp_path, capsys):
    from scripts.curating.inspecting import look_over
    from scripts.curating.loading import load_one

    assert type_command(data, COMMANDS, "clean", drive, "--out-of", "0-1.95") == 0
    recording, whole, _ = load_one(drive, {})
    overview = look_over(recording, whole)
    assert overview.time_s_of_row[int(recording.episodes[0].rows[0])] == pytest.approx(2.0)
    assert type_command(data, COMMANDS, "inspect", drive) == 0
    assert "left out: marked to be left out | 20" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out-of", "14"], "`out_of` must be begin-end in seconds .* got '14'"),
        (["--out-of", "14-12"], "`out_of` must be begin-end"),
        (
            ["--out-of", "20-30"],
            "must mark some frames, got '20-30', .* ends at 9.9 s",
        ),
        (["--out-of", "0-30"], "the command must leave some frames"),
        (["--still", "--at-least-s", "9"], "`still` must mark some frames"),
        (["--undo"], "`undo` must follow a command that marked something"),
        (["--undo", "--still"], "`undo` must stand alone"),
    ],
)
def test_bad_input_is_one_sentence_and_marks_nothing(refuse, drive, words, message):
    refuse(data, COMMANDS, ["clean", drive, *words], message)
    assert not marks_file(drive).exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": 2, "marks": []}',
        '{"format": 1}',
        '{"format": 1, "marks": [{"why": "x", "stretches": [{"rows": [3, 1], "time_s": [0, 1]}]}]}',
        '{"format": 1, "marks": [{"why": "x", "stretches": [{"rows": 3, "time_s": [0, 1]}]}]}',
        '{"format": 1, "marks": [{"why": "x", "stretches": [{"rows": [1, 2], "time_s": [0]}]}]}',
    ],
)
def test_damaged_marks_are_refused_and_not_passed_over(drive, text):
    marks_file(drive).write_text(text)
    with pytest.raises(ValueError, match="must be a file that data.py clean wrote, got"):
        load_recording(drive)
    assert text == "" or json.loads(text) is not None
