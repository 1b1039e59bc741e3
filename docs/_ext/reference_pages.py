"""Write the pages of the reference: public names, modules, and what each command says of itself.

They are made anew at every build, under docs/reference/, where git ignores them:

| folder     | a page for each                                                                  |
|------------|----------------------------------------------------------------------------------|
| `names`    | name that `ncp_control` offers                                                   |
| `modules`  | package and module of `ncp_control`, `envs` and `policies` that a user may import |
| `commands` | job of `scripts/` and of `ncp`, from its own `--help`                            |
"""

import contextlib
import importlib.util
import inspect
import io
import os
import pkgutil
import re
import runpy
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from docstrings import convert
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

import envs
import ncp_control
import policies
from ncp_control.command_line import Command

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (ncp_control, envs, policies)
INTERNAL = {
    "ncp_control": (
        "command_line", "commands", "files", "framing", "gymnasium_names", "imports", "json_files",
        "kernels", "layers", "markdown", "names", "ranges", "tally", "tensor_budget",
        "workers", "acting.shares", "audit.rerun", "deploy.c.dense_cells", "deploy.c.header",
        "deploy.c.self_test", "deploy.c.senses", "deploy.c.stages", "deploy.c.tables",
        "deploy.c.wired", "deploy.c.words", "deploy.onnx.check", "deploy.onnx.dense_cells",
        "deploy.onnx.graph", "deploy.onnx.senses", "deploy.onnx.wired", "learning.launched",
        "learning.stored", "learning.team",
    ),
    "envs": (
        "driving.bodies_view", "driving.body_shapes", "driving.car_shape", "driving.episode_start",
        "driving.spline", "driving.texture", "driving.track_shapes", "recorded.columns",
        "recorded.hdf5", "recorded.lerobot_cameras", "recorded.lerobot_tasks", "recorded.own_notes",
        "recorded.parquet",
        "recorded.text", "recorded.tub_records", "recorded.writing", "seeding",
    ),
    "policies": (),
}  # fmt: skip
"""Modules that only the code of the packages imports."""
HELP_WIDTH = 120


def modules_of(package: ModuleType) -> Iterator[str]:
    """Yield the names of all modules of a package, its own first."""
    yield package.__name__
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield found.name


def public_paths() -> Iterator[str]:
    """Yield the name of each package and module that has a page."""
    for package in PACKAGES:
        hidden = [f"{package.__name__}.{name}" for name in INTERNAL[package.__name__]]
        for name in modules_of(package):
            if name == "ncp_control":  # what it offers has pages by name
                continue
            if not any(name == other or name.startswith(f"{other}.") for other in hidden):
                yield name


def public_modules() -> Iterator[ModuleType]:
    """Yield each package and module that has a page."""
    return map(importlib.import_module, public_paths())


def home_of(name: str, package: ModuleType) -> str:
    """Return the module in which a name that a package offers is defined.

    Raises:
        LookupError: If no module beside it defines the name.
    """
    thing = getattr(package, name)
    if is_defined_by_name(thing):
        return thing.__module__
    for path in modules_of(importlib.import_module(package.__name__.partition(".")[0])):
        spec = importlib.util.find_spec(path)
        source = Path(spec.origin).read_text() if spec and spec.origin else ""
        if re.search(rf"^{name}\b.*=", source, flags=re.M) and name in defined_data(path):
            return path
    raise LookupError(f"no module defines {package.__name__}.{name}")


def is_defined_by_name(thing: object) -> bool:
    """True for a class or a function, also one whose results are kept (`functools.cache`)."""
    return inspect.isclass(thing) or inspect.isfunction(inspect.unwrap(thing))  # type: ignore[arg-type]


def public_names(module: ModuleType) -> list[str]:
    """Return the public classes, functions and documented values that a module defines."""
    own = [
        name
        for name, thing in vars(module).items()
        if is_defined_by_name(thing)
        and thing.__module__ == module.__name__
        and thing.__name__ == name
    ]
    names = [*own, *defined_data(module.__name__)]
    return [name for name in names if not name.startswith("_")]


def defined_data(module: str) -> dict[str, str]:
    """Return the documented values at the top of a module, with what is said of each."""
    analyzer = ModuleAnalyzer.for_module(module)
    docs = analyzer.find_attr_docs()
    return {name: "\n".join(lines) for (owner, name), lines in docs.items() if not owner}


def heading(text: str) -> list[str]:
    """Return a title with its line below."""
    return [text, "=" * len(text), ""]


def name_page(name: str) -> str:
    """Return the page of a name that `ncp_control` offers."""
    thing, home = getattr(ncp_control, name), home_of(name, ncp_control)
    lines = [*heading(name), f"``from ncp_control import {name}``", ""]
    if inspect.isclass(thing):
        lines += [f".. autoclass:: ncp_control.{name}", "   :members:", "   :show-inheritance:"]
    elif inspect.isfunction(thing):
        lines += [f".. autofunction:: ncp_control.{name}"]
    else:
        lines += [f".. py:data:: ncp_control.{name}", f"   :canonical: {home}.{name}", ""]
        lines += [f"   {line}" for line in convert(defined_data(home)[name].splitlines())]
    return "\n".join([*lines, "", f"Defined in ``{home}``.", ""])


def module_page(module: ModuleType) -> str:
    """Return the page of a module; names with a page of their own are linked."""
    path = module.__name__
    elsewhere = {name: home_of(name, ncp_control) for name in ncp_control.__all__}
    own = [name for name, home in elsewhere.items() if home == path]
    offered = [name for name in getattr(module, "__all__", ()) if hasattr(module, "__path__")]
    lines = [*heading(path), f".. automodule:: {path}"]
    if offered:
        local = [name for name in offered if home_of(name, module) == path]
        lines += [f"   :members: {', '.join(local)}", "   :ignore-module-all:"] if local else []
    else:
        lines += ["   :members:", "   :ignore-module-all:"]
        lines += [f"   :exclude-members: {', '.join(own)}"] if own else []
    lines += [""]
    if own:
        lines += ["It defines, on pages of their own:", ""]
        lines += [f"- :py:obj:`{name} <ncp_control.{name}>`" for name in own]
    if offered:
        lines += ["It offers:", ""]
        for name in offered:
            home = "ncp_control" if name in ncp_control.__all__ else home_of(name, module)
            lines += [f"- :py:obj:`{name} <{home}.{name}>`"]
    if hasattr(module, "__path__"):
        children = [name for name in public_paths() if name.startswith(f"{path}.")]
        children = [name for name in children if "." not in name.removeprefix(f"{path}.")]
        lines += ["", ".. toctree::", "   :maxdepth: 1", ""]
        lines += [f"   {name.rpartition('.')[2]} <{name}>" for name in children]
    return "\n".join([*lines, ""])


def jobs() -> dict[str, tuple[str, ...]]:
    """Return the words of every command, by the name of its page."""
    found: dict[str, tuple[str, ...]] = {}
    for script in sorted((ROOT / "scripts").glob("*.py")):
        if "__main__" not in script.read_text():
            continue
        found[script.stem] = (f"scripts/{script.name}",)
        for job in jobs_of(f"scripts.{script.stem}"):
            found[f"{script.stem}-{job}"] = (f"scripts/{script.name}", job)
    found["ncp"] = ("ncp_control/commands/ncp.py",)
    for job in jobs_of("ncp_control.commands.ncp"):
        found[f"ncp-{job}"] = ("ncp_control/commands/ncp.py", job)
    return found


def jobs_of(module: str) -> list[str]:
    """Return the jobs among which the first word of a command chooses."""
    for thing in vars(importlib.import_module(module)).values():
        if isinstance(thing, dict) and any(isinstance(job, Command) for job in thing.values()):
            return list(thing)
    return []


def help_of(words: tuple[str, ...]) -> str:
    """Return what a command prints for `--help`."""
    said, argv = io.StringIO(), sys.argv
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    sys.argv = [Path(words[0]).name, *words[1:], "--help"]
    os.environ["COLUMNS"] = str(HELP_WIDTH)
    try:
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            runpy.run_path(str(ROOT / words[0]), run_name="__main__")
    finally:
        sys.argv = argv
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return re.sub(r"\x1b\[[0-9;]*m", "", said.getvalue())


def command_page(words: tuple[str, ...]) -> str:
    """Return the page of a command: what it says first, and a list of the options of each group."""
    typed = "ncp" if "commands" in words[0] else f"python {words[0]}"
    said = re.sub(r"^usage:.*\n(?: +.*\n)*", "", help_of(words)).strip("\n")
    said = re.sub(r"\n{3,}", "\n\n", said)
    said, also, imports = said.partition("\nEvery job also takes")
    first, *groups = re.split(r"^ (\S.*?) *\n -{20,} *\n", said, flags=re.M)
    if not groups:  # a command that only chooses among jobs
        return "\n".join([f"# `{typed}`", "", "```text", said + also + imports, "```", ""])
    lines = [f"# `{' '.join([typed, *words[1:]])}`", "", "```text", first.strip("\n"), "```", ""]
    for name, text in zip(groups[::2], groups[1::2], strict=True):
        lines += [f"## {name.capitalize()}", "", *options_of(text)]
    return "\n".join(
        [*lines, "## Modules of your own", "", "```text", (also + imports).strip()]
    ) + ("\n```\n")


def options_of(text: str) -> list[str]:
    """Return a group of options as a list of definitions.

    An option begins in the third column; what is said of it stands behind it or below, indented.
    """
    lines: list[str] = []
    if rule := re.search(r"^  -{20,} *\n", text, flags=re.M):
        lines += [escape_markdown(" ".join(text[: rule.start()].split())), ""]
        text = text[rule.end() :]
    for found in re.finditer(r"^  (\S.*\n(?: {3,}\S.*\n)*)", text.rstrip() + "\n", flags=re.M):
        option, *rest = re.split(r"\s{2,}", found[1].strip(), maxsplit=1)
        lines += [f"`{option}`", f": {escape_markdown(' '.join(' '.join(rest).split()))}", ""]
    return lines


def escape_markdown(text: str) -> str:
    """Escape what would be markup outside of code."""
    parts = re.split(r"(`[^`]+`)", text)
    parts[::2] = [re.sub(r"([*_<>\[\]$\\{}|~])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def write_pages(folder: Path) -> None:
    """Write all pages; one whose text is the same keeps its time, so that it is not built again."""
    pages: dict[str, str] = {}
    modules = list(public_modules())
    for name in ncp_control.__all__:
        pages[f"names/{name}.rst"] = name_page(name)
    for module in modules:
        pages[f"modules/{module.__name__}.rst"] = module_page(module)
    names = sorted(ncp_control.__all__, key=str.lower)
    tops = [m.__name__ for m in modules if re.fullmatch(r"ncp_control\.\w+", m.__name__)]
    tops += [package.__name__ for package in PACKAGES[1:]]
    pages["names/index.rst"] = index_page("Names", NAMES_SAY, names)
    pages["modules/index.rst"] = index_page("Modules", MODULES_SAY, tops)
    found = jobs()
    for page, words in found.items():
        pages[f"commands/{page}.md"] = command_page(words)
    pages["commands/index.rst"] = index_page("Commands", COMMANDS_SAY, list(found))
    for path, text in pages.items():
        target = folder / path
        target.parent.mkdir(exist_ok=True)
        if not target.is_file() or target.read_text() != text:
            target.write_text(text)
    for part in ("names", "modules", "commands"):
        for old in (folder / part).glob("*.*"):
            if f"{part}/{old.name}" not in pages:
                old.unlink()


NAMES_SAY = (
    "What ``ncp_control`` itself offers: ``from ncp_control import LTC``. Arguments, shapes and "
    "units stand on the page of each name. A time constant or a time step is in seconds."
)
MODULES_SAY = (
    "What else may be imported, by module of ``ncp_control``. ``import ncp_control`` costs next to "
    "nothing; a module is imported when it is first used. ``envs`` has the worlds and the readers "
    "of recordings, ``policies`` the recipes of our policies; both come with the clone, not with "
    "the wheel."
)
COMMANDS_SAY = (
    "What each command says of itself with ``--help``. In a clone, type them with the Python of "
    "its ``.venv``; ``ncp`` comes with the wheel and needs no clone."
)


def index_page(title: str, sentence: str, pages: list[str]) -> str:
    """Return a page that lists others."""
    entries = [f"   {page.removeprefix('ncp_control.')} <{page}>" for page in pages]
    tree = ["", ".. toctree::", "   :maxdepth: 1", "", *entries, ""]
    return "\n".join([*heading(title), sentence, *tree])


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before Sphinx looks for sources."""
    app.connect("builder-inited", lambda app: write_pages(Path(app.srcdir) / "reference"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
