"""The tutorials do what they say: the code of each page is run in order, in a folder of its own.

Of other pages the blocks of Python are run.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ncp_control.kernels.build import BuildError, find_compiler

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in (ROOT / "docs/tutorials").glob("*.md") if path.stem != "index")
OTHERS = [ROOT / "docs" / name for name in ("index.md", "conditions.md", "how-to/extend.md")]
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.M | re.S)


def script_of(page, languages=("bash", "python")):
    """Return the blocks of a page as one shell script; each block of Python is a program."""
    lines = ["set -euo pipefail"]
    for language, code in BLOCK.findall(page.read_text()):
        if language not in languages:
            continue
        if language == "python":
            code = f".venv/bin/python -W error - <<'PYTHON'\n{code}PYTHON\n"
        lines.append(code)
    return "\n".join(lines)


@pytest.fixture
def clone(tmp_path):
    """Return a folder that looks like a clone, but in which nothing of the clone can be changed."""
    for name in ("scripts", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name, words in (("python", ""), ("ncp", "-m ncp_control.commands.ncp")):
        program = tmp_path / ".venv/bin" / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        program.chmod(0o755)
    return tmp_path


def test_each_tutorial_has_code():
    assert len(PAGES) == 6
    assert all(BLOCK.search(page.read_text()) for page in PAGES)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_runs(page, clone):
    if page.stem == "to-the-robot":
        try:
            find_compiler()
        except BuildError as error:
            pytest.skip(str(error))
    run(script_of(page), clone)


@pytest.mark.slow
@pytest.mark.parametrize("page", OTHERS, ids=lambda page: page.stem)
def test_the_python_of_a_page_runs(page, clone):
    script = script_of(page, languages=("python",))
    assert "PYTHON" in script
    run(script, clone)


def run(script, clone):
    """Run a script in a folder, in which `printed.txt` then holds what it printed."""
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=clone,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    (clone / "printed.txt").write_text(done.stdout)
    assert done.returncode == 0, done.stderr
