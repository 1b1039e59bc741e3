"""Writing so that nothing is ever half-written: a temporary name first, then a rename."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_file(path: Path | str, content: str | bytes) -> None:
    """Write a whole file or leave what was there."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(name, 0o644)  # mkstemp keeps a file from all others
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(path: Path | str) -> Iterator[Path]:
    """Yield a temporary folder that takes the place of `path` once the block has succeeded."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        replace_folder(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def replace_folder(new: Path, path: Path) -> None:
    """Rename a folder to `path`; what stood there is deleted after that, or else comes back.

    There are two renames, for Python cannot exchange two folders: a process that is killed between
    them leaves both whole, under hidden names beside `path`.
    """
    if not path.exists():
        new.rename(path)
        return
    # A folder cannot be renamed onto a full one, so the old one steps aside first.
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
    old = aside / path.name
    try:
        path.rename(old)
        new.rename(path)
    finally:
        if not path.exists():
            old.rename(path)
        shutil.rmtree(aside)
