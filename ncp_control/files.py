"""Atomic writes: a name always stands for a complete file or folder.

Content is written under a hidden name beside the final one, `.<name>.ncp-<8 hex digits>.new`, and
flushed to the disk (fsync); then a single rename gives it its final name. If an exception, a kill
or a power failure happens before the rename, the old file or folder stays in place.

A new folder that replaces an old one exchanges names with it in one step (`renameat2` of Linux).
Where that is not available (macOS, some network file systems), two renames are needed. A process
that is killed between them leaves the old folder under `.<name>.ncp-<8 hex digits>.old`; the next
write in the same place, or `restore`, gives it its name back.

A process locks (flock) each hidden file and folder while it writes. The lock ends with its process,
so a hidden name without a lock was left behind by a killed process, and the next write in the same
place removes it. The lock files of `locked`, `.<name>.ncp-00000000.lock`, are removed in the same
way. Where locks do not work (some network file systems), leftovers stay.

A signal can interrupt a process after it creates a hidden name and before the block that would
remove it. `remove_unfinished` removes such leftovers; a job calls it when it is stopped.
"""

import contextlib
import ctypes
import errno
import fcntl
import hashlib
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
"""Error numbers of file systems that have no fsync for folders."""
_unfinished: set[Path] = set()
"""Hidden names that this process creates or has created, and has not removed yet."""


def write_file(path: Path | str, content: str | bytes) -> None:
    """Write a file atomically: completely, or the old file stays.

    A new file gets the mode that `open` would give it; a replaced file keeps its mode.

    Raises:
        OSError: If the file cannot be written; the error names `path`.
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


def sha256_of(path: Path | str) -> str:
    """Return the SHA-256 sum of a file, in hexadecimal digits."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def append_to_file(path: Path | str, content: str) -> None:
    """Append to a file, all or nothing; text of concurrent processes does not mix.

    Raises:
        OSError: If the file cannot be written; the error names `path`.
    """
    with naming_errors(path), Path(path).open("ab", buffering=0) as file:
        _lock(file.fileno())
        end = os.fstat(file.fileno()).st_size
        left = memoryview(content.encode())
        try:
            while left:
                left = left[file.write(left) :]  # a nearly full disk may take only a part
            os.fsync(file.fileno())
        except BaseException:
            os.ftruncate(file.fileno(), end)
            raise


@contextmanager
def locked(path: Path | str, *, waits: Callable[[], None] | None = None) -> Iterator[None]:
    """Run the block while holding a lock on a path; other processes wait.

    The lock is a hidden file beside `path`. The lock ends with its process; the file is removed at
    the end of the block. Where locks do not work, processes do not wait.

    Args:
        path: File or folder; it need not exist.
        waits: Called once if another process has the lock, e.g. to print a message.

    Raises:
        OSError: If the lock file cannot be created; the error names `path`.
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
                    waits = None
                _lock(file.fileno())
            except OSError:  # locks do not work there
                pass
            if not _has_name(file.fileno(), hidden):
                continue  # removed by its previous owner, or by a clean-up before it was locked
            try:
                yield
            finally:
                hidden.unlink(missing_ok=True)
                _unfinished.discard(hidden)
            return


class NewFolder:
    """Folder that is filled under a hidden name beside `path`, and renamed to `path` when complete.

    Args:
        path: Final path of the folder.

    Raises:
        OSError: If the folder cannot be created; the error names `path`.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        """Final path of the folder."""
        with naming_errors(path):
            self._final = _prepare(path)
            self.folder, self._lock = _create(self._final, _create_folder)
        """Hidden folder to write into."""

    def publish(self) -> None:
        """Rename the folder to its final path; a folder that it replaces is deleted afterwards.

        Raises:
            OSError: If that fails, or the final path is a file; call `discard` then.
        """
        with naming_errors(self.path):
            _sync_tree(self.folder)
            _copy_mode(self._final, self.folder)
            _replace_folder(self.folder, self._final)
            _sync_folder(self._final.parent)
        self._unlock()

    def publish_as_first(self, names: Iterable[str]) -> Path:
        """Rename the folder to the first free one of `names`, beside `path`; return the new path.

        Raises:
            OSError: If renaming fails.
            ValueError: If none of the names is free.
        """
        with naming_errors(self.path):
            _sync_tree(self.folder)
            for name in names:
                final = self._final.with_name(name)
                if os.path.lexists(final):
                    continue
                try:
                    # Fails if another process has just created a folder there, with files in it.
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
        """Delete the hidden folder, unless it was published; the old folder stays."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._unlock()

    def _unlock(self) -> None:
        _unfinished.discard(self.folder)
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


@contextmanager
def new_folder(path: Path | str) -> Iterator[Path]:
    """Yield a hidden folder that replaces `path` when the block ends without an error."""
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
    """Remove unfinished files and folders of this process; call this when the process is stopped.

    Files that cannot be removed stay; locks of other processes stay as well.
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
    """Clean up after killed processes: remove hidden leftovers, restore folders moved aside.

    Files of living processes stay, and so do files that cannot be removed.
    """
    folder = Path(folder)
    with contextlib.suppress(OSError):  # e.g. there is no such folder yet
        for name in os.listdir(folder):
            if found := _HIDDEN.fullmatch(name):
                with contextlib.suppress(OSError):
                    _remove_unlocked(folder / name, folder / found["name"], found["role"])


@contextmanager
def naming_errors(path: Path | str) -> Iterator[None]:
    """Make every OSError in the block name `path` instead of no file or a hidden name."""
    try:
        yield
    except OSError as error:
        # A subclass without an error number has its own message.
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
    """Create the parent folder of a path and clean it up; return the path with links resolved."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(
            errno.ENOTDIR, os.strerror(errno.ENOTDIR), error.filename
        ) from error
    final = Path(os.path.realpath(path))
    if final.exists() and not (final.is_file() or final.is_dir()):
        raise OSError(errno.EINVAL, "Not a regular file or folder", str(path))  # e.g. /dev/null
    final.parent.mkdir(exist_ok=True)  # may be another folder if the path is a link
    remove_leftovers(final.parent)
    return final


def _create(final: Path, create: Callable[[Path], int]) -> tuple[Path, int]:
    """Create and lock a hidden file or folder beside `final`; return its path and file handle."""
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
            # Otherwise another process removed it as a leftover before it was locked: try again.
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
    """True if `path` still names the open file."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _lock(handle: int) -> None:
    with contextlib.suppress(OSError):  # then no other process can lock it or remove it either
        fcntl.flock(handle, fcntl.LOCK_EX)


def _remove_unlocked(hidden: Path, final: Path, role: str) -> None:
    """Remove a hidden file or folder of an ended process, or restore a folder moved aside.

    Raises:
        OSError: If its process is alive, or that is unknown because locks do not work.
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
    """Copy the mode of an existing file or folder to its replacement."""
    with contextlib.suppress(FileNotFoundError):
        os.chmod(hidden, stat.S_IMODE(os.stat(final).st_mode))


def _replace_folder(new: Path, final: Path) -> None:
    """Rename a folder to `final`, and delete the folder that was there."""
    if not os.path.lexists(final):
        os.rename(new, final)
        return
    if not final.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if not _exchange(new, final):
        _replace_in_two_steps(new, final)
    # After an exchange `new` names the old folder; if it cannot be removed, nothing is lost.
    shutil.rmtree(new, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two paths in one step; return False if the system cannot do that."""
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
    """Flush all files and subfolders of a folder to the disk."""
    for root, _, names in os.walk(folder):
        for path in (Path(root, name) for name in names):
            if not path.is_symlink():
                _sync(path, os.O_RDONLY)
        _sync_folder(Path(root))


def _sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk, if the file system supports that."""
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
