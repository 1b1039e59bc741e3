"""A results file survives being stopped at any moment."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from ncp_control.learning import results as results_module
from ncp_control.learning.results import (
    PROVENANCE,
    ResultsFile,
    check_writable,
    mean_and_deviation,
    newest,
    read_header,
)
from ncp_control.names import one_line

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
    with pytest.raises(ValueError, match="`results` must be a file, got the folder"):
        ResultsFile(tmp_path, list(MEASURED))


def test_a_file_of_another_kind_is_refused(results, tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"must have the columns .*, got \['a', 'b'\]"):
        ResultsFile(tmp_path / "other.csv", list(MEASURED))


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        "model,seed,settings\n".encode("utf-16"),
        "model,seed,settings\n".encode("utf-16-le"),
        b"a" * 20_000,
        b'model,"seed\n',
        b"\n",
    ],
)
def test_what_is_no_table_is_refused_with_one_short_sentence(tmp_path, content):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"must be a CSV file in UTF-8, got b") as refused:
        ResultsFile(path, list(MEASURED))
    assert len(str(refused.value)) < 200 + len(str(path))
    assert path.read_bytes() == content


def test_a_table_of_gigabytes_is_refused_unread(results, monkeypatch):
    results.append("ltc", 0, "", MEASURED, "")
    monkeypatch.setattr(results_module, "MAX_BYTES", 1_000_000)
    os.truncate(results.path, 1_000_000)
    assert ResultsFile(results.path, list(MEASURED)).has("ltc", 0, "")
    os.truncate(results.path, 5_000_000_000)
    for read in (results.rows, lambda: ResultsFile(results.path, list(MEASURED))):
        with pytest.raises(ValueError, match="must be at most 1 MB .*, got 5000 MB"):
            read()


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(OSError, match="Not a file on a disk"):
        ResultsFile(tmp_path / "pipe.csv", list(MEASURED))


def test_a_table_that_an_office_program_saved_is_read(results):
    results.append("ltc", 0, "a, b", MEASURED, "")
    text = results.path.read_text().replace("\n", "\r\n")
    results.path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    again = ResultsFile(results.path, list(MEASURED))
    again.append("ltc", 1, "a, b", MEASURED, "")
    assert [row["seed"] for row in again.rows("a, b")] == ["0", "1"]
    assert [row["threads"].isdigit() for row in again.rows()] == [True, True]
    assert again.num_damaged == 0


@pytest.mark.parametrize("name", ["a, b", 'say "yes"', "a;b", "'", " a ", "|", "ä\u3042", "a\\nb"])
def test_a_cell_comes_back_as_it_was(results, name):
    results.append(name, 0, name, MEASURED, name)
    (row,) = ResultsFile(results.path, list(MEASURED)).rows(name)
    assert (row["model"], row["settings"], row["command"]) == (name, name, name)
    assert results.has(name, 0, name) and results.trainings(name, name) == [row]


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\r\nb", "a\0b", "a\u2028b", "\udcff", '"\n"'])
def test_a_name_with_control_characters_is_one_row(results, name):
    results.append(name, 0, name, MEASURED, name)
    results.append("ltc", 1, "", MEASURED, "")
    first, second = ResultsFile(results.path, list(MEASURED)).rows()
    assert (first["model"], first["command"], second["model"]) == (
        one_line(name),
        one_line(name),
        "ltc",
    )
    assert results.has(name, 0, name) and results.trainings(name, name) == [first]
    assert results.rows(name) == [first] and results.num_damaged == 0
    assert results.path.read_bytes().count(b"\n") == 3


def test_damaged_rows_are_counted_and_stay_in_the_file(results):
    for seed in range(3):
        results.append("ltc", seed, "", MEASURED, "")
    header, first, second, _ = results.path.read_bytes().splitlines(keepends=True)
    broken = [second[:30] + b"\n", b"\n", b"\xff" + second, b'"' + second, b"\0\0\n", second[:-9]]
    results.path.write_bytes(b"".join([header, first, *broken]))
    results.append("ltc", 2, "", MEASURED, "")
    assert [row["seed"] for row in results.rows()] == ["0", "2"]
    assert results.num_damaged == 5, "an empty line is no row"
    assert results.path.read_bytes().startswith(b"".join([header, first, *broken]))
    assert not results.has("ltc", 1, ""), "so it is trained again"


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_wherever_a_row_is_cut_off_the_others_stay(results, cut):
    for seed in range(3):
        results.append('a "b", c', seed, 'd "e", f', MEASURED, "")
    header, first, second, _ = results.path.read_bytes().splitlines(keepends=True)
    results.path.write_bytes(header + first + second[:cut])
    results.append('a "b", c', 2, 'd "e", f', MEASURED, "")
    assert [row["seed"] for row in results.rows()] == ["0", "2"]
    assert results.num_damaged == 1


def test_a_training_that_was_measured_twice_counts_once(results):
    for seed, value in ((0, 1.0), (0, 2.0), (1, 3.0)):
        results.append("ltc", seed, "there", {"test_mse": value}, "")
    results.append("cfc", 0, "there", {"test_mse": 4.0}, "")
    results.append("ltc", 0, "elsewhere", {"test_mse": 5.0}, "")
    rows = results.trainings("ltc", "there")
    assert [(row["seed"], row["test_mse"]) for row in rows] == [("0", "2.0"), ("1", "3.0")]
    assert len(results.rows()) == 5 and len(newest(results.rows())) == 4


def test_nothing_is_created_before_the_first_row(tmp_path):
    results = ResultsFile(tmp_path / "new" / "folder" / "table.csv", list(MEASURED))
    assert results.rows() == [] and results.num_damaged == 0 and not results.has("ltc", 0, "")
    assert list(tmp_path.iterdir()) == []
    results.append("ltc", 0, "", MEASURED, "")
    assert results.has("ltc", 0, "")
    assert read_header(results.path) == results.columns


def test_a_table_may_be_placed_later_and_tells_the_commit_that_the_work_began_with(
    results, tmp_path, monkeypatch
):
    unplaced = ResultsFile(None, list(MEASURED))
    now = results_module.describe_environment()
    monkeypatch.setattr(results_module, "describe_environment", lambda: now | {"commit": "later"})
    unplaced.place(tmp_path / "run" / "results.csv")
    unplaced.append("ltc", 0, "", MEASURED, "")
    (row,) = ResultsFile(tmp_path / "run" / "results.csv", list(MEASURED)).rows()
    assert row["commit"] == now["commit"] != "later"
    named = results.path
    results.place(tmp_path / "run" / "results.csv")
    assert results.path == named, "where the user named a file, it stays"


def test_a_measured_column_of_the_provenance_is_the_trainings(results):
    results.append("ltc", 0, "", {**MEASURED, "threads": 9, "commit": "abc"}, "python job.py")
    (row,) = results.rows()
    assert row["threads"] == "9" and row["commit"] == "abc" and row["command"] == "python job.py"
    assert all(row[name] for name in PROVENANCE)


def test_a_file_that_may_not_be_written_is_found_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "table.csv").touch()
    asked = []

    def refuse(path, mode):
        asked.append((path, mode))
        return False

    monkeypatch.setattr(os, "access", refuse)  # a superuser may write anywhere
    for path in (tmp_path / "table.csv", tmp_path / "a" / "b.csv"):
        with pytest.raises(PermissionError, match="Cannot be written"):
            check_writable(path)
    assert asked == [(tmp_path / "table.csv", os.W_OK), (tmp_path, os.W_OK)]


def test_rows_of_several_writers_do_not_mix(results, monkeypatch):
    monkeypatch.setattr(results_module, "provenance", lambda command: {"command": command})
    results.append("first", 0, "", MEASURED, "")

    def write(model):
        own = ResultsFile(results.path, list(MEASURED))
        for seed in range(50):
            own.append(model, seed, "x" * 20_000, MEASURED, "")

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, ["a", "b", "c"]))
    assert len(results.rows()) == 151 and results.num_damaged == 0


def test_mean_and_deviation_over_seeds():
    rows = [{"x": "1.0"}, {"x": "2.0"}, {"x": "3.0"}]
    assert mean_and_deviation(rows, "x", 2) == "2.00 ± 1.00"
    assert mean_and_deviation(rows[:1], "x", 2) == "1.00"
    assert mean_and_deviation(rows[:2], "x") == "1.500 ± 0.707"
