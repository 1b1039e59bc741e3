"""Columns of a simulator's log: found by their names, or in the simulator's order."""

import itertools

import numpy as np
import pytest

from envs.recorded import load_recording
from envs.recorded.columns import COLUMNS

STEERING = [0.5, -0.25, 0.125, -1.0]
CELLS = {"throttle": "0.9", "brake": "0", "speed": "30.19"}


@pytest.fixture
def write_log(tmp_path, stamp, make_udacity):
    """Write a log of four frames in the given columns; return its folder."""
    times_ms = [0, 50, 100, 150]
    folder = make_udacity(tmp_path / "log", times_ms, STEERING, cameras=("center", "left", "right"))

    def write(columns, header=None, separator=",", change=str, encoding="utf-8"):
        lines = [] if header is None else [separator.join(header)]
        for time_ms, steering in zip(times_ms, STEERING, strict=True):
            images = {c: f"C:\\IMG\\{c}_{stamp(time_ms)}" for c in ("center", "left", "right")}
            frame = images | CELLS | {"steering": change(steering)}
            lines.append(separator.join(frame.get(c, "note") for c in columns))
        (folder / "driving_log.csv").write_bytes("\r\n".join(lines).encode(encoding))
        return folder

    return write


def steering_of(recording):
    assert recording.num_skipped == 0
    return recording.center_only().episodes[0].numbers["steering"]


@pytest.mark.parametrize("columns", list(itertools.permutations(COLUMNS))[3::629])
@pytest.mark.parametrize("spelling", [str, str.upper, str.title, " {} ".format])
def test_named_columns_are_found_in_any_order_and_case(write_log, columns, spelling):
    recording = load_recording(write_log(columns, map(spelling, columns)))
    np.testing.assert_array_equal(steering_of(recording), -np.float32(STEERING))
    assert {episode.camera for episode in recording.episodes} == {"center", "left", "right"}


@pytest.mark.parametrize(
    "columns",
    [
        ("center", "steering"),
        ("steering", "center"),
        ("throttle", "steering", "center"),
        ("number", "center", "right", "throttle", "steering", "weather"),
        ("speed [mph]", "Steering Angle", "center_image", "Left Image"),
        ("Throttle", "steering", "steering wheel", "centre", "center"),
    ],
)
def test_center_and_steering_are_all_that_is_needed(write_log, columns):
    names = {"Steering Angle": "steering", "center_image": "center", "Left Image": "left"}
    recording = load_recording(write_log([names.get(c, c) for c in columns], columns))
    np.testing.assert_array_equal(steering_of(recording), -np.float32(STEERING))


def test_empty_cells_at_the_end_of_lines_are_no_columns(write_log):
    columns = ("center", "steering")
    folder = write_log(columns, columns)
    log = folder / "driving_log.csv"
    header, *frames = log.read_text().splitlines()
    log.write_text("\n".join([header, *(frame + ",," for frame in frames)]))
    np.testing.assert_array_equal(steering_of(load_recording(folder)), -np.float32(STEERING))


@pytest.mark.parametrize(
    ("header", "match"),
    [
        (("center", "left", "right", "angle", "throttle"), "no column is named steering in the"),
        (("image", "angle"), "no column is named steering in the header 'image, angle'"),
        (("path", "steering"), "no column is named center in the header 'path, steering'"),
        (("center", "steering", "steering"), "2 columns are named steering"),
    ],
)
def test_a_header_that_leaves_open_what_is_steering_is_refused(write_log, header, match):
    names = ("center", "left", "right", "steering", "throttle")[: len(header)]
    with pytest.raises(ValueError, match=f"{match}.*Name the columns center and steering, in any"):
        load_recording(write_log(names, header))


def test_a_second_header_says_how_it_goes_on(write_log):
    columns = ("throttle", "center", "steering")
    folder = write_log(columns, columns)
    log = folder / "driving_log.csv"
    header, *frames = log.read_text().splitlines()
    swapped = [",".join(reversed(frame.split(","))) for frame in frames[2:]]
    log.write_text("\n".join([header, *frames[:2], "steering,center,throttle", *swapped]))
    np.testing.assert_array_equal(steering_of(load_recording(folder)), -np.float32(STEERING))


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        (("steering", "throttle", "brake", "speed", "center", "left", "right"), "time stamp: 4"),
        (("left", "center", "right", *COLUMNS[3:]), "column center names a left image: 4"),
        (("center", "right", "left", *COLUMNS[3:]), "column left names a right image: 4"),
        (
            ("center", "left", "right", "speed", "throttle", "brake", "steering"),
            "got 4 of 4 frames",
        ),
        (("center", "left", "right", "steering"), "fewer than 7 columns: 4"),
    ],
)
def test_without_a_header_another_order_is_named(write_log, columns, match):
    with pytest.raises(ValueError, match=rf"{match}.*in a first line\.$"):
        load_recording(write_log(columns))


@pytest.mark.parametrize("place", [4, 5, 6])
@pytest.mark.parametrize("steering", [[-0.1, -0.2, -0.3], np.sin(np.arange(40))])
def test_without_a_header_steering_in_another_place_is_named(
    tmp_path, make_udacity, place, steering
):
    """A throttle, brake or speed that is negative is steering."""
    folder = make_udacity(tmp_path / "log", range(0, 50 * len(steering), 50), steering)
    log = folder / "driving_log.csv"
    lines = [line.split(",") for line in log.read_text().splitlines()]
    for cells in lines:
        cells[3], cells[place] = "0.5", cells[3]
    log.write_text("\n".join(map(",".join, lines)))
    with pytest.raises(ValueError, match=f"never negative while {COLUMNS[place]} is.*first line"):
        load_recording(folder)


@pytest.mark.filterwarnings("ignore:Skipped:UserWarning")
def test_one_negative_throttle_is_no_other_order(tmp_path, make_udacity):
    folder = make_udacity(tmp_path / "log", [0, 50, 100, 150], [0.5] * 4)
    log = folder / "driving_log.csv"
    log.write_text(log.read_text().replace(",0.5,1,", ",0.5,-1,", 1))
    assert len(load_recording(folder)) == 4


@pytest.mark.parametrize("header", [None, COLUMNS])
@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_what_a_spreadsheet_program_writes_is_read(write_log, header, separator, encoding):
    folder = write_log(
        COLUMNS, header, separator, lambda v: str(v).replace(".", ","), encoding=encoding
    )
    np.testing.assert_array_equal(steering_of(load_recording(folder)), -np.float32(STEERING))


@pytest.mark.parametrize("columns", [COLUMNS, ("center", "steering")])
def test_decimal_commas_between_commas_are_named(write_log, columns):
    folder = write_log(columns, columns, change=lambda v: str(v).replace(".", ","))
    with pytest.raises(
        ValueError,
        match=r"got more in 4 of 4 lines .* 0 can be used .* decimal commas, write decimal points",
    ):
        load_recording(folder)
