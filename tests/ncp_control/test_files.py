"""Files and folders are whole or not there, open to whom they should be, and named by errors."""

import errno
import fcntl
import os
import stat
import subprocess
import sys
import threading

import pytest

from ncp_control import files


def contents(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.txt")}


def mode(path):
    return oct(stat.S_IMODE(path.stat().st_mode))


@pytest.fixture(params=["one step", "two steps"])
def _steps(request, monkeypatch):
    """How a folder takes the place of another one."""
    if request.param == "two steps":
        monkeypatch.setattr(files, "_exchange", lambda *_: False)


@pytest.mark.usefixtures("_steps")
def test_a_folder_takes_the_place_of_the_old_one(tmp_path):
    for text in ("old", "new"):
        with files.new_folder(tmp_path / "report") as folder:
            (folder / f"{text}.txt").write_text(text)
    assert contents(tmp_path) == {"report/new.txt": "new"}


def test_linux_exchanges_folders_in_one_step(tmp_path):
    if not hasattr(files.ctypes.CDLL(None), "renameat2"):
        pytest.skip("this system has no renameat2")
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "name.txt").write_text(name)
    if not files._exchange(tmp_path / "one", tmp_path / "other"):
        pytest.skip("this file system cannot exchange folders")
    assert contents(tmp_path) == {"one/name.txt": "other", "other/name.txt": "one"}


@pytest.mark.usefixtures("_steps")
@pytest.mark.parametrize("interrupted", [1, 2, 3])
def test_an_interrupt_while_folders_change_places_loses_nothing(tmp_path, monkeypatch, interrupted):
    with files.new_folder(tmp_path / "report") as folder:
        (folder / "old.txt").write_text("old")
    calls = []

    def interrupt_after(function):
        def call(*args, **kwargs):
            result = function(*args, **kwargs)
            calls.append(function)
            if len(calls) == interrupted:
                raise KeyboardInterrupt
            return result

        return call

    with monkeypatch.context() as patch:
        for owner, name in ((os, "rename"), (files, "_exchange"), (files, "_sync_folder")):
            patch.setattr(owner, name, interrupt_after(getattr(owner, name)))
        with pytest.raises(KeyboardInterrupt), files.new_folder(tmp_path / "report") as folder:
            (folder / "new.txt").write_text("new")
    assert contents(tmp_path) in ({"report/old.txt": "old"}, {"report/new.txt": "new"})
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_modes_are_those_of_plain_files_and_folders(tmp_path, mask):
    before = os.umask(mask)
    try:
        (tmp_path / "plain").mkdir()
        (tmp_path / "plain.txt").write_text("x")
        files.write_file(tmp_path / "ours.txt", "x")
        with files.new_folder(tmp_path / "ours") as folder:
            pass
    finally:
        os.umask(before)
    assert mode(tmp_path / "ours.txt") == mode(tmp_path / "plain.txt")
    assert mode(tmp_path / "ours") == mode(tmp_path / "plain")
    assert folder != tmp_path / "ours"


@pytest.mark.usefixtures("_steps")
def test_what_is_replaced_keeps_its_mode(tmp_path):
    (tmp_path / "private.txt").write_text("old")
    (tmp_path / "private").mkdir()
    (tmp_path / "private.txt").chmod(0o600)
    (tmp_path / "private").chmod(0o700)
    files.write_file(tmp_path / "private.txt", "new")
    with files.new_folder(tmp_path / "private"):
        pass
    assert mode(tmp_path / "private.txt") == "0o600"
    assert mode(tmp_path / "private") == "0o700"


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "table.txt").symlink_to("elsewhere.txt")
    files.write_file(tmp_path / "table.txt", "new")
    (tmp_path / "away").mkdir()
    (tmp_path / "report").symlink_to("away")
    with files.new_folder(tmp_path / "report") as folder:
        (folder / "page.txt").write_text("new")
    assert (tmp_path / "table.txt").is_symlink() and (tmp_path / "report").is_symlink()
    assert (tmp_path / "elsewhere.txt").read_text() == "new"
    assert (tmp_path / "away" / "page.txt").read_text() == "new"


@pytest.mark.parametrize(
    ("path", "number", "named"),
    [
        ("file/a.txt", errno.ENOTDIR, "file"),
        ("file/deep/a.txt", errno.ENOTDIR, "file/deep"),
        ("folder", errno.EISDIR, "folder"),
        ("pipe", errno.EINVAL, "pipe"),
    ],
)
def test_an_error_names_the_path_that_was_asked_for(tmp_path, monkeypatch, path, number, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError) as caught:
        files.write_file(path, "x")
    assert (caught.value.errno, caught.value.filename) == (number, named)
    assert {entry.name for entry in tmp_path.iterdir()} == {"file", "folder", "pipe"}


def test_an_error_without_a_name_gets_one(tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left on device: .*report'"):
        with files.new_folder(tmp_path / "report"):
            raise full
    with pytest.raises(OSError, match=r"cannot encode: .*report'"):
        with files.new_folder(tmp_path / "report"):
            raise OSError("cannot encode\nfor many reasons")
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: '.*report/b/a.txt'"):
        with files.new_folder(tmp_path / "report") as folder:
            (folder / "b" / "a.txt").write_text("x")
    with pytest.raises(FileNotFoundError, match="^`teacher` must be there$"):
        with files.new_folder(tmp_path / "report"):
            raise FileNotFoundError("`teacher` must be there")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_replaced_by_a_folder(tmp_path):
    (tmp_path / "report").write_text("mine")
    with pytest.raises(NotADirectoryError), files.new_folder(tmp_path / "report"):
        pass
    assert (tmp_path / "report").read_text() == "mine"


def test_everything_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    done = []

    def fsync(handle):
        done.append(os.readlink(f"/proc/self/fd/{handle}").removeprefix(f"{tmp_path}/"))

    for name in ("rename", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda a, b, to=original: (done.append("named"), to(a, b)))
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("this system does not tell which file is open")
    monkeypatch.setattr(os, "fsync", fsync)
    files.write_file(tmp_path / "a.txt", "x")
    assert files._HIDDEN.fullmatch(done[0]) and done[1:] == ["named", str(tmp_path)]
    done.clear()
    with files.new_folder(tmp_path / "report") as folder:
        (folder / "b.txt").write_text("x")
    assert done == [f"{folder.name}/b.txt", folder.name, "named", str(tmp_path)]


def test_what_does_not_fit_at_the_end_of_a_file_is_not_added(tmp_path, monkeypatch):
    files.append_to_file(tmp_path / "table.csv", "first\n")
    fsync = os.fsync

    def full(_):  # when most of it is written already
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device: '.*table.csv'"):
        files.append_to_file(tmp_path / "table.csv", "second\n")
    assert (tmp_path / "table.csv").read_text() == "first\n"
    monkeypatch.setattr(os, "fsync", fsync)
    files.append_to_file(tmp_path / "table.csv", "third\n")
    assert (tmp_path / "table.csv").read_text() == "first\nthird\n"


def test_one_process_at_a_time_holds_a_lock(tmp_path):
    order = []

    def wait_for_it():
        with files.locked(tmp_path / "new" / "lock"):
            order.append("other")

    with files.locked(tmp_path / "new" / "lock"):
        other = threading.Thread(target=wait_for_it)
        other.start()
        other.join(0.2)
        order.append("one")
    other.join()
    assert order == ["one", "other"]
    assert list((tmp_path / "new").iterdir()) == [], "its file ends with the block"


def test_who_waits_is_told_even_if_a_clean_up_took_the_lock_file(tmp_path, monkeypatch):
    """A clean-up removes the file between its creation and its lock; then another one owns it."""
    path, owners, told = tmp_path / "data", [], []
    has_name = files._has_name

    def has_name_unless_taken(handle, hidden):
        if not owners:
            hidden.unlink()
            owners.append(hidden.open("w"))
            fcntl.flock(owners[0], fcntl.LOCK_EX)
        return has_name(handle, hidden)

    def tell():
        told.append("waits")
        owners[0].close()

    monkeypatch.setattr(files, "_has_name", has_name_unless_taken)
    with files.locked(path, waits=tell):
        assert told == ["waits"]


def test_a_lock_ends_with_its_process(tmp_path):
    hold = (
        "import sys, time; from ncp_control import files\n"
        "with files.locked(sys.argv[1]): print('held', flush=True); time.sleep(600)"
    )
    words = [sys.executable, "-c", hold, str(tmp_path / "lock")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        process.kill()
    (left,) = tmp_path.iterdir()
    files.remove_leftovers(tmp_path)
    assert not left.exists()
    with files.locked(tmp_path / "lock"):
        files.remove_leftovers(tmp_path)
        assert left.exists(), "it is held"
    with pytest.raises(OSError, match="no-folder"), files.locked("/dev/null/no-folder/lock"):
        pass


def interrupt_at(number, function):
    """Call a function, with Ctrl-C before the instruction of that number in `files`.

    Returns:
        Whether it has so many instructions.
    """
    left = number

    def trace(frame, event, _):
        nonlocal left
        if frame.f_code.co_filename != files.__file__:
            return None
        frame.f_trace_opcodes = True
        left -= event == "opcode"
        if left < 0:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def write_a_file_twice(folder):
    for _ in range(2):
        files.write_file(folder / "log.txt", "whole")


def write_a_folder_twice(folder):
    for _ in range(2):
        with files.new_folder(folder / "report") as new:
            (new / "log.txt").write_text("whole")


def write_under_a_lock(folder):
    with files.locked(folder / "log.txt"):
        pass


@pytest.mark.filterwarnings("ignore:unclosed file", "ignore:Exception ignored in")
@pytest.mark.parametrize("write", [write_a_file_twice, write_a_folder_twice, write_under_a_lock])
def test_a_process_that_is_interrupted_anywhere_can_remove_what_it_left(
    tmp_path, monkeypatch, write
):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # thousands of them take a minute
    has_more, number, num_left = True, 0, 0
    while has_more:
        folder = tmp_path / str(number)
        folder.mkdir()
        has_more = interrupt_at(number, lambda folder=folder: write(folder))
        num_left += any(name.startswith(".") for name in os.listdir(folder))
        files.remove_unfinished()
        assert set(os.listdir(folder)) <= {"log.txt", "report"}
        assert set(contents(folder).values()) <= {"whole"}
        assert all(os.listdir(path) for path in folder.glob("report"))
        number += 1
    assert number > 100
    assert num_left > 0, "without that nothing was tested"
    assert not files._unfinished


def test_a_lock_that_is_held_is_not_removed(tmp_path):
    path = tmp_path / "log.txt"
    with files.locked(path):
        hidden = next(tmp_path.iterdir())
        files.remove_unfinished()
        assert hidden.exists()
