"""Compilation of the kernels on first use, and the cache of compiled libraries.

The file name of a library contains a hash of everything that determines it (sources, flags,
compiler, processor) and a hash of its own bytes, so a stale or damaged library is never loaded. It
is written under a temporary name and then renamed: two processes that compile at the same time do
not disturb each other, and a process that dies leaves no half-written library.

Loading a library runs its code. So a library is loaded only from a folder that nobody but this user
and root can write to, and only if the file belongs to one of them and nobody else can write to it.
If there is no such folder, each process compiles its own library in a temporary folder.
"""

import contextlib
import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

SOURCE_FOLDER = Path(__file__).parent
SOURCES = ("ltc.c", "ltc_narrow.c", "dense.c", "head.c")
COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-O2", "-std=gnu11", "-shared", "-fPIC", "-fvisibility=hidden", "-pthread")
# errno and traps are not used; results are still those of IEEE arithmetic.
MATHS_FLAGS = ("-fno-math-errno", "-fno-trapping-math")
# MinGW-w64: link the compiler's own libraries statically. Its stack is aligned to 16 bytes only, so
# wider vectors on the stack must be accessed as unaligned.
WINDOWS_FLAGS = ("-static", "-Wa,-muse-unaligned-vector-move")
# Flags for this processor: x86-64 and most others, then older ARM compilers, then any compiler.
PROCESSOR_FLAGS = (("-march=native",), ("-mcpu=native",), ())
TIMEOUT_S = 120.0
STALE_S = 3600.0
"""Age after which an unfinished build is removed [s]; a build takes at most six minutes."""


class BuildError(RuntimeError):
    """The kernels cannot be compiled; the message says why and what to install."""


def load_library(real_bits: int, processor_flags: tuple[str, ...] | None = None) -> ctypes.CDLL:
    """Return the compiled kernels, from the cache if possible.

    Args:
        real_bits: 32 for float, 64 for double.
        processor_flags: Compiler flags that choose the processor; if None: this processor.

    Raises:
        BuildError: If there is no compiler, it fails, or the system does not load the library.
    """
    compiler = find_compiler()
    choices = PROCESSOR_FLAGS if processor_flags is None else (processor_flags,)
    key = _key(compiler, real_bits, choices)
    folder = cache_folder()
    is_writable = folder is not None and _is_writable(folder)
    if folder is not None and _is_trusted_folder(folder):
        for path in sorted(folder.glob(f"{key}-*.so")):
            library = _load_checked(path)
            if library is not None:
                return library
        if is_writable:
            with contextlib.suppress(OSError):  # e.g. the folder was removed meanwhile
                return _load(_compile(compiler, real_bits, choices, folder, key))
    try:
        with tempfile.TemporaryDirectory(prefix="ncp-control-") as temporary:
            if not is_writable:
                warnings.warn(
                    f"the kernels cannot be kept in {folder or 'a home folder'}, so each process"
                    " builds them again, which takes some seconds. Set XDG_CACHE_HOME to a folder"
                    " that you can write to.",
                    RuntimeWarning,
                    stacklevel=2,
                )
            path = _compile(compiler, real_bits, choices, Path(temporary), key)
            return _load(path)  # stays loaded after its file is removed
    except OSError as error:
        raise BuildError(
            f"there is no folder to build in: {error}. Set XDG_CACHE_HOME or TMPDIR to a folder"
            " that you can write to"
        ) from error


def find_compiler() -> list[str]:
    """Return the command of the C compiler: $CC if it names a program, else cc, gcc or clang.

    Raises:
        BuildError: If no compiler is found.
    """
    try:
        chosen = shlex.split(os.environ.get("CC", ""), posix=os.name != "nt")
    except ValueError:  # a quote that is never closed
        chosen = []
    for command in ([chosen] if chosen else []) + [[name] for name in COMPILERS]:
        if path := shutil.which(command[0]):
            return [path, *command[1:]]
    raise BuildError(
        "no C compiler found. Install gcc or clang (Debian, Ubuntu: `apt install gcc libc6-dev`;"
        " macOS: `xcode-select --install`; Windows: MinGW-w64, its gcc on the path) or name one in"
        " $CC"
    )


def cache_folder() -> Path | None:
    """Return the folder of compiled kernels in the user's cache; None if the user has no home."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():  # the XDG specification: relative paths are invalid, ignore them
        home = Path(os.path.expanduser("~"))
        if not home.is_absolute():
            return None
        base = home / "Library" / "Caches" if sys.platform == "darwin" else home / ".cache"
    return base / "ncp-control" / "kernels"


def _is_writable(folder: Path) -> bool:
    """Create the folder, readable by others, and test whether it is writable."""
    try:
        folder.parent.parent.mkdir(parents=True, exist_ok=True)
        for path in (folder.parent, folder):
            path.mkdir(mode=0o755, exist_ok=True)  # not writable by others, whatever the umask
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _is_trusted_folder(folder: Path) -> bool:
    """True if only this user and root can write to the folder and its parent; warn otherwise."""
    try:
        unsafe = [path for path in (folder, folder.parent) if not _is_safe(path.stat())]
    except OSError:
        return False  # the folder does not exist
    if unsafe:
        warnings.warn(
            f"the kernel cache {folder} is not used, and each process builds the kernels again:"
            f" another user can write to {unsafe[0]}. Run `chmod go-w` on that folder if it is"
            " yours, or set XDG_CACHE_HOME to a folder of your own.",
            RuntimeWarning,
            stacklevel=2,
        )
    return not unsafe


def _is_safe(status: os.stat_result) -> bool:
    """True if only this user and root can write to a file or folder."""
    if not hasattr(os, "geteuid"):  # Windows, where a user's folders are private
        return True
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _key(compiler: list[str], real_bits: int, choices: tuple[tuple[str, ...], ...]) -> str:
    """Return the first part of the file name: a hash of everything that determines the library."""
    version = _run([*compiler, "--version"]).stdout
    parts = [version, shlex.join(compiler), str(real_bits), repr((FLAGS, MATHS_FLAGS, choices))]
    parts += [platform.machine(), _processor()]
    parts += [path.read_text(encoding="utf-8") for path in sorted(SOURCE_FOLDER.glob("*.[ch]"))]
    return f"ltc{real_bits}-" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _processor() -> str:
    """Return the processor features behind `-march=native`, as machines may share a home folder."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor()
    names = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(names)}))


def _load(path: Path) -> ctypes.CDLL:
    """Load a library that was just compiled."""
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:  # e.g. a disk mounted with noexec
        raise BuildError(
            f"the system does not load {path}: {error}. Set XDG_CACHE_HOME to a folder on a disk"
            " from which libraries may be loaded"
        ) from error


def _load_checked(path: Path) -> ctypes.CDLL | None:
    """Load a cached library if it is safe (see `_is_safe`) and its bytes match its name.

    A damaged library is removed with a warning. Libraries of another user, and those that this
    system cannot load (e.g. in a home folder shared by machines), are left alone.
    """
    try:
        if not _is_safe(path.stat()):
            return None
        if _digest(path) == path.stem.rsplit("-", 1)[1]:
            return ctypes.CDLL(str(path))
        path.unlink()  # fails if it belongs to root
    except OSError:
        return None
    warnings.warn(
        f"the cached kernel {path} is damaged (its bytes do not match its name)."
        " It is built again.",
        RuntimeWarning,
        stacklevel=2,
    )
    return None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:24]


def _compile(
    compiler: list[str],
    real_bits: int,
    choices: tuple[tuple[str, ...], ...],
    folder: Path,
    key: str,
) -> Path:
    """Compile into the folder and return the library's path."""
    _remove_stale_builds(folder)
    handle, name = tempfile.mkstemp(prefix="building-", suffix=".so", dir=folder)
    os.close(handle)
    temporary = Path(name)
    try:
        _call_compiler(compiler, real_bits, choices, name)
        path = folder / f"{key}-{_digest(temporary)}.so"
        temporary.chmod(0o755)  # with mkstemp's 0o600, other users of a cache could not read it
        os.replace(temporary, path)
        return path
    finally:
        temporary.unlink(missing_ok=True)


def compile_to(
    path: Path,
    real_bits: int,
    processor_flags: tuple[str, ...],
    *,
    compiler: list[str] | None = None,
    system: str = sys.platform,
) -> None:
    """Compile the kernels into a file, for a wheel.

    Args:
        path: File of the library.
        real_bits: 32 for float, 64 for double.
        processor_flags: Compiler flags that choose the processor.
        compiler: Command of the compiler; if None: see `find_compiler`.
        system: Target system, as named by `sys.platform`.

    Raises:
        BuildError: If there is no compiler, or it fails.
    """
    command = find_compiler() if compiler is None else compiler
    _call_compiler(command, real_bits, (processor_flags,), str(path), system)


def _call_compiler(
    compiler: list[str],
    real_bits: int,
    choices: tuple[tuple[str, ...], ...],
    out: str,
    system: str = sys.platform,
) -> None:
    """Compile with the first of the processor flags in `choices` that the compiler accepts."""
    for flags in choices:
        options = [*FLAGS, *MATHS_FLAGS, *flags, f"-DREAL_BITS={real_bits}"]
        if system == "win32":
            options += WINDOWS_FLAGS
        sources = [str(SOURCE_FOLDER / source) for source in SOURCES]
        result = _run([*compiler, *options, *sources, "-o", out, "-lm"])
        if result.returncode == 0:
            return
    raise BuildError(
        f"`{shlex.join(compiler)}` could not compile them: {_first_error(result.stderr)}."
        " Install a recent gcc or clang with its C library's headers, or name another in $CC"
    )


def _remove_stale_builds(folder: Path) -> None:
    """Remove the files of builds that were killed long ago."""
    for path in folder.glob("building-*.so"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > STALE_S:
                path.unlink()


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        why = f"error: it was not done after {TIMEOUT_S:g} s"
    except (OSError, subprocess.SubprocessError) as error:
        why = f"error: {error}"
    return subprocess.CompletedProcess(command, 1, "", why)


def _first_error(stderr: str) -> str:
    """Return the first line with an error in a compiler's output."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line), lines[0] if lines else "no message")
