"""The code of the pages: tutorials are run as notebooks (test_notebooks.py), others here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in (ROOT / "docs/tutorials").glob("*.md") if path.stem != "index")
OTHERS = [ROOT / "docs" / name for name in ("index.md", "conditions.md", "how-to/extend.md")]
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.M | re.S)


def script_of(page):
    """Return the blocks of Python of a page as one shell script; each is a program."""
    programs = [code for language, code in BLOCK.findall(page.read_text()) if language == "python"]
    assert programs
    lines = [f".venv/bin/python -W error - <<'PYTHON'\n{code}PYTHON\n" for code in programs]
    return "\n".join(["set -euo pipefail", *lines])


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_block_of_python_in_a_tutorial_stands_by_itself(page):
    """It may be pasted into a shell of its own, so it brings every name that it uses."""
    for language, code in BLOCK.findall(page.read_text()):
        if language == "python":
            words = ["ruff", "check", "--isolated", "--select", "E9,F821", "--no-cache", "-"]
            done = subprocess.run(
                [sys.executable, "-m", *words], input=code, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("page", OTHERS, ids=lambda page: page.stem)
def test_the_python_of_a_page_runs(page, clone):
    done = subprocess.run(
        ["bash", "-c", script_of(page)],
        cwd=clone,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
