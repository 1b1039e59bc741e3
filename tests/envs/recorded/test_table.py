"""frames.csv, the plain table of frames."""

import contextlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from envs.recorded import load_recording


@pytest.fixture
def table(tmp_path):
    """Write a table of some lines; images of the names a.png, b.png, ... are there."""
    for name in "abcdef":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((40, 60, 3), 99, np.uint8))

    def write(*lines):
        (tmp_path / "frames.csv").write_text("\n".join(lines))
        return tmp_path

    return write


def test_frames_times_and_numbers_are_those_of_the_table(table):
    folder = table("path,time_s,steering,speed [km/h],hand", "a.png,0,0.5,36,1", "b.png,0.1,-1,72,",
                   "sub\\c.png,0.2,0,72,", "d.png,0.3,,1,2")  # fmt: skip
    with pytest.warns(UserWarning, match=r"center image missing: 1 \(first: c.png\)"):
        recording = load_recording(folder / "frames.csv")
    (episode,) = recording.episodes
    assert [path.name for path in episode.image_paths] == ["a.png", "b.png", "d.png"]
    np.testing.assert_allclose(episode.time_s, [0, 0.1, 0.3])
    np.testing.assert_array_equal(episode.numbers["speed"], [36, 72, 1])
    np.testing.assert_array_equal(episode.numbers["hand"], [1, np.nan, 2])
    assert [(one.name, one.unit) for one in recording.quantities][1:] == [
        ("speed", "km/h"), ("hand", ""),
    ]  # fmt: skip
    chosen = recording.choose()
    assert (len(chosen), chosen.skipped["no steering"]) == (2, 1)
    assert chosen.action[0].positive == "left"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252"])
def test_letters_of_windows_are_read(tmp_path, encoding):
    told = "time_s,Kühlung [°C],ruta\n0,1,2\n0.1,3,4\n"
    (tmp_path / "frames.csv").write_bytes(told.encode(encoding))
    is_guess = encoding != "utf-8"
    guessed = pytest.warns(UserWarning, match="is not UTF-8: it was read as Windows-1252")
    with guessed if is_guess else contextlib.nullcontext():
        recording = load_recording(tmp_path)
    assert [(one.name, one.unit) for one in recording.quantities] == [
        ("Kühlung", "°C"), ("ruta", ""),
    ]  # fmt: skip
    np.testing.assert_array_equal(recording.episodes[0].numbers["Kühlung"], [1, 3])


def test_a_damaged_line_spoils_the_letters_of_no_other(tmp_path):
    lines = ["time_s,Kühlung [°C]".encode(), b"0,1", b"0.1,\xb2", b"0.2,3"]
    (tmp_path / "frames.csv").write_bytes(b"\n".join(lines))
    with pytest.warns(UserWarning, match=r"Kühlung is no number .* 1 \(first: line 3\)"):
        recording = load_recording(tmp_path)
    np.testing.assert_array_equal(recording.episodes[0].numbers["Kühlung"], [1, np.nan, 3])


def test_frames_of_a_video_are_those_that_the_table_names(table, tmp_path):
    files = pytest.importorskip("tests.envs.recorded.lerobot_files")
    shown = [np.full((48, 64, 3), 20 + 30 * i, np.uint8) for i in range(6)]
    files.write_video(tmp_path / "drive.mp4", shown)
    (tmp_path / "torn.mp4").write_bytes(b"no video")
    rows = [("drive.mp4", 1), ("drive.mp4", 2), ("a.png", ""), ("drive.mp4", "5.0"),
            ("drive.mp4", 6), ("torn.mp4", 0), ("gone.mp4", 0), ("drive.mp4", "9" * 5000),
            ("drive.mp4", 1.5), ("drive.mp4", 4)]  # fmt: skip
    lines = [f"{i / 10},{path},{number},0" for i, (path, number) in enumerate(rows)]
    folder = table("time_s,path,video_frame,steering", *lines)
    with pytest.warns(UserWarning) as told:
        recording = load_recording(folder, image_size=(48, 64), max_gap_s=9, max_missing_frames=9)
    text = str(told[0].message)
    assert "Skipped 5 of the 10 images listed" in text
    assert "no such frame in the video: 1 (first: 6 in line 6)" in text
    assert "no readable video: 2 (first: 'torn.mp4' cannot be read" in text
    assert "video_frame is no whole number: 2 (first: inf in line 9)" in text
    (episode,) = recording.choose().episodes
    assert [path.name for path in episode.image_paths] == [
        "frame 1 of drive.mp4", "frame 2 of drive.mp4", "a.png", "frame 5 of drive.mp4",
        "frame 4 of drive.mp4",
    ]  # fmt: skip
    files_read = [np.frombuffer(path.read_bytes(), np.uint8) for path in episode.image_paths]
    levels = [np.mean(np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR))) for file in files_read]
    np.testing.assert_allclose(levels, [50, 80, 99, 170, 140], atol=3)


def test_a_log_slower_than_a_frame_a_second_needs_a_longer_gap(table):
    folder = table("time_s,joint,load", *(f"{2 * i},{i},1" for i in range(5)))
    with pytest.raises(ValueError, match=r"there are 2 s: .* raise the option max_gap_s"):
        load_recording(folder)
    (episode,) = load_recording(folder, options={"max_gap_s": 3}).episodes
    np.testing.assert_allclose(episode.time_s, 2.0 * np.arange(5))


def test_numbers_alone_need_no_path(table):
    folder = table("time_s;joint [deg];load", *(f"{i / 10:.1f};{i},5;1".replace(".", ",")
                   for i in range(5)))  # fmt: skip
    recording = load_recording(folder).choose(["joint"])
    assert recording.framing is None and recording.inputs == ("load",)
    np.testing.assert_allclose(recording.episodes[0].numbers["joint"], np.arange(5) + 0.5)
    np.testing.assert_allclose(recording.episodes[0].time_s, np.arange(5) / 10)


@pytest.mark.parametrize(
    ("times", "advice"),
    [
        (["0", "50", "100"], "From one to the next there are 50 s: check the unit of the times"),
        (["0.2", "0.1", "0.0"], "Their times run backwards: sort the log by time"),
        (["0.5"], "Record more than one"),
    ],
)
def test_times_by_which_no_frame_follows_another_are_told_by_what_is_wrong(table, times, advice):
    folder = table("time_s,steering", *(f"{time},0.1" for time in times))
    with pytest.raises(ValueError, match=rf"two frames must follow each other .*{advice}"):
        load_recording(folder)


@pytest.mark.parametrize("rate_hz", [25_600, 48_000])
def test_vibration_is_read_at_the_rate_of_its_sensor(table, rate_hz):
    folder = table("time_s,acceleration", *(f"{i / rate_hz:.9f},0.1" for i in range(9)))
    assert load_recording(folder).frame_s == pytest.approx(1 / rate_hz, rel=1e-3)


def test_an_impossible_rate_is_refused(table):
    folder = table("time_s,steering", *(f"{4e-7 * i:.7f},0.1" for i in range(9)))
    with pytest.raises(ValueError, match=r"frames .* at least 0\.001 ms apart, got 0\.0004 ms at"):
        load_recording(folder)
    folder = table("time_s,path", *(f"{4e-4 * i:.6f},{'abcdef'[i]}.png" for i in range(6)))
    with pytest.raises(ValueError, match=r"images .* at least 0\.5 ms apart, got 0\.4 ms at"):
        load_recording(folder)


def test_a_shuffled_table_is_refused(table):
    times = np.random.default_rng(0).permutation(40) / 10
    folder = table("time_s,steering", *(f"{time},0.1" for time in times))
    with pytest.raises(
        ValueError, match=r"in order of time, got \d+ of 40 .* Sort the log by time"
    ):
        load_recording(folder)


def test_times_too_coarse_to_tell_frames_apart_are_not_called_shuffled(table):
    """Times that are rounded to 0.1 s, of a camera with 20 frames a second."""
    folder = table("time_s,steering", *(f"{0.1 * (i // 2):.1f},0.1" for i in range(40)))
    told = "must have times of their own, got 20 of 40 .* Write the times with more digits"
    with pytest.raises(ValueError, match=told):
        load_recording(folder)


def test_a_cell_that_says_nan_is_missing_as_an_empty_one_is(table):
    folder = table("time_s,speed,hand", "0,1,NaN", "0.1,nan,2", "0.2,,3")
    numbers = load_recording(folder).episodes[0].numbers
    np.testing.assert_array_equal(numbers["speed"], [1, np.nan, np.nan])
    np.testing.assert_array_equal(numbers["hand"], [np.nan, 2, 3])


def test_steering_in_degrees_is_told_how_to_name_its_unit(table):
    lines = [f"{i / 10:.1f},{3 * i}" for i in range(8)]
    with pytest.raises(ValueError, match=r"name the unit in the header, e.g. steering \[deg\]\.$"):
        load_recording(table("time_s,steering", *lines))
    recording = load_recording(table("time_s,steering [deg]", *lines))
    assert recording.episodes[0].numbers["steering"][-1] == 21.0


def test_another_value_of_episode_begins_an_episode(table):
    folder = table("time_s,episode,steering", "0,x,0", "0.1,x,0", "0.2,y,0", "0.3,y,0")
    assert [len(one) for one in load_recording(folder).episodes] == [2, 2]


def test_a_number_that_is_too_large_to_keep_is_told(table):
    folder = table("time_s,steering,speed", "0,0,1e300", "0.1,0,3e38", "0.2,0,2")
    with pytest.warns(UserWarning, match="speed is no number"):
        recording = load_recording(folder)
    assert recording.changed == {"speed is no number that can be kept, and left out": 1}


def test_what_is_no_number_is_left_out_and_told(table):
    folder = table("time_s,steering,speed", "0,0,fast", "0.1,1.05,2", "soon,0,1", "0.2,0,1,9")
    with pytest.warns(
        UserWarning,
        match="no time in seconds or ISO 8601: 1 .*not 3 columns: 1 .*speed is no number",
    ):
        recording = load_recording(folder)
    assert recording.episodes[0].numbers["steering"].tolist() == [0, 1]
    assert recording.changed == {"speed is no number that can be kept, and left out": 1,
                                 "steering clipped to [-1, 1]": 1}  # fmt: skip


@pytest.mark.parametrize("steering", ["1.5", "-1.25"])
def test_steering_out_of_its_range_is_told_as_it_stands_in_the_table(steering, table):
    folder = table("time_s,steering", "0,0.5", f"0.1,{steering}", "0.2,-0.25", "0.3,-1.05")
    told = rf"steering outside \[-1, 1\]: 1 \(first: {steering} in line 3\)"
    with pytest.warns(UserWarning, match=told):
        recording = load_recording(folder)
    assert recording.episodes[0].numbers["steering"].tolist() == [0.5, -0.25, -1.0]


def test_steering_in_a_unit_may_be_of_any_size(table):
    folder = table("time_s,steering [deg]", *(f"{i / 10},{30 * i}" for i in range(4)))
    recording = load_recording(folder)
    assert recording.episodes[0].numbers["steering"].max() == 90
    assert (recording.action[0].unit, recording.action[0].positive) == ("deg", "left")


@pytest.mark.parametrize("unit", ["right", "left", "%", "percent", "", "m/s"])
def test_steering_in_a_unit_that_it_cannot_have_is_refused(unit, table):
    with pytest.raises(ValueError, match=f"`steering` must have no unit, or .* got '{unit}' in"):
        load_recording(table(f"time_s,steering [{unit}]", "0,0.5", "0.1,0.5"))


@pytest.mark.parametrize("unit", ["°", "rad", "1/m", "deg/s", "fraction of 0.4 rad"])
def test_steering_keeps_a_unit_that_links_convert(unit, table):
    folder = table(f"time_s,steering [{unit}]", "0,0.5", "0.1,0.5")
    assert load_recording(folder).action[0].unit == unit


def test_times_may_be_dates_with_and_without_a_time_zone(table):
    dates = ["2026-11-29T20:00:00.000", "2026-11-29 20:00:00.050", "2026-11-29T21:00:00.1+01:00",
             "2026-11-29T20:00:00.2Z"]  # fmt: skip
    (episode,) = load_recording(table("time_s,steering", *(f"{one},0" for one in dates))).episodes
    begin_s = (np.datetime64("2026-11-29T20:00:00") - np.datetime64(0, "s")).astype(float)
    np.testing.assert_allclose(episode.time_s - begin_s, [0, 0.05, 0.1, 0.2], atol=1e-6)


def test_images_in_a_column_of_another_name_are_told(table):
    folder = table("time_s,image,steering", "0,a.png,0.5", "0.1,b.png,0.5")
    with (
        pytest.warns(UserWarning, match=r"No image of .* 'image' has names of images. Name it"),
        pytest.warns(UserWarning, match="image is no number"),
    ):
        assert load_recording(folder).framing is None


@pytest.mark.parametrize("title", ["Steering", "angle", "steer", "steering_deg [deg]"])
def test_a_column_like_steering_is_asked_about(title, table):
    recording = load_recording(table(f"time_s,speed,{title}", "0,1,0.5", "0.1,1,0.5"))
    name = title.split(" ")[0]
    with pytest.raises(ValueError, match=rf"with --actions. Did you mean steering by '{name}'\?"):
        recording.choose()


def test_no_column_like_steering_is_asked_about_where_there_is_none(table):
    recording = load_recording(table("time_s,speed,power", "0,1,0.5", "0.1,1,0.5"))
    with pytest.raises(ValueError, match=r"Choose with --actions\.$"):
        recording.choose()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], "must name its columns in the first line, time_s and others"),
        (
            ["path,steering", "a.png,0"],
            "must name its columns .* got no time_s in 'path, steering'",
        ),
        (["time_s,video_frame", "0,0"], "must name its columns .* got video_frame without a path"),
        (["Time_s,steering", "0,0"], "must name its columns .* got no time_s but 'Time_s'"),
        (["time_s,,speed", "0,1,2"], "must name its columns .* got '' as the title of column 2"),
        (["time_s,speed,speed", "0,1,2"], "each once, got 'speed' twice"),
        (["time_s,[m]", "0,1"], "must name its columns"),
        (["time_s,speed"], "must list at least one frame below the names"),
        (["time_s,steering", *(f"{i},30" for i in range(9))], "must be a fraction of the largest"),
    ],
)
def test_a_table_that_is_none_is_refused(table, lines, message):
    with pytest.raises(ValueError, match=message):
        load_recording(table(*lines))


def test_the_table_of_the_page_is_read(table, tmp_path):
    """The example of docs/recordings.md, word for word."""
    page = (Path(__file__).parents[3] / "docs" / "recordings.md").read_text()
    begin = page.index("    time_s,path")
    example = [line[4:] for line in page[begin:].split("\n\n")[0].splitlines()]
    folder = table(*example)
    (folder / "images").mkdir()
    for i in (1, 2, 3):
        (folder / "images" / f"{i:04}.jpg").write_bytes((folder / "a.png").read_bytes())
    recording = load_recording(folder)
    assert {one.name: one.unit for one in recording.quantities}["speed"] == "m/s"
    assert (len(recording), len(recording.choose())) == (3, 2)
