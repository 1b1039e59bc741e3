"""Notebooks of the tutorials: they hold the code of their page in order, and it runs as it is."""

import json
import os
import re
import subprocess
import sys

import pytest

from ncp_control.kernels.build import BuildError, find_compiler
from tests.docs.test_tutorials import BLOCK, PAGES, ROOT, clone  # noqa: F401 - a fixture

RUNNER = """
import json, subprocess, sys
names = {"__name__": "__main__"}
for cell in json.load(open(sys.argv[1]))["cells"]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "code" and source.startswith("%%bash\\n"):
        subprocess.run(["bash", "-c", source.partition("\\n")[2]], check=True)
    elif cell["cell_type"] == "code":
        exec(compile(source, "<cell>", "exec"), names)
"""
"""Runs a notebook as Jupyter does: cells of Python share their names, cells of bash nothing."""


@pytest.fixture(scope="module")
def notebooks():
    """Return the module that makes notebooks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(ROOT / "docs/_ext"), *sys.path])
        import notebooks

        yield notebooks
        sys.modules.pop("notebooks", None)


def run(path, folder):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", RUNNER, path.name],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def sources(notebook, kind):
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == kind]


def test_every_tutorial_has_a_notebook(notebooks, tmp_path):
    (tmp_path / "tutorials").mkdir()
    for page in notebooks.tutorials(ROOT / "docs"):
        (tmp_path / "tutorials" / page.name).symlink_to(page)
    (tmp_path / "tutorials/gone.ipynb").write_text("{}")
    written = notebooks.write_notebooks(tmp_path)
    assert [path.stem for path in written] == [page.stem for page in PAGES]
    assert sorted(tmp_path.glob("tutorials/*.ipynb")) == written


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_notebook_holds_the_code_of_its_page_in_order(notebooks, page):
    notebook = json.loads(json.dumps(notebooks.notebook_of(page)))
    blocks = BLOCK.findall(page.read_text())
    cells = sources(notebook, "code")
    assert len(cells) == len(blocks) > 0
    for cell, (language, code) in zip(cells, blocks, strict=True):
        assert cell.startswith("%%bash\n") == (language == "bash")
        assert cell.endswith(code.rstrip("\n"))
    text = "\n".join(sources(notebook, "markdown"))
    assert "```bash" not in text and "{literalinclude}" not in text
    for link in re.findall(r"\]\((?![a-z]+:)([^)#\s]+)", text):
        assert (ROOT / link).exists(), link
    assert {cell["id"] for cell in notebook["cells"]} == {
        f"cell-{number}" for number in range(len(notebook["cells"]))
    }


PAGE = """# A page

```bash
P=echo
WORD="two words"
FOLDER=$(pwd)
```

Between.

```bash
$P "$WORD" > said.txt
```

```python
told = open("said.txt").read()
```

```text
what it printed
```

```python
open("twice.txt", "w").write(told * 2)
```

```bash
WORD=other
$P $WORD >> twice.txt
false
true
```
"""


def test_cells_of_bash_set_again_what_they_need_and_stop_at_a_failure(notebooks, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    notebook = notebooks.notebook_of(page)
    second, last = (sources(notebook, "code")[i] for i in (1, 4))
    assert second == '%%bash\nset -e\nP=echo\nWORD="two words"\n$P "$WORD" > said.txt'
    assert last.startswith("%%bash\nset -e\nP=echo\nWORD=other\n")
    printed = [cell.get("outputs") for cell in notebook["cells"] if cell.get("outputs")]
    assert printed == [[{"output_type": "stream", "name": "stdout", "text": ["what it printed"]}]]
    path = tmp_path / "page.ipynb"
    path.write_text(json.dumps(notebook))
    done = run(path, tmp_path)
    assert done.returncode != 0 and "CalledProcessError" in done.stderr  # by `false`
    assert (tmp_path / "twice.txt").read_text() == "two words\ntwo words\nother\n"


def test_included_lines_are_shown(notebooks):
    page = ROOT / "docs/tutorials/own-world-and-cell.md"
    text = "\n".join(sources(notebooks.notebook_of(page), "markdown"))
    assert "````python\ndef make_hover" in text and "    def step(" in text


TOLD = {
    "first-drive": ["still on the road", "crashes per km"],
    "look-inside": ["inspector.html", "motor_0 stays within"],
    "own-log": ["always straight", "mean of the recording"],
    "own-series": ["last known value", "in five rows", "self-test here: passed"],
    "own-world-and-cell": ["mean_return", "| expert |", "world     Hover-v0 gust_mps2=1.0"],
    "to-the-robot": ["pass: 16 steps", "its time is over", "frames late"],
}
"""What each tutorial must have printed."""


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_notebook_runs(notebooks, page, clone):  # noqa: F811
    """It has the code of its page, so this runs every tutorial, and every training once."""
    if page.stem == "to-the-robot":
        try:
            find_compiler()
        except BuildError as error:
            pytest.skip(str(error))
    path = clone / f"{page.stem}.ipynb"
    path.write_text(json.dumps(notebooks.notebook_of(page)))
    done = run(path, clone)
    assert done.returncode == 0, done.stderr
    assert [words for words in TOLD[page.stem] if words not in done.stdout] == []
