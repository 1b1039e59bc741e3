"""Links of the pages lead somewhere, and commands are parsed as the job would, without a run."""

import importlib
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from ncp_control import command_line

ROOT = Path(__file__).parents[2]
ALL_PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
IN_BLOCK = re.compile(r"^\s*(?:\$P|\.venv/bin/python) ((?:scripts|examples)/\w+\.py.*)$", re.M)
IN_TEXT = re.compile(r"`((?:scripts/)?\w+\.py [^-`][^`]*?--[^`]*)`")
LINK = re.compile(r"\]\((?![a-z]+:)([^)#\s]+)")
PLACEHOLDERS = {"MODEL": "ncp", "CELL": "ltc", "SEED": "0", "TABLE": "xor"}
PAGES = [page for page in ALL_PAGES if page.parent.name not in ("tutorials", "commands")]
"""Tutorials are run (test_notebooks.py); pages of commands are made from the jobs themselves."""


def commands():
    """Return the words of every command in the clone on a page, beginning with the script."""
    found = {}
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        for line in IN_BLOCK.findall(text) + IN_TEXT.findall(text):
            script, *words = shlex.split(line.replace("…", "x"), comments=True)
            script = script if "/" in script else f"scripts/{script}"
            words = [PLACEHOLDERS.get(word, word) for word in words]
            found[(script, *words)] = page.relative_to(ROOT)
    return found


@pytest.fixture(scope="module")
def settings_of():
    """Return what a script gives to `run_job`, without running it."""
    known = {}

    def find(script):
        if script not in known:
            with pytest.MonkeyPatch.context() as patch:
                given = []
                patch.setattr(command_line, "run_job", lambda *all: given.append(all))
                patch.setattr(sys, "argv", [script])
                runpy.run_path(str(ROOT / script), run_name="__main__")
                known[script] = given[0][1]
        return known[script]

    return find


def test_links_lead_to_files_of_the_repository():
    pages = [page for page in ALL_PAGES if page.parent.name != "commands"]
    links = [(page, link) for page in pages for link in LINK.findall(page.read_text())]
    assert len(links) > 100
    dead = [f"{page}: {link}" for page, link in links if not (page.parent / link).exists()]
    assert not dead, "\n".join(dead)


def test_the_pages_have_commands():
    assert len(commands()) > 50


@pytest.mark.slow
def test_each_command_is_one(settings_of, monkeypatch):
    faults = []
    for (script, *words), page in commands().items():
        if script.startswith("examples/"):
            assert (ROOT / script).is_file(), page
            continue
        parts, words = command_line._take("--import", words)
        for part in parts:
            if part.startswith("policies."):  # others are the reader's own, or need an extra
                importlib.import_module(part)
        monkeypatch.setattr(sys, "argv", [script, *words])
        try:
            command_line._parse(settings_of(script), None, words)
        except (SystemExit, ValueError) as error:
            faults.append(f"{page}: {script} {' '.join(words)}: {error}")
    assert not faults, "\n".join(faults)
