"""Import a user's own modules (`--import`) and functions in them."""

import hashlib
import importlib
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ncp_control.json_files import shorten

_imported: list[str] = []


def import_modules(names: Sequence[str]) -> None:
    """Import modules by name; afterwards `imported_modules` returns these names.

    Args:
        names: Names as in an import statement, e.g. "my_cells" or "my_package.cells".

    Raises:
        ValueError: If a name is not a module name, or the module cannot be imported.
    """
    for name in names:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(
                f"`import` must name a module, got {shorten(name)}. Write it as Python imports it,"
                " e.g. my_module for my_module.py."
            )
        if name.endswith(".py"):
            raise ValueError(f"`import` must name a module, got {name!r}. Leave out the .py.")
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            raise ValueError(
                f"`import` must name a module that can be imported, got {name!r}:"
                f" {_reason(error, name)}"
            ) from error
    _imported[:] = dict.fromkeys(names)


def imported_modules() -> list[str]:
    """Return the names of the modules that were imported for this job."""
    return list(_imported)


def import_function(setting: str, name: str) -> Callable[..., Any]:
    """Import a function by its name.

    Args:
        setting: Name of the setting that holds the name, for the error message.
        name: Module and function, e.g. "my_module:make_world".

    Raises:
        ValueError: If there is no such function.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"`{setting}` must name a function as module:function, got {name!r}: {error}. The"
            " module's folder must be on the Python path."
        ) from error
    if not callable(found):
        raise ValueError(
            f"`{setting}` must name a function, got {name!r}, which is {type(found).__name__!r}."
        )
    return found


def code_digest(names: Sequence[str | None]) -> str:
    """Return a SHA-256 hash of the source files of the user's modules, to notice edits.

    Covers the modules in `names` and those of `import_modules`, but not the modules that they
    import. Empty if there are none.

    Args:
        names: Functions in the form of `import_function`. Other names, gymnasium:<id> and None are
            ignored.
    """
    modules = {name.partition(":")[0] for name in names if name and ":" in name} - {"gymnasium"}
    return _hash_of(
        file
        for module in sorted(modules | set(_imported))
        if (file := getattr(sys.modules.get(module), "__file__", None)) is not None
    )


def package_digest(function: Callable[..., Any]) -> str:
    """Return a SHA-256 hash of the source files beside a function, to notice edits.

    Covers all modules of its package, without subpackages; if its module is in no package, that
    module alone. Empty if there is no source file.
    """
    module = sys.modules[function.__module__]
    file = getattr(module, "__file__", None)
    if file is None:
        return ""
    return _hash_of(sorted(Path(file).parent.glob("*.py")) if module.__package__ else [file])


def _hash_of(files: Iterable[Path | str]) -> str:
    """Return the SHA-256 hash of the contents of files; empty if there are no files."""
    contents = [Path(file).read_bytes() for file in files]
    return hashlib.sha256(b"".join(contents)).hexdigest() if contents else ""


def _reason(error: BaseException, name: str) -> str:
    """Describe in one line why an import failed, and where."""
    message = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, ModuleNotFoundError) and error.name and name.startswith(error.name):
        return f"{message}. Run the job in the folder of the module, or put it on PYTHONPATH."
    if isinstance(error, SyntaxError):
        return f"{error.msg}, in line {error.lineno} of {error.filename}."
    frame = own_frame(error) or traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {message}, in line {frame.lineno} of {frame.filename}."


def own_frame(error: BaseException) -> traceback.FrameSummary | None:
    """Return the last frame of a user's own module in an error's traceback; None if there is none.

    Not a user's own are this project, installed packages, the standard library and the program.
    """
    project = Path(__file__).resolve().parents[1]
    folders = [project / name for name in ("ncp_control", "envs", "policies", "scripts")]
    folders += [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename).resolve()
        is_program = path == Path(sys.argv[0]).resolve()
        is_installed = not {"site-packages", "dist-packages"}.isdisjoint(path.parts)
        is_known = is_program or is_installed or any(map(path.is_relative_to, folders))
        if path.is_file() and not is_known:
            return frame
    return None
