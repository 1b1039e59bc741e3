"""A kill at any file operation costs nothing that had a name, and leaves nothing behind."""

import itertools
import os
import signal

import numpy as np
import pytest

from ncp_control import files
from ncp_control.learning.demonstrations import Demonstrations, DemonstrationWriter

SHAPE = (3,)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def write_report(folder, text):
    with files.new_folder(folder / "report") as new:
        (new / "page.txt").write_text(text)
        (new / "table.txt").write_text(text)


def write_file(folder, text):
    files.write_file(folder / "table.txt", text)


def write_store(folder, text):
    with DemonstrationWriter(folder / "store", SHAPE, np.float32, 1, overwrite=True) as writer:
        for _ in range(3):
            writer.append(np.zeros(SHAPE, np.float32), [len(text)], 0.1)


def read_all(folder):
    if (folder / "store").exists():
        return set(Demonstrations.open(folder / "store").actions[:, 0])
    return set(contents(folder).values())


@pytest.mark.parametrize("begins", ["empty", "older"])
@pytest.mark.parametrize("steps", ["one step", "two steps"])
@pytest.mark.parametrize("write", [write_file, write_report, write_store])
def test_killed_at_any_operation(start_child, tmp_path, monkeypatch, write, steps, begins):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a kill costs nothing that is not on the disk
    if steps == "two steps":
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    (tmp_path / "sample").mkdir()
    write(tmp_path / "sample", "older")
    older = read_all(tmp_path / "sample")
    write(tmp_path / "sample", "the newer one")
    newer = read_all(tmp_path / "sample")
    (name,) = (path.name for path in (tmp_path / "sample").iterdir())
    for number in itertools.count(1):
        folder = tmp_path / str(number)
        folder.mkdir()
        if begins == "older":
            write(folder, "older")
        wait = start_child(lambda folder=folder: write(folder, "the newer one"), kill_at=number)
        status = wait()
        if begins == "older":
            files.restore(folder / name)
        shown = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        assert shown == {name} or (begins == "empty" and not shown)
        for path in folder.glob(".*"):  # is never read, whatever it holds
            assert ".ncp-" in path.name
            assert path.name.endswith((".new", ".old"))
        if shown:
            visible = tmp_path / f"{number}-visible"
            visible.mkdir()
            (folder / name).rename(visible / name)
            assert read_all(visible) in (older, newer)
            (visible / name).rename(folder / name)
        write(folder, "the newer one")
        assert read_all(folder) == newer
        assert [path.name for path in folder.iterdir()] == [name], "nothing hidden is left"
        if status == 0:
            break
        assert status == -signal.SIGKILL
    assert number > 5


def test_what_living_processes_write_is_not_removed(start_child, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)

    def write_much():
        for i in range(60):
            files.write_file(tmp_path / f"{os.getpid()}.txt", str(i))
            with files.new_folder(tmp_path / f"report-{os.getpid()}") as new:
                (new / "page.txt").write_text(str(i))

    with files.new_folder(tmp_path / "mine") as mine:
        (mine / "page.txt").write_text("mine")
        writers = [start_child(write_much) for _ in range(3)]
        assert [wait() for wait in writers] == [0, 0, 0]
    assert sorted(contents(tmp_path).values()) == ["59"] * 6 + ["mine"]
