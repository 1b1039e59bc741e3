"""Write files and folders so that a name always stands for something whole.

Content is written under a hidden name beside the final one, `.<name>.ncp-<8 hex digits>.new`, and
brought to the disk (fsync); then one rename gives it its name. Whatever happens before that, an
exception, a kill or a power failure, the name stands for what it stood for.

A new folder that replaces an old one exchanges names with it in one step (`renameat2` of Linux).
Where there is no such step (macOS, some network file systems) there are two renames. A process that
is killed between them leaves the old folder under `.<name>.ncp-<8 hex digits>.old`; the next write
in the same place, or `restore`, gives it its name back.

A process locks (flock) each hidden file and folder while it writes it. A lock ends with its
process, so a hidden name that nobody has locked was left behind by a process that was killed, and
the next write in the same place removes it, and so is a lock that `locked` left,
`.<name>.ncp-00000000.lock`. Where locks do not work (some network file systems) leftovers stay.

A signal can interrupt a process between the making of a hidden name and the block that would remove
it. `remove_unfinished` removes what is left then; a job that is stopped calls it at its end.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_HIDDEN = re.compile(r"\.(?P<name>[^/]+)\.ncp-[0-9a-f]{8}\.(?P<role>new|old|lock)")
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF)
"""What a file system answers that has no fsync for folders."""
_unfinished: set[Path] = set()
"""Hidden names that this process is about to make, or has made and not yet done away with."""


def write_file(path: Path | str, content: str | bytes) -> None:
    """Write a whole file or leave what was there.

    A new file gets the mode that `open` would give it; one that is replaced keeps its mode.

    Raises:
        OSError: If it cannot be written; the error names `path`.
    """
    with naming_errors(path):
        final = _prepare(path)
        hidden, lock = _create(final, _create_file)
        try:
            with os.fdopen(lock, "wb") as file:
                _copy_mode(final, hidden)
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(lock)
                os.replace(hidden, final)
        except BaseException:
            hidden.unlink(missing_ok=True)
            raise
        finally:
            _unfinished.discard(hidden)
        _sync_folder(final.parent)


def append_to_file(path: Path | str, content: str) -> None:
    """Add to the end of a file, all or nothing; processes that add at once do not mix.

    Raises:
        OSError: If it cannot be written; the error names `path`.
    """
    with naming_errors(path), Path(path).open("ab", buffering=0) as file:
        _lock(file.fileno())
        end = os.fstat(file.fileno()).st_size
        left = memoryview(content.encode())
        try:
            while left:
                left = left[file.write(left) :]  # a disk that is nearly full takes a part
            os.fsync(file.fileno())
        except BaseException:
            os.ftruncate(file.fileno(), end)
            raise


@contextmanager
def locked(path: Path | str, *, waits: Callable[[], None] | None = None) -> Iterator[None]:
    """Run a block while no other process runs one for the same path; they wait for their turn.

    The lock is a hidden file beside `path`. It ends with its process, and the file with the block.
    Where locks do not work, nobody waits.

    Args:
        path: A file or folder, which need not exist.
        waits: Called once if another process has the lock, e.g. to say so.

    Raises:
        OSError: If the lock cannot be made; the error names `path`.
    """
    path = Path(path)
    hidden = path.with_name(f".{path.name}.ncp-{0:08x}.lock")
    while True:
        with naming_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _unfinished.add(hidden)
            try:
                file = hidden.open("w")
            except OSError:
                _unfinished.discard(hidden)
                raise
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waits is not None:
                    waits()
                _lock(file.fileno())
            except OSError:  # no locks there; see above
                pass
            if not _has_name(file.fileno(), hidden):
                waits = None  # who had it before has removed its file
                continue
            try:
                yield
            finally:
                hidden.unlink(missing_ok=True)
                _unfinished.discard(hidden)
            return


class NewFolder:
    """A folder being filled under a hidden name beside `path`, which it takes when it is complete.

    Args:
        path: The name it will have.

    Raises:
        OSError: If it cannot be made; the error names `path`.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        """The name it will have."""
        with naming_errors(path):
            self._final = _prepare(path)
            self.folder, self._lock = _create(self._final, _create_folder)
        """Where to write now."""

    def publish(self) -> None:
        """Give it its name; what stood there is deleted after that, or else stays.

        Raises:
            OSError: If that fails, or a file stands there; call `discard` then.
        """
        with naming_errors(self.path):
            _sync_tree(self.folder)
            _copy_mode(self._final, self.folder)
            _replace_folder(self.folder, self._final)
            _sync_folder(self._final.parent)
        self._unlock()

    def publish_as_first(self, names: Iterable[str]) -> Path:
        """Give it the first of the names, beside `path`, that nobody else has; return that path."""
        with naming_errors(self.path):
            _sync_tree(self.folder)
            for name in names:
                final = self._final.with_name(name)
                if os.path.lexists(final):
                    continue
                try:
                    # Not onto one that somebody else made just now: that one is not empty.
                    os.rename(self.folder, final)
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                        raise
                    continue
                _sync_folder(final.parent)
                self._unlock()
                return self.path.with_name(name)
        raise ValueError(f"`names` must hold one that is free beside {self.path}. Name others.")

    def discard(self) -> None:
        """Throw it away, unless it has its name; what stood under that name stays."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._unlock()

    def _unlock(self) -> None:
        _unfinished.discard(self.folder)
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


@contextmanager
def new_folder(path: Path | str) -> Iterator[Path]:
    """Yield a hidden folder that takes the place of `path` once the block has succeeded."""
    new = NewFolder(path)
    try:
        with naming_errors(path):
            yield new.folder
        new.publish()
    finally:
        new.discard()


def restore(path: Path | str) -> None:
    """Give a folder its name back if a process was killed while it replaced that folder."""
    path = Path(os.path.realpath(path))
    if not path.exists():
        remove_leftovers(path.parent)


def remove_unfinished() -> None:
    """Remove what this process began to write and did not finish: call it when it is stopped.

    What cannot be removed stays, and so does the lock of another process.
    """
    for hidden in tuple(_unfinished):
        with contextlib.suppress(OSError):
            if hidden.suffix == ".lock":
                _remove_unlocked(hidden, hidden, "lock")
            elif hidden.is_dir():
                shutil.rmtree(hidden)
            else:
                hidden.unlink()
        _unfinished.discard(hidden)


def remove_leftovers(folder: Path | str) -> None:
    """Remove what killed processes left under hidden names in a folder; restore what they moved.

    Nothing is removed that a living process writes. What cannot be removed stays.
    """
    folder = Path(folder)
    with contextlib.suppress(OSError):  # e.g. there is no such folder yet
        for name in os.listdir(folder):
            if found := _HIDDEN.fullmatch(name):
                with contextlib.suppress(OSError):
                    _remove_unlocked(folder / name, folder / found["name"], found["role"])


@contextmanager
def naming_errors(path: Path | str) -> Iterator[None]:
    """Let every OSError name a file: `path` where it names none, or a hidden name of it."""
    try:
        yield
    except OSError as error:
        # A subclass without a number carries a sentence of its own.
        if error.errno is not None or type(error) is OSError:
            error.strerror = error.strerror or next(iter(str(error).splitlines()), "")
            if error.filename is None:
                error.filename = str(path)
            else:
                _, *inside = _HIDDEN.split(os.fsdecode(error.filename))
                if inside:
                    error.filename = f"{path}{inside[-1]}"
                    del error.filename2
        raise


def _prepare(path: Path | str) -> Path:
    """Make the folder around a path and clean it up; return the path that links lead to."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(
            errno.ENOTDIR, os.strerror(errno.ENOTDIR), error.filename
        ) from error
    final = Path(os.path.realpath(path))
    if final.exists() and not (final.is_file() or final.is_dir()):
        raise OSError(errno.EINVAL, "Not a regular file or folder", str(path))  # e.g. /dev/null
    final.parent.mkdir(exist_ok=True)  # elsewhere, if the path is a link
    remove_leftovers(final.parent)
    return final


def _create(final: Path, create: Callable[[Path], int]) -> tuple[Path, int]:
    """Create something hidden beside `final` and lock it; return it and the open file."""
    while True:
        hidden, lock = _hidden_name(final, "new"), -1
        _unfinished.add(hidden)
        try:
            lock = create(hidden)
            _lock(lock)
            if os.path.samestat(os.fstat(lock), os.stat(hidden)):
                return hidden, lock
        except OSError as error:
            _unfinished.discard(hidden)
            # Else another process took it for a leftover, before it was locked.
            if not isinstance(error, FileNotFoundError) or not final.parent.is_dir():
                raise
        if lock >= 0:
            os.close(lock)


def _create_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)


def _create_folder(path: Path) -> int:
    path.mkdir()
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        with contextlib.suppress(OSError):
            path.rmdir()
        raise


def _hidden_name(final: Path, role: str) -> Path:
    return final.with_name(f".{final.name}.ncp-{secrets.token_hex(4)}.{role}")


def _has_name(handle: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _lock(handle: int) -> None:
    with contextlib.suppress(OSError):  # then nobody else can lock it either, and it is left alone
        fcntl.flock(handle, fcntl.LOCK_EX)


def _remove_unlocked(hidden: Path, final: Path, role: str) -> None:
    """Remove a hidden file or folder whose writer is dead, or restore what was moved aside.

    Raises:
        OSError: If its writer lives, or that cannot be known.
    """
    is_folder = stat.S_ISDIR(os.lstat(hidden).st_mode)
    flags = os.O_RDONLY | os.O_DIRECTORY if is_folder else os.O_RDWR
    lock = os.open(hidden, flags | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if role == "old" and not os.path.lexists(final):
            os.rename(hidden, final)
        elif is_folder:
            shutil.rmtree(hidden)
        else:
            os.unlink(hidden)
    finally:
        os.close(lock)


def _copy_mode(final: Path, hidden: Path) -> None:
    """Give what will replace a file or folder the mode of that one."""
    with contextlib.suppress(FileNotFoundError):
        os.chmod(hidden, stat.S_IMODE(os.stat(final).st_mode))


def _replace_folder(new: Path, final: Path) -> None:
    """Rename a folder to `final`, and delete what stood there."""
    if not os.path.lexists(final):
        os.rename(new, final)
        return
    if not final.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if not _exchange(new, final):
        _replace_in_two_steps(new, final)
    # The older folder, if it is there; its replacement is safe, so nothing fails if it stays.
    shutil.rmtree(new, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths exchange names in one step; return False where that is not possible."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    names = os.fsencode(one), os.fsencode(other)
    return rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0


def _replace_in_two_steps(new: Path, final: Path) -> None:
    """Move the old folder aside, then rename the new one."""
    lock, aside = os.open(final, os.O_RDONLY | os.O_DIRECTORY), _hidden_name(final, "old")
    try:
        _lock(lock)
        os.rename(final, aside)
        os.rename(new, final)
    finally:
        if not os.path.lexists(final):
            os.rename(aside, final)
        shutil.rmtree(aside, ignore_errors=True)
        os.close(lock)


def _sync_tree(folder: Path) -> None:
    """Bring all files of a folder, and its list of them, to the disk."""
    for root, _, names in os.walk(folder):
        for path in (Path(root, name) for name in names):
            if not path.is_symlink():
                _sync(path, os.O_RDONLY)
        _sync_folder(Path(root))


def _sync_folder(folder: Path) -> None:
    """Bring a folder's list of names to the disk, where the file system can."""
    try:
        _sync(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
