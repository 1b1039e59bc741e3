"""Make a notebook of each tutorial, to download: the page's text, and its code as cells.

| on the page                      | in the notebook                                              |
|----------------------------------|--------------------------------------------------------------|
| a block of Python                | a cell                                                       |
| a block of bash                  | a cell that begins with `%%bash`                             |
| a block of text right behind one | what the cell printed                                        |
| an included file                 | its lines, as text                                           |
| a link or a picture              | the same file, from the folder of the clone                  |

Cells of bash know nothing of each other, so one that uses a variable of an earlier cell sets it
again. The notebooks are made anew at every build, under docs/tutorials/, where git ignores them.
"""

import ast
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(?!`)(\S*)[^\n]*\n(.*?)^```\n", re.M | re.S)
_INCLUDED = re.compile(r"^```\{literalinclude\} (\S+)\n(.*?)^```$", re.M | re.S)
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")
_SET = re.compile(r"^([A-Z]\w*)=.*$", re.M)


def tutorials(docs: Path) -> list[Path]:
    """Return the pages that become notebooks."""
    return sorted(path for path in (docs / "tutorials").glob("*.md") if path.stem != "index")


def notebook_of(page: Path) -> dict[str, Any]:
    """Return a page as a notebook, in the format of Jupyter 4.5."""
    page = page.resolve()
    cells = [markdown_cell(_how_to_run(page)), *cells_of(page)]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "cells": cells,
    }


def cells_of(page: Path) -> Iterator[dict[str, Any]]:
    """Yield the cells of a page, in order."""
    text = _with_included_lines(_with_paths_of_the_clone(page.read_text(), page), page)
    variables: dict[str, str] = {}
    end, last = 0, None
    for fence in _FENCE.finditer(text):
        language, code = fence[1], fence[2].rstrip("\n")
        between = text[end : fence.start()].strip("\n")
        if language == "text" and last is not None and not between:
            last["outputs"] = [{"output_type": "stream", "name": "stdout", "text": _lines(code)}]
            end, last = fence.end(), None
            continue
        if language not in ("bash", "python"):
            continue  # it stays a part of the text
        if between:
            yield markdown_cell(between)
        last = code_cell(code if language == "python" else bash_cell(code, variables))
        yield last
        end = fence.end()
    if rest := text[end:].strip("\n"):
        yield markdown_cell(rest)


def bash_cell(code: str, variables: dict[str, str]) -> str:
    """Return the source of a cell of bash, which stops at the first command that fails.

    Args:
        code: The block on the page.
        variables: The lines that set a variable in earlier blocks, by its name; those of this block
            are added.
    """
    own = {found[1]: found[0] for found in _SET.finditer(code)}
    used = [
        line
        for name, line in variables.items()
        if name not in own and re.search(rf"\$\{{?{name}\b", code)
    ]
    variables |= own
    return "\n".join(["%%bash", "set -e", *used, code])


def markdown_cell(text: str) -> dict[str, Any]:
    """Return a cell of text."""
    return {"cell_type": "markdown", "metadata": {}, "source": _lines(text)}


def code_cell(source: str) -> dict[str, Any]:
    """Return a cell of code that has not run."""
    return {
        "cell_type": "code",
        "metadata": {},
        "execution_count": None,
        "source": _lines(source),
        "outputs": [],
    }


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def _how_to_run(page: Path) -> str:
    name = f"{page.stem}.ipynb"
    return (
        f"*This is the page `docs/tutorials/{page.name}` as a notebook. Put it into the folder of"
        " your clone, and run it there with the Python of the clone:*\n\n"
        f"    .venv/bin/pip install notebook\n    .venv/bin/jupyter notebook {name}\n\n"
        "*What is printed below came from another run: your last digits will differ.*"
    )


def _with_included_lines(text: str, page: Path) -> str:
    """Put the lines of included files in the place of what includes them."""

    def lines_of(include: re.Match[str]) -> str:
        source = (page.parent / include[1]).read_text()
        options = dict(re.findall(r"^:(\w+): (.*)$", include[2], flags=re.M))
        if "lines" in options:
            first, last = map(int, options["lines"].split("-"))
            source = "\n".join(source.splitlines()[first - 1 : last])
        if "pyobject" in options:
            source = _definition(source, options["pyobject"].split("."))
        # Four ticks, since it is not to be taken for a cell.
        return f"````python\n{source}\n````"

    return _INCLUDED.sub(lines_of, text)


def _definition(source: str, path: list[str]) -> str:
    """Return the lines of a function or class, or of a method `Class.method`."""
    node: Any = ast.parse(source)
    for name in path:
        node = next(one for one in node.body if getattr(one, "name", None) == name)
    first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
    return "\n".join(source.splitlines()[first - 1 : node.end_lineno])


def _with_paths_of_the_clone(text: str, page: Path) -> str:
    """Write links as they lead from the folder of the clone."""

    def moved(link: re.Match[str]) -> str:
        return os.path.relpath((page.parent / link[1]).resolve(), ROOT)

    parts = re.split(r"(^```.*?^```$)", text, flags=re.M | re.S)  # code stays as it is
    parts[::2] = [_LINK.sub(moved, part) for part in parts[::2]]
    return "".join(parts)


def write_notebooks(docs: Path) -> list[Path]:
    """Write a notebook beside each tutorial; one that is the same keeps its time."""
    written = []
    for page in tutorials(docs):
        path = page.with_suffix(".ipynb")
        text = json.dumps(notebook_of(page), indent=1, ensure_ascii=False) + "\n"
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)
        written.append(path)
    for old in set((docs / "tutorials").glob("*.ipynb")) - set(written):
        old.unlink()
    return written


def add_link(app: "Sphinx", page: str, source: list[str]) -> None:
    """Put a link to the notebook below the title of a tutorial."""
    name = page.removeprefix("tutorials/")
    if (Path(app.srcdir) / "tutorials" / f"{name}.ipynb").is_file() and name != page:
        link = f"{{download}}`Download this page as a notebook <{name}.ipynb>`"
        source[0] = re.sub(r"\A(# .*\n)", rf"\1\n{link}\n", source[0])


def setup(app: "Sphinx") -> dict[str, bool]:
    """Write the notebooks before Sphinx looks for sources."""
    app.connect("builder-inited", lambda app: write_notebooks(Path(app.srcdir)))
    app.connect("source-read", add_link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
