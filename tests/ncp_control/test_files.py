from pathlib import Path

import pytest

from ncp_control import files


def contents(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.txt")}


def test_a_folder_takes_the_place_of_the_old_one(tmp_path):
    for text in ("old", "new"):
        with files.new_folder(tmp_path / "report") as folder:
            (folder / f"{text}.txt").write_text(text)
    assert contents(tmp_path) == {"report/new.txt": "new"}


@pytest.mark.parametrize("interrupted", [1, 2])
def test_an_interrupt_while_folders_change_places_loses_nothing(tmp_path, monkeypatch, interrupted):
    with files.new_folder(tmp_path / "report") as folder:
        (folder / "old.txt").write_text("old")
    rename, calls = Path.rename, []

    def rename_and_interrupt(path, target):
        result = rename(path, target)
        calls.append(path)
        if len(calls) == interrupted:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(Path, "rename", rename_and_interrupt)
    with pytest.raises(KeyboardInterrupt), files.new_folder(tmp_path / "report") as folder:
        (folder / "new.txt").write_text("new")
    # Interrupted after the first rename the old one is back, after the second the new one is there.
    assert "report/old.txt" in contents(tmp_path) or "report/new.txt" in contents(tmp_path)
