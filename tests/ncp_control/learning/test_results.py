"""A results file survives being stopped at any moment."""

import pytest

from ncp_control.learning.results import ResultsFile, mean_and_deviation

MEASURED = {"test_mse": 1.5, "parameters": 7}


@pytest.fixture
def results(tmp_path):
    return ResultsFile(tmp_path / "new" / "table.csv", list(MEASURED))


def test_rows_come_back_with_where_they_come_from(results):
    results.append("ltc", 3, "epochs=2", MEASURED, "python job.py")
    again = ResultsFile(results.path, list(MEASURED))
    (row,) = again.rows("epochs=2")
    assert row["test_mse"] == "1.5" and row["command"] == "python job.py"
    assert "torch" in row["versions"] and row["processor"] and row["cores"]
    assert again.has("ltc", 3, "epochs=2")
    assert not again.has("ltc", 3, "epochs=3") and not again.has("ltc", 2, "epochs=2")
    assert again.rows("epochs=3") == []


def test_two_writers_do_not_lose_rows(results):
    other = ResultsFile(results.path, list(MEASURED))
    results.append("ltc", 0, "", MEASURED, "")
    other.append("ltc", 1, "", MEASURED, "")
    results.append("ltc", 2, "", MEASURED, "")
    assert [row["seed"] for row in results.rows()] == ["0", "1", "2"]


def test_a_header_written_twice_is_no_row(results):
    results.append("ltc", 0, "", MEASURED, "")
    header = results.path.read_text().splitlines()[0]
    with results.path.open("a") as file:
        file.write(header + "\n")
    results.append("ltc", 1, "", MEASURED, "")
    assert [row["seed"] for row in results.rows()] == ["0", "1"]


@pytest.mark.parametrize("cut", [1, 30])
def test_a_row_cut_off_by_a_crash_is_done_again(results, cut):
    results.append("ltc", 0, "", MEASURED, "")
    results.append("ltc", 1, "", MEASURED, "")
    results.path.write_bytes(results.path.read_bytes()[:-cut])
    results.append("ltc", 2, "", MEASURED, "")
    seeds = [row["seed"] for row in results.rows()]
    assert seeds == (["0", "1", "2"] if cut == 1 else ["0", "2"])


def test_a_row_cut_off_inside_quotes_does_not_swallow_the_next(results):
    told = '{"steps": 2, "widths": [64]}'
    for seed in range(2):
        results.append("ltc", seed, told, MEASURED, "")
    text = results.path.read_text()
    results.path.write_text(text[: text.rindex("widths")])
    for seed in (1, 2):
        results.append("ltc", seed, told, MEASURED, "")
    assert [row["seed"] for row in results.rows(told)] == ["0", "1", "2"]


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        ResultsFile(tmp_path / "file" / "table.csv", list(MEASURED))
    with pytest.raises(IsADirectoryError):
        ResultsFile(tmp_path, list(MEASURED))


def test_a_file_of_another_kind_is_refused(results, tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"must have the columns .*, got \['a', 'b'\]"):
        ResultsFile(tmp_path / "other.csv", list(MEASURED))


def test_mean_and_deviation_over_seeds():
    rows = [{"x": "1.0"}, {"x": "2.0"}, {"x": "3.0"}]
    assert mean_and_deviation(rows, "x", 2) == "2.00 ± 1.00"
    assert mean_and_deviation(rows[:1], "x", 2) == "1.00"
