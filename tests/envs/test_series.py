"""Time series in CSV files: what is read, what is left out, and what a policy sees of them."""

from pathlib import Path

import numpy as np
import pytest

from envs.series import read_series
from envs.series_rows import MARGIN, RowCoder

TABLE = """time,place,level,flow,state
0,a,1.0,10,low
1,a,2.0,,low
3,a,3.0,30,high
10,b,5.0,50,high
12,b,4.0,40,low
"""


@pytest.fixture
def table(tmp_path):
    def write(text, name="data.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def coder_of(series, **changes):
    asked = {"inputs": (), "targets": ("level",), "rows_ahead": 1, "has_classes": False}
    return RowCoder.fit(series, **{**asked, **changes})


def test_series_are_told_apart_and_keep_their_own_time(table):
    first, second = read_series([table(TABLE)], time="time", series="place")
    assert (first.name, second.name) == ("a", "b")
    np.testing.assert_array_equal(first.time_s, [0.0, 1.0, 3.0])
    np.testing.assert_array_equal(second.time_s, [0.0, 2.0])
    np.testing.assert_array_equal(first.columns["flow"], [10.0, np.nan, 30.0])
    assert first.columns["state"].tolist() == ["low", "low", "high"]
    assert set(first.columns) == {"level", "flow", "state"}


def test_rows_know_where_they_stand_in_their_file(table):
    day = "2024-01-01 00:0"
    text = f"when;x\n\n{day}0;1\n{day}1;\n{day}1;2\n{day}3;3\n"
    with pytest.warns(UserWarning, match="not later than the one before: 1"):
        (series,) = read_series([table(text)], time="when")
    assert Path(series.file).name == "data.csv" and series.lines.tolist() == [3, 4, 6]
    assert series.times.tolist() == [f"{day}{minute}" for minute in (0, 1, 3)]
    rows = coder_of([series], targets=("x",)).rows(series)
    assert rows.lines.tolist() == [4, 6] and rows.times.tolist()[1] == f"{day}3"
    rows = rows.labelled()
    assert rows.lines.tolist() == [6] and rows.times.tolist() == [f"{day}3"]
    assert series[1:].lines.tolist() == [4, 6]


def test_a_folder_of_files_has_a_series_each(table, tmp_path):
    table("a;b\n1,5;2\n2,5;3\n", "one.csv")
    table("a;b\n4;2\n", "two.csv")
    one, two = read_series([tmp_path])
    assert (one.name, two.name, len(one), len(two)) == ("one", "two", 2, 1)
    np.testing.assert_array_equal(one.columns["a"], [1.5, 2.5])


def test_a_comma_in_a_cell_between_commas_is_no_decimal_comma(table):
    with pytest.warns(UserWarning, match="cells of 'a' that are no number: 1"):
        (series,) = read_series([table('t,a\n0,999\n1,"1,234"\n2,5.5\n')], time="t")
    np.testing.assert_array_equal(series.columns["a"], [999.0, np.nan, 5.5])


def test_a_column_of_thousands_with_commas_is_told(table):
    text = 'a,b\n"1,000",1\n"12,345.5",2\n"-1,000,000",3\n'
    with pytest.warns(UserWarning, match=r"cells of 'a' with commas .*\(write 1000 .*: 3 \(first"):
        read_series([table(text)])
    read_series([table(text)], words=["a"])  # names of classes


def test_dates_are_times(table):
    path = table("when,x\n2020-02-28T23:00:00,1\n2020-03-01 00:00:00,2\n")
    (series,) = read_series([path], time="when")
    np.testing.assert_array_equal(series.time_s, [0.0, 25 * 3600.0])


def test_a_series_is_cut_where_time_jumps(table):
    (series,) = read_series([table("t,x\n0,1\n1,2\n2,3\n12,4\n13,5\n40,6\n")], time="t")
    assert [one.time_s.tolist() for one in series.pieces(10.0)] == [[0, 1, 2, 12, 13], [40]]
    assert [one.columns["x"].tolist() for one in series.pieces(5.0)] == [[1, 2, 3], [4, 5], [6]]
    assert [len(one) for one in series.pieces(27.0)] == [6]
    assert {one.name for one in series.pieces(0.5)} == {"data"}
    assert [len(one) for one in series[:0].pieces(1.0)] == [0]


def test_a_heading_that_lacks_the_names_of_rows_is_understood(table):
    (series,) = read_series([table('"x","y"\n"1",5,6\n"2",7,8\n')])
    np.testing.assert_array_equal(series.columns["x"], [5.0, 7.0])
    assert set(series.columns) == {"x", "y"}


def test_what_cannot_be_used_is_left_out_and_told_once(table):
    text = "t,x\n0,1\n1\n2,ten\nsoon,4\n2,5\n3,6\n"
    with pytest.warns(UserWarning, match="Skipped: ") as told:
        (series,) = read_series([table(text)], time="t")
    np.testing.assert_array_equal(series.columns["x"], [1.0, np.nan, 6.0])
    np.testing.assert_array_equal(series.time_s, [0.0, 2.0, 3.0])
    (warning,) = told
    for part in (
        "rows without 2 cells: 1 (first: data.csv, line 3)",
        "cells of 'x' that are no number: 1 (first: data.csv, 'ten')",
        "rows without a time: 1 (first: data.csv, line 5)",
        "rows that are not later than the one before: 1 (first: data.csv, line 6)",
    ):
        assert part in str(warning.message)


@pytest.mark.parametrize(
    ("text", "asked", "told"),
    [
        ("t,x\n", {}, "must hold rows that can be used, got none"),
        ("", {}, "must be CSV files, got .*data.csv, which is empty or no text"),
        ("\x00PNG\n1\n", {}, "must be CSV files, got .*data.csv, which is empty or no text"),
        (
            "t,x\n31.01.2024,1\n01.02.2024,2\n5,3\n",
            {"time": "t"},
            "must be seconds or ISO 8601, got",
        ),
        (
            "t,x\n1700000000000,1\n",
            {"time": "t"},
            "8601, got 1700000000000 in data.csv, line 2. Div",
        ),
        ("t,x\n0,1\n0,2\n0,3\n", {"time": "t"}, "must grow along a series, got 2 rows"),
        ("1,2\n3,4\n", {}, "must begin with a header of different names, got '1, 2'"),
        ("a,a\n3,4\n", {}, "must begin with a header of different names"),
        ("a,b\n3,4\n", {"time": "c"}, "must have the column 'c', got \\['a', 'b'\\]"),
    ],
)
def test_a_file_that_is_no_table_is_refused(table, text, asked, told):
    with pytest.raises(ValueError, match=told):
        read_series([table(text)], **asked)


def test_numbers_too_large_to_be_squared_are_missing(table):
    with pytest.warns(UserWarning, match="cells of 'x' that are no number: 1"):
        (series,) = read_series([table("x\n1e300\n1\n2\n")])
    np.testing.assert_array_equal(series.columns["x"], [np.nan, 1.0, 2.0])


def test_none_may_be_the_name_of_a_class(table):
    words = ["none", "NA", "-", "nan", "", "low"]
    (series,) = read_series(
        [table("x,state\n" + "".join(f"-,{w}\n" for w in words))], words=["state"]
    )
    assert series.columns["state"].tolist() == ["none", "NA", "-", "", "", "low"]
    assert np.isnan(series.columns["x"]).all()


def test_files_of_other_columns_are_refused(table, tmp_path):
    table("a,b\n1,2\n", "one.csv")
    table("a,c\n1,2\n", "two.csv")
    with pytest.raises(ValueError, match=r"same columns in all files, got \['b', 'c'\]"):
        read_series([tmp_path])
    with pytest.raises(ValueError, match=r"must be CSV files, got '.*x.parquet'. Convert it"):
        read_series([table("a,b\n1,2\n", "x.parquet")])
    with pytest.raises(FileNotFoundError, match=r"got '.*nothing.csv', which is not there"):
        read_series([tmp_path / "nothing.csv"])


def test_rows_see_the_last_known_value_and_say_the_next(table):
    series = read_series([table(TABLE)], time="time", series="place")
    coder = coder_of(series)
    assert coder.inputs == ("level", "flow") and coder.with_gaps == ("flow",)
    assert [entry.name for entry in coder.observation.entries] == ["level", "flow", "flow missing"]
    rows = coder.rows(series[0])
    np.testing.assert_array_equal(rows.observations, [[1.0, 10.0, 0.0], [2.0, 10.0, 1.0]])
    np.testing.assert_allclose(coder.unscale(rows.wanted), [[2.0], [3.0]], rtol=1e-6)
    np.testing.assert_allclose(coder.unscale(rows.last_known), [[1.0], [2.0]])
    np.testing.assert_array_equal(rows.dt_s, [coder.frame_s, 1.0])
    assert coder.frame_s == 2.0, "the median of 1, 2 and 2 s"
    # The training range is from 1 to 5: its ends stay well inside of what can be said.
    np.testing.assert_allclose(coder.reach, MARGIN * 2.0)
    assert np.abs(rows.wanted).max() <= 1.0 / MARGIN + 1e-6


def test_a_column_that_is_empty_in_the_first_file_is_seen(table, tmp_path):
    table("x,q\n1,\n2,\n", "one.csv")
    table("x,q\n3,4\n4,6\n", "two.csv")
    coder = coder_of(read_series([tmp_path]), targets=("x",))
    assert (coder.inputs, coder.with_gaps, coder.means["q"]) == (("x", "q"), ("q",), 5.0)


def test_before_the_first_known_value_the_training_mean_stands_in(table):
    series = read_series([table("x,y\n,1\n4,2\n8,3\n")])
    rows = coder_of(series, targets=("y",)).rows(series[0])
    np.testing.assert_array_equal(rows.observations[:, 0], [6.0, 4.0])


def test_a_row_without_a_target_is_seen_but_does_not_count(table):
    series = read_series([table("x,y\n0,\n1,1\n2,\n3,\n4,4\n")])
    coder = coder_of(series, targets=("y",), rows_ahead=0)
    rows = coder.rows(series[0])
    np.testing.assert_array_equal(rows.dt_s, np.ones(5))
    np.testing.assert_array_equal(rows.observations[:, 0], [0.0, 1.0, 2.0, 3.0, 4.0])
    np.testing.assert_array_equal(rows.is_labelled, [False, True, False, False, True])
    np.testing.assert_allclose(coder.unscale(rows.wanted)[1:], [[1], [1], [1], [4]], rtol=1e-6)
    counted = rows.labelled()
    np.testing.assert_array_equal(counted.observations[:, 0], [1.0, 4.0])
    np.testing.assert_array_equal(counted.time_s, [1.0, 4.0])
    # What is to be told at the same row is not known there yet.
    np.testing.assert_allclose(coder.unscale(counted.last_known)[1:], [[1.0]])


def test_a_target_of_the_same_row_is_not_seen(table):
    series = read_series([table(TABLE)], time="time", series="place", words=("state",))
    assert coder_of(series, rows_ahead=0).inputs == ("flow",)
    coder = coder_of(series, targets=("state",), rows_ahead=0, has_classes=True)
    assert coder.inputs == ("level", "flow")
    assert coder.classes == ("high", "low")
    assert coder.action[0].choices == ("high", "low")
    np.testing.assert_array_equal(coder.rows(series[0]).wanted, [[1.0], [1.0], [0.0]])
    others = read_series([table("level,flow,state\n1,2,broken\n")], words=("state",))
    assert coder.unknown_classes(others) == ["broken"]
    assert coder.rows(others[0]).is_labelled.tolist() == [False]


def test_a_unit_in_a_title_becomes_that_of_the_contract(table):
    series = read_series([table("level [m],flow [m3/s],flow [l/s]\n1,2,\n2,1,3\n3,2,1\n")])
    coder = coder_of(series, targets=("level [m]",))
    assert coder.inputs == ("level [m]", "flow [m3/s]", "flow [l/s]")
    (level,) = coder.action
    assert (level.name, level.unit) == ("level 1 rows ahead", "m")
    two_flows = [(one.name, one.unit) for one in coder.observation.entries]
    assert two_flows[1:] == [
        (name, "") for name in ("flow [m3/s]", "flow [l/s]", "flow [l/s] missing")
    ]
    coder = coder_of(series, inputs=("level [m]", "flow [l/s]"), targets=("level [m]",))
    assert [(one.name, one.unit) for one in coder.observation.entries] == [
        ("level", "m"), ("flow", "l/s"), ("flow missing", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"targets": ("speed",)}, "`target` must name columns of the data, got 'speed'"),
        ({"inputs": ("speed",)}, "`inputs` must name columns of the data, got 'speed'"),
        ({"inputs": ("level",), "rows_ahead": 0}, "must not name a target that is to be told at t"),
        ({"inputs": ("place",)}, "`inputs` must hold numbers, got none in the column 'place'"),
        ({"targets": ("same",)}, "`target` must change in the training part, got a column 'same'"),
        ({"targets": ("place",), "has_classes": True}, "at least two classes in the training part"),
    ],
)
def test_columns_that_cannot_be_learned_are_refused(table, asked, told):
    series = read_series([table("level,place,same\n1,a,2\n2,a,2\n")])
    with pytest.raises(ValueError, match=told):
        coder_of(series, **asked)


def test_more_classes_than_outputs_make_sense_are_refused(table):
    names = "\n".join(f"{i},name {i}" for i in range(200))
    series = read_series([table(f"x,who\n{names}\n")], words=("who",))
    with pytest.raises(ValueError, match="at most 100 classes, got 200 in 'who'"):
        coder_of(series, targets=("who",), rows_ahead=0, has_classes=True)
    with pytest.raises(ValueError, match="at least two rows in the training part, got one"):
        coder_of([series[0][:1]], inputs=("x",), targets=("x",))


def test_dates_without_their_signs_are_not_taken_for_seconds(table):
    text = "day,level\n20240130,1\n20240131,2\n20240201,3\n"
    for written in (text, text + "20240201,4\n"):  # a date that comes twice changes nothing
        with pytest.raises(ValueError, match="Write 2024-01-30 for 20240130"):
            read_series([table(written)], time="day")
    signed = text.replace("202401", "2024-01-").replace("202402", "2024-02-")
    (read,) = read_series([table(signed)], time="day")
    np.testing.assert_array_equal(read.time_s, [0.0, 86_400.0, 2 * 86_400.0])
    (counted,) = read_series([table(text.replace("20240201", "20240299"))], time="day")
    np.testing.assert_array_equal(counted.time_s, [0.0, 1.0, 169.0])  # seconds that look like dates
